// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls with few operations: `hvm_op`, `vcpu_op`, `sched_op`, `console_io`, `vm_assist`.

use core::sync::atomic::Ordering;

use xen_abi::Handle;
use xen_abi::hvm::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam};
use xen_abi::hypercall::{CONSOLE_IO, HVM_OP, SCHED_OP, VCPU_OP, VM_ASSIST};
use xen_abi::sched::{
    PinOverride, Poll, RemoteShutdown, SCHEDOP_PIN_OVERRIDE, SCHEDOP_POLL, SCHEDOP_REMOTE_SHUTDOWN,
    SCHEDOP_WATCHDOG, Watchdog,
};
use xen_abi::vcpu::{
    RegisterRunstateMemoryArea, RegisterVcpuInfo, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA,
    VCPUOP_REGISTER_VCPU_INFO,
};
use xen_abi::xen::{DOMID_IO, DOMID_SELF};

use super::call::{NOBODY, UNMAPPED, answer, plain, with};
use super::check::{Check, check, ensure, ensure_eq, rows};
use super::errno::{E2BIG, EFAULT, EINVAL, ENOENT, ENOSYS, ENXIO, EPERM, ESRCH};
use crate::machine::dt::facts;
use crate::machine::timer;
use crate::machine::window::Place;
use crate::xen::page::Page;

fn param(operation: u32, domid: u16, index: u32, value: u64) -> (i64, u64) {
    let argument = HvmParam {
        domid,
        pad: 0,
        index,
        value,
    };
    let (answer, param) = with(HVM_OP, operation, argument);
    (answer, param.value)
}

fn get(index: u32) -> (i64, u64) {
    param(HVMOP_GET_PARAM, DOMID_SELF, index, 0x55)
}

fn set(index: u32) -> i64 {
    param(HVMOP_SET_PARAM, DOMID_SELF, index, 0).0
}

/// Answer to reading a parameter that Arm does not have.
fn absent(index: u32) -> i64 {
    get(index).0
}

fn operation(operation: u32) -> i64 {
    plain(HVM_OP, operation.into(), 0, 0)
}

