// SPDX-License-Identifier: MIT OR Apache-2.0
//! What hypercalls answer to arguments that are wrong, or just so.

use core::sync::atomic::Ordering;

use xen_abi::Handle;
use xen_abi::hvm::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam};
use xen_abi::hypercall::{
    CONSOLE_IO, DOMCTL, EVENT_CHANNEL_OP, GRANT_TABLE_OP, HVM_OP, HYPFS_OP, MEMORY_OP, MULTICALL,
    PHYSDEV_OP, PLATFORM_OP, SCHED_OP, SYSCTL, VCPU_OP, VM_ASSIST, XEN_VERSION, XSM_OP,
};
use xen_abi::memory::{
    AddToPhysmap, DomidArg, MemoryReservation, RemoveFromPhysmap, XENMAPSPACE_GRANT_TABLE,
    XENMEM_ADD_TO_PHYSMAP, XENMEM_CURRENT_RESERVATION, XENMEM_DECREASE_RESERVATION,
    XENMEM_POPULATE_PHYSMAP, XENMEM_REMOVE_FROM_PHYSMAP,
};
use xen_abi::vcpu::{RegisterRunstateMemoryArea, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA};
use xen_abi::version::{FeatureInfo, XENVER_GET_FEATURES};
use xen_abi::xen::{DOMID_SELF, MulticallEntry};

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, value};
use crate::machine::dt::facts;
use crate::machine::exception::attempt;
use crate::machine::mmio::{read64, write64};
use crate::machine::mmu;
use crate::xen::hypercall::{hypercall, operate};
use crate::xen::memory::{add_to_physmap, remove_from_physmap, reservation};
use crate::xen::page::Page;

const EPERM: i64 = -1;
const ENOENT: i64 = -2;
const ESRCH: i64 = -3;
const EACCES: i64 = -13;
const EFAULT: i64 = -14;
const EBUSY: i64 = -16;
const EINVAL: i64 = -22;
const ENOSYS: i64 = -38;
const EOPNOTSUPP: i64 = -95;

/// An address that this kernel has not mapped.
const UNMAPPED: u64 = 0x7f_dead_0000;
/// A domain that does not exist.
const NOBODY: u16 = 77;

pub(super) const CHECKS: &[Check] = &[
    check("unknown numbers", unknown_numbers),
    check("all arguments zero", zero_arguments),
    check("xen_version", version),
    check("memory_op without argument", memory_null),
    check("add_to_physmap and remove_from_physmap", physmap),
    check("the grant table is mapped on demand", grant_table),
    check("counting reservations", reservations),
    check("a page given up comes back at its place", balloon),
    check("event_channel_op without argument", event_null),
    check("grant_table_op", grants),
    check("hvm_op", hvm),
    check("sched_op", sched),
    check("vcpu_op", vcpu),
    check("console_io", console),
    check(
        "domctl, sysctl and platform_op want their version",
        versions,
    ),
    check("vm_assist", assist),
    check("what is not there", absent),
    check("a buffer that is not mapped", unmapped),
    check("a buffer in device memory", device_buffer),
    check("a buffer's table that nobody has", table_nowhere),
    check(
        "a buffer's table where the bus gives an error",
        table_bus_error,
    )
    .hangs("Xen takes the abort of the walk itself and panics"),
    check("a buffer over two pages", crossing),
    check("multicall", multicall),
    check("a long multicall", long_multicall),
    check("a hypercall keeps the other registers", registers),
];

/// Compares what a list of calls (number, first three arguments) answers.
fn answers(calls: &[(u64, [u64; 3], i64)]) -> Outcome {
    for (number, [x0, x1, x2], want) in calls {
        let answer = hypercall(*number, [*x0, *x1, *x2, 0, 0]);
        ensure_eq!(answer, *want, "call {number}({x0}, {x1:#x}, {x2:#x})");
    }
    Ok(())
}

