// SPDX-License-Identifier: MIT OR Apache-2.0
//! `domctl` and `sysctl`: what a toolstack does, and a domain of a few pages made with them.

use core::arch::global_asm;

use xen_abi::arch_arm::{
    GUEST_RAM0_BASE, PSR_GUEST64_INIT, SCTLR_GUEST_INIT, VGCF_ONLINE, VcpuGuestContext,
};
use xen_abi::domctl::{
    AddressSize, CreateDomain, Domctl, GetDomainInfo, MaxMem, MaxVcpus, PagingMempool, VcpuContext,
    XEN_DOMCTL_CDF_HAP, XEN_DOMCTL_CDF_HVM, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_GETDOMAININFO,
    XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_MAX_MEM, XEN_DOMCTL_MAX_VCPUS,
    XEN_DOMCTL_SET_ADDRESS_SIZE, XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE, XEN_DOMCTL_SETVCPUCONTEXT,
};
use xen_abi::grant::GTF_PERMIT_ACCESS;
use xen_abi::hypercall::{DOMCTL, MEMORY_OP, SYSCTL};
use xen_abi::memory::{
    AcquireResource, AddToPhysmapBatch, MemoryReservation, XENMAPSPACE_GMFN_FOREIGN,
    XENMEM_ACQUIRE_RESOURCE, XENMEM_ADD_TO_PHYSMAP_BATCH, XENMEM_POPULATE_PHYSMAP,
    XENMEM_RESOURCE_GRANT_TABLE,
};
use xen_abi::sysctl::{PhysInfo, Sysctl, XEN_SYSCTL_INTERFACE_VERSION, XEN_SYSCTL_PHYSINFO};
use xen_abi::xen::DOMID_SELF;
use xen_abi::zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};
use xen_abi::{Handle, Payload};

use super::hypercall::{hypercall, operate};
use super::memory::remove_from_physmap;
use crate::machine::mmio::{read64, write64};

/// No arguments.
pub(crate) const NONE: u64 = 0;

/// Performs a command on a domain: what came back in x0, and the structure after.
pub(crate) fn command<T: IntoBytes + Immutable>(
    cmd: u32,
    domain: u16,
    argument: &T,
) -> (i64, Domctl) {
    let mut op = Domctl {
        cmd,
        interface_version: XEN_DOMCTL_INTERFACE_VERSION,
        domain,
        _pad: [0; 3],
        u: Payload::ZERO,
    };
    op.u.set(argument);
    let result = hypercall(DOMCTL, [&raw mut op as u64, 0, 0, 0, 0]);
    (result, op)
}

/// As [`command`], for what came back in x0 alone.
pub(crate) fn domctl<T: IntoBytes + Immutable>(cmd: u32, domain: u16, argument: &T) -> i64 {
    command(cmd, domain, argument).0
}

/// What the hypervisor says of a domain, or its error.
pub(crate) fn info(domain: u16) -> Result<GetDomainInfo, i64> {
    match command(XEN_DOMCTL_GETDOMAININFO, domain, &NONE) {
        (0, op) => Ok(op.u.get()),
        (error, _) => Err(error),
    }
}

/// Performs a command on the machine.
pub(crate) fn sysctl<T, R>(cmd: u32, argument: &T) -> (i64, R)
where
    T: IntoBytes + Immutable,
    R: FromBytes + IntoBytes,
{
    let mut op = Sysctl {
        cmd,
        interface_version: XEN_SYSCTL_INTERFACE_VERSION,
        u: Payload::ZERO,
    };
    op.u.set(argument);
    let result = hypercall(SYSCTL, [&raw mut op as u64, 0, 0, 0, 0]);
    (result, op.u.get())
}

/// Pages of RAM that are free.
pub(crate) fn free_pages() -> u64 {
    sysctl::<_, PhysInfo>(XEN_SYSCTL_PHYSINFO, &NONE)
        .1
        .free_pages
}