pub(super) const HVM: &[Check] = rows! {
    "HVM_PARAM_CALLBACK_IRQ is the device tree's PPI, level low",
        get(0) => (0, 2 << 56 | 2 << 8 | u64::from(facts().event_interrupt));
    "HVM_PARAM_STORE_PFN of dom0 is 0", get(1) => (0, 0);
    "HVM_PARAM_STORE_EVTCHN of dom0 is 0", get(2) => (0, 0);
    "HVM_PARAM_CONSOLE_PFN of dom0 is 0", get(17) => (0, 0);
    "HVM_PARAM_CONSOLE_EVTCHN of dom0 is 0", get(18) => (0, 0);
    "HVM_PARAM_MONITOR_RING_PFN is not for the domain itself", absent(28) => EPERM;
    "HVM_PARAM 3 is not for Arm", absent(3) => EINVAL;
    "HVM_PARAM_PAE_ENABLED (4) is not for Arm", absent(4) => EINVAL;
    "HVM_PARAM_IOREQ_PFN (5) is not for Arm", absent(5) => EINVAL;
    "HVM_PARAM_BUFIOREQ_PFN (6) is not for Arm", absent(6) => EINVAL;
    "HVM_PARAM_VIRIDIAN (9) is not for Arm", absent(9) => EINVAL;
    "HVM_PARAM_TIMER_MODE (10) is not for Arm", absent(10) => EINVAL;
    "HVM_PARAM_HPET_ENABLED (11) is not for Arm", absent(11) => EINVAL;
    "HVM_PARAM_IDENT_PT (12) is not for Arm", absent(12) => EINVAL;
    "HVM_PARAM_ACPI_S_STATE (14) is not for Arm", absent(14) => EINVAL;
    "HVM_PARAM_VM86_TSS (15) is not for Arm", absent(15) => EINVAL;
    "HVM_PARAM_VPT_ALIGN (16) is not for Arm", absent(16) => EINVAL;
    "HVM_PARAM_PAGING_RING_PFN (27) is not for Arm", absent(27) => EINVAL;
    "HVM_PARAM_SHARING_RING_PFN (29) is not for Arm", absent(29) => EINVAL;
    "HVM_PARAM_TRIPLE_FAULT_REASON (31) is not for Arm", absent(31) => EINVAL;
    "HVM_PARAM_X87_FIP_WIDTH (36) is not for Arm", absent(36) => EINVAL;
    "HVM_PARAM_MCA_CAP (38) is not for Arm", absent(38) => EINVAL;
    "HVM_PARAM 39, the first beyond", absent(39) => EINVAL;
    "HVM_PARAM ~0", absent(u32::MAX) => EINVAL;
    "HVMOP_get_param by the domain's number", param(HVMOP_GET_PARAM, 0, 1, 9) => (0, 0);
    "HVMOP_get_param of no domain", param(HVMOP_GET_PARAM, NOBODY, 0, 0).0 => ESRCH;
    "HVMOP_get_param of DOMID_IO", param(HVMOP_GET_PARAM, DOMID_IO, 0, 0).0 => ESRCH;
    "HVMOP_set_param of one's own CALLBACK_IRQ", set(0) => EPERM;
    "HVMOP_set_param of one's own STORE_PFN", set(1) => EPERM;
    "HVMOP_set_param of one's own STORE_EVTCHN", set(2) => EPERM;
    "HVMOP_set_param of one's own CONSOLE_PFN", set(17) => EPERM;
    "HVMOP_set_param of one's own CONSOLE_EVTCHN", set(18) => EPERM;
    "HVMOP_set_param of one's own MONITOR_RING_PFN", set(28) => EPERM;
    "HVMOP_set_param 39, the first beyond", set(39) => EINVAL;
    "HVMOP_set_param of no domain", param(HVMOP_SET_PARAM, NOBODY, 0, 0).0 => ESRCH;
    "HVMOP_set_pci_intx_level (2) is not there", operation(2) => ENOSYS;
    "HVMOP_flush_tlbs (5) is not there", operation(5) => ENOSYS;
    "HVMOP_pagetable_dying (9) is not there", operation(9) => ENOSYS;
    "HVMOP_get_time (10) is not there", operation(10) => ENOSYS;
    "HVMOP_xentrace (11) is not there", operation(11) => ENOSYS;
    "HVMOP_set_mem_access (12) is not there", operation(12) => ENOSYS;
    "HVMOP_get_mem_access (13) is not there", operation(13) => ENOSYS;
    "HVMOP_get_mem_type (15) is not there", operation(15) => ENOSYS;
    "HVMOP_set_evtchn_upcall_vector (23) is not there", operation(23) => ENOSYS;
    "HVMOP_guest_request_vm_event (24) with a null pointer", operation(24) => 0;
    "HVMOP_guest_request_vm_event (24) with an argument", plain(HVM_OP, 24, 0x1000, 0) => EINVAL;
    "HVMOP_altp2m (25) is not there", operation(25) => ENOSYS;
    "HVMOP ~0 is not there", operation(u32::MAX) => ENOSYS;
};

fn vcpu_operation(operation: u64) -> i64 {
    plain(VCPU_OP, operation, 0, 0)
}

fn vcpu_info(vcpu: u64, mfn: u64, offset: u32) -> i64 {
    let argument = RegisterVcpuInfo {
        mfn,
        offset,
        rsvd: 0,
    };
    let operation = u64::from(VCPUOP_REGISTER_VCPU_INFO);
    plain(VCPU_OP, operation, vcpu, &raw const argument as u64)
}

fn runstate(vcpu: u64, address: u64) -> i64 {
    let area = RegisterRunstateMemoryArea {
        addr: Handle(address),
    };
    let operation = u64::from(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA);
    plain(VCPU_OP, operation, vcpu, &raw const area as u64)
}

static PAGE: Page = Page::new();
/// Where the hypervisor keeps CPU 0's run state from then on.
static RUNSTATE: Page = Page::new();

