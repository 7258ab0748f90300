// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in the file system: Xen's names, of those Xenolith has.

use crate::boot::cmdline::PARAMS;
use crate::call::version::{self, VERSION};
use crate::current::Current;
use crate::sched::Scheduler;
use core::fmt::{self, Write};
use xen_abi::errno::Errno;
use xen_abi::hypfs::{XEN_HYPFS_TYPE_DIR, XEN_HYPFS_TYPE_STRING, XEN_HYPFS_TYPE_UINT};

/// A directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dir {
    Root,
    BuildInfo,
    CompileInfo,
    Version,
    Pools,
    /// A CPU pool, by number.
    Pool(u32),
    Params,
}

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node {
    Dir(Dir),
    /// A text that never changes.
    Fixed(&'static str),
    /// A number.
    Number(u32),
    /// What of a pool's CPUs is scheduled as one: each alone.
    Granularity,
    /// An option that can change.
    Param(&'static str),
}

/// `XEN_HYPFS_TYPE_STRING` of a pool's granularity: Xen's limit.
const GRANULARITY: u32 = 8;

impl Node {
    /// `XEN_HYPFS_TYPE_*`.
    pub(super) const fn kind(self) -> u8 {
        match self {
            Self::Dir(_) => XEN_HYPFS_TYPE_DIR,
            Self::Number(_) => XEN_HYPFS_TYPE_UINT,
            Self::Fixed(_) | Self::Granularity | Self::Param(_) => XEN_HYPFS_TYPE_STRING,
        }
    }

    /// Most bytes of its value, as it says and as it is; 0 if it cannot be written.
    pub(super) fn max_write_len(self) -> (u32, u32) {
        match self {
            Self::Granularity => (GRANULARITY, GRANULARITY),
            Self::Param(name) => {
                let known = PARAMS.iter().find(|(known, _, _)| *known == name);
                known.map_or((0, 0), |(_, says, takes)| (*says, *takes))
            }
            Self::Dir(_) | Self::Fixed(_) | Self::Number(_) => (0, 0),
        }
    }
}

/// What is done with an entry of a directory: its name, and it.
type Visit<'a> = &'a mut dyn FnMut(&str, Node) -> Result<(), Errno>;

/// Visits what is in a directory, in the order of the names.
pub(super) fn children(sched: &Scheduler, dir: Dir, visit: Visit<'_>) -> Result<(), Errno> {
    let compile = || version::compiled();
    match dir {
        Dir::Root => {
            visit("buildinfo", Node::Dir(Dir::BuildInfo))?;
            visit("cpupool", Node::Dir(Dir::Pools))?;
            visit("params", Node::Dir(Dir::Params))
        }
        Dir::BuildInfo => {
            visit("changeset", Node::Fixed(version::CHANGESET))?;
            visit("compileinfo", Node::Dir(Dir::CompileInfo))?;
            visit("version", Node::Dir(Dir::Version))
        }
        Dir::CompileInfo => {
            visit("compile_by", Node::Fixed(compile().by))?;
            visit("compile_date", Node::Fixed(compile().date))?;
            visit("compile_domain", Node::Fixed(compile().domain))?;
            visit("compiler", Node::Fixed(compile().compiler))
        }
        Dir::Version => {
            visit("extra", Node::Fixed(version::EXTRAVERSION))?;
            visit("major", Node::Number(VERSION.0))?;
            visit("minor", Node::Number(VERSION.1))
        }
        Dir::Pools => {
            let mut next = Some(0);
            while let Some(pool) = next.and_then(|id| sched.pool_from(id)) {
                let mut name = Text::new();
                let _ = write!(name, "{}", pool.id);
                visit(name.as_str(), Node::Dir(Dir::Pool(pool.id)))?;
                next = pool.id.checked_add(1);
            }
            Ok(())
        }
        Dir::Pool(_) => visit("sched-gran", Node::Granularity),
        Dir::Params => PARAMS
            .iter()
            .try_for_each(|(name, _, _)| visit(name, Node::Param(name))),
    }
}

/// The entry at `path`, which begins with a slash and may end with one after a directory's name.
pub(super) fn find(sched: &Scheduler, path: &str) -> Option<Node> {
    let mut node = Node::Dir(Dir::Root);
    let mut left = path.strip_prefix('/')?;
    while !left.is_empty() {
        let (name, rest) = left.split_once('/').unwrap_or((left, ""));
        let Node::Dir(dir) = node else { return None };
        node = match dir {
            Dir::Pools => pool(sched, name)?,
            other => child(sched, other, name)?,
        };
        left = rest;
    }
    Some(node)
}

fn child(sched: &Scheduler, dir: Dir, wanted: &str) -> Option<Node> {
    let mut found = None;
    let _ = children(sched, dir, &mut |name, node| {
        if name == wanted {
            found = Some(node);
        }
        Ok(())
    });
    found
}

fn pool(sched: &Scheduler, name: &str) -> Option<Node> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let id = name.parse().ok().filter(|_| digits)?;
    let exists = sched.pool_from(id).is_some_and(|pool| pool.id == id);
    exists.then_some(Node::Dir(Dir::Pool(id)))
}

/// What is in an entry that is no directory.
pub(super) fn content(cur: &Current<'_>, node: Node) -> Text {
    let mut text = Text::new();
    match node {
        Node::Dir(_) => return text,
        Node::Number(n) => {
            text.push(&n.to_le_bytes());
            return text;
        }
        Node::Fixed(fixed) => text.push(fixed.as_bytes()),
        Node::Granularity => text.push(b"cpu"),
        Node::Param(name) => {
            let _ = cur.sys.params.lock().show(name, &mut text);
        }
    }
    text.push(&[0]);
    text
}

/// Some bytes; what is too much is cut.
pub(super) struct Text {
    bytes: [u8; Self::SIZE],
    len: usize,
}

impl Text {
    const SIZE: usize = 128;

    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; Self::SIZE],
            len: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = *byte;
                self.len = self.len.saturating_add(1);
            }
        }
    }

    /// Zeroes, until there are `len` bytes.
    pub(super) fn pad(&mut self, len: usize) {
        self.len = self.len.max(len).min(Self::SIZE);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(self.bytes()).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
