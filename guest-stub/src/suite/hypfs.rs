// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hypfs_op`: the files that say what the hypervisor is and how it is set.

use xen_abi::hypercall::HYPFS_OP;
use xen_abi::hypfs::{
    XEN_HYPFS_OP_READ, XEN_HYPFS_OP_WRITE_CONTENTS, XEN_HYPFS_TYPE_DIR, XEN_HYPFS_TYPE_STRING,
    XEN_HYPFS_TYPE_UINT,
};

use super::call::{UNMAPPED, plain};
use super::check::{Check, Outcome, check, ensure, ensure_eq, fail, rows};
use super::errno::{EACCES, EDOM, EFAULT, EINVAL, ENOBUFS, ENOENT, ENOSPC, EOPNOTSUPP};
use crate::xen::hypercall::hypercall;

/// Another command on the root.
fn path_command(command: u64) -> i64 {
    let path = b"/\0";
    hypercall(HYPFS_OP, [command, path.as_ptr() as u64, 2, 0, 0])
}

/// Bytes of the buffers, and of the entry at the beginning of one.
const SIZE: usize = 512;
const ENTRY: usize = 12;

/// Reads a path into a buffer of which `size` bytes may be used: the answer, and what is in the buffer.
fn read_into(path: &[u8], size: u64) -> (i64, [u8; SIZE]) {
    let mut buffer = [0xaa_u8; SIZE];
    let (at, length) = (path.as_ptr() as u64, path.len() as u64);
    let command = XEN_HYPFS_OP_READ.into();
    let result = hypercall(
        HYPFS_OP,
        [command, at, length, &raw mut buffer as u64, size],
    );
    // SAFETY: a local, which the hypercall may have written.
    (result, unsafe { (&raw const buffer).read_volatile() })
}

fn read(path: &[u8], size: u64) -> i64 {
    read_into(path, size).0
}

fn write(path: &[u8], value: &[u8]) -> i64 {
    let (at, length) = (path.as_ptr() as u64, path.len() as u64);
    let (value, size) = (value.as_ptr() as u64, value.len() as u64);
    let command = XEN_HYPFS_OP_WRITE_CONTENTS.into();
    hypercall(HYPFS_OP, [command, at, length, value, size])
}

