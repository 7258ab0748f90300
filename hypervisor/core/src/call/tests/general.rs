// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers, `xen_version`, `hvm_op`, `console_io`, `platform_op`, `vm_assist`, `multicall`.

use super::*;
use crate::sync::Lock;
use crate::vdev::line::Line;
use core::sync::atomic::Ordering;
use std::string::String;
use xen_abi::Payload;
use xen_abi::hvm::HvmParam;
use xen_abi::platform::{PlatformOp, SetTime64};
use xen_abi::version::{CompileInfo, FeatureInfo};
use xen_abi::xen::MulticallEntry;

#[test]
fn unknown_numbers() {
    let mut machine = Machine::new();
    let odd = [
        0,
        5,
        6,
        8,
        11,
        14,
        16,
        19,
        22,
        25,
        27,
        28,
        30,
        33,
        41,
        43,
        64,
        u64::MAX,
    ];
    for number in odd {
        assert_eq!(machine.dom0().call(number, &[]), ENOSYS, "{number}");
    }
    for (number, answer) in [
        (7, EFAULT),
        (32, EFAULT),
        (34, EFAULT),
        (35, EFAULT),
        (36, EFAULT),
        (12, 0),
        (13, 0),
        (20, 0),
    ] {
        assert_eq!(machine.dom0().call(number, &[]), answer, "{number}");
    }
    assert_eq!(machine.dom0().call(21, &[]), EINVAL);
    assert_eq!(machine.dom0().call(24, &[]), EINVAL);
    assert_eq!(machine.dom0().call(29, &[]), 0);
}

#[test]
fn only_x0_changes() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    guest.regs.x = core::array::from_fn(|n| 0x1111 * n as u64);
    guest.regs.x[16] = XEN_VERSION;
    guest.regs.x[0] = 0;
    let mut after = guest.regs;
    after.x[0] = 0x40014;
    guest.step();
    assert_eq!(guest.regs.x, after.x);
    assert_eq!((guest.regs.pc, guest.regs.pstate), (after.pc, after.pstate));
}

#[test]
fn version_strings() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    let v = |guest: &mut Guest, cmd, arg| guest.call(XEN_VERSION, &[cmd, arg]);
    assert_eq!(v(guest, 0, 0), 0x40014);
    for cmd in [1, 2, 3, 4, 5, 6, 8, 9] {
        assert_eq!(v(guest, cmd, 0), EFAULT, "{cmd}");
    }
    let lengths = [
        (7, 4096),
        (10, 20),
        (11, 11),
        (12, 16),
        (13, 0),
        (14, 23),
        (15, ENOSYS),
        (16, ENOSYS),
    ];
    for (cmd, length) in lengths {
        assert_eq!(v(guest, cmd, 0), length, "{cmd}");
    }
    let page = guest.page(4);
    assert_eq!(v(guest, 7, page), EINVAL);
    let text = |guest: &Guest, len: usize| {
        let bytes = guest.get::<[u8; 64]>(page);
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    };
    assert_eq!(v(guest, 1, page), 0);
    assert_eq!(text(guest, 16), ".4-xenolith\0\0\0\0\0");
    assert_eq!(v(guest, 3, page), 0);
    assert_eq!(text(guest, 17), "xen-3.0-aarch64 \0");
    assert_eq!(v(guest, 9, page), 0);
    assert_eq!(text(guest, 25), "console=dtuart noreboot\0\0");
    assert_eq!(v(guest, 2, page), 0);
    let info: CompileInfo = guest.get(page);
    assert!(info.compiler.starts_with(b"rustc "));
}

