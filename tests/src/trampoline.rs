// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tiny boot programs that enter the hypervisor otherwise than QEMU's boot loader does.
//!
//! Encodings: Arm ARM DDI 0487, C6.2; the image's header: Linux Documentation/arch/arm64/booting.rst.

const SMC: u32 = 0xd400_0003;
/// Waits for ever, if what stands before it should return.
const BRANCH_TO_SELF: u32 = 0x1400_0000;
/// PSCI function identifiers (Arm DEN0022).
const CPU_ON: u64 = 0xc400_0003;
const CPU_OFF: u64 = 0x8400_0002;
const AFFINITY_INFO: u64 = 0xc400_0004;

/// CMP `x0`, #1: AFFINITY_INFO's "off".
const COMPARE_WITH_OFF: u32 = 0xf100_041f;

/// Bytes of the header, where execution starts.
const HEADER: usize = 64;

/// Enters `address` on this CPU with `x0` as it is.
#[must_use]
pub fn enter(address: u32) -> Vec<u32> {
    [&set(1, u64::from(address))[..], &[branch_register(1)]].concat()
}

/// Enters `address` on this CPU with another `x0`, where the device tree should be.
#[must_use]
pub fn enter_with(x0: u64, address: u32) -> Vec<u32> {
    [&set(0, x0)[..], &enter(address)].concat()
}

/// Switches this CPU, the first, off, and has the one with MPIDR `mpidr` enter `address` after that, with `x0` as it
/// is here.
#[must_use]
pub fn enter_on(mpidr: u64, address: u32) -> Vec<u32> {
    let wait = [
        &set(0, AFFINITY_INFO)[..],
        &set(1, 0),
        &set(2, 0),
        &[SMC, COMPARE_WITH_OFF],
    ]
    .concat();
    let other = [
        &[copy(19, 0)][..],
        &wait,
        &[branch_if_not_equal(wait.len()), copy(0, 19)],
        &enter(address),
    ]
    .concat();
    let off = [&set(0, CPU_OFF)[..], &[SMC, BRANCH_TO_SELF]].concat();
    [
        &[copy(3, 0)][..],
        &set(0, CPU_ON),
        &set(1, mpidr),
        &[address_of(2, 2 + off.len()), SMC],
        &off,
        &other,
    ]
    .concat()
}

/// `code` as the bytes that a CPU fetches.
#[must_use]
pub fn bytes(code: &[u32]) -> Vec<u8> {
    code.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// `code` as an arm64 Image.
#[must_use]
pub fn image(code: &[u32]) -> Vec<u8> {
    let body = bytes(code);
    let size = (HEADER + body.len()) as u64;
    let mut image = bytes(&[BRANCH_TO_SELF + (HEADER / 4) as u32, 0]);
    // Offset from a 2 MiB boundary, size in memory, flags: little-endian, 4 KiB pages, anywhere in memory.
    for field in [0, size, 0xa, 0, 0, 0] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    image.extend_from_slice(b"ARM\x64\0\0\0\0");
    image.extend_from_slice(&body);
    image
}

/// MOVZ and MOVKs: `x<register>` = `value`.
fn set(register: u32, value: u64) -> [u32; 4] {
    let half = |index: u32| ((value >> (index * 16)) & 0xffff) as u32;
    [0, 1, 2, 3].map(|index| {
        let opcode = if index == 0 { 0xd280_0000 } else { 0xf280_0000 };
        opcode | (index << 21) | (half(index) << 5) | register
    })
}

/// MOV: `x<to>` = `x<from>`.
fn copy(to: u32, from: u32) -> u32 {
    0xaa00_03e0 | (from << 16) | to
}

/// ADR: `x<register>` = the address `words` instructions further.
fn address_of(register: u32, words: usize) -> u32 {
    0x1000_0000 | ((words as u32) << 5) | register
}

/// B.NE to `back` instructions before.
fn branch_if_not_equal(back: usize) -> u32 {
    let offset = (back as u32).wrapping_neg() & 0x7_ffff;
    0x5400_0001 | (offset << 5)
}

/// BR `x<register>`.
fn branch_register(register: u32) -> u32 {
    0xd61f_0000 | (register << 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As GNU as encodes them.
    #[test]
    fn encodings() {
        assert_eq!(
            set(2, 0x1234_5a20_0000),
            [0xd280_0002, 0xf2ab_4402, 0xf2c2_4682, 0xf2e0_0002]
        );
        assert_eq!(copy(3, 0), 0xaa00_03e3);
        assert_eq!(branch_register(1), 0xd61f_0020);
        assert_eq!(address_of(2, 3), 0x1000_0062, "adr x2, . + 12");
        assert_eq!(branch_if_not_equal(2), 0x54ff_ffc1, "b.ne . - 8");
    }

    #[test]
    fn header_is_an_arm64_image() {
        let image = image(&[SMC]);
        assert_eq!(&image[..4], &0x1400_0010_u32.to_le_bytes(), "b #64");
        assert_eq!(image[16], 68, "size");
        assert_eq!(&image[56..60], b"ARM\x64");
        assert_eq!(&image[HEADER..], &SMC.to_le_bytes());
    }
}
