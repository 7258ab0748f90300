// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every structure of the crate has the layout of its C original.
//!
//! `layouts.golden` has one line per C structure; the same lines are made here from the Rust
//! structures and compared.

use std::collections::BTreeSet;
use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use xen_abi::*;

/// Structures without a C structure of their own: a bare `domid_t`; `xen_hypfs_dirlistentry` before its `name`, which
/// begins at byte 14, in what `sizeof` counts as padding.
const NOT_IN_C: [&str; 2] = ["memory::DomidArg", "hypfs::DirListEntry"];

/// A Rust structure's path in the crate and its line as in the golden file.
struct Layout {
    rust: &'static str,
    line: String,
}

macro_rules! layout {
    ($rust:ty, $c:literal $(, $field:ident $(= $member:literal)?)+ $(,)?) => {
        Layout {
            rust: stringify!($rust),
            line: [
                format!("{} {}", $c, size_of::<$rust>()),
                $(format!(
                    "{}:{}:{}",
                    [$($member,)? stringify!($field).trim_start_matches("r#")][0],
                    offset_of!($rust, $field),
                    field_size(|s: &$rust| &s.$field),
                ),)+
            ]
            .join(" "),
        }
    };
}

fn field_size<T, F>(_: impl Fn(&T) -> &F) -> usize {
    size_of::<F>()
}

