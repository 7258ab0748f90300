// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a toolstack sees of a domain and of its vCPUs.

use super::Answer;
use crate::current::Current;
use crate::domain::Domain;
use crate::domain::life::Stage;
use crate::domain::vcpu::Vcpu;
use crate::sched::{Place, pause};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use xen_abi::Payload;
use xen_abi::domctl::{
    GetDomainInfo, GetVcpuInfo, XEN_DOMINF_BLOCKED, XEN_DOMINF_DEBUGGED, XEN_DOMINF_DYING,
    XEN_DOMINF_HAP, XEN_DOMINF_HVM_GUEST, XEN_DOMINF_PAUSED, XEN_DOMINF_RUNNING,
    XEN_DOMINF_SHUTDOWN, XEN_DOMINF_SHUTDOWNSHIFT, XEN_INVALID_MAX_VCPU_ID,
};
use xen_abi::errno::Errno;
use zerocopy::FromZeros;

/// `XEN_DOMCTL_getdomaininfo`.
pub(super) fn domain(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    arg.set(&describe(domain));
    Ok(Answer::Copy)
}

/// What there is to say of a domain.
pub(in crate::call) fn describe(domain: &Domain) -> GetDomainInfo {
    let frames = domain.sys.frames;
    let mut info = GetDomainInfo::new_zeroed();
    info.domain = domain.id.0;
    info.flags = flags(domain);
    info.tot_pages = frames.tot_pages(domain.id).into();
    info.max_pages = domain.max_pages.load(Ordering::Relaxed).into();
    info.outstanding_pages = frames.claimed(domain.id).into();
    info.shared_info_frame = domain.shared_info.mfn().0;
    info.cpu_time = domain.vcpus().iter().map(|v| v.run_ns()).sum();
    info.nr_online_vcpus = domain.vcpus().iter().filter(|v| v.is_up()).count() as u32;
    info.max_vcpu_id = (domain.vcpus().len() as u32)
        .checked_sub(1)
        .unwrap_or(XEN_INVALID_MAX_VCPU_ID);
    info.handle = *domain.handle.lock();
    info.cpupool = domain.share.pool();
    info.gpaddr_bits = domain.p2m.ipa_bits() as u8;
    info
}

/// `XEN_DOMINF_*`, and the reason of a shutdown in the upper half: all ones if there was none.
fn flags(domain: &Domain) -> u32 {
    // Who hears that it is shut down takes for granted that its vCPUs have stopped. It may be resumed
    // meanwhile.
    let (paused, code) = loop {
        let (paused, code) = {
            let life = domain.life.lock();
            (life.is_paused(), life.shutdown_code)
        };
        if code.is_none() || domain.is_settled() {
            break (paused, code);
        }
        core::hint::spin_loop();
    };
    let up = || domain.vcpus().iter().filter(|v| v.is_up());
    let running = up().any(|v| v.sched.place() == Place::Running);
    let blocked = up().next().is_some() && up().all(is_blocked);
    let shutdown = code.unwrap_or(u32::MAX) << XEN_DOMINF_SHUTDOWNSHIFT;
    [
        (domain.stage() == Stage::Dead, XEN_DOMINF_DYING),
        (code.is_some(), XEN_DOMINF_SHUTDOWN),
        (paused, XEN_DOMINF_PAUSED),
        (blocked, XEN_DOMINF_BLOCKED),
        (running, XEN_DOMINF_RUNNING),
        (
            domain.is_debugged.load(Ordering::Relaxed),
            XEN_DOMINF_DEBUGGED,
        ),
    ]
    .into_iter()
    .filter(|(is, _)| *is)
    .fold(
        XEN_DOMINF_HVM_GUEST | XEN_DOMINF_HAP | shutdown,
        |all, (_, flag)| all | flag,
    )
}

fn is_blocked(vcpu: &Arc<Vcpu>) -> bool {
    vcpu.sched.flags() & (pause::BLOCKED | pause::POLLING) != 0
}

/// `XEN_DOMCTL_getvcpuinfo`.
pub(super) fn vcpu(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let mut info: GetVcpuInfo = arg.get();
    let vcpu = domain.vcpu(info.vcpu).ok_or(Errno::Inval)?;
    info.online = vcpu.is_up().into();
    info.blocked = is_blocked(vcpu).into();
    info.running = (vcpu.sched.place() == Place::Running).into();
    info.cpu_time = vcpu.run_ns();
    info.cpu = vcpu.sched.home().0;
    arg.set(&info);
    Ok(Answer::Copy)
}