/// What xl asks for, with one vCPU.
pub(crate) fn plain() -> CreateDomain {
    let mut config = CreateDomain::new_zeroed();
    config.ssidref = 12;
    config.flags = XEN_DOMCTL_CDF_HVM | XEN_DOMCTL_CDF_HAP;
    config.max_vcpus = 1;
    config.max_evtchn_port = 1023;
    config.max_grant_frames = -1;
    config.max_maptrack_frames = -1;
    config.grant_opts = 1;
    config
}

/// Creates a domain with number `wanted`; its number, or the error.
pub(crate) fn create(wanted: u16, config: &CreateDomain) -> Result<u16, i64> {
    match command(XEN_DOMCTL_CREATEDOMAIN, wanted, config) {
        (0, op) => Ok(op.domain),
        (error, _) => Err(error),
    }
}

/// First frame of a domain's memory.
pub(crate) const BASE: u64 = GUEST_RAM0_BASE >> 12;
/// Pages that [`build`] gives it.
pub(crate) const PAGES: u64 = 8;
/// Page that its program is in, and that it works on.
pub(crate) const CODE: u64 = 0;
pub(crate) const DATA: u64 = 1;

/// What the vCPU of a domain does; X0 points to the first word of page [`DATA`].
#[derive(Clone, Copy)]
pub(crate) enum Program {
    /// Adds 1 to the word for ever.
    Count,
    /// Waits for interrupts.
    Sleep,
    /// Shuts down, with the word for reason.
    ShutDown,
    /// Writes the word to its UART, and then each byte that it reads from there, plus one.
    Echo,
}

global_asm!(
    ".pushsection .rodata.programs, \"a\"",
    ".balign 8",
    ".global _programs",
    "_programs:",
    // Count, at 0
    "1: ldr x1, [x0]",
    "add x1, x1, #1",
    "str x1, [x0]",
    "b 1b",
    // Sleep, at 16
    "2: wfi",
    "b 2b",
    "nop",
    "nop",
    // ShutDown, at 32
    "mov x1, x0",
    "mov x0, #2",
    "mov x16, #29",
    "hvc #0xea1",
    "b .",
    "nop",
    // Echo, at 56
    "mov x2, #0x22000000",
    "ldr x1, [x0]",
    "3: str w1, [x2]",
    "4: ldr w3, [x2, #0x18]",
    "tbnz w3, #4, 4b",
    "ldr w1, [x2]",
    "add w1, w1, #1",
    "b 3b",
    ".popsection",
);

/// Words of the programs.
const WORDS: usize = 11;

fn programs() -> [u64; WORDS] {
    unsafe extern "C" {
        #[link_name = "_programs"]
        static PROGRAMS: [u64; WORDS];
    }
    // SAFETY: the assembly above has as many words, aligned.
    unsafe { PROGRAMS }
}

impl Program {
    fn offset(self) -> u64 {
        match self {
            Self::Count => 0,
            Self::Sleep => 16,
            Self::ShutDown => 32,
            Self::Echo => 56,
        }
    }
}

/// Makes a paused domain of one vCPU and [`PAGES`] pages; its number, or which step failed and how.
pub(crate) fn build() -> Result<u16, (&'static str, i64)> {
    build_as(&plain())
}

/// As [`build`], created as `config` says.
pub(crate) fn build_as(config: &CreateDomain) -> Result<u16, (&'static str, i64)> {
    let id = create(u16::MAX, config).map_err(|error| ("createdomain", error))?;
    let step = |name, result: i64| match result {
        0 => Ok(()),
        error => Err((name, error)),
    };
    step(
        "max_vcpus",
        domctl(XEN_DOMCTL_MAX_VCPUS, id, &MaxVcpus { max: 1 }),
    )?;
    let max_memkb = 1024;
    step(
        "max_mem",
        domctl(XEN_DOMCTL_MAX_MEM, id, &MaxMem { max_memkb }),
    )?;
    let size = 512 << 12;
    let pool = PagingMempool { size };
    step(
        "set_paging_mempool_size",
        domctl(XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE, id, &pool),
    )?;
    step(
        "set_address_size",
        domctl(XEN_DOMCTL_SET_ADDRESS_SIZE, id, &AddressSize { size: 64 }),
    )?;
    let done = populate(id, BASE, PAGES, 0);
    step("populate_physmap", done - PAGES as i64)?;
    Ok(id)
}

