// SPDX-License-Identifier: MIT OR Apache-2.0
//! EL2's own stage 1. Everything is mapped where it is: first a handful of 2 MiB blocks for the
//! way to Rust, then the real tables, by aarch64-paging: text RX, rodata RO, data and RAM RW and
//! never executable, devices nGnRE, nothing under a stack.

use crate::sysreg::{dsb_ish, isb};
use aarch64_paging::descriptor::El23Attributes;
use aarch64_paging::idmap::IdMap;
use aarch64_paging::paging::{El2, MemoryRegion};
use hv_core::addr::{Pa, PaRange};
use hv_core::boot::dom0_mem::without;

/// Attr0 = Device-nGnRE, Attr1 = Normal write-back, Attr2 = Normal non-cacheable.
pub(crate) const MAIR: u64 = 0x0044_ff04;
/// T0SZ = 16, write-back inner-shareable walks, 4 KiB; PS is added from ID_AA64MMFR0_EL1.
pub(crate) const TCR: u64 = 1 << 31 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 16;
/// RES1 bits, M, C, SA, I.
pub(crate) const SCTLR: u64 = 0x30c5_0830 | 1 << 12 | 1 << 3 | 1 << 2 | 1;
/// Writable means never executable.
const SCTLR_WXN: u64 = 1 << 19;

const DEVICE: El23Attributes = El23Attributes::ATTRIBUTE_INDEX_0
    .union(El23Attributes::XN)
    .union(COMMON);
const TEXT: El23Attributes = NORMAL.union(El23Attributes::READ_ONLY);
const RODATA: El23Attributes = TEXT.union(El23Attributes::XN);
const DATA: El23Attributes = NORMAL.union(El23Attributes::XN);
const NORMAL: El23Attributes = El23Attributes::ATTRIBUTE_INDEX_1
    .union(El23Attributes::INNER_SHAREABLE)
    .union(COMMON);
const COMMON: El23Attributes = El23Attributes::VALID
    .union(El23Attributes::ACCESSED)
    .union(El23Attributes::USER_RES1);

/// Where the parts of the image lie in memory.
pub(crate) struct Image {
    pub(crate) text: PaRange,
    pub(crate) rodata: PaRange,
    pub(crate) data: PaRange,
    /// The page under the boot stack, never mapped.
    pub(crate) guard: PaRange,
}

unsafe extern "C" {
    static _image_start: u8;
    static _text_end: u8;
    static _rodata_end: u8;
    static _boot_stack_guard: u8;
    static _boot_stack_start: u8;
    static _image_end: u8;
}

/// Reads the linker's marks.
pub(crate) fn image() -> Image {
    let at = |symbol: *const u8| Pa(symbol.expose_provenance() as u64);
    Image {
        text: PaRange {
            start: at(&raw const _image_start),
            end: at(&raw const _text_end),
        },
        rodata: PaRange {
            start: at(&raw const _text_end),
            end: at(&raw const _rodata_end),
        },
        data: PaRange {
            start: at(&raw const _rodata_end),
            end: at(&raw const _image_end),
        },
        guard: PaRange {
            start: at(&raw const _boot_stack_guard),
            end: at(&raw const _boot_stack_start),
        },
    }
}

/// Tables for what is used before [`Tables`] are.
#[repr(C, align(4096))]
pub(crate) struct EarlyTables {
    tables: [[u64; 512]; EarlyTables::COUNT],
    used: usize,
}

impl EarlyTables {
    /// The root, and as many as the image and the device tree, each across a border of both levels,
    /// and three UARTs can need.
    const COUNT: usize = 1 + 2 * 4 + 3 * 2;
}

static mut EARLY: EarlyTables = EarlyTables {
    tables: [[0; 512]; EarlyTables::COUNT],
    used: 0,
};

/// log2 of the block the early tables map with.
const BLOCK_SHIFT: u32 = 21;
/// Descriptor bits of an early block: Normal memory, or a device that is not executable.
const EARLY_NORMAL: u64 = 0b01 | 1 << 2 | 1 << 6 | 3 << 8 | 1 << 10;
const EARLY_DEVICE: u64 = 0b01 | 1 << 6 | 1 << 10 | 1 << 54;

