// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels: hypercalls, the pages shared with the hypervisor, and the upcall.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use xen_abi::event::{
    AllocUnbound, BindInterdomain, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN,
    EVTCHNOP_CLOSE, EVTCHNOP_SEND, EVTCHNOP_UNMASK, Port,
};
use xen_abi::hypercall::{EVENT_CHANNEL_OP, VCPU_OP};
use xen_abi::memory::XENMAPSPACE_SHARED_INFO;
use xen_abi::vcpu::{RegisterVcpuInfo, VCPUOP_REGISTER_VCPU_INFO};
use xen_abi::xen::DOMID_SELF;

use super::fifo;
use super::hypercall::{hypercall, operate};
use super::memory::add_to_physmap;
use super::page::Page;
use crate::machine::cpu;

/// `struct vcpu_info`, shared.
#[repr(C)]
pub(crate) struct VcpuInfo {
    /// Non-zero: events wait.
    pub(crate) upcall_pending: AtomicU8,
    _pad: [u8; 7],
    /// Words of the pending bits to look at.
    pub(crate) pending_sel: AtomicU64,
    _time: [u64; 4],
}

/// `struct shared_info`, shared.
#[repr(C)]
pub(crate) struct SharedInfo {
    pub(crate) vcpu_info: VcpuInfo,
    pub(crate) pending: [AtomicU64; 64],
    pub(crate) mask: [AtomicU64; 64],
}

/// Ports whose events are counted.
const PORTS: usize = 4096;

static SHARED_INFO: Page = Page::new();
static INFOS: Page = Page::new();
static REGISTERED: AtomicU32 = AtomicU32::new(0);
static RECEIVED: [AtomicU32; PORTS] = [const { AtomicU32::new(0) }; PORTS];
static ORDER: [AtomicU32; PORTS] = [const { AtomicU32::new(0) }; PORTS];
static TOTAL: AtomicU32 = AtomicU32::new(0);

/// The shared info page, once [`map_shared_info`] has mapped it.
#[inline(always)]
pub(crate) fn shared_info() -> &'static SharedInfo {
    let page = &raw const SHARED_INFO;
    // SAFETY: the page is large enough, aligned, and atomics or unused bytes through and through.
    unsafe { &*page.cast::<SharedInfo>() }
}

/// Has the hypervisor put the shared info page in place of one of the image's.
pub(crate) fn map_shared_info() -> i64 {
    add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, SHARED_INFO.frame())
}

/// Connects a new port to port `remote_port` of `domain`; its number.
///
/// # Errors
/// What the hypercall returned.
pub(crate) fn bind_interdomain(domain: u16, remote_port: u32) -> Result<u32, i64> {
    let mut bind = BindInterdomain {
        remote_dom: domain,
        _pad: 0,
        remote_port,
        local_port: 0,
    };
    match operate(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &mut bind) {
        0 => Ok(bind.local_port),
        error => Err(error),
    }
}

/// Makes two connected ports of this domain.
///
/// # Errors
/// What the hypercall that failed returned.
pub(crate) fn connected_pair() -> Result<(u32, u32), i64> {
    let remote_port = alloc_unbound()?;
    let local_port = bind_interdomain(DOMID_SELF, remote_port)?;
    Ok((local_port, remote_port))
}

/// Makes a port that this domain may connect to.
///
/// # Errors
/// What the hypercall returned.
pub(crate) fn alloc_unbound() -> Result<u32, i64> {
    alloc_unbound_for(DOMID_SELF)
}

/// Makes a port that `domain` may connect to.
///
/// # Errors
/// What the hypercall returned.
pub(crate) fn alloc_unbound_for(domain: u16) -> Result<u32, i64> {
    let mut alloc = AllocUnbound {
        dom: DOMID_SELF,
        remote_dom: domain,
        port: 0,
    };
    match operate(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &mut alloc) {
        0 => Ok(alloc.port),
        error => Err(error),
    }
}

/// Closes a port.
pub(crate) fn close(port: u32) -> i64 {
    operate(EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, &mut Port { port })
}

/// Sends an event through a port to its peer.
#[inline(always)]
pub(crate) fn send(port: u32) -> i64 {
    operate(EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut Port { port })
}

/// Unmasks a port by hypercall.
pub(crate) fn unmask(port: u32) -> i64 {
    operate(EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, &mut Port { port })
}

/// Masks or unmasks a port in the shared page (2-level ABI).
pub(crate) fn set_masked(port: u32, masked: bool) {
    let word = &shared_info().mask[port as usize / 64];
    let bit = 1 << (port % 64);
    if masked {
        word.fetch_or(bit, Ordering::SeqCst);
    } else {
        word.fetch_and(!bit, Ordering::SeqCst);
    }
}

/// How many events came in on a port.
pub(crate) fn received(port: u32) -> u32 {
    RECEIVED
        .get(port as usize)
        .map_or(0, |count| count.load(Ordering::Acquire))
}

/// The number of the latest event of each port, counted over all ports: their order.
pub(crate) fn order(port: u32) -> u32 {
    ORDER
        .get(port as usize)
        .map_or(0, |order| order.load(Ordering::Acquire))
}

fn note(port: usize) {
    let number = TOTAL.fetch_add(1, Ordering::SeqCst) + 1;
    if let (Some(count), Some(order)) = (RECEIVED.get(port), ORDER.get(port)) {
        order.store(number, Ordering::Release);
        count.fetch_add(1, Ordering::Release);
    }
}

/// Makes a hypercall about one CPU's `vcpu_info` or about a port.
pub(crate) fn call<T>(operation: u32, argument: &mut T) -> i64 {
    operate(EVENT_CHANNEL_OP, operation, argument)
}

/// Registers a place of its own for CPU `number`'s `vcpu_info`.
pub(crate) fn register_vcpu_info(number: usize) -> i64 {
    let mut argument = RegisterVcpuInfo {
        mfn: INFOS.frame(),
        offset: (number * 64) as u32,
        rsvd: 0,
    };
    let (operation, address) = (VCPUOP_REGISTER_VCPU_INFO, &raw mut argument as u64);
    let answer = hypercall(VCPU_OP, [operation.into(), number as u64, address, 0, 0]);
    if answer == 0 {
        REGISTERED.fetch_or(1 << number, Ordering::SeqCst);
    }
    answer
}

/// The calling CPU's `vcpu_info`.
fn vcpu_info(number: usize) -> &'static VcpuInfo {
    if REGISTERED.load(Ordering::SeqCst) >> number & 1 == 0 {
        return &shared_info().vcpu_info;
    }
    let page = &raw const INFOS;
    // SAFETY: 64 CPUs have 64 bytes of the page each, and the structure is atomics or unused bytes.
    unsafe { &*page.cast::<u8>().add(number % 64 * 64).cast::<VcpuInfo>() }
}

/// Consumes what is pending: the handler of the event interrupt.
pub(crate) fn upcall() {
    let number = cpu::number();
    let info = vcpu_info(number);
    info.upcall_pending.store(0, Ordering::SeqCst);
    if fifo::is_on() {
        return fifo::consume(number, note);
    }
    let mut words = info.pending_sel.swap(0, Ordering::SeqCst);
    while words != 0 {
        let word = words.trailing_zeros() as usize;
        words &= words - 1;
        consume_word(shared_info(), word);
    }
}

fn consume_word(shared: &SharedInfo, word: usize) {
    let mut bits = shared.pending[word].load(Ordering::SeqCst);
    bits &= !shared.mask[word].load(Ordering::SeqCst);
    shared.pending[word].fetch_and(!bits, Ordering::SeqCst);
    while bits != 0 {
        note(word * 64 + bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}
