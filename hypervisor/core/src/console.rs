// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the console decides: the ring that keeps its output, whose lines wait for whose, and who
//! reads its input.

pub mod lines;

use crate::addr::DomId;
use alloc::vec::Vec;
use core::fmt::Write;

/// The log: the last bytes of the lines that were written to the console (`conring_size=`), numbered
/// from the first byte ever.
pub struct Conring {
    buffer: Vec<u8>,
    produced: u64,
    /// The oldest byte ever kept since the ring was resized.
    first: u64,
    cleared: u64,
}

impl Conring {
    /// A ring of no bytes, until [`Conring::replace_buffer`].
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            produced: 0,
            first: 0,
            cleared: 0,
        }
    }

    /// Moves the ring into `buffer`; what it held is kept as far as it fits. Returns the old buffer,
    /// so that nothing is allocated or freed here, where the console's lock is held.
    pub fn replace_buffer(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        let old = Self {
            buffer: core::mem::replace(&mut self.buffer, buffer),
            ..*self
        };
        let from = old.oldest();
        self.produced = from;
        self.first = from;
        old.read(from, &mut |bytes| self.write(bytes));
        old.buffer
    }

    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        let size = self.buffer.len();
        if size == 0 {
            return;
        }
        for &byte in bytes {
            let at = self.at(self.produced);
            if let Some(slot) = self.buffer.get_mut(at) {
                *slot = byte;
            }
            self.produced = self.produced.wrapping_add(1);
        }
    }

    /// Appends a line, with the name of its domain in front if it has one.
    pub fn write_line(&mut self, from: Option<DomId>, text: &[u8]) {
        if let Some(from) = from {
            let _ = write!(self, "({from}) ");
        }
        self.write(text);
        self.write(b"\n");
    }

    /// Appends what `from` has written to the console itself: dom0's, which may be all of its log and
    /// a person's work, only if `console_to_ring`.
    pub fn write_direct(&mut self, from: DomId, bytes: &[u8], console_to_ring: bool) {
        if console_to_ring || from != DomId(0) {
            self.write(bytes);
        }
    }

    /// Hands what is there from byte number `from` on to `sink`, in one or two pieces; returns the
    /// number of the byte after the last.
    pub fn read(&self, from: u64, sink: &mut dyn FnMut(&[u8])) -> u64 {
        let size = self.buffer.len() as u64;
        if size == 0 {
            return self.produced;
        }
        let oldest = self.produced.saturating_sub(size).max(self.first);
        let from = from.clamp(oldest, self.produced);
        let (start, end) = (self.at(from), self.at(self.produced));
        if from == self.produced {
            return from;
        }
        if start < end {
            sink(self.buffer.get(start..end).unwrap_or(&[]));
        } else {
            sink(self.buffer.get(start..).unwrap_or(&[]));
            sink(self.buffer.get(..end).unwrap_or(&[]));
        }
        self.produced
    }

    /// Copies what is there from byte number `from` (its low half) on, or from the oldest that a
    /// reader may want; returns how many bytes, and the low half of the number of the next.
    pub fn read_from(&self, from: Option<u32>, buffer: &mut [u8]) -> (usize, u32) {
        let oldest = self.oldest();
        let start = match from {
            // The last byte number with that low half that has been written, or else the next.
            Some(low) => self
                .produced
                .saturating_sub(u64::from((self.produced as u32).wrapping_sub(low)))
                .max(oldest),
            None => oldest,
        };
        let mut done = 0usize;
        self.read(start, &mut |bytes| {
            let room = buffer.get_mut(done..).unwrap_or_default();
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
                done = done.saturating_add(1);
            }
        });
        (done, start.wrapping_add(done as u64) as u32)
    }

    /// Where byte number `n` is in the buffer.
    fn at(&self, n: u64) -> usize {
        n.checked_rem(self.buffer.len() as u64).unwrap_or(0) as usize
    }

    /// The number of the oldest byte a reader may still want.
    pub fn oldest(&self) -> u64 {
        self.produced
            .saturating_sub(self.buffer.len() as u64)
            .max(self.first)
            .max(self.cleared)
    }

    /// Forgets all, for readers.
    pub fn clear(&mut self) {
        self.cleared = self.produced;
    }
}

impl Write for Conring {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

impl Default for Conring {
    fn default() -> Self {
        Self::new()
    }
}

/// Who has the console's input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The hypervisor's keys.
    Xenolith,
    /// A domain: dom0, or one with a UART.
    Domain(DomId),
}

/// What becomes of a byte of console input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// It is in dom0's input ring.
    Dom0,
    /// It is for another domain.
    Domain {
        /// Which.
        to: DomId,
        /// Switch characters that come before it.
        held: u8,
        /// The byte.
        byte: u8,
    },
    /// A key of Xenolith's own.
    Key(u8),
    /// The switch was thrown: whose turn it is is the caller's to say ([`InputSwitch::turn_to`]).
    Switch,
    /// Swallowed, perhaps the start of a switch.
    Nothing,
}

/// How many switch characters in a row throw the switch.
const SWITCH_COUNT: u8 = 3;
/// The domain that reads its input by `console_io`.
const DOM0: DomId = DomId(0);
/// Bytes of input dom0 may leave unread.
const INPUT_RING: usize = 1024;

/// How input is switched (`conswitch=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switch {
    /// The character to type three times; `None`: no switching.
    pub key: Option<u8>,
    /// Who has the input.
    pub target: Target,
}

impl Switch {
    /// Ctrl-a, and input to dom0.
    pub const CTRL_A: Self = Self {
        key: Some(1),
        target: Target::Domain(DOM0),
    };
}