fn unknown_numbers() -> Outcome {
    let unknown = [
        0..=6,
        8..=11,
        14..=16,
        19..=19,
        22..=23,
        25..=28,
        30..=31,
        37..=41,
        43..=64,
        1 << 32..=1 << 32,
        1 << 63..=1 << 63,
        u64::MAX..=u64::MAX,
    ];
    for number in unknown.into_iter().flatten() {
        ensure_eq!(hypercall(number, [0; 5]), ENOSYS, "call {number:#x}");
    }
    Ok(())
}

fn zero_arguments() -> Outcome {
    answers(&[
        (PLATFORM_OP, [0; 3], EFAULT),
        (EVENT_CHANNEL_OP, [0; 3], EFAULT),
        (HVM_OP, [0; 3], EFAULT),
        (SYSCTL, [0; 3], EFAULT),
        (DOMCTL, [0; 3], EFAULT),
        (MEMORY_OP, [0; 3], 0),
        (MULTICALL, [0; 3], 0),
        (GRANT_TABLE_OP, [0; 3], 0),
        (SCHED_OP, [0; 3], 0),
        (VM_ASSIST, [0; 3], EINVAL),
        (VCPU_OP, [0; 3], EINVAL),
    ])
}

fn version() -> Outcome {
    answers(&[
        (XEN_VERSION, [0; 3], 0x4_0014),
        (XEN_VERSION, [7, 0, 0], 4096),
    ])?;
    for command in [1, 2, 3, 4, 5, 6, 8, 9] {
        answers(&[(XEN_VERSION, [command, 0, 0], EFAULT)])?;
    }
    answers(&[
        (XEN_VERSION, [15, 0, 0], ENOSYS),
        (XEN_VERSION, [16, 0, 0], ENOSYS),
    ])?;
    for command in 10..=13 {
        ensure!(
            hypercall(XEN_VERSION, [command, 0, 0, 0, 0]) >= 0,
            "the length of {command}"
        );
    }
    let mut features = FeatureInfo {
        submap_idx: 0,
        submap: 0,
    };
    ensure_eq!(
        operate(XEN_VERSION, XENVER_GET_FEATURES, &mut features),
        0,
        "get_features"
    );
    ensure_eq!(features.submap, 0x6_6805, "features of dom0");
    features.submap_idx = 1;
    ensure_eq!(
        operate(XEN_VERSION, XENVER_GET_FEATURES, &mut features),
        EINVAL,
        "submap 1"
    );
    Ok(())
}

fn memory_null() -> Outcome {
    for operation in [0, 1, 6, 18, 19] {
        answers(&[(MEMORY_OP, [operation, 0, 0], 0)])?;
    }
    for operation in [3, 4, 7, 11, 14, 15, 23, 24, 26, 27, 28] {
        answers(&[(MEMORY_OP, [operation, 0, 0], EFAULT)])?;
    }
    for operation in [5, 8, 9, 10, 12, 13, 16, 17, 20, 21, 22, 25, 29, 30, 33] {
        answers(&[(MEMORY_OP, [operation, 0, 0], ENOSYS)])?;
    }
    ensure!(
        hypercall(MEMORY_OP, [2, 0, 0, 0, 0]) > 0,
        "maximum_ram_page"
    );
    Ok(())
}

fn add(domid: u16, space: u32, idx: u64, gpfn: u64) -> i64 {
    let mut argument = AddToPhysmap {
        domid,
        size: 0,
        space,
        idx,
        gpfn,
    };
    operate(MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut argument)
}

fn remove(domid: u16, gpfn: u64) -> i64 {
    let mut argument = RemoveFromPhysmap {
        domid,
        _pad: [0; 6],
        gpfn,
    };
    operate(MEMORY_OP, XENMEM_REMOVE_FROM_PHYSMAP, &mut argument)
}

