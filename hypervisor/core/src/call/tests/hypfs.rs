// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hypfs_op`: what is read, what is written, and what is refused.

use super::*;
use std::string::String;
use std::vec::Vec;

const ERANGE: u64 = 4096;

/// dom0 reads `path` into `size` bytes: the answer and the buffer.
fn read(machine: &mut Machine, path: &[u8], size: u64) -> (i64, Vec<u8>) {
    let dom0 = machine.dom0();
    let (at, buffer) = (dom0.put(path), dom0.page(8));
    let args = [1, at, path.len() as u64, buffer, size];
    let result = dom0.call(HYPFS_OP, &args);
    let bytes = (0..ERANGE).map(|n| dom0.get::<u8>(buffer + n)).collect();
    (result, bytes)
}

fn write(machine: &mut Machine, path: &[u8], value: &[u8]) -> i64 {
    let dom0 = machine.dom0();
    let (at, from) = (dom0.put(path), dom0.put(value));
    let args = [2, at, path.len() as u64, from, value.len() as u64];
    dom0.call(HYPFS_OP, &args)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// All files below `path`.
fn walk(machine: &mut Machine, path: &str, found: &mut Vec<String>) {
    let (result, bytes) = read(machine, std::format!("{path}/\0").as_bytes(), 4096);
    assert_eq!(result, 0, "{path}");
    if bytes[0] != 0 {
        return found.push(path.into());
    }
    let mut at = 12;
    loop {
        let next = usize::from(bytes[at + 12]);
        let name = bytes[at + 14..].split(|byte| *byte == 0).next().unwrap();
        let name = core::str::from_utf8(name).unwrap();
        walk(machine, &std::format!("{path}/{name}"), found);
        if next == 0 {
            return;
        }
        at += next;
    }
}

#[test]
fn all_its_files_are_found() {
    let mut found = Vec::new();
    walk(&mut Machine::new(), "", &mut found);
    assert!(found.is_sorted());
    for path in [
        "/buildinfo/changeset",
        "/buildinfo/compileinfo/compiler",
        "/buildinfo/version/minor",
        "/cpupool/0/sched-gran",
        "/params/loglvl",
    ] {
        assert!(found.iter().any(|have| have == path), "{path}: {found:?}");
    }
    assert_eq!(found.len(), 13);
}

#[test]
fn pools_come_and_go() {
    let mut machine = Machine::new();
    let sched = &machine.sys.sched;
    assert_eq!(sched.create_pool(Some(12)), Ok(12));
    let mut found = Vec::new();
    walk(&mut machine, "/cpupool", &mut found);
    assert_eq!(found, ["/cpupool/0/sched-gran", "/cpupool/12/sched-gran"]);
    assert_eq!(read(&mut machine, b"/cpupool/1\0", 4096).0, ENOENT);
    assert_eq!(machine.sys.sched.destroy_pool(12), Ok(()));
    assert_eq!(read(&mut machine, b"/cpupool/12\0", 4096).0, ENOENT);
}

#[test]
fn values_change() {
    let mut machine = Machine::new();
    let path = b"/params/guest_loglvl\0";
    assert_eq!(write(&mut machine, path, b"all\0"), 0);
    let (result, bytes) = read(&mut machine, path, 20);
    assert_eq!((result, &bytes[12..20]), (0, &b"all/all\0"[..]));
    assert_eq!((word(&bytes, 4), word(&bytes, 8)), (8, 16));
    assert_eq!(read(&mut machine, path, 19).0, -105);
    for (value, errno) in [
        (&b"much\0"[..], EINVAL),
        (b"all", -33),
        (b"", -33),
        (b"a\0\0", -33),
        (b"\xff\0", EINVAL),
        (&[b'a'; 128], -33),
        (&[b'a'; 129], -28),
    ] {
        assert_eq!(write(&mut machine, path, value), errno, "{value:?}");
    }
    assert_eq!(write(&mut machine, b"/buildinfo\0", b"x\0"), -13);
    assert_eq!(write(&mut machine, b"/params/conswitch\0", b"axx\0"), -28);
    assert_eq!(&read(&mut machine, path, 20).1[12..20], b"all/all\0");
}

#[test]
fn paths_are_refused() {
    let mut machine = Machine::new();
    let mut long = std::vec![b'/'; 1024];
    long[1023] = 0;
    let full = long.clone();
    for (path, errno) in [
        (&b"/\0"[..], 0),
        (b"/", EINVAL),
        (b"\0", EINVAL),
        (b"params\0", EINVAL),
        (b"/par\0ams\0", EINVAL),
        (b"/params//loglvl\0", ENOENT),
        (b"/params/loglvl/x\0", ENOENT),
        (b"/cpupool/-0\0", ENOENT),
        (b"/cpupool/+0\0", ENOENT),
        (b"/cpupool/99999999999\0", ENOENT),
        (b"/\xff\0", ENOENT),
        (&full, ENOENT),
        (&long[..1000], EINVAL),
    ] {
        assert_eq!(read(&mut machine, path, 4096).0, errno, "{path:?}");
    }
    let domu = machine.domu();
    assert_eq!(domu.call(HYPFS_OP, &[1, 0, 0, 0, 0]), EPERM);
}
