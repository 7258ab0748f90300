// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes of the host's device tree: navigation, properties, cells, and `reg` as machine addresses.
//!
//! Reading is `fdt`'s; what is added are parents, paths, `ranges` and phandles, each found without
//! a walk over the whole tree.

use super::cells::{BusRange, Cells, strings};
use super::validate::{Shape, Tree};
use crate::addr::{Pa, PaRange};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use fdt::Fdt;
use fdt::node::{FdtNode, NodeProperty};

/// More cells in an address than any bus has, so that sums of them cannot overflow.
const MAX_CELLS: usize = 64;

/// A device tree as an array of nodes in the blob's order.
pub struct Nodes<'a> {
    fdt: &'a Fdt<'a>,
    nodes: Vec<Entry<'a>>,
    /// Phandle and index, sorted.
    phandles: Vec<(u32, u16)>,
}

impl<'a> Nodes<'a> {
    /// Indexes `tree`, of which `fdt` is the view ([`Tree::fdt`]).
    pub fn new(tree: &Tree, fdt: &'a Fdt<'a>) -> Self {
        let shape = tree.shape().iter().copied();
        let nodes: Vec<_> = fdt.all_nodes().zip(shape).map(Entry::new).collect();
        let ids = nodes.iter().zip(0u16..);
        let mut phandles: Vec<_> = ids.filter_map(|(n, id)| Some((n.phandle?, id))).collect();
        phandles.sort_unstable();
        Self {
            fdt,
            nodes,
            phandles,
        }
    }

    /// All nodes, parents before children.
    pub fn all(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.nodes.len() as u16).map(|id| Node { nodes: self, id })
    }

    /// The root.
    pub fn root(&self) -> Node<'_> {
        Node { nodes: self, id: 0 }
    }

    /// The node with this index, if there is one.
    pub fn get(&self, id: NodeId) -> Option<Node<'_>> {
        (usize::from(id.0) < self.nodes.len()).then_some(Node {
            nodes: self,
            id: id.0,
        })
    }

    /// How many nodes there are: indexes are below it.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// False: a tree has a root.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node a path names. A component without unit address matches the first node of that
    /// name, with whatever unit address.
    pub fn find(&self, path: &str) -> Option<Node<'_>> {
        let mut node = self.root();
        for part in path.strip_prefix('/')?.split('/').filter(|p| !p.is_empty()) {
            node = node.children().find(|child| child.is_named(part))?;
        }
        Some(node)
    }

    /// The node an alias names, or a path if it starts with `/`; `:options` at its end are ignored.
    pub fn find_alias(&self, name: &str) -> Option<Node<'_>> {
        let name = name.split(':').next()?;
        if name.starts_with('/') {
            return self.find(name);
        }
        self.find(self.find("/aliases")?.str(name)?)
    }

    /// The node with this phandle.
    pub fn by_phandle(&self, phandle: u32) -> Option<Node<'_>> {
        let at = self.phandles.partition_point(|&(p, _)| p < phandle);
        let &(found, id) = self.phandles.get(at)?;
        (found == phandle).then_some(Node { nodes: self, id })
    }

    /// A phandle no node has.
    pub fn free_phandle(&self) -> u32 {
        self.phandles.last().map_or(1, |&(p, _)| p.wrapping_add(1))
    }

    /// The entries of `/memreserve/`.
    pub fn memory_reservations(&self) -> impl Iterator<Item = PaRange> {
        self.fdt
            .memory_reservations()
            .filter_map(|r| PaRange::new(Pa(r.address().addr() as u64), r.size() as u64))
    }
}

/// A node and those of its properties that are asked for again and again.
struct Entry<'a> {
    node: FdtNode<'a, 'a>,
    shape: Shape,
    compatible: &'a [u8],
    phandle: Option<u32>,
    address_cells: Option<u32>,
    size_cells: Option<u32>,
    interrupt_cells: Option<u32>,
    interrupt_parent: Option<u32>,
}

