// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI Express: finds the functions of the first bus and gives their memory BARs addresses, which no firmware has done.

use virtio_drivers::transport::pci::bus::{
    BarInfo, Cam, Command, DeviceFunction, DeviceFunctionInfo, MmioCam, PciRoot,
};

use crate::machine::dt::PciHost;

/// Functions kept of a bus.
const FUNCTIONS: usize = 16;

/// A host bridge and the addresses it has left.
pub(crate) struct Bus {
    pub(crate) root: PciRoot<MmioCam<'static>>,
    next: u64,
    end: u64,
}

/// A function of a device.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) address: DeviceFunction,
    pub(crate) info: DeviceFunctionInfo,
}

impl Function {
    /// Class, subclass, programming interface.
    pub(crate) fn class(&self) -> (u8, u8, u8) {
        (self.info.class, self.info.subclass, self.info.prog_if)
    }
}

impl Bus {
    /// The bus behind `host`; `None` if that has not all of a bridge's configuration space.
    pub(crate) fn new(host: &PciHost) -> Option<Self> {
        let ecam = host.node.registers;
        if ecam.size < Cam::Ecam.size().into() {
            return None;
        }
        // SAFETY: the device tree says that this is ECAM; it is mapped as device memory, for ever, and only used here.
        let access = unsafe { MmioCam::new(ecam.base as *mut u8, Cam::Ecam) };
        Some(Self {
            root: PciRoot::new(access),
            next: host.window.base,
            end: host.window.end(),
        })
    }

    /// The functions of the bus, each ready to be driven.
    pub(crate) fn functions(&mut self) -> [Option<Function>; FUNCTIONS] {
        let mut functions = [const { None }; FUNCTIONS];
        let found = self.root.enumerate_bus(0);
        for (place, (address, info)) in functions.iter_mut().zip(found) {
            *place = Some(Function { address, info });
        }
        for function in functions.iter().flatten() {
            self.start(function.address);
        }
        functions
    }

    /// Address of a memory BAR.
    pub(crate) fn bar(&mut self, function: DeviceFunction, index: u8) -> Option<u64> {
        let info = self.root.bar_info(function, index).ok().flatten()?;
        info.memory_address_size().map(|(address, _)| address)
    }

    /// Gives a function's memory BARs addresses and lets it answer there and do DMA.
    fn start(&mut self, function: DeviceFunction) {
        let Ok(bars) = self.root.bars(function) else {
            return;
        };
        for (index, bar) in (0..).zip(&bars) {
            let Some(BarInfo::Memory { size, .. }) = *bar else {
                continue;
            };
            let base = self.next.next_multiple_of(size);
            assert!(base + size <= self.end, "no addresses are left for a BAR");
            self.next = base + size;
            if bar.as_ref().is_some_and(BarInfo::takes_two_entries) {
                self.root.set_bar_64(function, index, base);
            } else {
                self.root.set_bar_32(function, index, base as u32);
            }
        }
        let enabled = Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTERRUPT_DISABLE;
        self.root.set_command(function, enabled);
    }
}
