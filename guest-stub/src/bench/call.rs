// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls, firmware calls and trapped accesses.

use core::hint::black_box;

use xen_abi::event::EVTCHNOP_SEND;
use xen_abi::hvm::{HVM_PARAM_STORE_EVTCHN, HVMOP_GET_PARAM, HvmParam};
use xen_abi::hypercall::{EVENT_CHANNEL_OP, HVM_OP, MULTICALL, SCHED_OP, XEN_VERSION};
use xen_abi::sched::SCHEDOP_YIELD;
use xen_abi::version::{FeatureInfo, XENVER_GET_FEATURES, XENVER_VERSION};
use xen_abi::xen::{DOMID_SELF, MulticallEntry};

use super::{measure, measure_error};
use crate::machine::mmio::read32;
use crate::machine::sysreg::read_sysreg;
use crate::machine::{dt, gic, psci};
use crate::xen::hypercall::{hypercall, operate};

const TIMES: u64 = 1000;
/// No hypercall has this number.
const UNKNOWN: u64 = 63;
/// No page of the stub's table maps it.
const BAD_POINTER: u64 = 0x7f_dead_0000;

pub(super) fn run() {
    hypercalls();
    others();
}

fn hypercalls() {
    let null = || hypercall(XEN_VERSION, [XENVER_VERSION.into(), 0, 0, 0, 0]);
    measure("hypercall_null", TIMES, null);
    measure_error("hypercall_unknown", TIMES, || hypercall(UNKNOWN, [0; 5]));
    let mut features = FeatureInfo {
        submap_idx: 0,
        submap: 0,
    };
    measure("get_features", TIMES, || {
        operate(XEN_VERSION, XENVER_GET_FEATURES, &mut features)
    });
    let mut param = HvmParam {
        domid: DOMID_SELF,
        pad: 0,
        index: HVM_PARAM_STORE_EVTCHN,
        value: 0,
    };
    measure("hvm_get_param", TIMES, || {
        operate(HVM_OP, HVMOP_GET_PARAM, &mut param)
    });
    measure("sched_yield", TIMES, || {
        hypercall(SCHED_OP, [SCHEDOP_YIELD.into(), 0, 0, 0, 0])
    });
    let mut entries = [MulticallEntry {
        op: XEN_VERSION,
        result: 0,
        args: [0; 6],
    }; 8];
    let list = &raw mut entries as u64;
    measure("multicall_8", TIMES, || {
        hypercall(MULTICALL, [list, 8, 0, 0, 0])
    });
    measure_error("bad_pointer", TIMES, || {
        hypercall(
            EVENT_CHANNEL_OP,
            [EVTCHNOP_SEND.into(), BAD_POINTER, 0, 0, 0],
        )
    });
}

fn others() {
    measure("psci_version", TIMES, || {
        i64::from(psci::call(psci::VERSION, [0; 3]))
    });
    measure("idreg_trap", TIMES, || {
        black_box(read_sysreg!("id_aa64isar0_el1"));
        0
    });
    let typer = dt::facts().gic.distributor() + gic::TYPER;
    measure("gicd_read", TIMES, || {
        black_box(read32(typer));
        0
    });
    if dt::facts().gic.is_v3() {
        let waker = gic::redistributor(0) + 0x14;
        measure("gicr_read", TIMES, || {
            black_box(read32(waker));
            0
        });
    }
}
