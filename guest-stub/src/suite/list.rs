// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of all checks as one text in the image, made by the compiler from the tables that run: whoever has the
//! image can read it without running it.
//!
//! A line a check: family, slash, name; tab; what is known of Xen; tab; what is known of Xenolith. Known is `passes`,
//! `differs: ` and a reason, or `hangs: ` and a reason.

#![allow(long_running_const_eval, reason = "it copies the text byte by byte")]

use super::FAMILIES;
use super::check::{Check, Known};

const BEGIN: &str = "\n# checks of guest-stub\n";
const END: &str = "# end of checks\n";

static LIST: [u8; length()] = list();

/// The lines.
pub(super) fn lines() -> impl Iterator<Item = &'static str> {
    core::str::from_utf8(core::hint::black_box(&LIST))
        .unwrap_or("")
        .lines()
        .filter(|line| line.contains('\t'))
}

/// The parts of one check's line.
const fn parts(family: &'static str, check: &Check) -> [&'static str; 9] {
    let [xen, xen_reason] = known(&check.on_xen);
    let [xenolith, xenolith_reason] = known(&check.on_xenolith);
    [
        family,
        "/",
        check.name,
        "\t",
        xen,
        xen_reason,
        "\t",
        xenolith,
        xenolith_reason,
    ]
}

const fn known(known: &Known) -> [&'static str; 2] {
    match known {
        Known::Passes => ["passes", ""],
        Known::Differs(reason) => ["differs: ", reason],
        Known::Hangs(reason) => ["hangs: ", reason],
    }
}

const fn length() -> usize {
    let mut total = BEGIN.len() + END.len();
    let mut family = 0;
    while family < FAMILIES.len() {
        let (name, checks) = FAMILIES[family];
        let mut check = 0;
        while check < checks.len() {
            let parts = parts(name, &checks[check]);
            let mut part = 0;
            while part < parts.len() {
                total += parts[part].len();
                part += 1;
            }
            total += 1;
            check += 1;
        }
        family += 1;
    }
    total
}

const fn put<const N: usize>(text: &mut [u8; N], at: usize, part: &str) -> usize {
    let bytes = part.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        text[at + index] = bytes[index];
        index += 1;
    }
    at + bytes.len()
}

const fn list<const N: usize>() -> [u8; N] {
    let mut text = [0; N];
    let mut at = put(&mut text, 0, BEGIN);
    let mut family = 0;
    while family < FAMILIES.len() {
        let (name, checks) = FAMILIES[family];
        let mut check = 0;
        while check < checks.len() {
            let parts = parts(name, &checks[check]);
            let mut part = 0;
            while part < parts.len() {
                at = put(&mut text, at, parts[part]);
                part += 1;
            }
            at = put(&mut text, at, "\n");
            check += 1;
        }
        family += 1;
    }
    put(&mut text, at, END);
    text
}
