// SPDX-License-Identifier: MIT OR Apache-2.0
//! `domctl`, `sysctl`, `hypfs_op`: who may, and what is refused first.

use super::*;
use xen_abi::Payload;
use xen_abi::domctl::{
    Domctl, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_INTERFACE_VERSION,
};
use xen_abi::sysctl::{Sysctl, XEN_SYSCTL_INTERFACE_VERSION};

fn domctl(guest: &mut Guest, cmd: u32, interface_version: u32, domain: u16) -> i64 {
    let op = Domctl {
        cmd,
        interface_version,
        domain,
        _pad: [0; 3],
        u: Payload::ZERO,
    };
    let at = guest.put(&op);
    guest.call(DOMCTL, &[at])
}

fn sysctl(guest: &mut Guest, cmd: u32, interface_version: u32) -> i64 {
    let op = Sysctl {
        cmd,
        interface_version,
        u: Payload::ZERO,
    };
    let at = guest.put(&op);
    guest.call(SYSCTL, &[at])
}

#[test]
fn domctl_refuses_in_order() {
    const VERSION: u32 = XEN_DOMCTL_INTERFACE_VERSION;
    const INFO: u32 = XEN_DOMCTL_GETDOMAININFO;
    let mut machine = Machine::new();
    for at in [0, NOWHERE] {
        assert_eq!(machine.dom0().call(DOMCTL, &[at]), EFAULT);
        assert_eq!(machine.domu().call(DOMCTL, &[at]), EFAULT);
    }
    for version in [0, VERSION - 1, VERSION + 1, u32::MAX] {
        assert_eq!(domctl(machine.dom0(), INFO, version, NOBODY), EACCES);
        assert_eq!(domctl(machine.domu(), INFO, version, NOBODY), EACCES);
    }
    // DOMID_SELF and the numbers above it are no domain's.
    for nobody in [NOBODY, SELF, 0x7ff1, 0x7ff4, u16::MAX] {
        assert_eq!(domctl(machine.dom0(), INFO, VERSION, nobody), ESRCH);
        assert_eq!(domctl(machine.domu(), INFO, VERSION, nobody), ESRCH);
        assert_eq!(domctl(machine.dom0(), 9999, VERSION, nobody), ESRCH);
    }
    for domain in [0, 1, 2] {
        assert_eq!(domctl(machine.domu(), INFO, VERSION, domain), EPERM);
        assert_eq!(domctl(machine.dom0(), 9999, VERSION, domain), ENOSYS);
    }
    let create = XEN_DOMCTL_CREATEDOMAIN;
    assert_eq!(domctl(machine.domu(), create, VERSION, NOBODY), EPERM);
    assert_eq!(domctl(machine.dom0(), create, VERSION, NOBODY), EINVAL);
}

/// The header alone would be refused for its version, which is 0.
#[test]
fn structures_are_read_whole() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    // The last page that has an address.
    let end = guest.page(15) + 4096;
    for (number, size) in [(DOMCTL, size_of::<Domctl>()), (SYSCTL, size_of::<Sysctl>())] {
        let fits = end - size as u64;
        assert_eq!(guest.call(number, &[fits]), EACCES);
        assert_eq!(guest.call(number, &[fits + 8]), EFAULT);
    }
}

#[test]
fn sysctl_refuses_in_order() {
    const VERSION: u32 = XEN_SYSCTL_INTERFACE_VERSION;
    let mut machine = Machine::new();
    for at in [0, NOWHERE] {
        assert_eq!(machine.dom0().call(SYSCTL, &[at]), EFAULT);
        assert_eq!(machine.domu().call(SYSCTL, &[at]), EFAULT);
    }
    for version in [0, VERSION - 1, VERSION + 1, u32::MAX] {
        assert_eq!(sysctl(machine.dom0(), 3, version), EACCES);
        assert_eq!(sysctl(machine.domu(), 3, version), EACCES);
    }
    assert_eq!(sysctl(machine.domu(), 3, VERSION), EPERM);
    assert_eq!(sysctl(machine.dom0(), 9999, VERSION), ENOSYS);
}

#[test]
fn hypfs_has_a_version() {
    let mut machine = Machine::new();
    assert_eq!(machine.dom0().call(HYPFS_OP, &[0]), 1);
    assert_eq!(machine.domu().call(HYPFS_OP, &[0]), EPERM);
    assert_eq!(machine.dom0().call(HYPFS_OP, &[0, 1]), EINVAL);
    for op in [1, 2] {
        assert_eq!(machine.dom0().call(HYPFS_OP, &[op]), EINVAL);
    }
    assert_eq!(machine.dom0().call(HYPFS_OP, &[3]), EOPNOTSUPP);
}