pub(super) const ANSWERS: &[Check] = rows! {
    "XEN_HYPFS_OP_get_version is 1", plain(HYPFS_OP, 0, 0, 0) => 1;
    "XEN_HYPFS_OP_get_version takes no argument", plain(HYPFS_OP, 0, 1, 0) => EINVAL;
    "command 3 is not there", path_command(3) => EOPNOTSUPP;
    "command ~0 is not there", path_command(0xffff_ffff) => EOPNOTSUPP;
    "XEN_HYPFS_OP_read of the root", read(b"/\0", 512) => 0;
    "XEN_HYPFS_OP_read of a directory with a slash behind", read(b"/buildinfo/\0", 512) => 0;
    "XEN_HYPFS_OP_read of a path that is not", read(b"/nothing\0", 512) => ENOENT;
    "XEN_HYPFS_OP_read of a path with two slashes", read(b"//buildinfo\0", 512) => ENOENT;
    "XEN_HYPFS_OP_read below what is no directory", read(b"/buildinfo/version/major/x\0", 512) => ENOENT;
    "XEN_HYPFS_OP_read of a pool that is not", read(b"/cpupool/77\0", 512) => ENOENT;
    "XEN_HYPFS_OP_read of a path without a slash", read(b"buildinfo\0", 512) => EINVAL;
    "XEN_HYPFS_OP_read of a path without NUL", read(b"/", 512) => EINVAL;
    "XEN_HYPFS_OP_read of a path of nothing", read(b"", 512) => EINVAL;
    "XEN_HYPFS_OP_read of a path with a NUL inside", read(b"/build\0info\0", 512) => EINVAL;
    "XEN_HYPFS_OP_read of a path that is too long", hypercall(HYPFS_OP, [1, 0x1000, 1025, 0, 0]) => EINVAL;
    "XEN_HYPFS_OP_read of a path nowhere", hypercall(HYPFS_OP, [1, UNMAPPED, 2, 0, 0]) => EFAULT;
    "XEN_HYPFS_OP_read into 11 bytes", read(b"/buildinfo/version/major\0", 11) => EINVAL;
    "XEN_HYPFS_OP_read into 15 bytes", read(b"/buildinfo/version/major\0", 15) => ENOBUFS;
    "XEN_HYPFS_OP_read into 16 bytes", read(b"/buildinfo/version/major\0", 16) => 0;
    "XEN_HYPFS_OP_write_contents of a path that is not", write(b"/params/nothing\0", b"x\0") => ENOENT;
    "XEN_HYPFS_OP_write_contents of a directory", write(b"/params\0", b"x\0") => EACCES;
    "XEN_HYPFS_OP_write_contents of a fixed text", write(b"/buildinfo/changeset\0", b"x\0") => EACCES;
    "XEN_HYPFS_OP_write_contents of a fixed number", write(b"/buildinfo/version/major\0", b"1234") => EACCES;
    "XEN_HYPFS_OP_write_contents of a value without NUL", write(b"/params/loglvl\0", b"all") => EDOM;
    "XEN_HYPFS_OP_write_contents of a value with two", write(b"/params/loglvl\0", b"a\0b\0") => EDOM;
    "XEN_HYPFS_OP_write_contents of no bytes", write(b"/params/loglvl\0", b"") => EDOM;
    "XEN_HYPFS_OP_write_contents of 128 bytes", write(b"/params/loglvl\0", &[b'x'; 128]) => EDOM;
    "XEN_HYPFS_OP_write_contents of 129 bytes", write(b"/params/loglvl\0", &[b'x'; 129]) => ENOSPC;
    "XEN_HYPFS_OP_write_contents of 3 bytes for conswitch", write(b"/params/conswitch\0", b"axx") => EINVAL;
    "XEN_HYPFS_OP_write_contents of a value with two for conswitch", write(b"/params/conswitch\0", b"a\0\0") => EINVAL;
    "XEN_HYPFS_OP_write_contents of no bytes for conswitch", write(b"/params/conswitch\0", b"") => EINVAL;
    "XEN_HYPFS_OP_write_contents of 4 bytes for conswitch", write(b"/params/conswitch\0", b"axx\0") => ENOSPC;
    "XEN_HYPFS_OP_write_contents of too much for a pool's granularity", write(b"/cpupool/0/sched-gran\0", b"cpucpucp\0") => ENOSPC;
    "XEN_HYPFS_OP_write_contents of the granularity of a pool in use", write(b"/cpupool/0/sched-gran\0", b"cpu\0") => EINVAL;
};

pub(super) const FILES: &[Check] = &[
    check("the entry of a number", number),
    check("the entry of a text", text),
    check("a buffer that is too small learns the size", too_small),
    check("the directories", directories),
    check("a pool", pool),
    check("loglvl is set and read", level),
];

