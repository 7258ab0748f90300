// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine, dom0 and d1 on it, the pages that transfers use, and devices.
//!
//! Piece `i` of a transfer has four guest frames of dom0 in a row, a *window*: the first is dom0's own page, the others
//! are ballooned out, and d1's pages are mapped there. It has four more pages of dom0's own elsewhere.

use crate::caches::Caches;
use crate::kernel::Kernel;
use guest_stub::dma::{
    Arm, Bus, Device, Dispatch, Dma, DmaError, DmaOps, Iommu, IommuOps, Machine as Address,
    PAGE_SIZE, Phys, Swiotlb,
};
use hv_core::addr::Pa;
use hv_core::call::testing::Machine;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use xen_abi::Handle;
use xen_abi::grant::{
    GNTMAP_HOST_MAP, GNTMAP_READONLY, GNTST_OKAY, GNTTABOP_MAP_GRANT_REF, GNTTABOP_UNMAP_GRANT_REF,
    GTF_PERMIT_ACCESS, GTF_READONLY, MapGrantRef, UnmapGrantRef,
};
use xen_abi::hypercall::{GRANT_TABLE_OP, MEMORY_OP};
use xen_abi::memory::{MemoryReservation, XENMEM_DECREASE_RESERVATION};
use xen_abi::xen::DOMID_SELF;

/// Pieces of a transfer at most.
pub(crate) const PIECES: u64 = 3;
/// Pages of a window, and of those that d1's are mapped at.
pub(crate) const WINDOW: u64 = 4;
pub(crate) const FOREIGN: u64 = WINDOW - 1;

/// Numbers of pages, in dom0 and in d1.
const POOL: u64 = 32;
const POOL_PAGES: u64 = 16;
const OWN: u64 = 64;
const WINDOWS: u64 = 128;
const GRANTED: u64 = 64;
/// The first grant reference that the toolstack does not use.
const FIRST_REFERENCE: u64 = 8;
/// Pages of each domain.
const DOMAIN_PAGES: u64 = 512;

/// A device, and how it reaches memory.
pub(crate) struct Disk {
    pub(crate) device: Device,
    iommu: Option<&'static Translations>,
}

pub(crate) struct World {
    pub(crate) kernel: &'static Kernel,
    pub(crate) dma: Dma,
    pub(crate) disks: Vec<Disk>,
    pub(crate) caches: Arc<Mutex<Caches>>,
    /// dom0's and d1's first pages: machine frames.
    dom0: u64,
    d1: u64,
    /// What is mapped: guest frame, handle.
    mapped: Vec<(u64, u32)>,
    /// Foreign pages are mapped without a note of where they are.
    forgetful: bool,
}

/// Kinds of devices.
pub(crate) const DISKS: [(&str, bool, bool); 5] = [
    ("not coherent", false, false),
    ("coherent", true, false),
    ("not coherent, behind an IOMMU", false, true),
    ("coherent, behind an IOMMU", true, true),
    ("not coherent, near-sighted", false, false),
];
/// The one that reaches little more than the bounce buffers.
const NEAR_SIGHTED: usize = 4;

impl World {
    pub(crate) fn new(dispatch: Dispatch) -> Self {
        let mut machine = Machine::new();
        let hw = machine.hw;
        let (dom0, d1) = (machine.guests[0].mfn.0, machine.guests[1].mfn.0);
        for window in 0..PIECES {
            let first = dom0 + WINDOWS + window * WINDOW;
            for frame in first + 1..first + WINDOW {
                balloon_out(&mut machine, frame);
            }
        }
        let caches = Arc::new(Mutex::new(Caches::new(&hw.ram)));
        *hw.caches.lock().unwrap() = Some(Box::new(Shared(caches.clone())));
        let local = dom0..dom0 + DOMAIN_PAGES;
        let kernel = Box::leak(Box::new(Kernel::new(machine, caches.clone(), local)));
        let mut world = Self {
            kernel,
            dma: new_dma(kernel, dom0, dispatch),
            disks: Vec::new(),
            caches,
            dom0,
            d1,
            mapped: Vec::new(),
            forgetful: false,
        };
        world.set_up_disks(false);
        world
    }

    /// Begins anew after a transfer that failed, with `dispatch`. Devices say that they are coherent, true or not, if
    /// `all_coherent`.
    pub(crate) fn restart(&mut self, dispatch: Dispatch, all_coherent: bool) {
        self.kernel.break_by(None);
        self.kernel.begin(crate::kernel::Phase::Map);
        {
            let mut caches = self.caches.lock().unwrap();
            caches.fault = None;
            caches.drop_all();
        }
        self.forgetful = false;
        self.unmap_grants();
        self.dma = new_dma(self.kernel, self.dom0, dispatch);
        self.set_up_disks(all_coherent);
    }

    /// From now on foreign pages are mapped without a note of where they are.
    pub(crate) fn forget_p2m(&mut self) {
        self.forgetful = true;
    }

