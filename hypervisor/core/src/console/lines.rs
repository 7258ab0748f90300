// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keeps the lines of several writers apart on one console.
//!
//! Who has the console's input writes directly, as its bytes come; so does dom0, unless another domain
//! has the input. Everybody else's lines are shown whole. One that comes while a direct line is not
//! finished waits for its end, but not for long: it may be a prompt.

use crate::addr::DomId;
use crate::vdev::line::{LINE, Line, Shown};

/// Bytes of lines that may wait. They are shown in one piece, with the console's lock held: at 115200
/// baud, 44 ms.
const HELD: usize = 512;
/// The longest name in front of a line: `(d32767) `.
const NAME: usize = 16;

/// What the console shows, in order.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]);

/// The state of the console's lines.
pub struct Lines {
    /// The last line is not finished.
    open: bool,
    held: [u8; HELD],
    len: usize,
    /// What dom0 has written of its line while another domain has the input.
    dom0: Line,
}

impl Lines {
    /// An empty console.
    pub const EMPTY: Self = Self {
        open: false,
        held: [0; HELD],
        len: 0,
        dom0: Line::EMPTY,
    };

    /// Bytes of who writes directly.
    pub fn direct(&mut self, bytes: &[u8], sink: Sink<'_>) {
        let mut rest = bytes;
        let end = bytes.iter().position(|&b| b == b'\n');
        if let Some(end) = end.filter(|_| self.len != 0) {
            let (line, after) = bytes.split_at(end.saturating_add(1));
            sink(line);
            self.open = false;
            self.show_held(sink);
            rest = after;
        }
        if let Some(&last) = rest.last() {
            sink(rest);
            self.open = last != b'\n';
        }
    }

    /// Bytes of dom0, while another domain has the input. True if a line waits since now.
    pub fn dom0(&mut self, bytes: &[u8], sink: Sink<'_>) -> bool {
        let mut waits = false;
        for &byte in bytes {
            if self.dom0.write(byte, false) == Shown::Line {
                let mut text = [0; LINE];
                let len = self.dom0.take(&mut text);
                waits |= self.line(None, text.get(..len).unwrap_or_default(), sink);
            }
        }
        waits
    }

    /// dom0 has the input again: shows what it has written of its line.
    pub fn show_dom0(&mut self, sink: Sink<'_>) {
        let mut text = [0; LINE];
        let len = self.dom0.take(&mut text);
        self.direct(text.get(..len).unwrap_or_default(), sink);
    }

    /// A whole line, with the name of its domain in front if it needs one. True if it waits since
    /// now: then [`settle`](Self::settle) soon.
    pub fn line(&mut self, from: Option<DomId>, text: &[u8], sink: Sink<'_>) -> bool {
        let room = HELD.saturating_sub(self.len).saturating_sub(NAME);
        if self.open && text.len() >= room {
            self.begin_own(sink);
        }
        let waits = self.open && self.len == 0;
        if self.open {
            name(from, &mut |bytes| self.hold(bytes));
            self.hold(text);
            self.hold(b"\n");
        } else {
            name(from, sink);
            sink(text);
            sink(b"\n");
        }
        waits
    }

    /// Begins a line of the hypervisor's that waits for nobody.
    pub fn begin_own(&mut self, sink: Sink<'_>) {
        self.settle(sink);
        self.end_line(sink);
    }

    /// Shows what waits.
    pub fn settle(&mut self, sink: Sink<'_>) {
        if self.len != 0 {
            self.end_line(sink);
            self.show_held(sink);
        }
    }

    fn end_line(&mut self, sink: Sink<'_>) {
        if core::mem::take(&mut self.open) {
            sink(b"\n");
        }
    }

    fn show_held(&mut self, sink: Sink<'_>) {
        let len = core::mem::take(&mut self.len);
        sink(self.held.get(..len).unwrap_or_default());
    }

    fn hold(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if let Some(slot) = self.held.get_mut(self.len) {
                *slot = byte;
                self.len = self.len.saturating_add(1);
            }
        }
    }
}

