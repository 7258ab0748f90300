// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's kernel: an arm64 `Image`, also compressed with gzip, also in a U-Boot wrapper.
//!
//! Nothing is unpacked twice: [`Kernel::open`] reads the header only, and [`Kernel::load`] writes
//! to where the kernel will run. Formats: Linux's `arm64/booting.rst`, RFC 1951 and 1952, U-Boot's
//! `image.h`.

use alloc::boxed::Box;
use core::fmt;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// Bytes of an `Image` header.
const HEADER: usize = 64;
/// Bytes of a uImage header.
const UIMAGE_HEADER: usize = 64;
const UIMAGE_MAGIC: u32 = 0x2705_1956;
/// Bytes of a gzip member's fixed header, and of its trailer (CRC and size).
const GZIP_HEADER: usize = 10;
const GZIP_TRAILER: usize = 8;
/// Largest kernel taken.
const MAX_SIZE: u64 = 1 << 30;

/// Why a file is no kernel for a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// Shorter than its headers say.
    Truncated,
    /// No known format.
    Unknown,
    /// A 32-bit kernel.
    Arm32,
    /// A self-extracting EFI application (`CONFIG_EFI_ZBOOT`), which needs EFI.
    EfiZboot,
    /// Packed with this, which is not supported.
    Compression(&'static str),
    /// Not for arm64.
    Architecture,
    /// Big-endian.
    BigEndian,
    /// Says it is bigger than any kernel, or unpacks to more than its header says.
    TooBig,
    /// The packed data are damaged.
    Damaged,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "kernel: file is truncated"),
            Self::Unknown => write!(f, "kernel: not an arm64 Image"),
            Self::Arm32 => write!(f, "kernel: 32-bit kernels are not supported"),
            Self::EfiZboot => write!(f, "kernel: EFI zboot images are not supported, unpack it"),
            Self::Compression(how) => write!(f, "kernel: {how} compression is not supported"),
            Self::Architecture => write!(f, "kernel: not for arm64"),
            Self::BigEndian => write!(f, "kernel: big-endian kernels are not supported"),
            Self::TooBig => write!(f, "kernel: too big"),
            Self::Damaged => write!(f, "kernel: compressed data are damaged"),
        }
    }
}

/// The granule a kernel uses at stage 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageSize {
    /// Not said.
    Unspecified,
    /// 4 KiB.
    Size4K,
    /// 16 KiB.
    Size16K,
    /// 64 KiB.
    Size64K,
}

/// What an `Image`'s header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its distance from a 2 MiB boundary, in bytes.
    pub text_offset: u64,
    /// Bytes it takes in memory, its zeroed data included; 0 from kernels before 3.17.
    pub image_size: u64,
    /// Its granule.
    pub page_size: PageSize,
    /// True if it may be anywhere in memory, else it wants to be near the start.
    pub anywhere: bool,
}

impl Header {
    /// Reads the header an `Image` starts with.
    pub fn parse(image: &[u8]) -> Result<Self, ImageError> {
        let image = image.first_chunk::<HEADER>().ok_or(ImageError::Truncated)?;
        let word = |at: usize| u32::from_le_bytes(core::array::from_fn(|i| image[at + i]));
        let long = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| image[at + i]));
        if image.starts_with(b"MZ") && &image[4..8] == b"zimg" {
            return Err(ImageError::EfiZboot);
        }
        if word(0x24) == 0x016f_2818 {
            return Err(ImageError::Arm32);
        }
        // Kernels of before 3.17 have a fixed first instruction, and no size and flags.
        let old = word(0) == 0x1400_0008 && word(0x38) != 0x644d_5241;
        if !old && &image[0x38..0x3c] != b"ARM\x64" {
            return Err(ImageError::Unknown);
        }
        let (text_offset, image_size) = (long(0x08), if old { 0 } else { long(0x10) });
        let flags = if old { 0 } else { long(0x18) };
        if flags & 1 != 0 {
            return Err(ImageError::BigEndian);
        }
        if text_offset > MAX_SIZE || image_size > MAX_SIZE {
            return Err(ImageError::TooBig);
        }
        Ok(Self {
            text_offset,
            image_size,
            page_size: match flags >> 1 & 3 {
                0 => PageSize::Unspecified,
                1 => PageSize::Size4K,
                2 => PageSize::Size16K,
                _ => PageSize::Size64K,
            },
            anywhere: flags >> 3 & 1 != 0,
        })
    }
}