impl EarlyTables {
    /// Maps the block around `pa`, if there is a table left for it.
    fn map(&mut self, pa: u64, attributes: u64) {
        let base = (&raw const self.tables).expose_provenance() as u64;
        let mut table = 0;
        for shift in [39, 30] {
            let index = (pa >> shift & 511) as usize;
            if self.tables[table][index] == 0 {
                if self.used + 1 == Self::COUNT {
                    return;
                }
                self.used += 1;
                self.tables[table][index] = (base + self.used as u64 * 4096) | 0b11;
            }
            table = ((self.tables[table][index] & !0xfff) - base) as usize / 4096;
        }
        let index = (pa >> BLOCK_SHIFT & 511) as usize;
        if self.tables[table][index] == 0 {
            self.tables[table][index] = pa >> BLOCK_SHIFT << BLOCK_SHIFT | attributes;
        }
    }
}

/// Maps the image (read, write, execute) and the four MiB that hold the device tree. Runs with the
/// MMU off: plain loads and stores only. Returns the root.
#[unsafe(no_mangle)]
extern "C" fn early_map(dtb: u64, image: u64) -> u64 {
    // SAFETY: only the boot CPU runs, and nothing else refers to the tables.
    let early = unsafe { (&raw mut EARLY).as_mut_unchecked() };
    let end = self::image().data.end.0;
    let mut pa = image >> BLOCK_SHIFT << BLOCK_SHIFT;
    while pa < end {
        early.map(pa, EARLY_NORMAL);
        pa += 1 << BLOCK_SHIFT;
    }
    if dtb != 0 && dtb >> 48 == 0 {
        early.map(dtb, EARLY_NORMAL);
        early.map(dtb + (1 << BLOCK_SHIFT), EARLY_NORMAL);
    }
    (&raw const early.tables).expose_provenance() as u64
}

/// Makes the device at `pa` usable before [`Tables`] are.
pub(crate) fn early_device(pa: u64) {
    if pa >> 48 != 0 {
        return;
    }
    // SAFETY: only the boot CPU runs. An entry that was invalid needs no invalidation.
    unsafe { (&raw mut EARLY).as_mut_unchecked() }.map(pa, EARLY_DEVICE);
    dsb_ish();
    isb();
}

/// The tables in use after boot.
pub(crate) struct Tables {
    map: IdMap<El2>,
}

impl Tables {
    /// Maps the image, `ram` less `guards`, and `devices`.
    ///
    /// # Errors
    /// Says which range could not be mapped.
    pub(crate) fn new(
        ram: &[PaRange],
        guards: &[PaRange],
        devices: &[PaRange],
    ) -> Result<Self, PaRange> {
        let mut tables = Self {
            map: IdMap::new(0, El2),
        };
        let image = image();
        let whole = PaRange {
            start: image.text.start,
            end: image.data.end,
        };
        let mut holes = guards.to_vec();
        holes.push(whole);
        for piece in without(ram, &holes) {
            tables.add(piece, DATA)?;
        }
        tables.add(image.text, TEXT)?;
        tables.add(image.rodata, RODATA)?;
        for piece in without(&[image.data], &[image.guard]) {
            tables.add(piece, DATA)?;
        }
        for device in devices {
            tables.add(device.page_aligned(), DEVICE)?;
        }
        Ok(tables)
    }

    fn add(&mut self, range: PaRange, attributes: El23Attributes) -> Result<(), PaRange> {
        if range.is_empty() {
            return Ok(());
        }
        let region = MemoryRegion::new(range.start.0 as usize, range.end.0 as usize);
        self.map.map_range(&region, attributes).map_err(|_| range)
    }

    /// The root's address, for TTBR0_EL2.
    pub(crate) fn root(&self) -> u64 {
        self.map.root_address().0 as u64
    }
}

core::arch::global_asm!(
    r#"
// switch_tables(root, sctlr): with the MMU off in between, so that no two sizes of one mapping ever
// meet in the TLB. Registers only: the code is mapped where it is, but data may not be seen.
.global switch_tables
switch_tables:
    dsb     sy
    mrs     x2, sctlr_el2
    bic     x2, x2, #1
    msr     sctlr_el2, x2
    isb
    msr     ttbr0_el2, x0
    isb
    tlbi    alle2
    dsb     nsh
    isb
    msr     sctlr_el2, x1
    isb
    ret
"#
);

unsafe extern "C" {
    fn switch_tables(root: u64, sctlr: u64);
}

/// Switches this CPU to the tables at `root` and forbids execution of what is writable.
pub(crate) fn activate(root: u64) {
    dsb_ish();
    // SAFETY: the tables map all that runs and is used, where it was before.
    unsafe { switch_tables(root, SCTLR | SCTLR_WXN) };
}
