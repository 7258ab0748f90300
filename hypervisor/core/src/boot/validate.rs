// SPDX-License-Identifier: MIT OR Apache-2.0
//! One pass over a flattened device tree that finds every way it can be broken, before the `fdt`
//! crate, which panics on a malformed tree, reads it.
//!
//! The pass also makes a private copy without padding and NOP tokens (QEMU's blob is 1 MiB, 99 %
//! of it padding; `fdt` loses nodes after a NOP) and notes the parent of each node, which the
//! format says only by nesting. Format: Devicetree Specification 0.4, chapter 5.

use alloc::vec::Vec;
use core::fmt;
use fdt::Fdt;

/// The first word of a device tree, big-endian.
pub const MAGIC: u32 = 0xd00d_feed;
pub(crate) const BEGIN_NODE: u32 = 1;
pub(crate) const END_NODE: u32 = 2;
pub(crate) const PROP: u32 = 3;
const NOP: u32 = 4;
pub(crate) const END: u32 = 9;
/// Bytes of a version 17 header.
pub(crate) const HEADER_SIZE: usize = 40;
/// Largest blob accepted, the limit of Xen and Linux on arm64.
pub const MAX_SIZE: usize = 2 << 20;
/// Deepest nesting accepted (`fdt` keeps 64 levels).
const MAX_DEPTH: usize = 60;
/// Most nodes accepted, so that an index fits `u16`.
const MAX_NODES: usize = 0xffff;

/// Why a blob is no device tree. Offsets are in bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlobError {
    /// Shorter than its header says, or than a header.
    Truncated,
    /// The first word is not 0xd00dfeed.
    Magic,
    /// Written for a version of the format this code does not read (it reads 16 and 17).
    Version(u32),
    /// Over [`MAX_SIZE`], [`MAX_DEPTH`] or [`MAX_NODES`].
    TooBig,
    /// A block named in the header does not lie in the blob.
    Block,
    /// The memory reservations have no end.
    Reservations,
    /// A token that is unknown or not allowed at this place.
    Token(usize),
    /// A property reaches past the end of its block.
    Property(usize),
    /// A name without an end, or not text.
    Name(usize),
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "truncated"),
            Self::Magic => write!(f, "bad magic"),
            Self::Version(v) => write!(f, "version {v} not known"),
            Self::TooBig => write!(f, "too big"),
            Self::Block => write!(f, "block outside the blob"),
            Self::Reservations => write!(f, "memory reservations without end"),
            Self::Token(at) => write!(f, "bad token at {at:#x}"),
            Self::Property(at) => write!(f, "bad property at {at:#x}"),
            Self::Name(at) => write!(f, "bad name at {at:#x}"),
        }
    }
}

/// Where a node stands among the others, which are in the blob's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Index of its parent; the root's own.
    pub parent: u16,
    /// Index after its last descendant.
    pub end: u16,
}

/// A checked copy of a device tree blob. Reading it with `fdt` cannot panic.
pub struct Tree {
    bytes: Vec<u8>,
    shape: Vec<Shape>,
}

impl Tree {
    /// Checks the blob that starts `blob`, which may be longer, and copies it.
    pub fn check(blob: &[u8]) -> Result<Self, BlobError> {
        let blocks = Blocks::find(blob)?;
        let mut walk = Walk {
            tokens: blocks.tokens,
            base: blocks.tokens_at,
            strings: blocks.strings,
            at: 0,
            out: Vec::with_capacity(
                HEADER_SIZE + blocks.reserved.len() + blocks.tokens.len() + blocks.strings.len(),
            ),
            shape: Vec::new(),
            open: Vec::new(),
        };
        walk.out.resize(HEADER_SIZE, 0);
        walk.out.extend_from_slice(blocks.reserved);
        let tokens_at = walk.out.len();
        walk.run()?;
        let (mut bytes, shape) = (walk.out, walk.shape);
        let strings_at = bytes.len();
        bytes.extend_from_slice(blocks.strings);
        write_header(&mut bytes, tokens_at, strings_at, blocks.boot_cpu);
        Ok(Self { bytes, shape })
    }

    /// The blob, read with `fdt`.
    pub fn fdt(&self) -> Fdt<'_> {
        Fdt::new(&self.bytes).expect("a checked blob has a good header")
    }

    /// The copy's bytes, a blob themselves.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn shape(&self) -> &[Shape] {
        &self.shape
    }
}

/// Writes a version 17 header for blocks that follow each other: reservations, structure at
/// `tokens_at`, strings at `strings_at` to the end.
pub(crate) fn write_header(out: &mut [u8], tokens_at: usize, strings_at: usize, boot_cpu: u32) {
    let size = out.len();
    let header = [
        MAGIC,
        size as u32,
        tokens_at as u32,
        strings_at as u32,
        HEADER_SIZE as u32,
        17,
        16,
        boot_cpu,
        (size - strings_at) as u32,
        (strings_at - tokens_at) as u32,
    ];
    for (word, value) in out.chunks_exact_mut(4).zip(header) {
        word.copy_from_slice(&value.to_be_bytes());
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}

/// The blocks a blob's header names.
struct Blocks<'b> {
    reserved: &'b [u8],
    tokens: &'b [u8],
    tokens_at: usize,
    strings: &'b [u8],
    boot_cpu: u32,
}

