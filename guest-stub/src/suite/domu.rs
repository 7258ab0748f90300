// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a domain without privileges is answered. dom0 has its peer ask.

use xen_abi::Handle;
use xen_abi::event::{
    AllocUnbound, BindInterdomain, BindVirq, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN,
    EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE, EVTCHNOP_RESET, EVTCHNOP_STATUS, Port, Reset, Status,
};
use xen_abi::grant::{
    CacheFlush, GNTTABOP_CACHE_FLUSH, GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF,
    GNTTABOP_QUERY_SIZE, GNTTABOP_SET_VERSION, GetVersion, MapGrantRef, QuerySize, SetVersion,
};
use xen_abi::hvm::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam};
use xen_abi::hypercall::{
    CONSOLE_IO, DOMCTL, EVENT_CHANNEL_OP, GRANT_TABLE_OP, HVM_OP, HYPFS_OP, MEMORY_OP, MULTICALL,
    PHYSDEV_OP, PLATFORM_OP, SCHED_OP, SYSCTL, VCPU_OP, VM_ASSIST, XEN_VERSION, XSM_OP,
};
use xen_abi::memory::{
    AcquireResource, AddToPhysmap, DomidArg, MemoryReservation, RemoveFromPhysmap,
    XENMEM_ACQUIRE_RESOURCE, XENMEM_ADD_TO_PHYSMAP, XENMEM_CLAIM_PAGES, XENMEM_CURRENT_RESERVATION,
    XENMEM_MAXIMUM_GPFN, XENMEM_MAXIMUM_RESERVATION, XENMEM_POPULATE_PHYSMAP,
    XENMEM_REMOVE_FROM_PHYSMAP,
};
use xen_abi::sched::{PinOverride, RemoteShutdown, SCHEDOP_PIN_OVERRIDE, SCHEDOP_REMOTE_SHUTDOWN};
use xen_abi::version::{FeatureInfo, XENVER_GET_FEATURES};
use xen_abi::xen::{DOMID_SELF, VIRQ_CONSOLE, VIRQ_DEBUG};

use super::call::NOBODY;
use super::check::Check;
use super::errno::{EACCES, EFAULT, EINVAL, ENOENT, ENOSYS, EPERM, ESRCH};
use super::two::{peer, peer_of_two, peer_rows};
use crate::machine::dt::facts;
use crate::xen::peer::Peer;

const DOM0: u16 = 0;

fn version(peer: Peer, command: u64) -> i64 {
    peer.plain(XEN_VERSION, [command, 0, 0])
}

fn features(peer: Peer) -> u32 {
    let info = FeatureInfo {
        submap_idx: 0,
        submap: 0,
    };
    peer.with(XEN_VERSION, XENVER_GET_FEATURES, info).1.submap
}

/// A structure in x0 that begins with command and interface version.
fn control(peer: Peer, number: u64, version: u32, command: u32, domain: u64) -> i64 {
    let mut words = [0_u64; 18];
    words[0] = u64::from(version) << 32 | u64::from(command);
    words[1] = domain;
    peer.with_at(number, [0; 3], 0, words).0
}

fn of_domain(peer: Peer, operation: u32, domid: u16) -> i64 {
    peer.answer(MEMORY_OP, operation, DomidArg { domid })
}

fn reservation(peer: Peer, operation: u32, domid: u16) -> i64 {
    let argument = MemoryReservation {
        extent_start: Handle::NULL,
        nr_extents: 0,
        extent_order: 0,
        mem_flags: 0,
        domid,
        _pad: [0; 6],
    };
    peer.answer(MEMORY_OP, operation, argument)
}

fn add(peer: Peer, domid: u16, space: u32, idx: u64) -> i64 {
    let argument = AddToPhysmap {
        domid,
        size: 0,
        space,
        idx,
        gpfn: 0x3_9100,
    };
    peer.answer(MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, argument)
}

fn remove(peer: Peer, domid: u16) -> i64 {
    let argument = RemoveFromPhysmap {
        domid,
        _pad: [0; 6],
        gpfn: 0x3_9100,
    };
    peer.answer(MEMORY_OP, XENMEM_REMOVE_FROM_PHYSMAP, argument)
}