pub(super) const VCPU: &[Check] = rows! {
    "VCPUOP_initialise (0) is not for Arm", vcpu_operation(0) => EINVAL;
    "VCPUOP_up (1) is not for Arm", vcpu_operation(1) => EINVAL;
    "VCPUOP_down (2) is not for Arm", vcpu_operation(2) => EINVAL;
    "VCPUOP_is_up (3) is not for Arm", vcpu_operation(3) => EINVAL;
    "VCPUOP_get_runstate_info (4) is not for Arm", vcpu_operation(4) => EINVAL;
    "VCPUOP_set_periodic_timer (6) is not for Arm", vcpu_operation(6) => EINVAL;
    "VCPUOP_stop_periodic_timer (7) is not for Arm", vcpu_operation(7) => EINVAL;
    "VCPUOP_set_singleshot_timer (8) is not for Arm", vcpu_operation(8) => EINVAL;
    "VCPUOP_stop_singleshot_timer (9) is not for Arm", vcpu_operation(9) => EINVAL;
    "VCPUOP_send_nmi (11) is not for Arm", vcpu_operation(11) => EINVAL;
    "VCPUOP_get_physid (12) is not for Arm", vcpu_operation(12) => EINVAL;
    "VCPUOP_register_vcpu_time_memory_area (13) is not for Arm", vcpu_operation(13) => EINVAL;
    "VCPUOP_register_runstate_phys_area (14) is not for Arm", vcpu_operation(14) => EINVAL;
    "VCPUOP_register_vcpu_time_phys_area (15) is not for Arm", vcpu_operation(15) => EINVAL;
    "operation 99 is not there", vcpu_operation(99) => EINVAL;
    "VCPUOP_register_vcpu_info of a vCPU that is not", vcpu_info(200, PAGE.frame(), 0) => ENOENT;
    "VCPUOP_register_vcpu_info of vCPU ~0", vcpu_info(u64::MAX, PAGE.frame(), 0) => ENOENT;
    "VCPUOP_register_vcpu_info over the end of the page", vcpu_info(0, PAGE.frame(), 4096 - 40) => ENXIO;
    "VCPUOP_register_vcpu_info at an offset beyond the page", vcpu_info(0, PAGE.frame(), 4096) => EINVAL;
    "VCPUOP_register_vcpu_info at offset ~0", vcpu_info(0, PAGE.frame(), u32::MAX) => EINVAL;
    "VCPUOP_register_vcpu_info at an offset that is not aligned", vcpu_info(0, PAGE.frame(), 4) => ENXIO;
    "VCPUOP_register_vcpu_info in a frame that is not there", vcpu_info(0, facts().grant_region.base >> 12, 0) => EINVAL;
    "VCPUOP_register_vcpu_info in device registers", vcpu_info(0, facts().gic.distributor() >> 12, 0) => EINVAL;
    "VCPUOP_register_vcpu_info in frame ~0", vcpu_info(0, u64::MAX, 0) => EINVAL;
    "VCPUOP_register_runstate_memory_area of a vCPU that is not", runstate(200, RUNSTATE.address()) => ENOENT;
    "VCPUOP_register_runstate_memory_area nowhere is taken", runstate(0, UNMAPPED) => 0;
    "VCPUOP_register_runstate_memory_area on a read-only page is taken", runstate(0, Place::ReadOnly.clear()) => 0;
};

/// Nanoseconds that CPU 0 has waited for a CPU of the machine while it had something to do.
pub(super) fn runnable_time() -> u64 {
    runstate(0, RUNSTATE.address());
    RUNSTATE.0[3].load(Ordering::SeqCst)
}

/// Has CPU 0 wait for so many nanoseconds.
pub(super) fn nap(nanoseconds: u64) -> i64 {
    poll(
        0,
        0,
        timer::nanoseconds(timer::physical_count()) + nanoseconds,
    )
}

