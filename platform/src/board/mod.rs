// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is particular to one board and cannot be read from its device tree. Keep it small: a board
//! that describes itself needs no entry. docs/porting.md walks through adding one.

mod juno;
mod virt;

/// What is known of a board.
#[derive(Debug, PartialEq, Eq)]
pub struct Board {
    /// Name for messages.
    pub name: &'static str,
    /// The `compatible` string of the tree's root that selects it.
    pub compatible: &'static str,
    /// Physical base of the PL011 that is the console there: the last resort when firmware passed
    /// no usable device tree.
    pub pl011: usize,
    /// `compatible` strings of nodes that dom0 must not get there, besides those that it gets on no
    /// board.
    pub hidden: &'static [&'static str],
}

/// The boards with an entry, in the order to probe them for a console.
pub const WELL_KNOWN: &[&Board] = &[&virt::BOARD, &juno::BOARD];

/// The board whose entry matches one of the root node's `compatible` strings, most specific first.
pub fn find<'a>(compatible: impl IntoIterator<Item = &'a str>) -> Option<&'static Board> {
    compatible.into_iter().find_map(|name| {
        let mut boards = WELL_KNOWN.iter();
        boards.find(|board| board.compatible == name).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn juno_revisions_share_an_entry() {
        let board = find(["arm,juno-r2", "arm,juno", "arm,vexpress"]);
        assert_eq!(board.map(|board| board.name), Some("Arm Juno"));
        assert_eq!(find(["acme,toaster"]), None);
    }
}