impl<'a> Entry<'a> {
    fn new((node, shape): (FdtNode<'a, 'a>, Shape)) -> Self {
        let mut entry = Self {
            node,
            shape,
            compatible: &[],
            phandle: None,
            address_cells: None,
            size_cells: None,
            interrupt_cells: None,
            interrupt_parent: None,
        };
        for property in node.properties() {
            let place = match property.name {
                "compatible" => {
                    entry.compatible = property.value;
                    continue;
                }
                "phandle" | "linux,phandle" => &mut entry.phandle,
                "#address-cells" => &mut entry.address_cells,
                "#size-cells" => &mut entry.size_cells,
                "#interrupt-cells" => &mut entry.interrupt_cells,
                "interrupt-parent" => &mut entry.interrupt_parent,
                _ => continue,
            };
            *place = Cells(property.value).next();
        }
        entry
    }
}

/// A node's index, in the blob's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeId(pub(crate) u16);

impl NodeId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A node.
#[derive(Clone, Copy)]
pub struct Node<'d> {
    nodes: &'d Nodes<'d>,
    id: u16,
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<'d> Node<'d> {
    fn entry(self) -> &'d Entry<'d> {
        &self.nodes.nodes[usize::from(self.id)]
    }

    /// Its index.
    pub fn id(self) -> NodeId {
        NodeId(self.id)
    }

    /// The tree it is in.
    pub fn nodes(self) -> &'d Nodes<'d> {
        self.nodes
    }

    /// Its name with unit address; `/` for the root.
    pub fn name(self) -> &'d str {
        self.entry().node.name
    }

    /// True if its name is `name`, which may leave the unit address out.
    pub fn is_named(self, name: &str) -> bool {
        let own = self.name();
        own == name || own.split_once('@').is_some_and(|(base, _)| base == name)
    }

    /// Its parent; `None` for the root.
    pub fn parent(self) -> Option<Self> {
        let id = self.entry().shape.parent;
        (id != self.id).then_some(Self { id, ..self })
    }

    /// Its children.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let end = self.entry().shape.end;
        let mut next = self.id + 1;
        core::iter::from_fn(move || {
            let child = (next < end).then_some(Self { id: next, ..self })?;
            next = child.entry().shape.end;
            Some(child)
        })
    }

    /// Its path.
    pub fn path(self) -> String {
        let below_root = self.ancestry().filter(|node| node.parent().is_some());
        let names: Vec<_> = below_root.map(Self::name).collect();
        let mut path = String::new();
        for name in names.iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        if path.is_empty() {
            path.push('/');
        }
        path
    }

    /// Its properties, in the blob's order.
    pub fn properties(self) -> impl Iterator<Item = NodeProperty<'d>> + 'd {
        self.entry().node.properties()
    }

    /// A property's value.
    pub fn property(self, name: &str) -> Option<&'d [u8]> {
        self.entry().node.property(name).map(|p| p.value)
    }

    /// True if it has this property.
    pub fn has(self, name: &str) -> bool {
        self.property(name).is_some()
    }

    /// A property of one cell (the first, if there are more).
    pub fn u32(self, name: &str) -> Option<u32> {
        Cells(self.property(name)?).next()
    }

    /// A property that is a number of one cell or two.
    pub fn number(self, name: &str) -> Option<u64> {
        let value = self.property(name)?;
        Cells(value).take_number(value.len() / 4)
    }

    /// A property that is text (the first string, if there are more).
    pub fn str(self, name: &str) -> Option<&'d str> {
        self.strings(name).next()
    }

    /// A property that is a list of strings; empty if there is none such.
    pub fn strings(self, name: &str) -> impl Iterator<Item = &'d str> {
        strings(self.property(name).unwrap_or_default())
    }

    /// Its `compatible`.
    pub fn compatible(self) -> impl Iterator<Item = &'d str> {
        strings(self.entry().compatible)
    }

    /// True if `compatible` has a string of `list`.
    pub fn is_compatible(self, list: &[&str]) -> bool {
        self.compatible().any(|c| list.contains(&c))
    }

    /// True unless `status` says that it is not to be used.
    pub fn is_available(self) -> bool {
        self.str("status")
            .is_none_or(|s| matches!(s, "okay" | "ok"))
    }

    /// Its phandle.
    pub fn phandle(self) -> Option<u32> {
        self.entry().phandle
    }

    /// `#address-cells` for its children, its own or the closest ancestor's.
    pub fn address_cells(self) -> usize {
        self.inherited(|entry| entry.address_cells, 2)
    }

    /// `#size-cells` for its children, its own or the closest ancestor's.
    pub fn size_cells(self) -> usize {
        self.inherited(|entry| entry.size_cells, 1)
    }

    fn inherited(self, value: fn(&Entry<'_>) -> Option<u32>, default: u32) -> usize {
        let found = self.ancestry().find_map(|node| value(node.entry()));
        (found.unwrap_or(default) as usize).min(MAX_CELLS)
    }

    /// It, its parent, and so on to the root.
    pub fn ancestry(self) -> impl Iterator<Item = Self> {
        core::iter::successors(Some(self), |node| node.parent())
    }

    /// Its own `#address-cells`, which is what counts for an interrupt parent.
    pub(crate) fn own_address_cells(self) -> usize {
        self.entry().address_cells.unwrap_or(0) as usize
    }

    /// `#interrupt-cells`, if it takes interrupts.
    pub(crate) fn interrupt_cells(self) -> Option<usize> {
        self.entry().interrupt_cells.map(|cells| cells as usize)
    }

    /// Its own `interrupt-parent`.
    pub(crate) fn interrupt_parent(self) -> Option<u32> {
        self.entry().interrupt_parent
    }

    /// `reg` as its bus counts: address and size of each entry.
    pub fn raw_reg(self) -> impl Iterator<Item = (u64, u64)> + 'd {
        let bus = self.parent().unwrap_or(self);
        let (address, size) = (bus.address_cells(), bus.size_cells());
        let mut cells = Cells(self.property("reg").unwrap_or_default());
        core::iter::from_fn(move || {
            if cells.0.is_empty() || address + size == 0 {
                return None;
            }
            Some((cells.take_number(address)?, cells.take_number(size)?))
        })
    }

    /// `reg` as machine addresses; `None` for an entry the CPU cannot reach.
    pub fn reg(self) -> impl Iterator<Item = Option<PaRange>> + 'd {
        self.raw_reg().map(move |(a, s)| self.translate(a, s))
    }

    /// The machine addresses of `size` bytes at `address` on its bus, by the `ranges` of all buses
    /// above it; `None` if one of them does not pass it on.
    pub fn translate(self, address: u64, size: u64) -> Option<PaRange> {
        let mut address = address;
        let mut bus = self.parent()?;
        while let Some(above) = bus.parent() {
            let ranges = bus.property("ranges")?;
            if !ranges.is_empty() {
                address = bus.ranges().find_map(|r| r.forward(address, size))?;
            }
            bus = above;
        }
        PaRange::new(Pa(address), size)
    }

    /// Its `ranges`: what of its children's addresses its own bus sees where.
    pub fn ranges(self) -> impl Iterator<Item = BusRange> + 'd {
        let above = self.parent().unwrap_or(self);
        let (child, parent) = (self.address_cells(), above.address_cells());
        let size = self.size_cells();
        let mut cells = Cells(self.property("ranges").unwrap_or_default());
        core::iter::from_fn(move || {
            if cells.0.is_empty() || child + parent + size == 0 {
                return None;
            }
            Some(BusRange {
                child: cells.take_number(child)?,
                parent: cells.take_number(parent)?,
                size: cells.take_number(size)?,
            })
        })
    }
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}