fn acquire(peer: Peer, domid: u16) -> i64 {
    let argument = AcquireResource {
        domid,
        r#type: 1,
        id: 0,
        nr_frames: 0,
        pad: 0,
        frame: 0,
        frame_list: Handle::NULL,
    };
    peer.answer(MEMORY_OP, XENMEM_ACQUIRE_RESOURCE, argument)
}

/// The answer to `alloc_unbound`; a port that was made is closed.
fn alloc(peer: Peer, dom: u16, remote_dom: u16) -> i64 {
    let argument = AllocUnbound {
        dom,
        remote_dom,
        port: 0,
    };
    let (answer, alloc) = peer.with(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, argument);
    if answer == 0 {
        close(peer, alloc.port);
    }
    answer
}

fn close(peer: Peer, port: u32) -> i64 {
    peer.answer(EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, Port { port })
}

fn interdomain(peer: Peer, remote_dom: u16, remote_port: u32) -> i64 {
    let argument = BindInterdomain {
        remote_dom,
        _pad: 0,
        remote_port,
        local_port: 0,
    };
    peer.answer(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, argument)
}

fn virq(peer: Peer, virq: u32) -> i64 {
    let argument = BindVirq {
        virq,
        vcpu: 0,
        port: 0,
    };
    let (answer, bind) = peer.with(EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, argument);
    if answer == 0 {
        close(peer, bind.port);
    }
    answer
}

fn status(peer: Peer, dom: u16) -> i64 {
    let argument = Status {
        dom,
        _pad: 0,
        port: 1,
        status: 0,
        vcpu: 0,
        u: [0; 2],
    };
    peer.answer(EVENT_CHANNEL_OP, EVTCHNOP_STATUS, argument)
}

fn map(peer: Peer, dom: u16, reference: u32) -> i16 {
    let argument = MapGrantRef {
        host_addr: 0x3910_0000,
        flags: 2,
        r#ref: reference,
        dom,
        status: 99,
        handle: 0,
        dev_bus_addr: 0,
    };
    peer.with(GRANT_TABLE_OP, GNTTABOP_MAP_GRANT_REF, argument)
        .1
        .status
}

fn query(peer: Peer, dom: u16) -> i16 {
    let argument = QuerySize {
        dom,
        _pad0: 0,
        nr_frames: 0,
        max_nr_frames: 0,
        status: 99,
        _pad1: 0,
    };
    peer.with(GRANT_TABLE_OP, GNTTABOP_QUERY_SIZE, argument)
        .1
        .status
}

fn grant_version(peer: Peer, dom: u16) -> i64 {
    let argument = GetVersion {
        dom,
        _pad: 0,
        version: 99,
    };
    peer.answer(GRANT_TABLE_OP, GNTTABOP_GET_VERSION, argument)
}

fn flush(peer: Peer, a: u64) -> i64 {
    let argument = CacheFlush {
        a,
        offset: 0,
        length: 8,
        op: 1,
    };
    peer.answer(GRANT_TABLE_OP, GNTTABOP_CACHE_FLUSH, argument)
}

fn param(peer: Peer, operation: u32, domid: u16, index: u32) -> (i64, u64) {
    let argument = HvmParam {
        domid,
        pad: 0,
        index,
        value: 0,
    };
    let (answer, param) = peer.with(HVM_OP, operation, argument);
    (answer, param.value)
}

fn remote_shutdown(peer: Peer, domain_id: u16) -> i64 {
    let argument = RemoteShutdown {
        domain_id,
        _pad: 0,
        reason: 0,
    };
    peer.answer(SCHED_OP, SCHEDOP_REMOTE_SHUTDOWN, argument)
}

