// SPDX-License-Identifier: MIT OR Apache-2.0
//! `platform_op` (public/platform.h): the initial domain sets the wall clock.

use super::{Args, CallResult, OK, access, page};
use crate::current::Current;
use crate::domain::Domain;
use crate::guest::copy::GuestPtr;
use crate::guest::shared::SharedPage;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use xen_abi::errno::Errno;
use xen_abi::platform::{PlatformOp, SetTime64, XENPF_INTERFACE_VERSION, XENPF_SETTIME64};
use xen_abi::xen::SharedInfo;

const NS: i128 = 1_000_000_000;

pub(super) fn platform_op(cur: &mut Current<'_>, [arg, ..]: Args) -> CallResult {
    let op = GuestPtr::<PlatformOp>::new(arg).read(cur.memory())?;
    if op.interface_version != XENPF_INTERFACE_VERSION {
        return Err(Errno::Acces);
    }
    access::control(cur)?;
    match op.cmd {
        XENPF_SETTIME64 => set_time(cur, &op.u.get()),
        _ => Err(Errno::NoSys),
    }
}

/// All domains are told at what wall clock time their virtual counter was 0.
fn set_time(cur: &Current<'_>, time: &SetTime64) -> CallResult {
    if time.mbz != 0 {
        return Err(Errno::Inval);
    }
    let now = i128::from(time.secs)
        .saturating_mul(NS)
        .saturating_add(time.nsecs.into());
    let at_boot = now.saturating_sub(time.system_time.into());
    for domain in cur.sys.domains.all() {
        show_time(&domain, at_boot);
    }
    OK
}

/// Writes a domain's `wc_*`. `at_boot`: wall clock when system time was 0, in ns since 1970.
fn show_time(domain: &Domain, at_boot: i128) {
    let sys = domain.sys;
    let ticks = i128::from(domain.cntvoff).saturating_sub(sys.boot_ticks.into());
    let frequency = i128::from(sys.hw.frequency().max(1));
    let since_boot = ticks.saturating_mul(NS).checked_div(frequency).unwrap_or(0);
    let offset = i128::from(domain.time_offset.load(Ordering::Relaxed)).saturating_mul(NS);
    let at_zero = at_boot
        .saturating_add(since_boot)
        .saturating_add(offset)
        .max(0) as u128;
    let sec = at_zero.checked_div(NS as u128).unwrap_or(0) as u64;
    let nsec = at_zero.checked_rem(NS as u128).unwrap_or(0) as u32;
    if let Some(shared) = sys.frames.get(domain.shared_info.mfn(), domain.id) {
        write_wallclock(&page::share(sys.map, shared), sec, nsec);
    }
}

/// The version is odd meanwhile. The guest may scribble on it all, to its own harm.
fn write_wallclock(page: &SharedPage, sec: u64, nsec: u32) -> Option<()> {
    let version = page.atomic_u32(offset_of!(SharedInfo, wc_version))?;
    let odd = version.load(Ordering::Relaxed) | 1;
    version.store(odd, Ordering::SeqCst);
    for (offset, value) in [
        (offset_of!(SharedInfo, wc_sec), sec as u32),
        (offset_of!(SharedInfo, wc_nsec), nsec),
        (offset_of!(SharedInfo, wc_sec_hi), (sec >> 32) as u32),
    ] {
        page.atomic_u32(offset)?.store(value, Ordering::SeqCst);
    }
    version.store(odd.wrapping_add(1), Ordering::SeqCst);
    Some(())
}
