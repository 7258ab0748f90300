// SPDX-License-Identifier: MIT OR Apache-2.0
//! The architecture's part of the dispatch, and Arm's: the three ways in which Xen's operations came in.

use super::{ArchData, Bus, DIRECT, Device, DmaOps, XEN};

/// What an architecture says about the operations of its devices.
pub trait Arch: Sync {
    /// For devices without operations of their own, and for no device at all.
    fn get_arch_dma_ops(&self, bus: Option<Bus>) -> &'static dyn DmaOps;

    /// Configures a device as firmware describes it: coherent or not, behind an IOMMU or not (`iommu`: its operations).
    /// One that is set up already is torn down first.
    fn arch_setup_dma_ops(&self, dev: &Device, coherent: bool, iommu: Option<&'static dyn DmaOps>);

    /// Leaves the device as it was before it was set up.
    fn arch_teardown_dma_ops(&self, dev: &Device) {
        dev.reconfigure(|config| {
            if let Some(before) = config.archdata.before {
                config.dma_ops = before;
            }
            config.archdata = ArchData::default();
        });
    }

    /// The operations that `dev` would have without Xen: what Xen's operations call.
    fn xen_get_dma_ops(&self, dev: &Device) -> &'static dyn DmaOps {
        dev.dma_ops().unwrap_or(&DIRECT)
    }

    /// Operations that go before those of any device. Only [`Dispatch::InitialDomainCheck`] has such.
    fn ops_of_all_devices(&self) -> Option<&'static dyn DmaOps> {
        None
    }
}

/// Where Xen's operations come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dispatch {
    /// After "Consolidate get_dma_ops" (January 2017): in the fallback alone, which is not asked about a device that
    /// was set up. Its devices get guest-physical addresses.
    Broken,
    /// The first proposal: the common function asks whether this is the initial domain.
    InitialDomainCheck,
    /// The fix: setting a device up in the initial domain keeps its operations aside and gives it Xen's.
    #[default]
    Archdata,
}

/// Arm, 32-bit and 64-bit.
#[derive(Clone, Copy, Debug)]
pub struct Arm {
    /// Where Xen's operations come in.
    pub dispatch: Dispatch,
    /// True in Xen's initial domain (`xen_initial_domain`): direct-mapped, with the machine's devices.
    pub initial_domain: bool,
}

impl Arch for Arm {
    fn get_arch_dma_ops(&self, _bus: Option<Bus>) -> &'static dyn DmaOps {
        match self.initial_domain {
            true => &XEN,
            false => &DIRECT,
        }
    }

    fn arch_setup_dma_ops(&self, dev: &Device, coherent: bool, iommu: Option<&'static dyn DmaOps>) {
        self.arch_teardown_dma_ops(dev);
        dev.set_dma_coherent(coherent);
        let with_xen = self.initial_domain && self.dispatch == Dispatch::Archdata;
        dev.reconfigure(|config| {
            let before = config.dma_ops;
            let own = before.or(iommu).unwrap_or(&DIRECT);
            config.dma_ops = Some(if with_xen { &XEN } else { own });
            config.archdata = ArchData {
                dev_dma_ops: with_xen.then_some(own),
                before: Some(before),
            };
        });
    }

    fn xen_get_dma_ops(&self, dev: &Device) -> &'static dyn DmaOps {
        let own = match self.dispatch {
            Dispatch::Archdata => dev.archdata().dev_dma_ops,
            Dispatch::Broken | Dispatch::InitialDomainCheck => dev.dma_ops(),
        };
        own.unwrap_or(&DIRECT)
    }

    fn ops_of_all_devices(&self) -> Option<&'static dyn DmaOps> {
        let check = self.dispatch == Dispatch::InitialDomainCheck;
        (check && self.initial_domain).then_some(&XEN)
    }
}