impl<'b> Blocks<'b> {
    fn find(blob: &'b [u8]) -> Result<Self, BlobError> {
        let word = |index: usize| be32(blob, index * 4).ok_or(BlobError::Truncated);
        if word(0)? != MAGIC {
            return Err(BlobError::Magic);
        }
        let (version, compatible) = (word(5)?, word(6)?);
        if version < 16 || compatible > 17 {
            return Err(BlobError::Version(version));
        }
        let size = word(1)? as usize;
        if size > MAX_SIZE {
            return Err(BlobError::TooBig);
        }
        let blob = blob.get(..size).ok_or(BlobError::Truncated)?;
        let tokens_at = word(2)? as usize;
        let tokens = match version {
            16 => blob.get(tokens_at..),
            _ => block(blob, tokens_at, word(9)? as usize),
        };
        Ok(Self {
            reserved: reservations(blob.get(word(4)? as usize..).ok_or(BlobError::Block)?)?,
            tokens: tokens.ok_or(BlobError::Block)?,
            tokens_at,
            strings: block(blob, word(3)? as usize, word(8)? as usize).ok_or(BlobError::Block)?,
            boot_cpu: word(7)?,
        })
    }
}

fn block(blob: &[u8], at: usize, size: usize) -> Option<&[u8]> {
    blob.get(at..at.checked_add(size)?)
}

/// The memory reservations at the start of `bytes`, with the empty entry that ends them.
fn reservations(bytes: &[u8]) -> Result<&[u8], BlobError> {
    let last = bytes
        .chunks_exact(16)
        .position(|entry| entry.iter().all(|&b| b == 0))
        .ok_or(BlobError::Reservations)?;
    bytes.get(..(last + 1) * 16).ok_or(BlobError::Reservations)
}

/// The walk over the structure block.
struct Walk<'b> {
    tokens: &'b [u8],
    /// Where `tokens` starts in the blob, for messages.
    base: usize,
    strings: &'b [u8],
    at: usize,
    out: Vec<u8>,
    shape: Vec<Shape>,
    /// The nodes that have begun and not ended, and whether a child of each has begun.
    open: Vec<(u16, bool)>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), BlobError> {
        loop {
            let start = self.at;
            let bad = BlobError::Token(self.base + start);
            let token = be32(self.tokens, start).ok_or(bad)?;
            self.at += 4;
            match token {
                NOP => continue,
                BEGIN_NODE if !self.open.is_empty() || self.shape.is_empty() => self.begin()?,
                END_NODE => self.end().ok_or(bad)?,
                PROP if matches!(self.open.last(), Some((_, false))) => self.property()?,
                END if self.open.is_empty() && !self.shape.is_empty() => {}
                _ => return Err(bad),
            }
            let copied = self.tokens.get(start..self.at).ok_or(bad)?;
            self.out.extend_from_slice(copied);
            if token == END {
                return Ok(());
            }
        }
    }

    fn begin(&mut self) -> Result<(), BlobError> {
        if self.open.len() >= MAX_DEPTH || self.shape.len() >= MAX_NODES {
            return Err(BlobError::TooBig);
        }
        let name = BlobError::Name(self.base + self.at);
        let length = text(self.tokens.get(self.at..).ok_or(name)?).ok_or(name)?;
        // The root has no name, all others have.
        if (length == 0) != self.shape.is_empty() {
            return Err(name);
        }
        self.skip(length + 1).ok_or(name)?;
        let index = self.shape.len() as u16;
        let parent = match self.open.last_mut() {
            Some((parent, has_child)) => {
                *has_child = true;
                *parent
            }
            None => index,
        };
        self.shape.push(Shape { parent, end: index });
        self.open.push((index, false));
        Ok(())
    }

    fn end(&mut self) -> Option<()> {
        let (index, _) = self.open.pop()?;
        let end = self.shape.len() as u16;
        self.shape.get_mut(usize::from(index))?.end = end;
        Some(())
    }

    fn property(&mut self) -> Result<(), BlobError> {
        let bad = BlobError::Property(self.base + self.at);
        let length = be32(self.tokens, self.at).ok_or(bad)? as usize;
        let name = be32(self.tokens, self.at + 4).ok_or(bad)? as usize;
        text(self.strings.get(name..).ok_or(bad)?).ok_or(bad)?;
        self.at += 8;
        self.skip(length).ok_or(bad)
    }

    /// Steps over `length` bytes and what pads them to a word.
    fn skip(&mut self, length: usize) -> Option<()> {
        let end = self.at.checked_add(length)?.checked_next_multiple_of(4)?;
        (end <= self.tokens.len()).then(|| self.at = end)
    }
}

/// Length of the text at the start of `bytes`, without the NUL that ends it.
fn text(bytes: &[u8]) -> Option<usize> {
    let length = bytes.iter().position(|&b| b == 0)?;
    let name = bytes.get(..length)?;
    name.iter()
        .all(|b| (0x20..0x7f).contains(b))
        .then_some(length)
}