fn physmap() -> Outcome {
    let frame = facts().grant_region.base >> 12;
    ensure_eq!(add(DOMID_SELF, 0, 1, frame), EINVAL, "shared_info 1");
    for space in [2, 4, 9] {
        ensure_eq!(add(DOMID_SELF, space, 0, frame), ENOSYS, "space {space}");
    }
    ensure_eq!(
        add(DOMID_SELF, 1, 64, frame),
        EINVAL,
        "grant table frame 64"
    );
    ensure_eq!(add(DOMID_SELF, 1, 0, u64::MAX), EINVAL, "frame ~0");
    ensure_eq!(add(NOBODY, 1, 0, frame), ESRCH, "nobody's");
    ensure_eq!(
        remove(DOMID_SELF, frame),
        ENOENT,
        "removing what is not there"
    );
    ensure_eq!(
        remove(DOMID_SELF, 1 << 50),
        ENOENT,
        "removing beyond all memory"
    );
    ensure_eq!(remove(NOBODY, frame), ESRCH, "removing nobody's");
    Ok(())
}

fn grant_table() -> Outcome {
    let base = facts().grant_region.base;
    for index in 0..4 {
        let frame = (base >> 12) + index;
        ensure_eq!(
            add_to_physmap(XENMAPSPACE_GRANT_TABLE, index, frame),
            0,
            "frame {index}"
        );
        write64(frame << 12 | 0x800, 0x1234_5678 + index);
    }
    let again = add_to_physmap(XENMAPSPACE_GRANT_TABLE, 0, (base >> 12) + 9);
    for index in 0..4 {
        let at = base + index * 4096 + 0x800;
        ensure_eq!(read64(at), 0x1234_5678 + index, "content of frame {index}");
        write64(at, 0);
        ensure_eq!(
            remove_from_physmap((base >> 12) + index),
            0,
            "removing frame {index}"
        );
    }
    ensure_eq!(again, EBUSY, "the same frame elsewhere");
    ensure_eq!(remove_from_physmap(base >> 12), ENOENT, "removing twice");
    Ok(())
}

fn reservations() -> Outcome {
    let mut argument = DomidArg { domid: DOMID_SELF };
    let pages = operate(MEMORY_OP, XENMEM_CURRENT_RESERVATION, &mut argument);
    ensure!(pages > 1000, "current_reservation is {pages}");
    argument.domid = NOBODY;
    let nobody = operate(MEMORY_OP, XENMEM_CURRENT_RESERVATION, &mut argument);
    ensure_eq!(nobody, ESRCH, "current_reservation of nobody");
    for (operation, domid, order) in [
        (XENMEM_POPULATE_PHYSMAP, NOBODY, 0),
        (XENMEM_POPULATE_PHYSMAP, DOMID_SELF, 40),
        (XENMEM_DECREASE_RESERVATION, NOBODY, 0),
    ] {
        let frames = [0x40_0000_u64];
        let mut argument = MemoryReservation {
            extent_start: Handle(&raw const frames as u64),
            nr_extents: 1,
            extent_order: order,
            mem_flags: 0,
            domid,
            _pad: [0; 6],
        };
        ensure_eq!(
            operate(MEMORY_OP, operation, &mut argument),
            0,
            "{operation} for {domid}, order {order}"
        );
    }
    ensure_eq!(
        reservation(XENMEM_POPULATE_PHYSMAP, 1 << 40),
        0,
        "populating beyond all memory"
    );
    Ok(())
}

static BALLOON: Page = Page::new();

fn balloon() -> Outcome {
    let frame = BALLOON.frame();
    for round in 0..3 {
        ensure_eq!(
            reservation(XENMEM_DECREASE_RESERVATION, frame),
            1,
            "giving up, round {round}"
        );
        let hole = attempt(|| read64(frame << 12));
        let back = reservation(XENMEM_POPULATE_PHYSMAP, frame);
        ensure!(hole.is_err(), "the page given up can still be read");
        ensure_eq!(back, 1, "getting back, round {round}");
        BALLOON.0[7].store(round, Ordering::SeqCst);
        ensure_eq!(BALLOON.0[7].load(Ordering::SeqCst), round, "the page");
    }
    Ok(())
}