/// A kernel to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// What its `Image` header says.
    pub header: Header,
    /// The `Image`, or the deflate stream and what follows it.
    payload: &'a [u8],
    gzip: bool,
}

impl<'a> Kernel<'a> {
    /// Recognizes a file.
    pub fn open(file: &'a [u8]) -> Result<Self, ImageError> {
        let file = unwrap_uimage(file)?;
        let (payload, gzip) = match gzip_stream(file)? {
            Some(stream) => (stream, true),
            None => (file, false),
        };
        let header = if gzip {
            let mut start = [0; HEADER];
            // More than fits is what is expected: the rest is unpacked by `load`.
            let (status, _, length) = inflate(payload, &mut start);
            match status {
                TINFLStatus::Done | TINFLStatus::HasMoreOutput => Header::parse(&start[..length])?,
                _ => return Err(ImageError::Damaged),
            }
        } else {
            Header::parse(file)?
        };
        Ok(Self {
            header,
            payload,
            gzip,
        })
    }

    /// The `Image`'s bytes, if it is not compressed.
    pub fn plain(&self) -> Option<&'a [u8]> {
        (!self.gzip).then_some(self.payload)
    }

    /// Bytes to set aside for it in memory.
    pub fn memory_size(&self) -> u64 {
        let unpacked = match self.payload.last_chunk::<4>() {
            // The size a gzip file ends with is only as good as the file's end.
            Some(size) if self.gzip && self.header.image_size == 0 => {
                u64::from(u32::from_le_bytes(*size)).min(MAX_SIZE)
            }
            _ if self.gzip => 0,
            _ => self.payload.len() as u64,
        };
        unpacked.max(self.header.image_size)
    }

    /// Writes it to `memory` ([`memory_size`](Self::memory_size) bytes); returns how many bytes
    /// were written. What follows them is the kernel's zeroed data, which it clears itself.
    ///
    /// An `Image` that is not compressed is moved by `copy(to, from)`, slices of one length.
    pub fn load(
        &self,
        memory: &mut [u8],
        copy: impl FnOnce(&mut [u8], &[u8]),
    ) -> Result<usize, ImageError> {
        if !self.gzip {
            let place = memory
                .get_mut(..self.payload.len())
                .ok_or(ImageError::TooBig)?;
            copy(place, self.payload);
            return Ok(self.payload.len());
        }
        let (status, read, written) = inflate(self.payload, memory);
        match status {
            TINFLStatus::Done => {}
            TINFLStatus::HasMoreOutput => return Err(ImageError::TooBig),
            TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => {
                return Err(ImageError::Truncated);
            }
            _ => return Err(ImageError::Damaged),
        }
        let trailer = self.payload.get(read..).unwrap_or_default();
        let trailer = trailer.first_chunk::<GZIP_TRAILER>();
        let [crc @ .., s0, s1, s2, s3] = *trailer.ok_or(ImageError::Truncated)?;
        let image = memory.get(..written).unwrap_or_default();
        let good = u32::from_le_bytes([s0, s1, s2, s3]) as usize == written
            && u32::from_le_bytes(crc) == crc32(image);
        good.then_some(written).ok_or(ImageError::Damaged)
    }
}

