// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hypfs_op` (public/hypfs.h): a small file system of what the hypervisor is and how it is set.

mod tree;

use super::{Args, CallResult, OK, access, done};
use crate::addr::Gva;
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use core::mem::offset_of;
use tree::{Dir, Node, Text};
use xen_abi::errno::Errno;
use xen_abi::hypfs::{
    DirEntry, DirListEntry, XEN_HYPFS_MAX_PATHLEN, XEN_HYPFS_OP_GET_VERSION, XEN_HYPFS_OP_READ,
    XEN_HYPFS_OP_WRITE_CONTENTS, XEN_HYPFS_VERSION,
};
use zerocopy::IntoBytes;

pub(super) fn hypfs_op(
    cur: &mut Current<'_>,
    [op, path, length, buffer, size]: Args,
) -> CallResult {
    access::control(cur)?;
    match op as u32 {
        XEN_HYPFS_OP_GET_VERSION if [path, length, buffer, size] == [0; 4] => {
            done(XEN_HYPFS_VERSION)
        }
        XEN_HYPFS_OP_GET_VERSION => Err(Errno::Inval),
        XEN_HYPFS_OP_READ => {
            let node = find(cur, Gva(path), length)?;
            read(cur, node, buffer, size)
        }
        XEN_HYPFS_OP_WRITE_CONTENTS => {
            let node = find(cur, Gva(path), length)?;
            write(cur, node, Gva(buffer), size)
        }
        _ => Err(Errno::OpNotSupp),
    }
}

/// Longer than any path there is.
const PATH: usize = 64;

/// The node at a path of `length` bytes. `EINVAL` for one that is too long, does not end with its
/// only NUL or does not begin with a slash, `ENOENT` for none.
fn find(cur: &Current<'_>, at: Gva, length: u64) -> Result<Node, Errno> {
    if length > u64::from(XEN_HYPFS_MAX_PATHLEN) {
        return Err(Errno::Inval);
    }
    let mut path = [0; PATH];
    let mut chunk = [0; PATH];
    let mut seen = 0u64;
    let mut nul = None;
    while seen < length && nul.is_none() {
        let left = length.saturating_sub(seen) as usize;
        let piece = chunk.get_mut(..left.min(PATH)).unwrap_or_default();
        cur.memory()
            .read_bytes(at.checked_add(seen).ok_or(Errno::Fault)?, piece)?;
        let end = piece.iter().position(|&byte| byte == 0);
        nul = end.map(|n| seen.saturating_add(n as u64));
        let len = piece.len() as u64;
        if seen == 0 {
            path = chunk;
        }
        seen = seen.saturating_add(len);
    }
    let end = nul.filter(|&nul| nul.checked_add(1) == Some(length));
    let end = end.ok_or(Errno::Inval)? as usize;
    if path.first() != Some(&b'/') {
        return Err(Errno::Inval);
    }
    let text = path.get(..end).ok_or(Errno::NoEnt)?;
    let text = core::str::from_utf8(text).map_err(|_| Errno::NoEnt)?;
    tree::find(&cur.sys.sched, text).ok_or(Errno::NoEnt)
}

/// Gives an entry and what is in it. `EINVAL` without room for the entry, `ENOBUFS`, with the entry,
/// without room for the rest.
fn read(cur: &Current<'_>, node: Node, buffer: u64, size: u64) -> CallResult {
    let header = size_of::<DirEntry>() as u64;
    if size < header {
        return Err(Errno::Inval);
    }
    let entry = entry(cur, node);
    GuestPtr::<DirEntry>::new(buffer).write(cur.memory(), &entry)?;
    if size < header.saturating_add(entry.content_len.into()) {
        return Err(Errno::NoBufs);
    }
    let at = Gva(buffer).checked_add(header).ok_or(Errno::Fault)?;
    match node {
        Node::Dir(dir) => list(cur, dir, at, entry.content_len)?,
        other => cur
            .memory()
            .write_bytes(at, tree::content(cur, other).bytes())?,
    }
    OK
}

fn entry(cur: &Current<'_>, node: Node) -> DirEntry {
    let content_len = match node {
        Node::Dir(dir) => {
            let mut total = 0u32;
            tree::children(&cur.sys.sched, dir, &mut |name, _| {
                total = total.saturating_add(room(name).into());
                Ok(())
            })
            .ok();
            total
        }
        other => tree::content(cur, other).bytes().len() as u32,
    };
    DirEntry {
        r#type: node.kind(),
        encoding: 0,
        pad: 0,
        content_len,
        max_write_len: node.max_write_len().0,
    }
}

/// Bytes that the entry of `name` takes in a directory.
fn room(name: &str) -> u16 {
    let name = name.len().saturating_add(1).next_multiple_of(4);
    size_of::<DirListEntry>().saturating_add(name) as u16
}

/// Writes what is in a directory to `at`, where there is room for `left` bytes. `ENOBUFS` if more is
/// in it by now.
fn list(cur: &Current<'_>, dir: Dir, mut at: Gva, mut left: u32) -> Result<(), Errno> {
    let mut last = None;
    tree::children(&cur.sys.sched, dir, &mut |name, node| {
        let size = room(name);
        left = left.checked_sub(size.into()).ok_or(Errno::NoBufs)?;
        let header = DirListEntry {
            entry: entry(cur, node).as_bytes().try_into().unwrap_or_default(),
            off_next: size.to_le_bytes(),
        };
        let mut text = Text::new();
        text.push(header.as_bytes());
        text.push(name.as_bytes());
        text.pad(size.into());
        cur.memory().write_bytes(at, text.bytes())?;
        last = at.checked_add(offset_of!(DirListEntry, off_next) as u64);
        at = at.checked_add(size.into()).ok_or(Errno::Fault)?;
        Ok(())
    })?;
    match last {
        Some(off_next) => cur.memory().write_bytes(off_next, &[0; 2]),
        None => Ok(()),
    }
}

/// Most bytes of a value.
const VALUE: usize = 128;

/// Changes what is in an entry. `EACCES` for one that cannot change, `ENOSPC` for too much, `EDOM` or
/// `EINVAL` if it does not end with its only NUL, `EINVAL` for what the entry cannot be.
fn write(cur: &Current<'_>, node: Node, buffer: Gva, size: u64) -> CallResult {
    let (says, most) = node.max_write_len();
    if most == 0 {
        return Err(Errno::Acces);
    }
    if size > most.into() {
        return Err(Errno::NoSpc);
    }
    let mut value = [0; VALUE];
    let value = value.get_mut(..size as usize).ok_or(Errno::NoSpc)?;
    cur.memory().read_bytes(buffer, value)?;
    // As Xen answers for a value that it hands on, and for one that it keeps itself.
    let not_ended = if says == most {
        Errno::Inval
    } else {
        Errno::Dom
    };
    let (last, text) = value.split_last().ok_or(not_ended)?;
    if *last != 0 || text.contains(&0) {
        return Err(not_ended);
    }
    let text = core::str::from_utf8(text).map_err(|_| Errno::Inval)?;
    let Node::Param(name) = node else {
        return Err(Errno::Inval);
    };
    let mut params = cur.sys.params.lock();
    params.set(name, text).ok_or(Errno::Inval)?;
    cur.sys.hw.set_params(&params);
    OK
}