fn event_null() -> Outcome {
    for operation in 0..=14 {
        answers(&[(EVENT_CHANNEL_OP, [operation, 0, 0], EFAULT)])?;
    }
    answers(&[
        (EVENT_CHANNEL_OP, [15, 0, 0], ENOSYS),
        (EVENT_CHANNEL_OP, [16, 0, 0], ENOSYS),
    ])
}

fn grants() -> Outcome {
    answers(&[
        (GRANT_TABLE_OP, [3, 0, 0], ENOSYS),
        (GRANT_TABLE_OP, [13, 0, 0], ENOSYS),
        (GRANT_TABLE_OP, [4, 0, 0], EOPNOTSUPP),
        (GRANT_TABLE_OP, [0, 0, u64::MAX], EINVAL),
    ])?;
    for operation in [2, 6, 9] {
        answers(&[(GRANT_TABLE_OP, [operation, 0, 0], EINVAL)])?;
    }
    answers(&[(GRANT_TABLE_OP, [8, 0, 0], EFAULT)])?;
    for (version, count, want) in [
        (1_u32, 1, 0),
        (1, 0, 0),
        (1, 5, 0),
        (2, 1, ENOSYS),
        (3, 1, EINVAL),
    ] {
        let mut argument = version;
        let address = &raw mut argument as u64;
        let answer = hypercall(GRANT_TABLE_OP, [8, address, count, 0, 0]);
        ensure_eq!(answer, want, "set_version({version}), count {count}");
    }
    for operation in [0, 1, 2, 5, 6, 8] {
        answers(&[(GRANT_TABLE_OP, [operation, 0, 1], EFAULT)])?;
    }
    Ok(())
}

fn hvm() -> Outcome {
    let get = |domid, index| {
        let mut param = HvmParam {
            domid,
            pad: 0,
            index,
            value: 0,
        };
        (operate(HVM_OP, HVMOP_GET_PARAM, &mut param), param.value)
    };
    let intid = u64::from(facts().event_interrupt);
    ensure_eq!(
        get(DOMID_SELF, 0),
        (0, 2 << 56 | 2 << 8 | intid),
        "CALLBACK_IRQ"
    );
    for index in [1, 2, 17, 18] {
        ensure_eq!(get(DOMID_SELF, index), (0, 0), "parameter {index}");
    }
    ensure_eq!(get(DOMID_SELF, 28).0, EPERM, "parameter 28");
    for index in [3, 16, 38, 39, u32::MAX] {
        ensure_eq!(get(DOMID_SELF, index).0, EINVAL, "parameter {index}");
    }
    ensure_eq!(get(NOBODY, 0).0, ESRCH, "nobody's");
    let mut param = HvmParam {
        domid: DOMID_SELF,
        pad: 0,
        index: 0,
        value: 0,
    };
    ensure_eq!(
        operate(HVM_OP, HVMOP_SET_PARAM, &mut param),
        EPERM,
        "setting one's own"
    );
    ensure_eq!(operate(HVM_OP, 23, &mut param), ENOSYS, "operation 23");
    Ok(())
}

fn sched() -> Outcome {
    for operation in [3, 4, 5, 6, 7] {
        answers(&[(SCHED_OP, [operation, 0, 0], EFAULT)])?;
    }
    answers(&[(SCHED_OP, [8, 0, 0], ENOSYS), (SCHED_OP, [9, 0, 0], ENOSYS)])?;
    let mut remote = [u32::from(NOBODY), 0];
    ensure_eq!(
        operate(SCHED_OP, 4, &mut remote),
        ESRCH,
        "remote_shutdown of nobody"
    );
    let mut pin = [-1_i32];
    ensure_eq!(
        operate(SCHED_OP, 7, &mut pin),
        EINVAL,
        "undoing a pin that is not"
    );
    let mut watchdog = [5_u32, 10];
    ensure_eq!(operate(SCHED_OP, 6, &mut watchdog), EINVAL, "watchdog 5");
    watchdog = [0, 1000];
    let id = operate(SCHED_OP, 6, &mut watchdog);
    ensure!(id == 1 || id == 2, "a new watchdog is {id}");
    watchdog = [id as u32, 0];
    ensure_eq!(operate(SCHED_OP, 6, &mut watchdog), 0, "disarming it");
    Ok(())
}