    /// Devices, set up as firmware describes them.
    fn set_up_disks(&mut self, all_coherent: bool) {
        self.disks = DISKS
            .iter()
            .map(|&(name, coherent, translated)| {
                let iommu: Option<&'static Translations> =
                    translated.then(|| &*Box::leak(Box::default()));
                let ops = iommu.map(|iommu| -> &'static dyn DmaOps {
                    Box::leak(Box::new(IommuOps::new(iommu)))
                });
                let device = Device::new(name, Bus::Platform);
                let coherent = coherent || all_coherent;
                self.dma.arch.arch_setup_dma_ops(&device, coherent, ops);
                Disk { device, iommu }
            })
            .collect();
        let reach = (self.dom0 + POOL + POOL_PAGES) * PAGE_SIZE - 1;
        let near_sighted = &self.disks[NEAR_SIGHTED].device;
        assert!(self.dma.set_mask(near_sighted, reach));
    }

    /// dom0's own pages for piece `i`.
    pub(crate) fn own_frame(&self, i: u64) -> u64 {
        self.dom0 + OWN + i * WINDOW
    }

    /// The window of piece `i`.
    pub(crate) fn window(&self, i: u64) -> u64 {
        self.dom0 + WINDOWS + i * WINDOW
    }

    /// d1's pages for piece `i`: d1's frame and the machine's.
    pub(crate) fn granted(&self, i: u64, n: u64) -> (u64, u64) {
        let page = GRANTED + i * WINDOW + n;
        let d1 = &self.kernel.machine.lock().unwrap().guests[1];
        (d1.gfn(page), self.d1 + page)
    }

    /// The machine frame of domain `id`'s frame `gfn`.
    pub(crate) fn machine_page(&self, id: usize, gfn: u64) -> u64 {
        self.kernel.pieces(id, gfn * PAGE_SIZE, 1)[0].0 / PAGE_SIZE
    }

    /// Machine addresses of the bounce buffers.
    pub(crate) fn pool(&self) -> std::ops::Range<u64> {
        let start = (self.dom0 + POOL) * PAGE_SIZE;
        start..start + POOL_PAGES * PAGE_SIZE
    }

    /// d1 grants its pages of piece `i`, in the order `order`, and dom0 maps them in the window.
    pub(crate) fn map_grants(&mut self, i: u64, order: [u64; FOREIGN as usize], readonly: bool) {
        let mut ops = Vec::new();
        for (n, page) in (0..).zip(order) {
            let (gfn, _) = self.granted(i, page);
            let reference = FIRST_REFERENCE + i * WINDOW + n;
            self.write_grant(reference, gfn, readonly);
            ops.push(MapGrantRef {
                host_addr: (self.window(i) + 1 + n) * PAGE_SIZE,
                flags: GNTMAP_HOST_MAP | if readonly { GNTMAP_READONLY } else { 0 },
                r#ref: reference as u32,
                dom: 1,
                status: -1,
                handle: 0,
                dev_bus_addr: 0,
            });
        }
        let ops: [MapGrantRef; FOREIGN as usize] = ops.try_into().unwrap();
        let done = self.grant_op(GNTTABOP_MAP_GRANT_REF, ops);
        for op in done {
            assert_eq!(op.status, GNTST_OKAY);
            let gfn = op.host_addr / PAGE_SIZE;
            let machine = op.dev_bus_addr / PAGE_SIZE;
            if !self.forgetful {
                self.dma.p2m.insert(gfn, machine).unwrap();
            }
            self.mapped.push((gfn, op.handle));
        }
    }

    /// dom0 unmaps all grants.
    pub(crate) fn unmap_grants(&mut self) {
        for (gfn, handle) in std::mem::take(&mut self.mapped) {
            self.dma.p2m.remove(gfn);
            let op = UnmapGrantRef {
                host_addr: gfn * PAGE_SIZE,
                dev_bus_addr: 0,
                handle,
                status: -1,
                _pad: 0,
            };
            let [done] = self.grant_op(GNTTABOP_UNMAP_GRANT_REF, [op]);
            assert_eq!(done.status, GNTST_OKAY);
        }
        // Notes of what was maintained pile up.
        self.kernel.machine.lock().unwrap().hw.take_events();
    }

    fn write_grant(&self, reference: u64, gfn: u64, readonly: bool) {
        let machine = self.kernel.machine.lock().unwrap();
        let table = machine.guests[1].domain.grants.frame(0).unwrap().mfn();
        let flags = GTF_PERMIT_ACCESS | if readonly { GTF_READONLY } else { 0 };
        let entry = gfn << 32 | u64::from(flags);
        let at = Pa(table.base().0 + reference * 8);
        machine.hw.ram.write(at, &entry.to_le_bytes());
    }

    fn grant_op<T, const N: usize>(&self, op: u32, ops: [T; N]) -> [T; N]
    where
        [T; N]: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
    {
        let mut machine = self.kernel.machine.lock().unwrap();
        let dom0 = machine.dom0();
        let at = dom0.put(&ops);
        assert_eq!(dom0.call(GRANT_TABLE_OP, &[op.into(), at, N as u64]), 0);
        dom0.get(at)
    }

    /// Device `disk` reads `size` bytes at `addr`.
    ///
    /// # Errors
    /// Its IOMMU's: nothing is there.
    pub(crate) fn device_read(&self, disk: usize, addr: u64, size: usize) -> Result<Vec<u8>, u64> {
        let mut buffer = vec![0; size];
        let mut done = 0;
        while done < size {
            let (machine, piece) = self.device_piece(disk, addr + done as u64, size - done)?;
            let mut caches = self.caches.lock().unwrap();
            caches.device_read(DISKS[disk].1, machine, &mut buffer[done..done + piece]);
            done += piece;
        }
        Ok(buffer)
    }

    /// Device `disk` writes.
    ///
    /// # Errors
    /// As [`Self::device_read`].
    pub(crate) fn device_write(&self, disk: usize, addr: u64, bytes: &[u8]) -> Result<(), u64> {
        let mut done = 0;
        while done < bytes.len() {
            let at = addr + done as u64;
            let (machine, piece) = self.device_piece(disk, at, bytes.len() - done)?;
            let mut caches = self.caches.lock().unwrap();
            caches.device_write(DISKS[disk].1, machine, &bytes[done..done + piece]);
            done += piece;
        }
        Ok(())
    }

    /// Where `addr` is in the machine, and how many of `size` bytes are in the same page.
    fn device_piece(&self, disk: usize, addr: u64, size: usize) -> Result<(u64, usize), u64> {
        let piece = size.min((PAGE_SIZE - addr % PAGE_SIZE) as usize);
        let machine = match self.disks[disk].iommu {
            Some(iommu) => iommu.iova_to_phys(addr).ok_or(addr)?.0,
            None => addr,
        };
        Ok((machine, piece))
    }

    /// True if what device `disk` reaches at `addr` is a bounce buffer.
    pub(crate) fn is_bounced(&self, disk: usize, addr: u64) -> bool {
        let piece = self.device_piece(disk, addr, 1);
        piece.is_ok_and(|(machine, _)| self.pool().contains(&machine))
    }

    /// True if no device has a translation left.
    pub(crate) fn nothing_is_translated(&self) -> bool {
        let mut iommus = self.disks.iter().filter_map(|disk| disk.iommu);
        iommus.all(|iommu| iommu.0.lock().unwrap().is_empty())
    }
}