/// Gives a domain `nr` extents (32 at most) of 2^`order` pages from frame `gfn` on; how many there were.
pub(crate) fn populate(id: u16, gfn: u64, nr: u64, order: u32) -> i64 {
    let mut frames = [0; 32];
    for (frame, n) in frames.iter_mut().zip(0..nr) {
        *frame = gfn + (n << order);
    }
    let mut request = MemoryReservation {
        extent_start: Handle(&raw const frames as u64),
        nr_extents: nr,
        extent_order: order,
        mem_flags: 0,
        domid: id,
        _pad: [0; 6],
    };
    operate(MEMORY_OP, XENMEM_POPULATE_PHYSMAP, &mut request)
}

/// Puts the programs into a domain, and has its vCPU begin with one, with `word` in its page.
pub(crate) fn load(id: u16, program: Program, word: u64, window: u64) -> i64 {
    for (page, words) in [(CODE, &programs()[..]), (DATA, &[word])] {
        let error = map_foreign(id, BASE + page, window);
        if error != 0 {
            return error;
        }
        for (n, word) in (0..).zip(words) {
            write64((window << 12) + n * 8, *word);
        }
        clean(window << 12, words.len());
        remove_from_physmap(window);
    }
    let mut context = VcpuGuestContext::new_zeroed();
    context.flags = VGCF_ONLINE;
    context.user_regs.pc64 = GUEST_RAM0_BASE + program.offset();
    context.user_regs.x[0] = GUEST_RAM0_BASE + (DATA << 12);
    context.user_regs.cpsr = PSR_GUEST64_INIT;
    context.sctlr = SCTLR_GUEST_INIT;
    let argument = VcpuContext {
        vcpu: 0,
        _pad: 0,
        ctxt: Handle(&raw const context as u64),
    };
    domctl(XEN_DOMCTL_SETVCPUCONTEXT, id, &argument)
}

/// The guest starts with its caches off.
fn clean(address: u64, words: usize) {
    for n in 0..words as u64 {
        // SAFETY: cache maintenance of our own view changes no memory.
        unsafe {
            core::arch::asm!("dc civac, {}", in(reg) address + n * 8, options(nostack, preserves_flags))
        };
    }
    crate::machine::barrier::dsb();
}

/// Maps frame `from` of a domain at our frame `at`.
pub(crate) fn map_foreign(id: u16, from: u64, at: u64) -> i64 {
    let mut error = 0_i32;
    let mut argument = AddToPhysmapBatch {
        domid: DOMID_SELF,
        space: XENMAPSPACE_GMFN_FOREIGN as u16,
        size: 1,
        foreign_domid: id,
        idxs: Handle(&raw const from as u64),
        gpfns: Handle(&raw const at as u64),
        errs: Handle(&raw mut error as u64),
    };
    match operate(MEMORY_OP, XENMEM_ADD_TO_PHYSMAP_BATCH, &mut argument) {
        // SAFETY: a local, which the hypercall may have written.
        0 => i64::from(unsafe { (&raw const error).read_volatile() }),
        error => error,
    }
}

/// Has domain `id` grant us its frame `gfn`: maps its grant table at our frame `at`, where it stays, and writes an entry.
pub(crate) fn grant_to_us(id: u16, at: u64, reference: u32, gfn: u64) -> i64 {
    let frames = [at];
    let mut acquire = AcquireResource {
        domid: id,
        r#type: XENMEM_RESOURCE_GRANT_TABLE,
        id: 0,
        nr_frames: 1,
        pad: 0,
        frame: 0,
        frame_list: Handle(&raw const frames as u64),
    };
    let result = operate(MEMORY_OP, XENMEM_ACQUIRE_RESOURCE, &mut acquire);
    if result == 0 {
        let entry = gfn << 32 | u64::from(GTF_PERMIT_ACCESS);
        write64((at << 12) + u64::from(reference) * 8, entry);
    }
    result
}

/// The word of page [`DATA`], which is mapped at our frame `window`.
pub(crate) fn word(window: u64) -> u64 {
    read64(window << 12)
}