/// Decides who gets a byte of input, and keeps dom0's until it is read.
pub struct InputSwitch {
    switch: Switch,
    seen: u8,
    ring: [u8; INPUT_RING],
    produced: usize,
    consumed: usize,
}

impl InputSwitch {
    /// Nothing typed yet.
    pub const fn new(switch: Switch) -> Self {
        Self {
            switch,
            seen: 0,
            ring: [0; INPUT_RING],
            produced: 0,
            consumed: 0,
        }
    }

    /// Changes the switch.
    pub fn set_switch(&mut self, switch: Switch) {
        self.switch = switch;
    }

    /// Decides about `byte`. One for dom0 is also put into its ring (dropped when that is full).
    /// Switch characters are held back until it is clear that they switch nothing.
    pub fn accept(&mut self, byte: u8) -> Input {
        if self.switch.key == Some(byte) {
            self.seen = self.seen.saturating_add(1);
            if self.seen < SWITCH_COUNT {
                return Input::Nothing;
            }
            self.seen = 0;
            return Input::Switch;
        }
        let held = core::mem::take(&mut self.seen);
        let held = if self.switch.key.is_some() { held } else { 0 };
        match self.switch.target {
            Target::Xenolith => Input::Key(byte),
            Target::Domain(DOM0) => {
                let key = self.switch.key.unwrap_or(0);
                (0..held).for_each(|_| self.push(key));
                self.push(byte);
                Input::Dom0
            }
            Target::Domain(to) => Input::Domain { to, held, byte },
        }
    }

    /// Who has the input.
    pub fn target(&self) -> Target {
        self.switch.target
    }

    /// Gives the input to `target`.
    pub fn turn_to(&mut self, target: Target) {
        self.switch.target = target;
    }

    /// The switch character, if there is one.
    pub fn key(&self) -> Option<u8> {
        self.switch.key
    }

    fn push(&mut self, byte: u8) {
        if self.produced.wrapping_sub(self.consumed) < INPUT_RING {
            if let Some(slot) = self.ring.get_mut(self.produced % INPUT_RING) {
                *slot = byte;
            }
            self.produced = self.produced.wrapping_add(1);
        }
    }

    /// Moves input for dom0 into `buffer`; returns how many bytes.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut count = 0usize;
        for slot in buffer {
            if self.consumed == self.produced {
                break;
            }
            *slot = self
                .ring
                .get(self.consumed % INPUT_RING)
                .copied()
                .unwrap_or(0);
            self.consumed = self.consumed.wrapping_add(1);
            count = count.saturating_add(1);
        }
        count
    }

    /// True if dom0 has input to read.
    pub fn has_input(&self) -> bool {
        self.consumed != self.produced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn text(ring: &Conring, from: u64) -> String {
        let mut out = Vec::new();
        ring.read(from, &mut |bytes| out.extend_from_slice(bytes));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ring_keeps_the_newest() {
        let mut ring = Conring::new();
        ring.write(b"lost");
        ring.replace_buffer(std::vec![0; 8]);
        ring.write(b"abcdefghij");
        assert_eq!(text(&ring, 0), "cdefghij");
        ring.write(b"k");
        assert_eq!(text(&ring, 0), "defghijk");
        assert_eq!(text(&ring, 9), "jk");
        ring.replace_buffer(std::vec![0; 16]);
        assert_eq!(text(&ring, 0), "defghijk");
        ring.clear();
        assert_eq!(text(&ring, ring.oldest()), "");
    }

    #[test]
    fn ring_keeps_lines_but_not_what_dom0_types() {
        let mut ring = Conring::new();
        ring.replace_buffer(std::vec![0; 64]);
        ring.write_line(None, b"(XL) up");
        ring.write_direct(DomId(0), b"login: ", false);
        ring.write_line(Some(DomId(3)), b"hello");
        ring.write_direct(DomId(3), b"# ", false);
        assert_eq!(text(&ring, 0), "(XL) up\n(d3) hello\n# ");
        ring.write_direct(DomId(0), b"login: ", true);
        assert!(text(&ring, 0).ends_with("# login: "));
    }

    #[test]
    fn three_in_a_row_switch() {
        let mut input = InputSwitch::new(Switch::CTRL_A);
        assert_eq!(input.accept(b'a'), Input::Dom0);
        assert_eq!(input.accept(1), Input::Nothing);
        assert_eq!(input.accept(b'b'), Input::Dom0);
        input.accept(1);
        assert_eq!(input.accept(1), Input::Nothing);
        assert_eq!(input.accept(1), Input::Switch);
        input.turn_to(Target::Xenolith);
        assert_eq!(input.accept(b'h'), Input::Key(b'h'));
        for _ in 0..2 {
            assert_eq!(input.accept(1), Input::Nothing);
        }
        assert_eq!(input.accept(1), Input::Switch);
        input.turn_to(Target::Domain(DomId(2)));
        input.accept(1);
        let to_d2 = Input::Domain {
            to: DomId(2),
            held: 1,
            byte: b'c',
        };
        assert_eq!(input.accept(b'c'), to_d2);
        let mut buffer = [0; 8];
        let n = input.read(&mut buffer);
        assert_eq!(&buffer[..n], &[b'a', 1, b'b']);
        assert!(!input.has_input());
    }

    #[test]
    fn full_ring_drops_input() {
        let mut input = InputSwitch::new(Switch {
            key: None,
            target: Target::Domain(DOM0),
        });
        for _ in 0..3000 {
            input.accept(b'x');
        }
        let mut buffer = [0; 4096];
        assert_eq!(input.read(&mut buffer), INPUT_RING);
    }
}
