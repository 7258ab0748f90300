// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a flattened device tree, version 17, in one go from the root to the end.
//!
//! Names may be of any length, since real trees break the specification's limit of 31.

use super::validate::{BEGIN_NODE, END, END_NODE, HEADER_SIZE, PROP, write_header};
use alloc::vec::Vec;

/// A tree being written. The calls follow the blob's order: a node's properties come before its
/// children, and each `begin_node` is paired with an `end_node`.
pub struct DtBuilder {
    /// Header (filled in last), reservations, structure.
    out: Vec<u8>,
    tokens_at: usize,
    strings: Vec<u8>,
    /// Offsets into `strings`, sorted by the string there.
    names: Vec<u32>,
}

impl DtBuilder {
    /// An empty tree with these memory reservations, address and size of each.
    pub fn new(reserved: &[(u64, u64)]) -> Self {
        let mut out = Vec::with_capacity(16 << 10);
        out.resize(HEADER_SIZE, 0);
        for (address, size) in reserved.iter().chain([&(0, 0)]) {
            out.extend_from_slice(&address.to_be_bytes());
            out.extend_from_slice(&size.to_be_bytes());
        }
        let tokens_at = out.len();
        Self {
            out,
            tokens_at,
            strings: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Begins a node; the root's name is empty.
    pub fn begin_node(&mut self, name: &str) -> &mut Self {
        self.word(BEGIN_NODE);
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
        self.pad();
        self
    }

    /// Ends the node begun last.
    pub fn end_node(&mut self) -> &mut Self {
        self.word(END_NODE);
        self
    }

    /// A property of the node begun last.
    pub fn prop(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let name = self.string(name);
        self.word(PROP);
        self.word(value.len() as u32);
        self.word(name);
        self.out.extend_from_slice(value);
        self.pad();
        self
    }

    /// A property made of cells.
    pub fn prop_cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.prop(name, &value)
    }

    /// A property of one 64-bit number.
    pub fn prop_u64(&mut self, name: &str, value: u64) -> &mut Self {
        self.prop(name, &value.to_be_bytes())
    }

    /// A property of one string or, if `value` holds NULs, of a list of them.
    pub fn prop_str(&mut self, name: &str, value: &str) -> &mut Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.prop(name, &bytes)
    }

    /// The blob.
    pub fn finish(mut self) -> Vec<u8> {
        self.word(END);
        let strings_at = self.out.len();
        self.out.extend_from_slice(&self.strings);
        write_header(&mut self.out, self.tokens_at, strings_at, 0);
        self.out
    }

    fn word(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }

    /// The offset of `name` in the strings, where it is put if it is new.
    fn string(&mut self, name: &str) -> u32 {
        let strings = &self.strings;
        let text_at = |&at: &u32| {
            let rest = strings.get(at as usize..).unwrap_or_default();
            rest.split(|&b| b == 0).next().unwrap_or_default()
        };
        match self
            .names
            .binary_search_by(|at| text_at(at).cmp(name.as_bytes()))
        {
            Ok(found) => self.names[found],
            Err(place) => {
                let at = self.strings.len() as u32;
                self.strings.extend_from_slice(name.as_bytes());
                self.strings.push(0);
                self.names.insert(place, at);
                at
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::validate::Tree;
    use super::*;
    use fdt::Fdt;

    #[test]
    fn what_is_written_is_read() {
        let mut dt = DtBuilder::new(&[(0x1000, 0x2000)]);
        dt.begin_node("")
            .prop_cells("one", &[1])
            .prop_str("text", "a\0b");
        for name in ["child@1", "child@2"] {
            dt.begin_node(name)
                .prop_u64("long", 1 << 40)
                .prop("text", b"odd")
                .end_node();
        }
        dt.end_node();
        let blob = dt.finish();
        Tree::check(&blob).unwrap();
        let fdt = Fdt::new(&blob).unwrap();
        assert_eq!(fdt.total_size(), blob.len());
        let reserved: Vec<_> = fdt.memory_reservations().map(|r| r.size()).collect();
        assert_eq!(reserved, [0x2000]);
        assert_eq!(fdt.all_nodes().count(), 3);
        let child = fdt.find_node("/child@2").unwrap();
        assert_eq!(child.property("long").unwrap().as_usize(), Some(1 << 40));
        assert_eq!(child.property("text").unwrap().value, b"odd");
        // Each name is there once.
        assert_eq!(fdt.strings().collect::<Vec<_>>(), ["one", "text", "long"]);
    }
}
