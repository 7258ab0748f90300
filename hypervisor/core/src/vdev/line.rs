// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a domain writes to the hypervisor's console, made into lines.
//!
//! Several domains share the console, so a line is shown when it is whole, with its domain in front.
//! Only the domain that has the console's input is shown at once, as it writes: somebody sits there.

/// Room for a line that is shown in one piece.
pub const LINE: usize = 256;
/// Bytes of the longest character.
const CHAR: usize = 4;

/// A line that is being written.
pub struct Line {
    text: [u8; LINE],
    len: usize,
    /// A carriage return came, which may belong to a line's end.
    cr: bool,
    /// The bytes of a character that is not whole yet.
    part: [u8; CHAR],
    part_len: usize,
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
        part: [0; CHAR],
        part_len: 0,
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
            self.part_len = 0;
            if cr && byte != b'\n' {
                self.push(b'\r');
            }
            self.push(byte);
            return Shown::Raw;
        }
        if byte == b'\n' {
            self.part_len = 0;
            return Shown::Line;
        }
        self.push_text(byte);
        match self.len <= LINE.saturating_sub(CHAR) {
            true => Shown::Nothing,
            false => Shown::Line,
        }
    }

    /// Copies the text to `to` and forgets it; returns its length.
    pub fn take(&mut self, to: &mut [u8; LINE]) -> usize {
        *to = self.text;
        core::mem::take(&mut self.len)
    }

    /// Adds `byte` if it is text. A line must not be able to hide whose it is, so control characters
    /// are left out: those of ASCII but tabs, and those of 0x80 to 0x9f (CSI is one), as characters
    /// and as bytes that belong to none.
    fn push_text(&mut self, byte: u8) {
        if byte.is_ascii() {
            self.part_len = 0;
            if byte == b'\t' || !byte.is_ascii_control() {
                self.push(byte);
            }
            return;
        }
        if byte & 0xc0 != 0x80 {
            self.part_len = 0;
        }
        if let Some(slot) = self.part.get_mut(self.part_len) {
            *slot = byte;
            self.part_len = self.part_len.saturating_add(1);
        }
        let part = self.part;
        let part = part.get(..self.part_len).unwrap_or_default();
        match core::str::from_utf8(part) {
            Err(error) if error.error_len().is_none() => {}
            Err(_) => self.part_len = 0,
            Ok(text) => {
                if !text.contains(char::is_control) {
                    part.iter().for_each(|&byte| self.push(byte));
                }
                self.part_len = 0;
            }
        }
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
        assert!(shown.iter().all(|(_, text)| text.len() == LINE - 3));
        // No character is cut.
        let euros = "€".repeat(100);
        let mut line = Line::EMPTY;
        let shown = written(&mut line, euros.as_bytes(), false);
        assert_eq!(shown[0], (Shown::Line, "€".repeat(85)));
    }

    #[test]
    fn what_moves_the_cursor_is_left_out() {
        let mut line = Line::EMPTY;
        let shown = written(&mut line, b"a\r(XL) \x1b[2Jb\x08\tc\x7f\n", false);
        assert_eq!(shown, [(Shown::Line, "a(XL) [2Jb\tc".into())]);
        // NEL and CSI, as characters and as bytes; in what is cut off, and too long.
        for (text, seen) in [
            (&b"a\xc2\x85b\xc2\x9b2J\n"[..], "ab2J"),
            (b"a\x85b\x9b2J\n", "ab2J"),
            (b"\xe2\x82\xac\x9b2J\n", "€2J"),
            (b"\xe2\x9b2J\xe2\n", "2J"),
            (b"\x9b2J\xc1\x9b\xe0\x82\x9b\n", "2J"),
            ("äöü ☃ 𝄞\n".as_bytes(), "äöü ☃ 𝄞"),
        ] {
            assert_eq!(
                written(&mut line, text, false),
                [(Shown::Line, seen.into())]
            );
        }
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