/// The contents of a uImage; `file` itself if it is none.
fn unwrap_uimage(file: &[u8]) -> Result<&[u8], ImageError> {
    const ARM64: u8 = 22;
    let Some((header, rest)) = file.split_at_checked(UIMAGE_HEADER) else {
        return Err(ImageError::Truncated);
    };
    let word = |at: usize| u32::from_be_bytes(core::array::from_fn(|i| header[at + i]));
    if word(0) != UIMAGE_MAGIC {
        return Ok(file);
    }
    if header[29] != ARM64 {
        return Err(ImageError::Architecture);
    }
    match header[31] {
        // What is packed with gzip is seen by its own magic.
        0 | 1 => rest.get(..word(12) as usize).ok_or(ImageError::Truncated),
        2 => Err(ImageError::Compression("bzip2")),
        3 => Err(ImageError::Compression("lzma")),
        5 => Err(ImageError::Compression("lz4")),
        6 => Err(ImageError::Compression("zstd")),
        _ => Err(ImageError::Compression("unknown")),
    }
}

/// What follows the header of a gzip file; `None` if `file` is no such file.
fn gzip_stream(file: &[u8]) -> Result<Option<&[u8]>, ImageError> {
    let others: [(&[u8], _); 5] = [
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"\x04\x22\x4d\x18", "lz4"),
    ];
    if let Some((_, name)) = others.iter().find(|(magic, _)| file.starts_with(magic)) {
        return Err(ImageError::Compression(name));
    }
    if !file.starts_with(b"\x1f\x8b\x08") {
        return Ok(None);
    }
    let (header, rest) = file
        .split_at_checked(GZIP_HEADER)
        .ok_or(ImageError::Truncated)?;
    skip_gzip_fields(header[3], rest)
        .ok_or(ImageError::Truncated)
        .map(Some)
}

