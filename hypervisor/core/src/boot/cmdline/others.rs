// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's options that are not options here.

/// Options of Xen that are taken without a word: what they ask for is not there to be changed, so
/// that the boot is as asked or harmlessly different.
const NO_EFFECT: &[&str] = &[
    "allow_unsafe",
    "apei",
    "async-show-all",
    "badpage",
    "bootfdt",
    "cmdline",
    "core_parking",
    "cpufreq",
    "cpuinfo",
    "credit2_balance_over",
    "credit2_balance_under",
    "credit2_cap_period_ms",
    "credit2_load_precision_shift",
    "credit2_load_window_shift",
    "credit2_runqueue",
    "debugtrace",
    "dom0_nodes",
    "earlyprintk",
    "efi",
    "hmp-unsafe",
    "hypfs",
    "keyhandler",
    "low_crashinfo",
    "max_lpi_bits",
    "max_ratelimit_us",
    "mwait-idle",
    "rcu-idle-timer-period-ms",
    "sched-gran",
    "sched_credit_tslice_ms",
    "sched_credit2_max_cpus_runqueue",
    "sched_credit2_migrate_resist",
    "sched_debug",
    "sched_smt_power_savings",
    "scrub-domheap",
    "sync_console",
    "tbuf_size",
    "tevt_mask",
    "trace-pv",
    "vti_vhpt_size",
    "xenheap_megabytes",
];

/// Options of Xen that ask for what Xenolith does not have, which the user should hear.
const UNSUPPORTED: &[&str] = &[
    "crashkernel",
    "dom0less",
    "flask",
    "hardware_dom",
    "iommu",
    "llc-coloring",
    "llc-nr-ways",
    "llc-size",
    "buddy-alloc-size",
    "dom0-llc-colors",
    "xen-llc-colors",
    "dom0",
    "pci-passthrough",
    "spec-ctrl",
    "ssbd",
    "sve",
    "tee",
    "watchdog",
    "watchdog_timeout",
    "xsm",
];

/// True for an option that Xen has and that changes nothing here.
pub(super) fn has_no_effect(name: &str) -> bool {
    NO_EFFECT.iter().any(|n| same_name(n, name))
}

/// True for an option that Xen has and that asks for what is not here.
pub(super) fn is_unsupported(name: &str) -> bool {
    UNSUPPORTED.iter().any(|n| same_name(n, name))
}

/// Xen takes `-` and `_` in names for the same.
fn same_name(a: &str, b: &str) -> bool {
    let same = |(x, y): (u8, u8)| x == y || matches!((x, y), (b'-', b'_') | (b'_', b'-'));
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(same)
}
