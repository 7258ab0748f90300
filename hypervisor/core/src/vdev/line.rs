// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a domain writes to the hypervisor's console, made into lines.
//!
//! Several domains share the console, so a line is shown when it is whole, with its domain in front.
//! Only the domain that has the console's input is shown at once, as it writes: somebody sits there.

/// The longest line that is shown in one piece.
pub const LINE: usize = 256;

/// A line that is being written.
pub struct Line {
    text: [u8; LINE],
    len: usize,
    /// A carriage return came, which may belong to a line's end.
    cr: bool,
}

/// What is to be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Nothing yet.
    Nothing,
    /// The line, which is whole (or as long as can be).
    Line,
    /// What there is, as it is: some bytes of an unfinished line, or of the end of one.
    Raw,
}

impl Line {
    /// An empty one.
    pub const EMPTY: Self = Self {
        text: [0; LINE],
        len: 0,
        cr: false,
    };

    /// Adds `byte`. `direct` if the domain has the console's input. What is to be shown then is
    /// [`take`](Self::take)n.
    pub fn write(&mut self, byte: u8, direct: bool) -> Shown {
        // "\r\n" and "\n" are the same to the console.
        let cr = core::mem::replace(&mut self.cr, byte == b'\r');
        if byte == b'\r' {
            return Shown::Nothing;
        }
        if direct {
            if cr && byte != b'\n' {
                self.push(b'\r');
            }
            self.push(byte);
            return Shown::Raw;
        }
        if byte == b'\n' {
            return Shown::Line;
        }
        // A line must not be able to hide whose it is.
        if byte == b'\t' || byte >= b' ' && byte != 0x7f {
            self.push(byte);
        }
        match self.len < LINE.saturating_sub(2) {
            true => Shown::Nothing,
            false => Shown::Line,
        }
    }

    /// Copies the text to `to` and forgets it; returns its length.
    pub fn take(&mut self, to: &mut [u8; LINE]) -> usize {
        *to = self.text;
        core::mem::take(&mut self.len)
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.text.get_mut(self.len) {
            *slot = byte;
            self.len = self.len.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    /// What is shown of `text`.
    fn written(line: &mut Line, text: &[u8], direct: bool) -> Vec<(Shown, String)> {
        let mut shown = Vec::new();
        for &byte in text {
            let what = line.write(byte, direct);
            if what != Shown::Nothing {
                let mut to = [0; LINE];
                let len = line.take(&mut to);
                shown.push((what, String::from_utf8(to[..len].to_vec()).unwrap()));
            }
        }
        shown
    }

    #[test]
    fn lines_are_shown_whole() {
        let mut line = Line::EMPTY;
        let shown = written(&mut line, b"one\r\ntwo\n\nthr", false);
        let lines = ["one", "two", ""].map(|text| (Shown::Line, text.into()));
        assert_eq!(shown, lines);
        assert_eq!(
            written(&mut line, b"ee\n", false),
            [(Shown::Line, "three".into())]
        );
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut line = Line::EMPTY;
        let shown = written(&mut line, &[b'x'; 600], false);
        assert_eq!(shown.len(), 2);
        assert!(shown.iter().all(|(_, text)| text.len() == LINE - 2));
    }

    #[test]
    fn what_moves_the_cursor_is_left_out() {
        let mut line = Line::EMPTY;
        let shown = written(&mut line, b"a\r(XL) \x1b[2Jb\x08\tc\x7f\n", false);
        assert_eq!(shown, [(Shown::Line, "a(XL) [2Jb\tc".into())]);
    }

    #[test]
    fn who_has_the_input_is_shown_at_once() {
        let mut line = Line::EMPTY;
        assert_eq!(written(&mut line, b"pro", false), []);
        let shown = written(&mut line, b"mpt# \x1b[6n\r\n\rx", true);
        let text: String = shown.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(text, "prompt# \x1b[6n\n\rx");
        assert!(shown.iter().all(|(what, _)| *what == Shown::Raw));
    }
}
