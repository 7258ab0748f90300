// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other CPUs: started and stopped by PSCI, and given jobs.

use core::mem::transmute;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::cpu::{self, MAX_CPUS};
use super::psci::{self, AFFINITY_INFO, CPU_OFF, CPU_ON};
use super::{barrier, gic, timer};

/// Microseconds after which a CPU is taken for lost.
const PATIENCE: u64 = 20_000_000;
const STACK: usize = 32 * 1024;

#[repr(C, align(16))]
struct Stack([AtomicU32; STACK / 4]);

static STACKS: [Stack; MAX_CPUS] =
    [const { Stack([const { AtomicU32::new(0) }; STACK / 4]) }; MAX_CPUS];
/// What each CPU is to run; null when it has nothing to do.
static JOBS: [AtomicPtr<()>; MAX_CPUS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
/// How often each CPU has come up.
static STARTS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

/// Affinity of CPU `number`, as Xen gives it.
pub(crate) fn affinity(number: usize) -> u64 {
    (number as u64 >> 4) << 8 | number as u64 & 0xf
}

/// How often CPU `number` has come up.
pub(crate) fn starts(number: usize) -> u32 {
    STARTS[number].load(Ordering::Acquire)
}

/// Asks PSCI to start CPU `number`; its answer.
pub(crate) fn start(number: usize) -> i32 {
    unsafe extern "C" {
        fn secondary_entry();
    }
    JOBS[number].store(core::ptr::null_mut(), Ordering::SeqCst);
    let stack = &raw const STACKS[number] as u64 + STACK as u64;
    let entry = secondary_entry as *const () as u64;
    psci::call(CPU_ON, [affinity(number), entry, stack])
}

/// Makes sure that CPU `number` runs; whether it does.
pub(crate) fn ensure_running(number: usize) -> bool {
    if psci::call(AFFINITY_INFO, [affinity(number), 0, 0]) == 0 {
        return true;
    }
    let before = starts(number);
    start(number) == 0 && timer::wait_until(PATIENCE, || starts(number) != before)
}

/// Has CPU `number` run `job`, without waiting for it.
pub(crate) fn post(number: usize, job: fn()) {
    JOBS[number].store(job as *mut (), Ordering::SeqCst);
}

/// Waits until CPU `number` has done its job; whether it has.
pub(crate) fn finished(number: usize) -> bool {
    timer::wait_until(PATIENCE, || JOBS[number].load(Ordering::SeqCst).is_null())
}

/// Has CPU `number` run `job` and waits until it has; whether it has.
pub(crate) fn run(number: usize, job: fn()) -> bool {
    post(number, job);
    finished(number)
}

/// Time from a CPU's being off, by PSCI, until it is started again. Xen says that a CPU is off a little before it is; one
/// that is started in between does not come up.
const OFF: u64 = 5_000;

/// Switches CPU `number` off; whether PSCI says so.
pub(crate) fn stop(number: usize) -> bool {
    post(number, || {
        psci::hvc(CPU_OFF, [0; 3]);
    });
    let off = timer::wait_until(PATIENCE, || {
        psci::call(AFFINITY_INFO, [affinity(number), 0, 0]) == 1
    });
    timer::delay(OFF);
    off
}

/// Every CPU but the first, on its own stack.
#[unsafe(no_mangle)]
extern "C" fn secondary_main() -> ! {
    let number = cpu::number();
    gic::start_cpu();
    STARTS[number].fetch_add(1, Ordering::Release);
    loop {
        let job = JOBS[number].load(Ordering::SeqCst);
        if job.is_null() {
            barrier::relax();
            continue;
        }
        // SAFETY: `post` alone stores anything but null, and it stores a `fn()`.
        let job = unsafe { transmute::<*mut (), fn()>(job) };
        job();
        JOBS[number].store(core::ptr::null_mut(), Ordering::SeqCst);
    }
}