pub(super) const RUNSTATES: &[Check] = &[
    check(
        "VCPUOP_register_runstate_memory_area: written at once",
        || {
            RUNSTATE.0[0].store(9, Ordering::SeqCst);
            ensure_eq!(runstate(0, RUNSTATE.address()), 0, "the call");
            ensure_eq!(
                RUNSTATE.0[0].load(Ordering::SeqCst) as u32,
                0,
                "state: running"
            );
            Ok(())
        },
    ),
    check("runstate: the time of entry is in the past", || {
        let entered = RUNSTATE.0[1].load(Ordering::SeqCst);
        ensure!(entered != 0, "state_entry_time is 0");
        ensure!(entered >> 63 == 0, "XEN_RUNSTATE_UPDATE stands");
        Ok(())
    }),
    check("runstate: the time blocked grows", || {
        let blocked = || {
            ensure_eq!(nap(1_000_000), 0, "SCHEDOP_poll");
            ensure_eq!(runstate(0, RUNSTATE.address()), 0, "the call");
            Ok(RUNSTATE.0[4].load(Ordering::SeqCst))
        };
        let before = blocked()?;
        let after = blocked()?;
        ensure!(after > before, "it is {after}, was {before}");
        Ok(())
    }),
    check("runstate: it may move", || {
        ensure_eq!(runstate(0, PAGE.address()), 0, "the other place");
        ensure_eq!(PAGE.0[0].load(Ordering::SeqCst) as u32, 0, "state there");
        ensure_eq!(runstate(0, RUNSTATE.address()), 0, "back");
        Ok(())
    }),
];

/// `sched_op` with a structure of one or two words.
fn sched<T>(operation: u32, argument: T) -> i64 {
    answer(SCHED_OP, operation, argument)
}

fn watchdog(id: u32, timeout: u32) -> i64 {
    sched(SCHEDOP_WATCHDOG, Watchdog { id, timeout })
}

fn remote(domain_id: u16, reason: u32) -> i64 {
    let argument = RemoteShutdown {
        domain_id,
        _pad: 0,
        reason,
    };
    sched(SCHEDOP_REMOTE_SHUTDOWN, argument)
}

fn pin(pcpu: i32) -> i64 {
    sched(SCHEDOP_PIN_OVERRIDE, PinOverride { pcpu })
}

fn poll(ports: u64, nr_ports: u32, timeout: u64) -> i64 {
    let argument = Poll {
        ports: Handle(ports),
        nr_ports,
        _pad: 0,
        timeout,
    };
    sched(SCHEDOP_POLL, argument)
}

pub(super) const SCHED: &[Check] = rows! {
    "SCHEDOP_yield", plain(SCHED_OP, 0, 0, 0) => 0;
    "SCHEDOP_yield ignores its argument", plain(SCHED_OP, 0, UNMAPPED, 0) => 0;
    "operation 8 is not there", plain(SCHED_OP, 8, 0, 0) => ENOSYS;
    "operation 9 is not there", plain(SCHED_OP, 9, 0, 0) => ENOSYS;
    "operation ~0 is not there", plain(SCHED_OP, u32::MAX.into(), 0, 0) => ENOSYS;
    "SCHEDOP_remote_shutdown of no domain", remote(NOBODY, 0) => ESRCH;
    "SCHEDOP_remote_shutdown of DOMID_IO", remote(DOMID_IO, 0) => ESRCH;
    "SCHEDOP_remote_shutdown of DOMID_SELF is not for oneself", remote(DOMID_SELF, 0) => ESRCH;
    "SCHEDOP_pin_override: undoing a pin that is not", pin(-1) => EINVAL;
    "SCHEDOP_pin_override: a CPU that is not", pin(999) => EINVAL;
    "SCHEDOP_watchdog of an id that is not", watchdog(5, 10) => EINVAL;
    "SCHEDOP_watchdog of id ~0", watchdog(u32::MAX, 10) => EINVAL;
    "SCHEDOP_watchdog: an id that is not in use cannot be set", watchdog(2, 1000) => EINVAL;
    "SCHEDOP_poll of 129 ports", poll(0, 129, 1) => EINVAL;
    "SCHEDOP_poll of 2^31 ports", poll(0, 1 << 31, 1) => EINVAL;
    "SCHEDOP_poll with ports nowhere", poll(UNMAPPED, 1, 1) => EFAULT;
    "SCHEDOP_poll of port 0", poll(Place::Writable.clear(), 1, 1) => EINVAL;
    "SCHEDOP_poll of port ~0", poll(Place::Writable.fill(&[u64::MAX]), 1, 1) => EINVAL;
    "SCHEDOP_poll of no port until long ago", poll(0, 0, 1) => 0;
};

