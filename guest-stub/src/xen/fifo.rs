// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's side of the FIFO event ABI: an event word a port, a control block with sixteen queues a CPU.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use xen_abi::event::{
    EVTCHN_FIFO_LINK_MASK, EVTCHN_FIFO_LINKED, EVTCHN_FIFO_MASKED, EVTCHN_FIFO_MAX_QUEUES,
    EVTCHN_FIFO_PENDING, EVTCHNOP_EXPAND_ARRAY, EVTCHNOP_INIT_CONTROL, ExpandArray, InitControl,
};

use super::event::call;
use super::page::Page;
use crate::machine::cpu::MAX_CPUS;

const QUEUES: usize = EVTCHN_FIFO_MAX_QUEUES as usize;
const PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
const MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
const LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;

/// `struct evtchn_fifo_control_block`, shared.
#[repr(C)]
struct ControlBlock {
    ready: AtomicU32,
    _reserved: u32,
    head: [AtomicU32; QUEUES],
}

static CONTROL: [Page; MAX_CPUS] = [const { Page::new() }; MAX_CPUS];
static ARRAY: Page = Page::new();
static ON: AtomicBool = AtomicBool::new(false);
/// The event each CPU goes on with in each queue; 0 for the head in the control block.
static HEADS: [[AtomicU32; QUEUES]; MAX_CPUS] =
    [const { [const { AtomicU32::new(0) }; QUEUES] }; MAX_CPUS];

/// Whether events come by FIFO.
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::SeqCst)
}

/// Says that events come by FIFO, or again by the 2-level ABI.
pub(crate) fn set_on(on: bool) {
    ON.store(on, Ordering::SeqCst);
}

/// Registers CPU `number`'s control block: the answer, and the number of link bits.
pub(crate) fn init_control(number: usize, offset: u32) -> (i64, u8) {
    let mut argument = InitControl {
        control_gfn: CONTROL[number % MAX_CPUS].frame(),
        offset,
        vcpu: number as u32,
        link_bits: 0,
        _pad: [0; 7],
    };
    let answer = call(EVTCHNOP_INIT_CONTROL, &mut argument);
    (answer, argument.link_bits)
}

/// Registers the page of event words of ports 0-1023.
pub(crate) fn expand_array() -> i64 {
    let array_gfn = ARRAY.frame();
    call(EVTCHNOP_EXPAND_ARRAY, &mut ExpandArray { array_gfn })
}

fn control(number: usize) -> &'static ControlBlock {
    let page = &raw const CONTROL[number];
    // SAFETY: the page is large enough, aligned, and the structure atomics or unused bytes.
    unsafe { &*page.cast::<ControlBlock>() }
}

fn words() -> &'static [AtomicU32; 1024] {
    let page = &raw const ARRAY;
    // SAFETY: a page holds 1024 words of 32 bits.
    unsafe { &*page.cast::<[AtomicU32; 1024]>() }
}

fn word(port: u32) -> &'static AtomicU32 {
    &words()[port as usize % 1024]
}

/// Masks or unmasks a port, without telling the hypervisor.
pub(crate) fn set_masked(port: u32, masked: bool) {
    if masked {
        word(port).fetch_or(MASKED, Ordering::SeqCst);
    } else {
        word(port).fetch_and(!MASKED, Ordering::SeqCst);
    }
}

/// Whether a port is pending.
pub(crate) fn is_pending(port: u32) -> bool {
    word(port).load(Ordering::SeqCst) & PENDING != 0
}

/// Consumes CPU `number`'s queues, the most urgent first, giving each port to `note`.
pub(super) fn consume(number: usize, note: impl Fn(usize)) {
    let control = control(number);
    let mut ready = control.ready.swap(0, Ordering::SeqCst);
    while ready != 0 {
        let queue = ready.trailing_zeros();
        if !consume_one(control, &HEADS[number], queue as usize, &note) {
            ready &= !(1 << queue);
        }
        ready |= control.ready.swap(0, Ordering::SeqCst);
    }
}

/// Consumes one event of a queue; whether there are more.
fn consume_one(
    control: &ControlBlock,
    heads: &[AtomicU32; QUEUES],
    queue: usize,
    note: impl Fn(usize),
) -> bool {
    let (Some(head), Some(first)) = (heads.get(queue), control.head.get(queue)) else {
        return false;
    };
    let port = match head.load(Ordering::Relaxed) {
        0 => first.load(Ordering::SeqCst),
        port => port,
    };
    let before = word(port).fetch_and(!(LINKED | EVTCHN_FIFO_LINK_MASK), Ordering::SeqCst);
    let next = before & EVTCHN_FIFO_LINK_MASK;
    head.store(next, Ordering::Relaxed);
    if before & PENDING != 0 && before & MASKED == 0 {
        word(port).fetch_and(!PENDING, Ordering::SeqCst);
        note(port as usize);
    }
    next != 0
}