/// Without a buffer: the name is written piece by piece.
fn name(from: Option<DomId>, sink: &mut dyn FnMut(&[u8])) {
    struct Writer<'a>(&'a mut dyn FnMut(&[u8]));
    impl core::fmt::Write for Writer<'_> {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            (self.0)(text.as_bytes());
            Ok(())
        }
    }
    if let Some(from) = from {
        let _ = core::fmt::write(&mut Writer(sink), format_args!("({from}) "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    /// What `f` does, and what is shown.
    fn shown(f: impl FnOnce(&mut Lines, Sink<'_>)) -> String {
        let mut out = Vec::new();
        let mut lines = Lines::EMPTY;
        f(&mut lines, &mut |bytes| out.extend_from_slice(bytes));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_waits_for_the_end_of_another() {
        let text = shown(|lines, sink| {
            lines.direct(b"[ 0.1] Boot", sink);
            assert!(lines.line(Some(DomId(1)), b"hello", sink));
            assert!(!lines.line(Some(DomId(2)), b"hi", sink));
            lines.direct(b"ing\nnext ", sink);
            lines.direct(b"line\n", sink);
            assert!(!lines.line(Some(DomId(1)), b"bye", sink));
        });
        assert_eq!(
            text,
            "[ 0.1] Booting\n(d1) hello\n(d2) hi\nnext line\n(d1) bye\n"
        );
    }

    #[test]
    fn but_not_for_a_prompt() {
        let text = shown(|lines, sink| {
            lines.direct(b"# ", sink);
            lines.line(Some(DomId(1)), b"hello", sink);
            lines.settle(sink);
            lines.settle(sink);
            lines.direct(b"ls", sink);
            lines.begin_own(sink);
            sink(b"(XL) x\n");
        });
        assert_eq!(text, "# \n(d1) hello\nls\n(XL) x\n");
    }

    #[test]
    fn too_many_lines_do_not_wait() {
        let text = shown(|lines, sink| {
            lines.direct(b"# ", sink);
            (0..40).for_each(|_| {
                lines.line(Some(DomId(1)), &[b'x'; 100], sink);
            });
        });
        assert_eq!(text.lines().count(), 41);
        assert!(text.lines().skip(1).all(|line| line.len() == 105));
    }

    #[test]
    fn what_waits_is_shown_soon() {
        let mut lines = Lines::EMPTY;
        lines.direct(b"# ", &mut |_| ());
        for n in 0..100 {
            let mut at_once = 0;
            lines.line(Some(DomId(1)), &[b'x'; 50], &mut |bytes| {
                at_once += bytes.len()
            });
            assert!(at_once <= 600, "{n}: {at_once}");
            lines.direct(b"# ", &mut |_| ());
        }
    }

    #[test]
    fn a_line_too_long_to_wait_is_shown_whole() {
        let text = shown(|lines, sink| {
            lines.direct(b"# ", sink);
            assert!(!lines.line(None, &[b'x'; 512], sink));
        });
        assert_eq!(text.lines().nth(1).map(str::len), Some(512));
    }

    #[test]
    fn dom0_writes_lines_while_another_has_the_input() {
        let text = shown(|lines, sink| {
            lines.direct(b"d1# ", sink);
            assert!(!lines.dom0(b"[ 1.0] Fo", sink));
            assert!(lines.dom0(b"o\r\n# ", sink));
            lines.direct(b"ls\n", sink);
            lines.show_dom0(sink);
        });
        assert_eq!(text, "d1# ls\n[ 1.0] Foo\n# ");
    }

    proptest! {
        /// Whatever comes when: each line is shown whole, in its writer's order.
        #[test]
        fn lines_stay_whole(ops in proptest::collection::vec((0u8..5, 1usize..40), 1..200)) {
            let mut direct = 0;
            let text = shown(|lines, sink| {
                let mut count = [0; 3];
                for (op, len) in ops {
                    match op {
                        0 => {
                            lines.direct(std::format!("direct {direct}").as_bytes(), sink);
                            lines.direct(b"\n", sink);
                            direct += 1;
                        }
                        1 | 2 => {
                            let n = &mut count[usize::from(op)];
                            let line = std::format!("{n:04}{}", "y".repeat(len));
                            lines.line(Some(DomId(op.into())), line.as_bytes(), sink);
                            *n += 1;
                        }
                        3 => lines.begin_own(sink),
                        _ => lines.settle(sink),
                    }
                }
                lines.settle(sink);
            });
            for (n, line) in text.lines().filter(|l| l.starts_with("direct")).enumerate() {
                prop_assert_eq!(line, std::format!("direct {n}"));
            }
            for writer in ["(d1) ", "(d2) "] {
                let lines = text.lines().filter_map(|l| l.strip_prefix(writer));
                for (n, line) in lines.enumerate() {
                    let start = std::format!("{n:04}y");
                    prop_assert!(line.starts_with(&start));
                }
            }
        }
    }
}
