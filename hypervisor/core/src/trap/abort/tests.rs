// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data aborts: what the syndrome says of the access.

use super::*;
use proptest::prelude::*;

const IPA: Ipa = Ipa(0x0800_0104);

#[test]
fn a_word_read_from_the_distributor() {
    // LDR W3, [..]: ISV, SAS 2, SRT 3, translation fault level 2.
    let abort = DataAbort(0x183_0006);
    assert!(abort.isv() && !abort.write() && abort.ipa_valid());
    assert_eq!(abort.fault(), Fault::Translation { level: 2 });
    assert_eq!(abort.ipa(0x8_0000, 0xffff_8000_1234_5104), Ipa(0x0800_0104));
    let access = abort.mmio(IPA).expect("syndrome");
    let expected = MmioAccess {
        ipa: IPA,
        size: 4,
        write: false,
        reg: 3,
        sign_extend: false,
        sf: false,
    };
    assert_eq!(access, expected);
    assert_eq!(access.complete_read(0xffff_ffff_8000_0001), 0x8000_0001);
}

#[test]
fn a_doubleword_write_of_zero() {
    // STR XZR, [..].
    let access = DataAbort(0x1df_8047).mmio(IPA).expect("syndrome");
    assert!(access.write && access.sf);
    assert_eq!((access.size, access.reg), (8, 31));
    assert_eq!(access.store_value(u64::MAX), u64::MAX);
}

#[test]
fn sizes_and_signs() {
    let access = |size, sign_extend, sf| MmioAccess {
        ipa: IPA,
        size,
        write: false,
        reg: 0,
        sign_extend,
        sf,
    };
    let table = [
        (access(1, false, false), 0x85, 0x85),
        (access(1, true, false), 0x85, 0xffff_ff85),
        (access(1, true, true), 0x85, 0xffff_ffff_ffff_ff85),
        (access(1, true, true), 0x1_05, 0x05),
        (access(2, true, false), 0x8000, 0xffff_8000),
        (access(2, false, true), 0x1_8000, 0x8000),
        (access(4, true, true), 0x8000_0000, 0xffff_ffff_8000_0000),
        (access(8, false, true), u64::MAX, u64::MAX),
    ];
    for (access, value, expected) in table {
        assert_eq!(access.complete_read(value), expected, "{access:?}");
    }
    assert_eq!(access(2, false, false).store_value(0x1234_5678), 0x5678);
}

#[test]
fn faults() {
    let fault = |fsc| DataAbort(fsc).fault();
    assert_eq!(fault(0x00), Fault::AddressSize { level: 0 });
    assert_eq!(fault(0x07), Fault::Translation { level: 3 });
    assert_eq!(fault(0x09), Fault::AccessFlag { level: 1 });
    assert_eq!(fault(0x0f), Fault::Permission { level: 3 });
    for fsc in [0x10, 0x13, 0x14, 0x17, 0x18, 0x1f] {
        assert_eq!(fault(fsc), Fault::External);
    }
    assert_eq!(fault(0x21), Fault::Alignment);
    assert_eq!(fault(0x2b), Fault::Translation { level: -1 });
    assert_eq!(fault(0x30), Fault::Other(0x30));
    assert_eq!(InstrAbort(0x2c00_0007 & 0x1ff_ffff).fault(), fault(7));
}

#[test]
fn what_is_not_emulated() {
    // No syndrome, a table walk, cache maintenance.
    for iss in [0x46, 0x183_0086, 0x183_0146] {
        assert_eq!(DataAbort(iss).mmio(IPA), None, "{iss:#x}");
    }
}

#[test]
fn when_the_address_is_known() {
    assert!(!DataAbort(0x4f).ipa_valid(), "permission fault");
    assert!(!DataAbort(0x10).ipa_valid(), "external abort");
    assert!(!DataAbort(0x406).ipa_valid(), "FnV");
    // A table walk: of the page only, but also for a permission fault.
    assert!(DataAbort(0x8f).ipa_valid());
    assert_eq!(DataAbort(0x8f).ipa(0x1230, 0xfff), Ipa(0x12_3000));
    assert!(InstrAbort(0x06).ipa_valid() && !InstrAbort(0x0f).ipa_valid());
    assert_eq!(InstrAbort(0x06).ipa(0x1230, 0xabc), Ipa(0x12_3abc));
    // RES0 bits and bit 63 (NS) of HPFAR_EL2 do not count.
    assert_eq!(DataAbort(6).ipa(u64::MAX, 0), Ipa(0x000f_ffff_ffff_f000));
}

proptest! {
    #[test]
    fn no_value_panics(iss: u32, hpfar: u64, far: u64, value: u64) {
        let abort = DataAbort(iss);
        let ipa = abort.ipa(hpfar, far);
        let _ = (abort.fault(), InstrAbort(iss).fault(), InstrAbort(iss).ipa(hpfar, far));
        if let Some(access) = abort.mmio(ipa) {
            prop_assert!(matches!(access.size, 1 | 2 | 4 | 8) && access.reg < 32);
            let _ = (access.complete_read(value), access.store_value(value));
        }
    }
}
