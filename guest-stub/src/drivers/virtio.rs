// SPDX-License-Identifier: MIT OR Apache-2.0
//! virtio-blk by the crate `virtio-drivers`, whose memory goes through the DMA operations of the device.
//!
//! The crate's rings are coherent memory. Its requests and answers are a few bytes on the stack: of a device that does
//! not see caches, they would share cache lines with what the CPU writes meanwhile, so they go through coherent memory.

use core::ptr::NonNull;
use core::slice;

use guest_stub::dma::{Bus, Coherent, Device, Direction, DmaAddr, Phys};
use spin::Mutex;
use virtio_drivers::device::blk::{SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::pci::{PciTransport, virtio_device_type};
use virtio_drivers::transport::{DeviceType, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use super::environment::{self, dma};
use super::{BLOCK, Buffer, Disk, DiskError, Transfer, pci};
use crate::machine::dt;

/// The driver's devices: its callbacks know the device by its place here alone.
static DEVICES: [Served; 2] = [
    Served::new("virtio-blk on MMIO", Bus::Platform),
    Served::new("virtio-blk on PCI", Bus::Pci),
];
const MMIO: usize = 0;
const PCI: usize = 1;

/// Bytes of a piece of coherent memory: as long as any cache line.
const PIECE: usize = 128;
const PIECES: usize = BLOCK / PIECE;

/// A device and its coherent memory for small buffers.
struct Served {
    device: Device,
    small: Mutex<Small>,
}

struct Small {
    memory: Option<Coherent>,
    used: [bool; PIECES],
}

impl Served {
    const fn new(name: &'static str, bus: Bus) -> Self {
        Self {
            device: Device::new(name, bus),
            small: Mutex::new(Small {
                memory: None,
                used: [false; PIECES],
            }),
        }
    }

    /// Whether a buffer of the driver's own must go through coherent memory.
    fn is_small(&self, buffer: &NonNull<[u8]>) -> bool {
        let address = buffer.cast::<u8>().as_ptr() as usize;
        let shares_lines = !(address | buffer.len()).is_multiple_of(PIECE);
        !self.device.is_dma_coherent() && shares_lines
    }
}

impl Small {
    /// A piece with a copy of `buffer`.
    fn lend(&mut self, device: &Device, buffer: NonNull<[u8]>) -> DmaAddr {
        assert!(buffer.len() <= PIECE, "a small buffer is not small");
        let memory = *self.memory.get_or_insert_with(|| {
            dma()
                .alloc_coherent(device, BLOCK)
                .expect("no coherent memory")
        });
        let piece = self.used.iter().position(|used| !used);
        let piece = piece.expect("more small buffers than the driver has");
        self.used[piece] = true;
        let copy = (memory.virt + piece * PIECE) as *mut u8;
        // SAFETY: the buffer is valid, by the caller's contract; the piece is ours and as large.
        unsafe { copy.copy_from_nonoverlapping(buffer.cast().as_ptr(), buffer.len()) };
        DmaAddr(memory.dma.0 + (piece * PIECE) as u64)
    }

    /// Takes a piece back, with what the device wrote.
    fn take_back(&mut self, address: DmaAddr, buffer: NonNull<[u8]>, direction: Direction) {
        let Some(memory) = self.memory else {
            return;
        };
        let piece = (address.0 - memory.dma.0) as usize / PIECE;
        let copy = (memory.virt + piece * PIECE) as *const u8;
        if direction.is_from_device() {
            // SAFETY: as in `lend`.
            unsafe { copy.copy_to_nonoverlapping(buffer.cast().as_ptr(), buffer.len()) };
        }
        self.used[piece] = false;
    }
}

/// What the crate asks of the kernel about device `N`.
struct DeviceHal<const N: usize>;

fn direction(direction: BufferDirection) -> Direction {
    match direction {
        BufferDirection::DriverToDevice => Direction::ToDevice,
        BufferDirection::DeviceToDriver => Direction::FromDevice,
        BufferDirection::Both => Direction::Bidirectional,
    }
}

// SAFETY: coherent memory is zeroed, aligned to pages and nobody else's; registers are where their address says,
// mapped as device memory.
unsafe impl<const N: usize> Hal for DeviceHal<N> {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let memory = dma().alloc_coherent(&DEVICES[N].device, pages * PAGE_SIZE);
        match memory {
            Ok(memory) => {
                let pointer = NonNull::new(memory.virt as *mut u8);
                (memory.dma.0, pointer.expect("memory at address 0"))
            }
            Err(_) => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, vaddr: NonNull<u8>, pages: usize) -> i32 {
        let memory = Coherent {
            dma: DmaAddr(paddr),
            // Without an IOMMU a device's addresses of a domain's own memory are the domain's.
            phys: Phys(paddr),
            virt: vaddr.as_ptr() as usize,
            size: pages * PAGE_SIZE,
        };
        dma().free_coherent(&DEVICES[N].device, memory);
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(paddr as *mut u8).expect("registers at address 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, way: BufferDirection) -> PhysAddr {
        let served = &DEVICES[N];
        if served.is_small(&buffer) {
            return served.small.lock().lend(&served.device, buffer).0;
        }
        let phys = Phys(buffer.cast::<u8>().as_ptr() as u64);
        match dma().map_page(&served.device, phys, buffer.len(), direction(way)) {
            Ok(address) => address.0,
            Err(error) => panic!("{}: mapping {phys:x?}: {error}", served.device.name()),
        }
    }

    unsafe fn unshare(paddr: PhysAddr, buffer: NonNull<[u8]>, way: BufferDirection) {
        let served = &DEVICES[N];
        let address = DmaAddr(paddr);
        if served.is_small(&buffer) {
            return served
                .small
                .lock()
                .take_back(address, buffer, direction(way));
        }
        let done = dma().unmap_page(&served.device, address, buffer.len(), direction(way));
        if let Err(error) = done {
            panic!("{}: unmapping {paddr:#x}: {error}", served.device.name());
        }
    }
}

/// A disk of device `N` behind a transport.
pub(crate) struct VirtioDisk<const N: usize, T: Transport>(VirtIOBlk<DeviceHal<N>, T>);

/// A disk with registers of its own.
pub(crate) type MmioDisk = VirtioDisk<MMIO, MmioTransport<'static>>;
/// A disk on PCI.
pub(crate) type PciDisk = VirtioDisk<PCI, PciTransport>;

/// The first disk among the machine's virtio devices with registers of their own, and where they are.
///
/// # Errors
/// When there is one that cannot be driven.
pub(crate) fn find_mmio() -> Result<Option<(MmioDisk, u64)>, DiskError> {
    for node in &dt::facts().virtio_mmio {
        let Some(header) = NonNull::new(node.registers.base as *mut _) else {
            continue;
        };
        // SAFETY: the device tree says that such a device's registers are here; they are mapped, and only used here.
        let transport = unsafe { MmioTransport::new(header, node.registers.size as usize) };
        let Some(transport) = transport
            .ok()
            .filter(|transport| transport.device_type() == DeviceType::Block)
        else {
            continue;
        };
        environment::set_up(&DEVICES[MMIO].device, node.is_coherent);
        let disk = VirtioDisk(VirtIOBlk::new(transport)?);
        return Ok(Some((disk, node.registers.base)));
    }
    Ok(None)
}

/// The disk that is function `function` of `bus`; `None` if that is none, or there was one before.
///
/// # Errors
/// When it is one that cannot be driven.
pub(crate) fn find_pci(
    bus: &mut pci::Bus,
    function: &pci::Function,
    is_coherent: bool,
) -> Result<Option<PciDisk>, DiskError> {
    let is_disk = virtio_device_type(&function.info) == Some(DeviceType::Block);
    if !is_disk || environment::is_set_up(&DEVICES[PCI].device) {
        return Ok(None);
    }
    let transport = PciTransport::new::<DeviceHal<PCI>, _>(&mut bus.root, function.address);
    let transport =
        transport.map_err(|_| DiskError::Unsupported("not a modern virtio device on PCI"))?;
    environment::set_up(&DEVICES[PCI].device, is_coherent);
    Ok(Some(VirtioDisk(VirtIOBlk::new(transport)?)))
}

impl<const N: usize, T: Transport> Disk for VirtioDisk<N, T> {
    fn device(&self) -> &'static Device {
        &DEVICES[N].device
    }

    /// One request a buffer.
    fn transfer(
        &mut self,
        transfer: Transfer,
        block: u64,
        buffers: &[Buffer],
    ) -> Result<(), DiskError> {
        let mut sector = block as usize * (BLOCK / SECTOR_SIZE);
        for buffer in buffers {
            let size = buffer.size();
            match transfer {
                Transfer::Read => {
                    // SAFETY: the pages are mapped, and nobody touches them while a transfer is under way.
                    let bytes =
                        unsafe { slice::from_raw_parts_mut(buffer.address as *mut u8, size) };
                    self.0.read_blocks(sector, bytes)?;
                }
                Transfer::Write => {
                    // SAFETY: as above.
                    let bytes = unsafe { slice::from_raw_parts(buffer.address as *const u8, size) };
                    self.0.write_blocks(sector, bytes)?;
                }
            }
            sector += size / SECTOR_SIZE;
        }
        Ok(())
    }
}