/// Where the hypervisor keeps CPU 0's run state from then on.
static RUNSTATE: Page = Page::new();

fn vcpu() -> Outcome {
    for operation in [0, 1, 2, 3, 4, 6, 9, 11, 13, 14, 15, 99] {
        answers(&[(VCPU_OP, [operation, 0, 0], EINVAL)])?;
    }
    answers(&[
        (VCPU_OP, [10, 200, 0], ENOENT),
        (VCPU_OP, [10, 0, 0], EFAULT),
        (VCPU_OP, [5, 0, 0], EFAULT),
    ])?;
    RUNSTATE.0[0].store(9, Ordering::SeqCst);
    let area = RegisterRunstateMemoryArea {
        addr: Handle(RUNSTATE.address()),
    };
    let operation = u64::from(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA);
    let argument = &raw const area as u64;
    ensure_eq!(
        hypercall(VCPU_OP, [operation, 0, argument, 0, 0]),
        0,
        "register_runstate_memory_area"
    );
    ensure_eq!(RUNSTATE.0[0].load(Ordering::SeqCst) as u32, 0, "state");
    ensure!(
        RUNSTATE.0[1].load(Ordering::SeqCst) != 0,
        "state_entry_time is 0"
    );
    Ok(())
}

fn console() -> Outcome {
    answers(&[
        (CONSOLE_IO, [2, 0, 0], ENOSYS),
        (CONSOLE_IO, [0, 0, 0], 0),
        (CONSOLE_IO, [0, 4, UNMAPPED], EFAULT),
        (CONSOLE_IO, [0, 4, 0], EFAULT),
        (CONSOLE_IO, [1, 0, 0], 0),
    ])
}

fn versions() -> Outcome {
    let mut buffer = [0_u64; 32];
    ensure_eq!(
        operate(DOMCTL, 0, &mut buffer),
        EFAULT,
        "domctl, argument in x1"
    );
    let at = &raw mut buffer as u64;
    ensure_eq!(
        hypercall(DOMCTL, [at, 0, 0, 0, 0]),
        EACCES,
        "domctl version 0"
    );
    ensure_eq!(
        hypercall(SYSCTL, [at, 0, 0, 0, 0]),
        EACCES,
        "sysctl version 0"
    );
    ensure_eq!(
        hypercall(PLATFORM_OP, [at, 0, 0, 0, 0]),
        EACCES,
        "platform_op version 0"
    );
    Ok(())
}

fn assist() -> Outcome {
    answers(&[
        (VM_ASSIST, [0, 5, 0], 0),
        (VM_ASSIST, [1, 5, 0], 0),
        (VM_ASSIST, [0, 4, 0], EINVAL),
        (VM_ASSIST, [9, 5, 0], ENOSYS),
    ])
}

fn absent() -> Outcome {
    for operation in [0, 15, 25, 99] {
        answers(&[(PHYSDEV_OP, [operation, 0, 0], ENOSYS)])?;
    }
    answers(&[(XSM_OP, [0; 3], ENOSYS), (HYPFS_OP, [0; 3], 1)])
}

fn unmapped() -> Outcome {
    let region = facts().extended_regions[0];
    for address in [
        UNMAPPED,
        0,
        8,
        u64::MAX - 7,
        1 << 47,
        0xffff_0000_0000_0000,
        facts().grant_region.base,
        region.base,
    ] {
        answers(&[
            (XEN_VERSION, [1, address, 0], EFAULT),
            (EVENT_CHANNEL_OP, [4, address, 0], EFAULT),
            (MEMORY_OP, [7, address, 0], EFAULT),
            (MULTICALL, [address, 1, 0], EFAULT),
        ])?;
    }
    Ok(())
}

fn device_buffer() -> Outcome {
    let distributor = facts().gic.distributor();
    answers(&[
        (XEN_VERSION, [1, distributor, 0], EFAULT),
        (EVENT_CHANNEL_OP, [4, distributor, 0], EFAULT),
    ])
}

