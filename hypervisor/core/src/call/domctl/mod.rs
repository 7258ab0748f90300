// SPDX-License-Identifier: MIT OR Apache-2.0
//! `domctl` (public/domctl.h): a toolstack acts on one domain.
//!
//! One command at a time: while one creates, changes or destroys a domain, others wait in their
//! guests. A command that takes long goes on with the same structure.

mod affinity;
mod bitmap;
mod create;
mod device;
mod info;
mod life;
mod memory;
mod others;
mod sched;
mod vcpu;
mod vuart;

pub(super) use bitmap::write as write_bitmap;
pub(super) use info::describe;

use super::{Args, CallResult, OK, Outcome, access};
use crate::current::Current;
use crate::domain::Domain;
use crate::guest::copy::GuestPtr;
use alloc::sync::Arc;
use xen_abi::Payload;
use xen_abi::domctl::*;
use xen_abi::errno::Errno;
use xen_abi::xen::DOMID_INVALID;

/// What a command leaves to do.
enum Answer {
    /// Nothing.
    Done,
    /// The structure goes back to the guest.
    Copy,
    /// The command goes on later, with the structure as it is now.
    Again,
}

/// A command: acts on a domain, with arguments that it may change.
type Command = fn(&Current<'_>, &Arc<Domain>, &mut Payload) -> Result<Answer, Errno>;

/// `ESRCH` comes before `EPERM`, and before `ENOSYS` for a command that is not there.
pub(super) fn domctl(cur: &mut Current<'_>, args: Args) -> CallResult {
    let [arg, ..] = args;
    let ptr = GuestPtr::<Domctl>::new(arg);
    let mut op = ptr.read(cur.memory())?;
    if op.interface_version != XEN_DOMCTL_INTERFACE_VERSION {
        return Err(Errno::Acces);
    }
    let domain = match op.cmd {
        // The domain to be created is the one that need not be there.
        XEN_DOMCTL_CREATEDOMAIN => None,
        XEN_DOMCTL_TEST_ASSIGN_DEVICE if op.domain == DOMID_INVALID => None,
        _ => Some(access::by_id(cur, op.domain)?),
    };
    access::control(cur)?;
    let Some(_managing) = cur.sys.domains.manage() else {
        return Ok(Outcome::Again(args));
    };
    let Some(domain) = domain else {
        return match op.cmd {
            XEN_DOMCTL_CREATEDOMAIN => {
                create::create(cur, &mut op)?;
                ptr.write(cur.memory(), &op)?;
                OK
            }
            _ => Err(Errno::OpNotSupp),
        };
    };
    let command = command(op.cmd).ok_or(Errno::NoSys)?;
    match command(cur, &domain, &mut op.u)? {
        Answer::Done => {}
        Answer::Copy => ptr.write(cur.memory(), &op)?,
        Answer::Again => {
            ptr.write(cur.memory(), &op)?;
            return Ok(Outcome::Again(args));
        }
    }
    OK
}

/// The commands that Debian's Xen 4.20 has on Arm.
fn command(cmd: u32) -> Option<Command> {
    Some(match cmd {
        XEN_DOMCTL_DESTROYDOMAIN => life::destroy,
        XEN_DOMCTL_PAUSEDOMAIN => life::pause,
        XEN_DOMCTL_UNPAUSEDOMAIN => life::unpause,
        XEN_DOMCTL_RESUMEDOMAIN => life::resume,
        XEN_DOMCTL_GETDOMAININFO => info::domain,
        XEN_DOMCTL_GETVCPUINFO => info::vcpu,
        XEN_DOMCTL_MAX_VCPUS => vcpu::max_vcpus,
        XEN_DOMCTL_SETVCPUCONTEXT => vcpu::set_context,
        XEN_DOMCTL_GETVCPUCONTEXT => vcpu::get_context,
        XEN_DOMCTL_SET_ADDRESS_SIZE => vcpu::set_address_size,
        XEN_DOMCTL_MAX_MEM => memory::max_mem,
        XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE => memory::get_pool_size,
        XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE => memory::set_pool_size,
        XEN_DOMCTL_CACHEFLUSH => memory::cache_flush,
        XEN_DOMCTL_SCHEDULER_OP => sched::scheduler_op,
        XEN_DOMCTL_SETVCPUAFFINITY => affinity::set_vcpu,
        XEN_DOMCTL_GETVCPUAFFINITY => affinity::get_vcpu,
        XEN_DOMCTL_SETNODEAFFINITY => affinity::set_node,
        XEN_DOMCTL_GETNODEAFFINITY => affinity::get_node,
        XEN_DOMCTL_IOMEM_PERMISSION => device::iomem_permission,
        XEN_DOMCTL_MEMORY_MAPPING => device::memory_mapping,
        XEN_DOMCTL_BIND_PT_IRQ => device::bind_irq,
        XEN_DOMCTL_UNBIND_PT_IRQ => device::unbind_irq,
        XEN_DOMCTL_VUART_OP => vuart::vuart_op,
        other => return others::command(other),
    })
}