pub(super) const WATCHDOGS: &[Check] = &[
    check("SCHEDOP_watchdog: there are two", || {
        let ids = [0; 3].map(|new| watchdog(new, 1000) as i32);
        let disarmed = [1, 2].map(|id| watchdog(id, 0));
        ensure_eq!(ids, [1, 2, -28], "the ids");
        ensure_eq!(disarmed, [0; 2], "disarming them");
        Ok(())
    }),
    check("SCHEDOP_watchdog: one in use is set again", || {
        ensure_eq!(watchdog(0, 1000), 1, "the id");
        let again = watchdog(1, 2000);
        ensure_eq!(watchdog(1, 0), 0, "disarming it");
        ensure_eq!(again, 0, "setting it again");
        Ok(())
    }),
    check("SCHEDOP_watchdog: disarmed twice", || {
        ensure_eq!(watchdog(0, 1000), 1, "the id");
        ensure_eq!(watchdog(1, 0), 0, "disarming it");
        ensure_eq!(watchdog(1, 0), EINVAL, "disarming it again");
        Ok(())
    }),
];

fn console(command: u64, count: u64, address: u64) -> i64 {
    plain(CONSOLE_IO, command, count, address)
}

pub(super) const CONSOLE: &[Check] = rows! {
    "CONSOLEIO_write of nothing", console(0, 0, 0) => 0;
    "CONSOLEIO_write of nothing nowhere", console(0, 0, UNMAPPED) => 0;
    "CONSOLEIO_write of a null pointer", console(0, 4, 0) => EFAULT;
    "CONSOLEIO_write from an address that is not mapped", console(0, 4, UNMAPPED) => EFAULT;
    "CONSOLEIO_write from device registers", console(0, 4, facts().gic.distributor()) => EFAULT;
    "CONSOLEIO_write of 2^31 bytes from nowhere", console(0, 1 << 31, UNMAPPED) => EFAULT;
    "CONSOLEIO_write from a read-only page", console(0, 1, Place::ReadOnly.fill(&[u64::from(b'\n')])) => 0;
    "CONSOLEIO_read of nothing", console(1, 0, 0) => 0;
    "CONSOLEIO_read when nothing was typed", console(1, 64, Place::Writable.clear()) => 0;
    "CONSOLEIO_read of more than 2^31 bytes", console(1, 1 << 31, UNMAPPED) => E2BIG;
    "command 2 is not there", console(2, 0, 0) => ENOSYS;
    "command ~0 is not there", console(0xffff_ffff, 0, 0) => ENOSYS;
};

fn assist(command: u64, kind: u64) -> i64 {
    plain(VM_ASSIST, command, kind, 0)
}

pub(super) const ASSIST: &[Check] = rows! {
    "VMASST_CMD_enable of runstate_update_flag", assist(0, 5) => 0;
    "VMASST_CMD_enable twice", (assist(0, 5), assist(0, 5)) => (0, 0);
    "VMASST_CMD_disable of runstate_update_flag", assist(1, 5) => 0;
    "VMASST_CMD_disable twice", (assist(1, 5), assist(1, 5)) => (0, 0);
    "VMASST_TYPE_4gb_segments (0) is not for Arm", assist(0, 0) => EINVAL;
    "VMASST_TYPE_4gb_segments_notify (1) is not for Arm", assist(0, 1) => EINVAL;
    "VMASST_TYPE_writable_pagetables (2) is not for Arm", assist(0, 2) => EINVAL;
    "VMASST_TYPE_pae_extended_cr3 (3) is not for Arm", assist(0, 3) => EINVAL;
    "VMASST_TYPE_architectural_iopl (4) is not for Arm", assist(0, 4) => EINVAL;
    "VMASST_TYPE_m2p_strict (32) is not for Arm", assist(0, 32) => EINVAL;
    "type 6 is not there", assist(0, 6) => EINVAL;
    "type 64 is not there", assist(0, 64) => EINVAL;
    "type ~0 is not there", assist(0, 0xffff_ffff) => EINVAL;
    "command 2 is not there", assist(2, 5) => ENOSYS;
    "command 9 is not there", assist(9, 5) => ENOSYS;
};
