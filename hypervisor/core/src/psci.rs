// SPDX-License-Identifier: MIT OR Apache-2.0
//! PSCI calls of a guest (Arm DEN 0022): its vCPUs on and off, itself off or started over.

use crate::current::Current;
use crate::domain::vcpu::Start;
use crate::trap::smccc::{self, PsciRequest};
use xen_abi::sched::{SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT};

/// Performs `request`, with its answer in X0.
pub fn handle(cur: &mut Current<'_>, request: PsciRequest) {
    let answer = match request {
        PsciRequest::CpuOn {
            mpidr,
            entry,
            context,
        } => cpu_on(cur, mpidr, entry, context),
        PsciRequest::CpuOff => {
            cur.vcpu.go_down();
            return;
        }
        PsciRequest::CpuSuspend => {
            cur.vcpu.block();
            smccc::SUCCESS
        }
        PsciRequest::AffinityInfo { mpidr, level } => affinity_info(cur, mpidr, level),
        PsciRequest::SystemOff => {
            cur.domain.shutdown(SHUTDOWN_POWEROFF);
            return;
        }
        PsciRequest::SystemReset => {
            cur.domain.shutdown(SHUTDOWN_REBOOT);
            return;
        }
    };
    cur.regs.set(0, answer);
}

fn cpu_on(cur: &Current<'_>, mpidr: u64, entry: u64, context: u64) -> u64 {
    let Some(vcpu) = smccc::vcpu_of(mpidr).and_then(|n| cur.domain.vcpu(n)) else {
        return smccc::INVALID_PARAMETERS;
    };
    if !smccc::entry_is_valid(entry) {
        return smccc::INVALID_ADDRESS;
    }
    if vcpu.start(cur.domain, Start { entry, x0: context }) {
        smccc::SUCCESS
    } else {
        smccc::ALREADY_ON
    }
}

fn affinity_info(cur: &Current<'_>, mpidr: u64, level: u8) -> u64 {
    let mut among = cur
        .domain
        .vcpus()
        .iter()
        .filter(|v| smccc::in_affinity(v.id, mpidr, level))
        .peekable();
    if among.peek().is_none() {
        return smccc::INVALID_PARAMETERS;
    }
    if among.any(|v| v.is_up()) {
        smccc::AFFINITY_ON
    } else {
        smccc::AFFINITY_OFF
    }
}