fn field(buffer: &[u8; SIZE], at: usize) -> u32 {
    buffer[at..]
        .iter()
        .take(4)
        .rev()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

/// Type, encoding and padding; bytes of the contents; most that can be written.
fn entry(buffer: &[u8; SIZE], at: usize) -> (u32, u32, u32) {
    (
        field(buffer, at),
        field(buffer, at + 4),
        field(buffer, at + 8),
    )
}

fn number() -> Outcome {
    for (path, value) in [
        (&b"/buildinfo/version/major\0"[..], 4),
        (b"/buildinfo/version/minor\0", 20),
    ] {
        let (result, buffer) = read_into(path, SIZE as u64);
        ensure_eq!(result, 0, "read");
        let kind = u32::from(XEN_HYPFS_TYPE_UINT);
        ensure_eq!(entry(&buffer, 0), (kind, 4, 0), "entry");
        ensure_eq!(field(&buffer, ENTRY), value, "value");
        ensure_eq!(buffer[ENTRY + 4], 0xaa, "the byte after it");
    }
    Ok(())
}

fn text() -> Outcome {
    let (result, buffer) = read_into(b"/buildinfo/version/extra\0", SIZE as u64);
    ensure_eq!(result, 0, "read");
    let (kind, length, most) = entry(&buffer, 0);
    ensure_eq!((kind, most), (u32::from(XEN_HYPFS_TYPE_STRING), 0), "entry");
    let value = &buffer[ENTRY..ENTRY + length as usize];
    ensure!(value.first() == Some(&b'.'), "it begins with no dot");
    let nul = value.iter().position(|byte| *byte == 0);
    ensure_eq!(nul, Some(length as usize - 1), "its NUL");
    Ok(())
}

fn too_small() -> Outcome {
    let (result, buffer) = read_into(b"/\0", ENTRY as u64);
    ensure_eq!(result, ENOBUFS, "read");
    ensure_eq!(
        entry(&buffer, 0),
        (XEN_HYPFS_TYPE_DIR.into(), 70, 0),
        "entry"
    );
    ensure_eq!(buffer[ENTRY], 0xaa, "the byte after it");
    Ok(())
}

/// The directory at `path` has entries with these names, and perhaps others; they are sorted.
pub(super) fn lists(path: &[u8], names: &[&[u8]]) -> Outcome {
    let (result, buffer) = read_into(path, SIZE as u64);
    ensure_eq!(result, 0, "read");
    let (kind, length, most) = entry(&buffer, 0);
    ensure_eq!((kind, most), (XEN_HYPFS_TYPE_DIR.into(), 0), "entry");
    let (mut at, mut found, mut last) = (ENTRY, 0, &b""[..]);
    loop {
        let next = (field(&buffer, at + 12) & 0xffff) as usize;
        let name = &buffer[at + 14..];
        let name = &name[..name.iter().position(|byte| *byte == 0).unwrap_or(0)];
        let size = 14 + (name.len() + 1).next_multiple_of(4);
        ensure!(last < name, "the names are not sorted");
        if names.contains(&name) {
            found += 1;
        }
        last = name;
        if next == 0 {
            ensure!(
                at + size <= ENTRY + length as usize,
                "it goes beyond its end"
            );
            break;
        }
        ensure_eq!(next, size, "bytes to the next");
        at += next;
    }
    ensure_eq!(found, names.len(), "names found");
    Ok(())
}

fn directories() -> Outcome {
    lists(b"/\0", &[b"buildinfo", b"cpupool", b"params"])?;
    lists(b"/buildinfo\0", &[b"changeset", b"compileinfo", b"version"])?;
    lists(b"/buildinfo/version\0", &[b"extra", b"major", b"minor"])?;
    lists(
        b"/buildinfo/compileinfo\0",
        &[
            b"compile_by",
            b"compile_date",
            b"compile_domain",
            b"compiler",
        ],
    )?;
    lists(
        b"/params\0",
        &[
            b"console_timestamps",
            b"conswitch",
            b"guest_loglvl",
            b"loglvl",
        ],
    )
}

fn pool() -> Outcome {
    lists(b"/cpupool\0", &[b"0"])?;
    lists(b"/cpupool/0\0", &[b"sched-gran"])?;
    let (result, buffer) = read_into(b"/cpupool/0/sched-gran\0", SIZE as u64);
    ensure_eq!(result, 0, "read");
    let kind = u32::from(XEN_HYPFS_TYPE_STRING);
    ensure_eq!(entry(&buffer, 0), (kind, 4, 8), "entry");
    ensure!(&buffer[ENTRY..ENTRY + 4] == b"cpu\0", "it is not cpu");
    Ok(())
}

fn level() -> Outcome {
    let path = b"/params/loglvl\0";
    let (result, before) = read_into(path, SIZE as u64);
    ensure_eq!(result, 0, "read");
    let (kind, length, most) = entry(&before, 0);
    ensure_eq!(
        (kind, most),
        (u32::from(XEN_HYPFS_TYPE_STRING), 16),
        "entry"
    );
    ensure_eq!(write(path, b"error/warning\0"), 0, "write");
    let (_, after) = read_into(path, SIZE as u64);
    ensure_eq!(entry(&after, 0).1, 14, "bytes of the value");
    let value = &after[ENTRY..ENTRY + 14];
    ensure!(value == b"error/warning\0", "it is not what was written");
    ensure_eq!(
        write(path, &before[ENTRY..ENTRY + length as usize]),
        0,
        "writing the old one"
    );
    ensure_eq!(write(path, b"nonsense\0"), EINVAL, "writing nonsense");
    if write(path, &before[ENTRY..ENTRY + length as usize]) != 0 {
        fail!("writing the old one again");
    }
    Ok(())
}