/// Steps over the fields of a gzip header that `flags` says are there.
fn skip_gzip_fields(flags: u8, rest: &[u8]) -> Option<&[u8]> {
    let [crc, extra, name, comment] = [1, 2, 3, 4].map(|bit| flags >> bit & 1 != 0);
    let mut rest = rest;
    if extra {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for _ in 0..usize::from(name) + usize::from(comment) {
        let end = rest.iter().position(|&b| b == 0)?;
        rest = rest.get(end + 1..)?;
    }
    rest.get(if crc { 2 } else { 0 }..)
}

/// Unpacks `stream` until it or `out` ends: status, bytes read, bytes written.
fn inflate(stream: &[u8], out: &mut [u8]) -> (TINFLStatus, usize, usize) {
    let mut state = Box::<DecompressorOxide>::default();
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    decompress(&mut state, stream, out, 0, flags)
}

/// The CRC of RFC 1952.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let (mut crc, mut bit) = (i as u32, 0);
            while bit < 8 {
                crc = crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| {
        crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A kernel of `size` bytes that says it takes 64 KiB.
    fn image(size: usize) -> Vec<u8> {
        let mut image: Vec<u8> = (0..size).map(|i| ((i * i) >> 7) as u8).collect();
        image[0x00..0x08].copy_from_slice(&[0x4d, 0x5a, 0x40, 0xfa, 0, 0, 0, 0x14]);
        image[0x08..0x10].copy_from_slice(&0u64.to_le_bytes());
        image[0x10..0x18].copy_from_slice(&0x1_0000u64.to_le_bytes());
        image[0x18..0x20].copy_from_slice(&0xau64.to_le_bytes());
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        image
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        // With a name and an extra field.
        let mut file = b"\x1f\x8b\x08\x0c\0\0\0\0\0\x03\x02\0abImage\0".to_vec();
        file.extend(miniz_oxide::deflate::compress_to_vec(data, 6));
        file.extend(crc32(data).to_le_bytes());
        file.extend((data.len() as u32).to_le_bytes());
        file
    }

    fn uimage(data: &[u8], architecture: u8) -> Vec<u8> {
        let mut file = [0; 64].to_vec();
        file[..4].copy_from_slice(&UIMAGE_MAGIC.to_be_bytes());
        file[12..16].copy_from_slice(&(data.len() as u32).to_be_bytes());
        file[29] = architecture;
        file.extend(data);
        file
    }

    fn error(file: &[u8]) -> ImageError {
        let kernel = match Kernel::open(file) {
            Ok(kernel) => kernel,
            Err(error) => return error,
        };
        let mut memory = alloc::vec![0; kernel.memory_size() as usize];
        kernel
            .load(&mut memory, <[u8]>::copy_from_slice)
            .unwrap_err()
    }

    #[test]
    fn every_wrapping_gives_the_same_kernel() {
        let plain = image(40_000);
        let packed = gzip(&plain);
        let mut padded = packed.clone();
        padded.extend([0; 100]);
        for file in [
            plain.clone(),
            packed.clone(),
            padded,
            uimage(&plain, 22),
            uimage(&packed, 22),
        ] {
            let kernel = Kernel::open(&file).unwrap();
            assert_eq!(
                (kernel.header.text_offset, kernel.memory_size()),
                (0, 0x1_0000)
            );
            assert!(kernel.header.anywhere && kernel.header.page_size == PageSize::Size4K);
            let mut memory = alloc::vec![0; 0x1_0000];
            assert_eq!(
                kernel.load(&mut memory, <[u8]>::copy_from_slice),
                Ok(plain.len())
            );
            assert_eq!(memory[..plain.len()], plain);
        }
    }

    #[test]
    fn an_old_kernel_has_no_size() {
        let mut old = image(5000);
        old[..4].copy_from_slice(&0x1400_0008u32.to_le_bytes());
        old[0x38..0x3c].fill(0);
        for file in [old.clone(), gzip(&old)] {
            let kernel = Kernel::open(&file).unwrap();
            assert_eq!((kernel.header.image_size, kernel.memory_size()), (0, 5000));
        }
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        let with = |at: usize, bytes: &[u8]| {
            let mut image = image(200);
            image[at..at + bytes.len()].copy_from_slice(bytes);
            image
        };
        assert_eq!(error(&[]), ImageError::Truncated);
        assert_eq!(error(&[0; 64]), ImageError::Unknown);
        assert_eq!(error(&with(0x18, &[0xb])), ImageError::BigEndian);
        assert_eq!(error(&with(0x10, &[0xff; 8])), ImageError::TooBig);
        assert_eq!(error(&with(0x08, &[0xff; 8])), ImageError::TooBig);
        assert_eq!(error(&with(4, b"zimg")), ImageError::EfiZboot);
        assert_eq!(
            error(&with(0x24, &0x016f_2818u32.to_le_bytes())),
            ImageError::Arm32
        );
        assert_eq!(error(&with(0, b"BZh")), ImageError::Compression("bzip2"));
        assert_eq!(
            error(&with(0, b"\x28\xb5\x2f\xfd")),
            ImageError::Compression("zstd")
        );
        assert_eq!(error(&uimage(&image(200), 2)), ImageError::Architecture);
        assert_eq!(
            error(&uimage(&image(200), 22)[..200]),
            ImageError::Truncated
        );
    }

    #[test]
    fn damage_is_found() {
        let good = gzip(&image(40_000));
        assert_eq!(error(&good[..good.len() - 8]), ImageError::Truncated);
        assert_eq!(error(&good[..good.len() / 2]), ImageError::Truncated);
        let mut bad = good.clone();
        let crc = bad.len() - 8;
        bad[crc] ^= 1;
        assert_eq!(error(&bad), ImageError::Damaged);
        assert_eq!(error(&gzip(&image(70_000))), ImageError::TooBig);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            if let Ok(kernel) = Kernel::open(&bad) {
                let _ = kernel.load(&mut alloc::vec![0; 0x1_0000], <[u8]>::copy_from_slice);
            }
        }
    }
}
