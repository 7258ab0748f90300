// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links the image: own script, position-independent. Pointers in constants are relocated at boot
//! too (`-znotext`): the precompiled core library is not built for PIC.

fn main() {
    let dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo:rerun-if-changed=link.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    for arg in [
        "-pie",
        "--no-dynamic-linker",
        "-znorelro",
        "-znotext",
        "--build-id=none",
        "--apply-dynamic-relocs",
        // Cortex-A53: an ADRP at the end of a page may compute a wrong address.
        "--fix-cortex-a53-843419",
    ] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    println!("cargo:rustc-link-arg-bins=-T{dir}/link.ld");
}