pub(super) const ANSWERS: &[Check] = peer_rows! { peer, p;
    "XENVER_version", version(p, 0) => 0x4_0014;
    "XENVER_pagesize", version(p, 7) => 4096;
    "XENVER_build_id is for the control domain", version(p, 10) => EPERM;
    "XENVER_commandline2 is for the control domain", version(p, 14) => EPERM;
    "XENVER_extraversion2", version(p, 11) > 0 => true;
    "XENVER_capabilities2", version(p, 12) > 0 => true;
    "XENVER_get_features: no dom0, not mapped directly", features(p) => 0x5_6005;
    "domctl: the version is looked at first", control(p, DOMCTL, 0, 5, 1) => EACCES;
    "domctl: a domain that is not", control(p, DOMCTL, 0x17, 5, 77) => ESRCH;
    "domctl: XEN_DOMCTL_getdomaininfo of itself", control(p, DOMCTL, 0x17, 5, 1) => EPERM;
    "domctl: XEN_DOMCTL_getdomaininfo of dom0", control(p, DOMCTL, 0x17, 5, 0) => EPERM;
    "domctl: XEN_DOMCTL_pausedomain of dom0", control(p, DOMCTL, 0x17, 3, 0) => EPERM;
    "domctl: XEN_DOMCTL_createdomain", control(p, DOMCTL, 0x17, 1, 0) => EPERM;
    "sysctl: the version is looked at first", control(p, SYSCTL, 0, 3, 0) => EACCES;
    "sysctl: XEN_SYSCTL_physinfo", control(p, SYSCTL, 0x15, 3, 0) => EPERM;
    "sysctl: XEN_SYSCTL_readconsole", control(p, SYSCTL, 0x15, 1, 0) => EPERM;
    "sysctl: an unknown command", control(p, SYSCTL, 0x15, 9999, 0) => EPERM;
    "platform_op: XENPF_settime64", control(p, PLATFORM_OP, 0x0300_0001, 62, 0) => EPERM;
    "console_io: CONSOLEIO_write is for domains of the device tree", p.plain(CONSOLE_IO, [0, 0, 0]) => 0;
    "console_io: CONSOLEIO_read is for domains of the device tree", p.plain(CONSOLE_IO, [1, 0, 0]) => 0;
    "hypfs_op: XEN_HYPFS_OP_get_version", p.plain(HYPFS_OP, [0, 0, 0]) => EPERM;
    "physdev_op is not there", p.plain(PHYSDEV_OP, [25, 0, 0]) => ENOSYS;
    "xsm_op is not there", p.plain(XSM_OP, [0, 0, 0]) => ENOSYS;
    "vm_assist: runstate_update_flag", p.plain(VM_ASSIST, [0, 5, 0]) => 0;
    "vcpu_op of a vCPU that is not", p.plain(VCPU_OP, [10, 200, 0]) => ENOENT;
    "multicall of an empty list", p.plain(MULTICALL, [0, 0, 0]) => 0;
    "a null pointer", p.plain(EVENT_CHANNEL_OP, [4, 0, 0]) => EFAULT;
    "an unknown hypercall", p.plain(63, [0, 0, 0]) => ENOSYS;
    "XENMEM_maximum_ram_page", p.plain(MEMORY_OP, [2, 0, 0]) > 0 => true;
    "XENMEM_current_reservation of itself", of_domain(p, XENMEM_CURRENT_RESERVATION, DOMID_SELF) > 4096 => true;
    "XENMEM_current_reservation by its number", of_domain(p, XENMEM_CURRENT_RESERVATION, 1) > 4096 => true;
    "XENMEM_current_reservation of dom0", of_domain(p, XENMEM_CURRENT_RESERVATION, DOM0) => EPERM;
    "XENMEM_current_reservation of no domain", of_domain(p, XENMEM_CURRENT_RESERVATION, NOBODY) => ESRCH;
    "XENMEM_maximum_reservation of dom0", of_domain(p, XENMEM_MAXIMUM_RESERVATION, DOM0) => EPERM;
    "XENMEM_maximum_gpfn of dom0", of_domain(p, XENMEM_MAXIMUM_GPFN, DOM0) => EPERM;
    "XENMEM_populate_physmap for dom0", reservation(p, XENMEM_POPULATE_PHYSMAP, DOM0) => 0;
    "XENMEM_claim_pages", reservation(p, XENMEM_CLAIM_PAGES, 1) => EPERM;
    "XENMEM_add_to_physmap for dom0", add(p, DOM0, 1, 0) => EPERM;
    "XENMEM_add_to_physmap: XENMAPSPACE_dev_mmio", add(p, DOMID_SELF, 5, 0x9010) => EACCES;
    "XENMEM_remove_from_physmap for dom0", remove(p, DOM0) => EPERM;
    "XENMEM_remove_from_physmap of what is not there", remove(p, DOMID_SELF) => ENOENT;
    "XENMEM_acquire_resource of dom0", acquire(p, DOM0) => EPERM;
    "XENMEM_acquire_resource of itself", acquire(p, 1) => EPERM;
    "EVTCHNOP_alloc_unbound for dom0", alloc(p, DOMID_SELF, DOM0) => 0;
    "EVTCHNOP_alloc_unbound for itself", alloc(p, DOMID_SELF, DOMID_SELF) => 0;
    "EVTCHNOP_alloc_unbound in dom0", alloc(p, DOM0, 1) => EPERM;
    "EVTCHNOP_alloc_unbound for a domain that is not", alloc(p, DOMID_SELF, NOBODY) => ESRCH;
    "EVTCHNOP_bind_interdomain to a port of dom0's that is not for it", interdomain(p, DOM0, 1) => EINVAL;
    "EVTCHNOP_bind_virq of VIRQ_DEBUG", virq(p, VIRQ_DEBUG) => 0;
    "EVTCHNOP_bind_virq of VIRQ_CONSOLE", virq(p, VIRQ_CONSOLE) => 0;
    "EVTCHNOP_status in dom0", status(p, DOM0) => EPERM;
    "EVTCHNOP_status in itself", status(p, 1) => 0;
    "EVTCHNOP_reset of dom0", p.answer(EVENT_CHANNEL_OP, EVTCHNOP_RESET, Reset { dom: DOM0 }) => EPERM;
    "GNTTABOP_map_grant_ref of what dom0 does not grant", map(p, DOM0, 40) => -1;
    "GNTTABOP_map_grant_ref of no domain", map(p, NOBODY, 8) => -2;
    "GNTTABOP_query_size of itself", query(p, DOMID_SELF) => 0;
    "GNTTABOP_query_size of dom0", query(p, DOM0) => -8;
    "GNTTABOP_get_version of itself", grant_version(p, 1) => 0;
    "GNTTABOP_get_version of dom0", grant_version(p, DOM0) => EPERM;
    "GNTTABOP_set_version(1)", p.answer(GRANT_TABLE_OP, GNTTABOP_SET_VERSION, SetVersion { version: 1 }) => 0;
    "GNTTABOP_cache_flush of a page of dom0's", flush(p, crate::image_start()) => EINVAL;
    "GNTTABOP_cache_flush of the hypervisor's memory", flush(p, facts().grant_region.base) => EPERM;
    "HVM_PARAM_CALLBACK_IRQ is for the device tree to say", param(p, HVMOP_GET_PARAM, DOMID_SELF, 0) => (0, 0);
    "HVM_PARAM_STORE_PFN without xenstore", param(p, HVMOP_GET_PARAM, DOMID_SELF, 1) => (0, 0);
    "HVM_PARAM_STORE_EVTCHN without xenstore", param(p, HVMOP_GET_PARAM, DOMID_SELF, 2) => (0, 0);
    "HVMOP_get_param of dom0", param(p, HVMOP_GET_PARAM, DOM0, 0).0 => EPERM;
    "HVMOP_set_param of its own", param(p, HVMOP_SET_PARAM, DOMID_SELF, 0).0 => EPERM;
    "SCHEDOP_remote_shutdown of dom0", remote_shutdown(p, DOM0) => EPERM;
    "SCHEDOP_pin_override", p.answer(SCHED_OP, SCHEDOP_PIN_OVERRIDE, PinOverride { pcpu: 0 }) => EPERM;
};

/// Xen's SILO mode, Debian's default: domains that are not the control domain have nothing to do with each other.
pub(super) const SILO: &[Check] = peer_rows! { peer_of_two, p;
    "SILO: EVTCHNOP_alloc_unbound for another domain", alloc(p, DOMID_SELF, 2) => EPERM;
    "SILO: EVTCHNOP_bind_interdomain to another domain", interdomain(p, 2, 1) => EINVAL;
    "SILO: GNTTABOP_map_grant_ref of another domain", map(p, 2, 8) => -8;
    "SILO: XENMEM_current_reservation of another domain", of_domain(p, XENMEM_CURRENT_RESERVATION, 2) => EPERM;
    "SILO: SCHEDOP_remote_shutdown of another domain", remote_shutdown(p, 2) => EPERM;
    "SILO: HVMOP_get_param of another domain", param(p, HVMOP_GET_PARAM, 2, 0).0 => EPERM;
    "SILO: GNTTABOP_query_size of another domain", query(p, 2) => -8;
    "SILO: EVTCHNOP_status in another domain", status(p, 2) => EPERM;
};