#[test]
fn variable_strings() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    let page = guest.page(4);
    let small = guest.put(&5u32);
    assert_eq!(guest.call(XEN_VERSION, &[12, small]), ENOBUFS);
    let large = guest.put(&[1000u32, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(guest.call(XEN_VERSION, &[12, large]), 16);
    assert_eq!(&guest.get::<[u8; 20]>(large)[4..], b"xen-3.0-aarch64 ");
    assert_eq!(guest.call(XEN_VERSION, &[10, large]), 20);
    assert_eq!(guest.get::<u32>(large), 20);
    // A domU sees neither command line nor build.
    let guest = machine.domu();
    let page_u = guest.page(4);
    assert_eq!(guest.call(XEN_VERSION, &[9, page_u]), 0);
    assert_eq!(&guest.get::<[u8; 9]>(page_u), b"<denied>\0");
    assert_eq!(guest.call(XEN_VERSION, &[10, 0]), EPERM);
    assert_eq!(guest.call(XEN_VERSION, &[14, 0]), EPERM);
    assert_eq!(
        guest.call(XEN_VERSION, &[1, page]),
        EFAULT,
        "another's page"
    );
}

#[test]
fn features() {
    let mut machine = Machine::new();
    let ask = |guest: &mut Guest, submap_idx| {
        let info = FeatureInfo {
            submap_idx,
            submap: 0,
        };
        let (result, info) = guest.op(XEN_VERSION, 6, info);
        (result, info.submap)
    };
    assert_eq!(ask(machine.dom0(), 0), (0, 0x0006_6805));
    assert_eq!(ask(machine.domu(), 0), (0, 0x0005_6005));
    assert_eq!(ask(machine.dom0(), 1), (EINVAL, 0));
}

#[test]
fn hvm_params() {
    let mut machine = Machine::new();
    let value = 0x0200_0000_0000_0210;
    machine.dom0().domain.hvm_params.lock()[0] = value;
    let param = |domid, index, value| HvmParam {
        domid,
        pad: 0,
        index,
        value,
    };
    let get = |m: &mut Machine, who: usize, domid, index| {
        let (result, param) = m.guests[who].op(HVM_OP, 1, param(domid, index, 5));
        (result, param.value)
    };
    assert_eq!(get(&mut machine, 0, SELF, 0), (0, value));
    for index in [1, 2, 17, 18] {
        assert_eq!(get(&mut machine, 0, SELF, index), (0, 0));
    }
    assert_eq!(get(&mut machine, 0, SELF, 28).0, EPERM);
    assert_eq!(get(&mut machine, 0, SELF, 3).0, EINVAL);
    assert_eq!(get(&mut machine, 0, NOBODY, 0).0, ESRCH);
    assert_eq!(get(&mut machine, 1, 0, 0).0, EPERM);
    let dom0 = machine.dom0();
    assert_eq!(dom0.op(HVM_OP, 0, param(SELF, 0, 1)).0, EPERM);
    assert_eq!(dom0.op(HVM_OP, 0, param(1, 17, 0x39000)).0, 0);
    assert_eq!(dom0.op(HVM_OP, 2, param(1, 17, 0x39000)).0, ENOSYS);
    assert_eq!(dom0.call(HVM_OP, &[24, 0]), 0);
    assert_eq!(get(&mut machine, 1, SELF, 17), (0, 0x39000));
}

#[test]
fn console() {
    let mut machine = Machine::new();
    let hw = machine.hw;
    let guest = machine.dom0();
    let text = [b'x'; 1000];
    let at = guest.put(&text);
    assert_eq!(guest.call(CONSOLE_IO, &[0, 1000, at]), 0);
    assert_eq!(*hw.console.lock().unwrap(), text);
    hw.console.lock().unwrap().clear();
    hw.irq.store(true, Ordering::Relaxed);
    assert_eq!(guest.call(CONSOLE_IO, &[0, 1000, at]), 0);
    assert_eq!(guest.restarts, 31);
    assert_eq!(*hw.console.lock().unwrap(), text);
    assert_eq!(guest.call(CONSOLE_IO, &[0, 0, 0]), 0);
    assert_eq!(guest.call(CONSOLE_IO, &[0, 5, NOWHERE]), EFAULT);
    assert_eq!(guest.call(CONSOLE_IO, &[1, 5, at]), 0);
    assert_eq!(guest.call(CONSOLE_IO, &[2, 5, at]), ENOSYS);
    assert_eq!(guest.call(CONSOLE_IO, &[1, 1 << 31, at]), E2BIG);
    assert_eq!(guest.call(CONSOLE_IO, &[0, 1 << 31, NOWHERE]), EFAULT);
    assert_eq!(machine.domu().call(CONSOLE_IO, &[0, 1, at]), EPERM);

    // A domain of the device tree.
    hw.console.lock().unwrap().clear();
    let domu = machine.domu();
    domu.domain
        .console_line
        .call_once(|| Lock::new(Line::EMPTY));
    let at = domu.put(b"one\ntwo");
    assert_eq!(domu.call(CONSOLE_IO, &[0, 7, at]), 0);
    let at = domu.put(b"!\n");
    assert_eq!(domu.call(CONSOLE_IO, &[0, 2, at]), 0);
    assert_eq!(*hw.console.lock().unwrap(), b"(d1) one\n(d1) two!\n");
    assert_eq!(domu.call(CONSOLE_IO, &[1, 5, at]), 0);
    assert_eq!(domu.call(CONSOLE_IO, &[0, 5, NOWHERE]), EFAULT);
}

#[test]
fn wall_clock() {
    let mut machine = Machine::new();
    let time = |mbz| SetTime64 {
        secs: (1 << 32) + 100,
        nsecs: 500_000_000,
        mbz,
        system_time: 1_000_000_000,
    };
    let op = |cmd, interface_version, mbz| {
        let mut u = Payload::ZERO;
        u.set(&time(mbz));
        PlatformOp {
            cmd,
            interface_version,
            u,
        }
    };
    let version = 0x0300_0001;
    let set = |m: &mut Machine, who: usize, op: PlatformOp| {
        let guest = &mut m.guests[who];
        let at = guest.put(&op);
        guest.call(PLATFORM_OP, &[at])
    };
    assert_eq!(set(&mut machine, 0, op(62, 0x0300_0000, 0)), EACCES);
    assert_eq!(set(&mut machine, 0, op(62, version, 1)), EINVAL);
    assert_eq!(set(&mut machine, 0, op(17, version, 0)), ENOSYS);
    assert_eq!(set(&mut machine, 1, op(62, version, 0)), EPERM);
    assert_eq!(set(&mut machine, 0, op(62, version, 0)), 0);
    for guest in &machine.guests {
        let page = guest.shared_info();
        let word = |offset| page.atomic_u32(offset).unwrap().load(Ordering::Relaxed);
        assert_eq!([1072, 1076, 1080, 1084].map(word), [2, 99, 500_000_000, 1]);
    }
}

#[test]
fn assists() {
    let mut machine = Machine::new();
    let guest = machine.domu();
    for (args, answer) in [([0, 5], 0), ([0, 4], EINVAL), ([9, 5], ENOSYS), ([1, 5], 0)] {
        assert_eq!(guest.call(VM_ASSIST, &args), answer);
    }
}

fn entry(op: u64, args: [u64; 6]) -> MulticallEntry {
    MulticallEntry {
        op,
        result: 99,
        args,
    }
}

#[test]
fn multicalls() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    let list = [
        entry(XEN_VERSION, [0; 6]),
        entry(999, [0; 6]),
        entry(XEN_VERSION, [6, 0, 0, 0, 0, 0]),
        entry(MULTICALL, [0; 6]),
    ];
    let at = guest.put(&list);
    assert_eq!(guest.call(MULTICALL, &[at, 4]), 0);
    let results = guest
        .get::<[MulticallEntry; 4]>(at)
        .map(|e| e.result as i64);
    assert_eq!(results, [0x40014, ENOSYS, EFAULT, EINVAL]);
    assert_eq!(guest.call(MULTICALL, &[NOWHERE, 1]), EFAULT);
}

#[test]
fn multicall_goes_on_where_it_was_interrupted() {
    let mut machine = Machine::new();
    let hw = machine.hw;
    hw.irq.store(true, Ordering::Relaxed);
    let guest = machine.dom0();
    let text = guest.put(&[b'y'; 600]);
    let list = [
        entry(XEN_VERSION, [0; 6]),
        entry(CONSOLE_IO, [0, 600, text, 0, 0, 0]),
        entry(XEN_VERSION, [0; 6]),
    ];
    let at = guest.put(&list);
    assert_eq!(guest.call(MULTICALL, &[at, 3]), 0);
    assert_eq!(
        guest.get::<[MulticallEntry; 3]>(at).map(|e| e.result),
        [0x40014, 0, 0x40014]
    );
    assert_eq!(*hw.console.lock().unwrap(), [b'y'; 600]);
    assert!(guest.restarts >= 4);
}