/// Calls with a buffer whose level 2 descriptor would be read at `descriptor`.
fn table_at(descriptor: u64) -> Outcome {
    let table = descriptor & !0xfff;
    let address = mmu::TABLE_OFFSET + (descriptor - table) / 8 * 0x20_0000;
    mmu::with_table(table, || {
        answers(&[
            (XEN_VERSION, [1, address, 0], EFAULT),
            (EVENT_CHANNEL_OP, [4, address, 0], EFAULT),
            (MULTICALL, [address, 1, 0], EFAULT),
        ])
    })
}

fn table_nowhere() -> Outcome {
    let facts = facts();
    for descriptor in [
        facts.gic.distributor() + 0x800,
        facts.extended_regions[0].base,
        facts.grant_region.base + 8,
        0x7fff_ffff_f000,
    ] {
        table_at(descriptor)?;
    }
    Ok(())
}

fn table_bus_error() -> Outcome {
    let Some(registers) = facts().fw_cfg else {
        return Err(Failure::Skipped("no page is known to have a hole"));
    };
    mmu::map(registers, 8, mmu::Kind::Device);
    value(attempt(|| read64(registers)), "a load from fw-cfg")?;
    table_at(registers + 0x800)
}

static TWO: [Page; 2] = [const { Page::new() }; 2];

fn crossing() -> Outcome {
    TWO[0].0[511].store(0, Ordering::SeqCst);
    let at = TWO[1].address() - 4;
    ensure_eq!(
        hypercall(XEN_VERSION, [6, at, 0, 0, 0]),
        0,
        "get_features over two pages"
    );
    let features = TWO[1].0[0].load(Ordering::SeqCst) as u32;
    ensure_eq!(features, 0x6_6805, "features");
    Ok(())
}

fn entry(op: u64, args: [u64; 2]) -> MulticallEntry {
    let [x0, x1] = args;
    MulticallEntry {
        op,
        result: 0x55,
        args: [x0, x1, 0, 0, 0, 0],
    }
}

fn multicall() -> Outcome {
    let mut list = [
        entry(XEN_VERSION, [0, 0]),
        entry(63, [0, 0]),
        entry(XEN_VERSION, [1, 0]),
        entry(XEN_VERSION, [7, 0]),
        entry(u64::MAX, [0, 0]),
    ];
    let at = &raw mut list as u64;
    ensure_eq!(hypercall(MULTICALL, [at, 5, 0, 0, 0]), 0, "multicall");
    let results = list.map(|entry| entry.result as i64);
    ensure_eq!(results, [0x4_0014, ENOSYS, EFAULT, 4096, ENOSYS], "results");
    answers(&[
        (MULTICALL, [UNMAPPED, 1, 0], EFAULT),
        (MULTICALL, [UNMAPPED, 0, 0], 0),
    ])
}

fn long_multicall() -> Outcome {
    const MANY: usize = 300;
    let mut list = [entry(XEN_VERSION, [0, 0]); MANY];
    let at = &raw mut list as u64;
    ensure_eq!(
        hypercall(MULTICALL, [at, MANY as u64, 0, 0, 0]),
        0,
        "multicall"
    );
    let done = list.iter().filter(|entry| entry.result == 0x4_0014).count();
    ensure_eq!(done, MANY, "entries done");
    Ok(())
}

fn registers() -> Outcome {
    let mut kept = [0x1111_u64, 0x2222, 0x3333, 0x4444];
    let [a, b, c, d] = &mut kept;
    // SAFETY: xen_version 0 writes no memory; the registers are what is checked.
    unsafe {
        core::arch::asm!("hvc #0xea1", inout("x16") XEN_VERSION => _, inout("x0") 0_u64 => _, inout("x1") 0_u64 => _,
            inout("x5") *a, inout("x9") *b, inout("x17") *c, inout("x30") *d, options(nostack));
    }
    ensure_eq!(kept, [0x1111, 0x2222, 0x3333, 0x4444], "x5, x9, x17, x30");
    Ok(())
}