fn new_dma(kernel: &'static Kernel, dom0: u64, dispatch: Dispatch) -> Dma {
    let arm = Box::leak(Box::new(Arm {
        dispatch,
        initial_domain: true,
    }));
    let pool = Swiotlb::new(
        Phys((dom0 + POOL) * PAGE_SIZE),
        (POOL_PAGES * PAGE_SIZE) as usize,
    );
    Dma::new(kernel, arm, pool)
}

fn balloon_out(machine: &mut Machine, frame: u64) {
    let dom0 = machine.dom0();
    let frames = dom0.put(&frame);
    let argument = MemoryReservation {
        extent_start: Handle(frames),
        nr_extents: 1,
        extent_order: 0,
        mem_flags: 0,
        domid: DOMID_SELF,
        _pad: [0; 6],
    };
    let (done, _) = dom0.op(MEMORY_OP, XENMEM_DECREASE_RESERVATION.into(), argument);
    assert_eq!(done, 1);
}

/// The caches as the hypervisor reaches them.
struct Shared(Arc<Mutex<Caches>>);

impl hv_core::fake::Caches for Shared {
    fn maintain(&mut self, range: hv_core::addr::PaRange, op: hv_core::hw::CacheOp) {
        self.0.lock().unwrap().maintain(range, op);
    }
    fn write_zeroes(&mut self, range: hv_core::addr::PaRange) {
        self.0.lock().unwrap().write_zeroes(range);
    }
}

/// What an IOMMU translates: page by page.
#[derive(Default)]
pub(crate) struct Translations(Mutex<BTreeMap<u64, u64>>);

impl Iommu for Translations {
    fn map(&self, iova: u64, memory: Address, pages: usize) -> Result<(), DmaError> {
        let mut all = self.0.lock().unwrap();
        for page in (0..pages as u64).map(|n| n * PAGE_SIZE) {
            let before = all.insert(iova + page, memory.0 + page);
            assert_eq!(before, None, "translated twice");
        }
        Ok(())
    }
    fn unmap(&self, iova: u64, pages: usize) {
        let mut all = self.0.lock().unwrap();
        for page in (0..pages as u64).map(|n| n * PAGE_SIZE) {
            assert!(all.remove(&(iova + page)).is_some(), "not translated");
        }
    }
    fn iova_to_phys(&self, iova: u64) -> Option<Address> {
        let offset = iova % PAGE_SIZE;
        let all = self.0.lock().unwrap();
        all.get(&(iova - offset)).map(|page| Address(page + offset))
    }
}
