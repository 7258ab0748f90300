// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine that takes notes.

use crate::dma::{
    Arch, Arm, CpuPages, DIRECT, Device, Dispatch, Dma, DmaOps, Machine, PAGE_SIZE, Phys, Platform,
    Swiotlb,
};
use std::sync::Mutex;
use xen_abi::Errno;
use xen_abi::grant::CacheFlush;

/// First byte and size of the domain's memory.
pub(super) const RAM: u64 = 0x4000_0000;
pub(super) const RAM_SIZE: u64 = 64 * PAGE_SIZE;
/// The bounce buffers are its last pages.
pub(super) const POOL: u64 = RAM + RAM_SIZE - POOL_SIZE;
pub(super) const POOL_SIZE: u64 = 8 * PAGE_SIZE;

/// What the platform was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Note {
    Copy { to: u64, from: u64, size: usize },
    Clean(u64, usize),
    Invalidate(u64, usize),
    Flush(CacheFlush),
}

/// Memory and notes.
pub(super) struct Recorder {
    pub(super) memory: Mutex<Vec<u8>>,
    pub(super) notes: Mutex<Vec<Note>>,
    /// What `grant_cache_flush` answers.
    pub(super) refusal: Mutex<Option<Errno>>,
    /// Where the next coherent page is.
    next: Mutex<u64>,
}

impl Recorder {
    pub(super) fn leak() -> &'static Self {
        Box::leak(Box::new(Self {
            memory: Mutex::new(vec![0; RAM_SIZE as usize]),
            notes: Mutex::default(),
            refusal: Mutex::default(),
            next: Mutex::new(RAM),
        }))
    }

    pub(super) fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut self.notes.lock().unwrap())
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) {
        let at = (at - RAM) as usize;
        self.memory.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn read(&self, at: u64, size: usize) -> Vec<u8> {
        let at = (at - RAM) as usize;
        self.memory.lock().unwrap()[at..at + size].to_vec()
    }

    fn note(&self, note: Note) {
        self.notes.lock().unwrap().push(note);
    }
}

impl Platform for Recorder {
    fn copy(&self, to: Phys, from: Phys, size: usize) {
        self.note(Note::Copy {
            to: to.0,
            from: from.0,
            size,
        });
        // Pages of others have no memory here.
        if from.0 - RAM < RAM_SIZE && to.0 - RAM < RAM_SIZE {
            let bytes = self.read(from.0, size);
            self.write(to.0, &bytes);
        }
    }
    fn clean(&self, start: Phys, size: usize) {
        self.note(Note::Clean(start.0, size));
    }
    fn invalidate(&self, start: Phys, size: usize) {
        self.note(Note::Invalidate(start.0, size));
    }
    fn is_local(&self, frame: u64) -> bool {
        (RAM..RAM + RAM_SIZE).contains(&(frame * PAGE_SIZE))
    }
    fn grant_cache_flush(&self, flush: &CacheFlush) -> Result<(), Errno> {
        self.note(Note::Flush(*flush));
        self.refusal.lock().unwrap().map_or(Ok(()), Err)
    }
    fn alloc_pages(&self, pages: usize, limit: u64, _: bool) -> Option<CpuPages> {
        let mut next = self.next.lock().unwrap();
        let end = *next + pages as u64 * PAGE_SIZE;
        if end > POOL || end - 1 > limit {
            return None;
        }
        let phys = std::mem::replace(&mut *next, end);
        Some(CpuPages {
            phys: Phys(phys),
            virt: phys as usize,
        })
    }
    fn free_pages(&self, memory: CpuPages, _: usize) {
        *self.next.lock().unwrap() = memory.phys.0;
    }
}

/// A kernel's DMA on `arch`.
pub(super) fn dma(arch: &'static dyn Arch) -> (Dma, &'static Recorder) {
    let recorder = Recorder::leak();
    let pool = Swiotlb::new(Phys(POOL), POOL_SIZE as usize);
    (Dma::new(recorder, arch, pool), recorder)
}

/// Arm with a dispatch.
pub(super) fn arm(dispatch: Dispatch, initial_domain: bool) -> &'static Arm {
    Box::leak(Box::new(Arm {
        dispatch,
        initial_domain,
    }))
}

/// The initial domain since the fix, and a device of it.
pub(super) fn initial_domain(coherent: bool) -> (Dma, &'static Recorder, Device) {
    let (dma, recorder) = dma(arm(Dispatch::Archdata, true));
    let dev = Device::new("disk", crate::dma::Bus::Platform);
    dma.arch.arch_setup_dma_ops(&dev, coherent, None);
    (dma, recorder, dev)
}

/// True if they are the same table.
pub(super) fn same(a: &dyn DmaOps, b: &dyn DmaOps) -> bool {
    a.name() == b.name()
}

/// An IOMMU that keeps a list, and operations over one.
#[derive(Default)]
pub(super) struct ListIommu(pub(super) Mutex<Vec<(u64, u64)>>);

impl crate::dma::Iommu for ListIommu {
    fn map(&self, iova: u64, memory: Machine, pages: usize) -> Result<(), crate::dma::DmaError> {
        let mut list = self.0.lock().unwrap();
        for page in (0..pages as u64).map(|n| n * PAGE_SIZE) {
            assert!(list.iter().all(|entry| entry.0 != iova + page));
            list.push((iova + page, memory.0 + page));
        }
        Ok(())
    }
    fn unmap(&self, iova: u64, pages: usize) {
        let end = iova + pages as u64 * PAGE_SIZE;
        let mut list = self.0.lock().unwrap();
        let before = list.len();
        list.retain(|entry| !(iova..end).contains(&entry.0));
        assert_eq!(before - list.len(), pages, "unmapped what was not mapped");
    }
    fn iova_to_phys(&self, iova: u64) -> Option<Machine> {
        let list = self.0.lock().unwrap();
        let page = list
            .iter()
            .find(|entry| entry.0 == iova & !(PAGE_SIZE - 1))?;
        Some(Machine(page.1 | iova & (PAGE_SIZE - 1)))
    }
}

/// Operations over an IOMMU of their own.
pub(super) fn iommu_ops() -> (&'static crate::dma::IommuOps, &'static ListIommu) {
    let iommu: &'static ListIommu = Box::leak(Box::default());
    (Box::leak(Box::new(crate::dma::IommuOps::new(iommu))), iommu)
}

/// An architecture that Xen does not run on.
pub(super) struct Other;

impl Arch for Other {
    fn get_arch_dma_ops(&self, _: Option<crate::dma::Bus>) -> &'static dyn DmaOps {
        &DIRECT
    }
    fn arch_setup_dma_ops(&self, dev: &Device, _: bool, iommu: Option<&'static dyn DmaOps>) {
        if dev.dma_ops().is_none() {
            dev.set_dma_ops(iommu);
        }
    }
}
