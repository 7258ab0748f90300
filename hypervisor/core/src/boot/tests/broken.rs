// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damaged blobs: an error or something readable, never a panic.

use super::*;
use crate::boot::cmdline::CommandLines;
use crate::boot::modules::Modules;
use crate::boot::validate::{BlobError, MAX_SIZE};

/// Reads all there is to read.
pub(super) fn read_everything(host: &HostDt<'_>) {
    let ram = host.memory_banks().unwrap_or_default();
    let _ = (host.cpus().is_ok(), host.psci(), host.reserved_memory());
    let _ = host.memory_reservations().count();
    for node in host.all() {
        let _ = (node.path(), host.interrupts(node), node.ranges().count());
    }
    if let Ok(modules) = Modules::find(host) {
        let _ = CommandLines::find(host, &modules);
    }
    let bank = ram.first().copied().unwrap_or(range(0x8000_0000, 0x1000));
    if let Some((blob, _)) = dom0_of(host, &[bank]) {
        Tree::check(&blob).unwrap();
    }
}

/// A fixed sequence of numbers that look random (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn mutated_blobs_do_not_panic() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let blobs = [virt(true), virt(false)];
    let mut readable = 0;
    for round in 0..20_000 {
        let mut blob = blobs[round % 2].clone();
        for _ in 0..1 + numbers.below(8) {
            let at = numbers.below(blob.len() / 4) * 4;
            let word = match numbers.below(4) {
                0 => numbers.below(16) as u32,
                1 => 1 << numbers.below(32),
                2 => u32::MAX - numbers.below(8) as u32,
                _ => blob[at + numbers.below(4)].wrapping_add(1).into(),
            };
            blob[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        if let Ok(tree) = Tree::check(&blob) {
            let fdt = tree.fdt();
            read_everything(&HostDt::new(&tree, &fdt));
            readable += 1;
        }
    }
    assert!(readable > 1000, "{readable}");
}

#[test]
fn cut_blobs_are_refused() {
    let blob = virt(true);
    for length in 0..blob.len() {
        let cut = Tree::check(&blob[..length]).err();
        assert_eq!(cut, Some(BlobError::Truncated), "{length}");
    }
}

fn patched(word: usize, value: u32) -> Option<BlobError> {
    let mut blob = virt(true);
    blob[word * 4..][..4].copy_from_slice(&value.to_be_bytes());
    Tree::check(&blob).err()
}

#[test]
fn bad_headers_are_named() {
    assert_eq!(patched(0, 0xd00d_feee), Some(BlobError::Magic));
    assert_eq!(patched(1, MAX_SIZE as u32 + 1), Some(BlobError::TooBig));
    assert_eq!(patched(2, 0xffff_fff0), Some(BlobError::Block));
    assert_eq!(patched(3, 0xffff_fff0), Some(BlobError::Block));
    assert_eq!(patched(4, 0xffff_fff0), Some(BlobError::Block));
    assert_eq!(patched(5, 3), Some(BlobError::Version(3)));
    assert_eq!(patched(9, 8), Some(BlobError::Token(56 + 8)));
}

/// What is said of a tree written from a picture: `(` begins a node (the first the root), `)` ends
/// one, `p` is a property.
fn verdict(picture: &str) -> Option<BlobError> {
    let mut dt = DtBuilder::new(&[]);
    for (place, token) in picture.chars().enumerate() {
        match token {
            '(' => dt.begin_node(if place == 0 { "" } else { "n" }),
            ')' => dt.end_node(),
            _ => dt.prop("p", &[]),
        };
    }
    Tree::check(&dt.finish()).err()
}

#[test]
fn misplaced_tokens_are_refused() {
    // The structure starts at 56; a begin takes 8 bytes, an end 4, a property 12.
    let token = |at: usize| Some(BlobError::Token(56 + at));
    assert_eq!(verdict("(pp(p)(()))"), None);
    assert_eq!(verdict(""), token(0));
    assert_eq!(verdict("p"), token(0));
    assert_eq!(verdict(")"), token(0));
    assert_eq!(verdict("("), token(8));
    assert_eq!(verdict("())"), token(12));
    assert_eq!(verdict("()()"), token(12));
    assert_eq!(verdict("()p"), token(12));
    assert_eq!(verdict("(()p)"), token(20));
    let deep = "(".repeat(99) + &")".repeat(99);
    assert_eq!(verdict(&deep), Some(BlobError::TooBig));
}

#[test]
fn bad_names_are_refused() {
    let named = |root: &str, child: &str| {
        let mut dt = DtBuilder::new(&[]);
        dt.begin_node(root).begin_node(child).end_node().end_node();
        Tree::check(&dt.finish()).err()
    };
    assert_eq!(
        named("", "a-name-of-more-than-thirty-one-characters,ok"),
        None
    );
    assert_eq!(named("root", "n"), Some(BlobError::Name(60)));
    assert_eq!(named("", ""), Some(BlobError::Name(68)));
    assert_eq!(named("", "\u{7f}"), Some(BlobError::Name(68)));
}

#[test]
fn nops_and_padding_are_left_out() {
    let plain = virt(true);
    let word =
        |index: usize| u32::from_be_bytes(plain[index * 4..][..4].try_into().unwrap()) as usize;
    let (tokens_at, strings_at, size) = (word(2), word(3), word(1));
    // NOPs at the start, after the root's name, and around its end.
    let nop = 4u32.to_be_bytes();
    let mut blob = plain[..tokens_at].to_vec();
    blob.extend(nop);
    blob.extend(&plain[tokens_at..tokens_at + 8]);
    blob.extend([nop, nop].concat());
    blob.extend(&plain[tokens_at + 8..strings_at - 8]);
    blob.extend(nop);
    blob.extend(&plain[strings_at - 8..strings_at - 4]);
    blob.extend(nop);
    blob.extend(&plain[strings_at - 4..size]);
    blob.resize(1 << 20, 0);
    for (index, value) in [
        (1, 1 << 20),
        (3, strings_at + 20),
        (9, strings_at + 20 - tokens_at),
    ] {
        blob[index * 4..][..4].copy_from_slice(&(value as u32).to_be_bytes());
    }
    assert_eq!(
        Tree::check(&blob).unwrap().bytes(),
        Tree::check(&plain).unwrap().bytes()
    );
    assert_eq!(Tree::check(&plain).unwrap().bytes(), plain);
}