fn layouts() -> Vec<Layout> {
    vec![
        layout! {
            arch_arm::VcpuGuestCoreRegs, "vcpu_guest_core_regs", x = "x0", pc64, cpsr,
            spsr_el1, spsr_fiq, spsr_irq, spsr_und, spsr_abt, sp_el0, sp_el1, elr_el1
        },
        layout! {
            arch_arm::VcpuGuestContext, "vcpu_guest_context", flags, user_regs, sctlr,
            ttbcr, ttbr0, ttbr1
        },
        layout! {
            arch_arm::ArchDomainConfig, "xen_arch_domainconfig", gic_version, sve_vl,
            tee_type, nr_spis, clock_frequency
        },
        layout! {
            console::XenconsInterface, "xencons_interface", r#in, out, in_cons, in_prod,
            out_cons, out_prod
        },
        layout! { domctl::Domctl, "xen_domctl", cmd, interface_version, domain, u },
        layout! { domctl::Bitmap, "xenctl_bitmap", bitmap, nr_bits },
        layout! {
            domctl::CreateDomain, "xen_domctl_createdomain", ssidref, handle, flags,
            iommu_opts, max_vcpus, max_evtchn_port, max_grant_frames,
            max_maptrack_frames, grant_opts, altp2m_opts, vmtrace_size, cpupool_id, arch
        },
        layout! {
            domctl::GetDomainInfo, "xen_domctl_getdomaininfo", domain, pad1, flags,
            tot_pages, max_pages, outstanding_pages, shr_pages, paged_pages,
            shared_info_frame, cpu_time, nr_online_vcpus, max_vcpu_id, ssidref, handle,
            cpupool, gpaddr_bits, pad2, arch_config
        },
        layout! { domctl::NodeAffinity, "xen_domctl_nodeaffinity", nodemap },
        layout! {
            domctl::VcpuAffinity, "xen_domctl_vcpuaffinity", vcpu, flags, cpumap_hard,
            cpumap_soft
        },
        layout! { domctl::MaxMem, "xen_domctl_max_mem", max_memkb },
        layout! { domctl::VcpuContext, "xen_domctl_vcpucontext", vcpu, ctxt },
        layout! {
            domctl::GetVcpuInfo, "xen_domctl_getvcpuinfo", vcpu, online, blocked,
            running, cpu_time, cpu
        },
        layout! { domctl::MaxVcpus, "xen_domctl_max_vcpus", max },
        layout! {
            domctl::SchedulerOp, "xen_domctl_scheduler_op", sched_id, cmd,
            weight = "u.credit2.weight", cap = "u.credit2.cap"
        },
        layout! { domctl::SetDomainHandle, "xen_domctl_setdomainhandle", handle },
        layout! { domctl::SetDebugging, "xen_domctl_setdebugging", enable },
        layout! { domctl::IrqPermission, "xen_domctl_irq_permission", pirq, allow_access, pad },
        layout! {
            domctl::IomemPermission, "xen_domctl_iomem_permission", first_mfn, nr_mfns,
            allow_access
        },
        layout! { domctl::SetTimeOffset, "xen_domctl_settimeoffset", time_offset_seconds },
        layout! { domctl::AddressSize, "xen_domctl_address_size", size },
        layout! {
            domctl::AssignDevice, "xen_domctl_assign_device", dev, flags,
            size = "u.dt.size", path = "u.dt.path"
        },
        layout! {
            domctl::BindPtIrq, "xen_domctl_bind_pt_irq", machine_irq, irq_type,
            spi = "u.spi.spi"
        },
        layout! {
            domctl::MemoryMapping, "xen_domctl_memory_mapping", first_gfn, first_mfn,
            nr_mfns, add_mapping, padding
        },
        layout! { domctl::SetTarget, "xen_domctl_set_target", target },
        layout! { domctl::Subscribe, "xen_domctl_subscribe", port },
        layout! { domctl::SetVirqHandler, "xen_domctl_set_virq_handler", virq },
        layout! { domctl::CacheFlush, "xen_domctl_cacheflush", start_pfn, nr_pfns },
        layout! {
            domctl::VuartOp, "xen_domctl_vuart_op", cmd, r#type, gfn, console_domid,
            pad, evtchn
        },
        layout! { domctl::PagingMempool, "xen_domctl_paging_mempool", size },
        layout! {
            domctl::SetLlcColors, "xen_domctl_set_llc_colors", num_llc_colors, pad,
            llc_colors
        },
        layout! {
            event::BindInterdomain, "evtchn_bind_interdomain", remote_dom, remote_port,
            local_port
        },
        layout! { event::BindVirq, "evtchn_bind_virq", virq, vcpu, port },
        layout! { event::Status, "evtchn_status", dom, port, status, vcpu, u },
        layout! { event::AllocUnbound, "evtchn_alloc_unbound", dom, remote_dom, port },
        layout! { event::BindIpi, "evtchn_bind_ipi", vcpu, port },
        layout! { event::BindVcpu, "evtchn_bind_vcpu", port, vcpu },
        layout! { event::Reset, "evtchn_reset", dom },
        layout! { event::InitControl, "evtchn_init_control", control_gfn, offset, vcpu, link_bits },
        layout! { event::ExpandArray, "evtchn_expand_array", array_gfn },
        layout! { event::SetPriority, "evtchn_set_priority", port, priority },
        layout! { event::FifoControlBlock, "evtchn_fifo_control_block", ready, _rsvd, head },
        layout! { grant::GrantEntryV1, "grant_entry_v1", flags, domid, frame },
        layout! {
            grant::MapGrantRef, "gnttab_map_grant_ref", host_addr, flags, r#ref, dom,
            status, handle, dev_bus_addr
        },
        layout! {
            grant::UnmapGrantRef, "gnttab_unmap_grant_ref", host_addr, dev_bus_addr,
            handle, status
        },
        layout! { grant::SetupTable, "gnttab_setup_table", dom, nr_frames, status, frame_list },
        layout! { grant::GrantCopyPtr, "gnttab_copy_ptr", u, domid, offset },
        layout! { grant::GrantCopy, "gnttab_copy", source, dest, len, flags, status },
        layout! { grant::QuerySize, "gnttab_query_size", dom, nr_frames, max_nr_frames, status },
        layout! { grant::SetVersion, "gnttab_set_version", version },
        layout! {
            grant::GetStatusFrames, "gnttab_get_status_frames", nr_frames, dom, status,
            frame_list
        },
        layout! { grant::GetVersion, "gnttab_get_version", dom, version },
        layout! { grant::SwapGrantRef, "gnttab_swap_grant_ref", ref_a, ref_b, status },
        layout! { grant::CacheFlush, "gnttab_cache_flush", a, offset, length, op },
        layout! { hvm::HvmParam, "xen_hvm_param", domid, pad, index, value },
        layout! {
            memory::MemoryReservation, "xen_memory_reservation", extent_start,
            nr_extents, extent_order, mem_flags, domid
        },
        layout! { memory::MemoryExchange, "xen_memory_exchange", input = "in", out, nr_exchanged },
        layout! { memory::AddToPhysmap, "xen_add_to_physmap", domid, size, space, idx, gpfn },
        layout! {
            memory::AddToPhysmapBatch, "xen_add_to_physmap_batch", domid, space, size,
            foreign_domid = "u.foreign_domid", idxs, gpfns, errs
        },
        layout! { memory::RemoveFromPhysmap, "xen_remove_from_physmap", domid, gpfn },
        layout! {
            memory::AcquireResource, "xen_mem_acquire_resource", domid, r#type, id,
            nr_frames, pad, frame, frame_list
        },
        layout! {
            memory::ReservedDeviceMemoryMap, "xen_reserved_device_memory_map", flags,
            nr_entries, buffer, dev
        },
        layout! { physdev::PciDevice, "physdev_pci_device", seg, bus, devfn },
        layout! { platform::PlatformOp, "xen_platform_op", cmd, interface_version, u },
        layout! { platform::SetTime64, "xenpf_settime64", secs, nsecs, mbz, system_time },
        layout! { sched::Shutdown, "sched_shutdown", reason },
        layout! { sched::Poll, "sched_poll", ports, nr_ports, timeout },
        layout! { sched::RemoteShutdown, "sched_remote_shutdown", domain_id, reason },
        layout! { sched::Watchdog, "sched_watchdog", id, timeout },
        layout! { sched::PinOverride, "sched_pin_override", pcpu },
        layout! { sysctl::Sysctl, "xen_sysctl", cmd, interface_version, u },
        layout! {
            sysctl::ReadConsole, "xen_sysctl_readconsole", clear, incremental, pad0,
            pad1, index, buffer, count
        },
        layout! {
            sysctl::PhysInfo, "xen_sysctl_physinfo", threads_per_core, cores_per_socket,
            nr_cpus, max_cpu_id, nr_nodes, max_node_id, cpu_khz, capabilities,
            arch_capabilities, pad, total_pages, free_pages, scrub_pages,
            outstanding_pages, max_mfn, hw_cap
        },
        layout! { sysctl::SchedId, "xen_sysctl_sched_id", sched_id },
        layout! {
            sysctl::GetDomainInfoList, "xen_sysctl_getdomaininfolist", first_domain,
            max_domains, buffer, num_domains
        },
        layout! { sysctl::DebugKeys, "xen_sysctl_debug_keys", keys, nr_keys },
        layout! { sysctl::CpuInfo, "xen_sysctl_cpuinfo", idletime },
        layout! { sysctl::GetCpuInfo, "xen_sysctl_getcpuinfo", max_cpus, info, nr_cpus },
        layout! {
            sysctl::AvailHeap, "xen_sysctl_availheap", min_bitwidth, max_bitwidth, node,
            avail_bytes
        },
        layout! { sysctl::CpuTopo, "xen_sysctl_cputopo", core, socket, node },
        layout! { sysctl::CpuTopoInfo, "xen_sysctl_cputopoinfo", num_cpus, cputopo },
        layout! { sysctl::MemInfo, "xen_sysctl_meminfo", memsize, memfree },
        layout! { sysctl::NumaInfo, "xen_sysctl_numainfo", num_nodes, meminfo, distance },
        layout! {
            sysctl::CpupoolOp, "xen_sysctl_cpupool_op", op, cpupool_id, sched_id, domid,
            cpu, n_dom, cpumap
        },
        layout! {
            sysctl::SchedulerOp, "xen_sysctl_scheduler_op", cpupool_id, sched_id, cmd,
            ratelimit_us = "u.sched_credit2.ratelimit_us"
        },
        layout! { vcpu::RunstateInfo, "vcpu_runstate_info", state, state_entry_time, time },
        layout! {
            vcpu::RegisterRunstateMemoryArea, "vcpu_register_runstate_memory_area",
            addr = "addr.h"
        },
        layout! { vcpu::RegisterVcpuInfo, "vcpu_register_vcpu_info", mfn, offset, rsvd },
        layout! {
            version::CompileInfo, "xen_compile_info", compiler, compile_by,
            compile_domain, compile_date
        },
        layout! { version::PlatformParameters, "xen_platform_parameters", virt_start },
        layout! { version::FeatureInfo, "xen_feature_info", submap_idx, submap },
        layout! { version::VarBuf, "xen_varbuf", len },
        layout! { xen::MulticallEntry, "multicall_entry", op, result, args },
        layout! {
            xen::VcpuTimeInfo, "vcpu_time_info", version, tsc_timestamp, system_time,
            tsc_to_system_mul, tsc_shift, flags
        },
        layout! { hypfs::DirEntry, "xen_hypfs_direntry", r#type, encoding, pad, content_len, max_write_len },
        layout! { xen::VcpuInfo, "vcpu_info", evtchn_upcall_pending, evtchn_pending_sel, time },
        layout! {
            xen::SharedInfo, "shared_info", vcpu_info, evtchn_pending, evtchn_mask,
            wc_version, wc_sec, wc_nsec, wc_sec_hi
        },
        layout! { event::Port, "evtchn_close", port },
        layout! { event::Port, "evtchn_send", port },
        layout! { event::Port, "evtchn_unmask", port },
    ]
}

#[test]
fn layouts_match_the_c_headers() {
    let golden = include_str!("layouts.golden");
    let golden: BTreeSet<&str> = golden
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let layouts = layouts();
    let ours: BTreeSet<&str> = layouts.iter().map(|layout| layout.line.as_str()).collect();
    let different: Vec<_> = golden.symmetric_difference(&ours).collect();
    assert!(different.is_empty(), "{different:#?}");
}

#[test]
fn every_structure_is_checked() {
    let layouts = layouts();
    let mut checked: BTreeSet<String> = layouts
        .iter()
        .map(|layout| layout.rust.replace(' ', ""))
        .collect();
    checked.extend(NOT_IN_C.map(String::from));
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let defined = structures_under(&src);
    assert!(!defined.is_empty());
    assert_eq!(checked, defined);
}

/// `module::Name` of every `#[repr(C)]` structure in the sources under `dir`.
fn structures_under(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in sources_under(dir) {
        let module = path.strip_prefix(dir).unwrap().components().next().unwrap();
        let module = Path::new(&module).file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for item in text.split("#[repr(C)]\n").skip(1) {
            let name = item.split("pub struct ").nth(1).unwrap();
            let name = name.split(' ').next().unwrap();
            found.insert(format!("{module}::{name}"));
        }
    }
    found
}

fn sources_under(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files
        .into_iter()
        .chain(dirs.iter().flat_map(|dir| sources_under(dir)))
        .collect()
}
