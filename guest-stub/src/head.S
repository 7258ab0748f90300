// SPDX-License-Identifier: MIT OR Apache-2.0
// Entry: the arm64 Image header, then the boot CPU's way to Rust, then the other CPUs'.
//
// On entry (Linux Documentation/arch/arm64/booting.rst): x0 = device tree, MMU and data cache off, the image clean to
// the point of coherency. The first thing done is to read the counter, for how long the way here took.

.section .head.text, "ax"
.global _start
_start:
    b       boot_cpu                    // code0
    .long   0                           // code1
    .quad   0                           // text_offset: from a 2 MiB-aligned base
    .quad   _image_size
    .quad   0xa                         // little-endian, 4 KiB pages, anywhere in memory
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

boot_cpu:
    mrs     x19, cntpct_el0             // x19: the counter at the first instruction
    msr     daifset, #0xf
    mov     x20, x0                     // x20: device tree
    adrp    x21, _image_start           // x21: where the image is

    // What is written with the cache off: no stale line may come back over it.
    adrp    x0, _data_start
    adrp    x1, _image_end
    bl      invalidate_range
    adrp    x0, _data_end
    adrp    x1, _image_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    // Relocate: R_AARCH64_RELATIVE only (offset, info, addend).
    adrp    x0, _rela_start
    add     x0, x0, :lo12:_rela_start
    adrp    x1, _rela_end
    add     x1, x1, :lo12:_rela_end
2:  cmp     x0, x1
    b.hs    3f
    ldp     x2, x3, [x0], #16
    ldr     x4, [x0], #8
    cmp     w3, #1027
    b.ne    2b
    add     x4, x4, x21
    str     x4, [x21, x2]
    b       2b

    // The gigabytes of the image and of the device tree, as they are; Rust adds the others.
3:  adrp    x5, _translation_table
    mov     x6, #{NORMAL_BLOCK}
    lsr     x7, x21, #30
    orr     x8, x6, x7, lsl #30
    str     x8, [x5, x7, lsl #3]
    lsr     x7, x20, #30
    orr     x8, x6, x7, lsl #30
    str     x8, [x5, x7, lsl #3]

    adrp    x0, _data_start
    adrp    x1, _image_end
    bl      invalidate_range
    bl      enable_mmu
    adrp    x0, _boot_stack_end
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    mov     x1, x19
    bl      boot_main                   // (device tree, counter); never returns

// Another CPU, from PSCI CPU_ON: x0 = top of its stack.
.global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mov     x19, x0
    bl      enable_mmu
    mov     sp, x19
    mov     x29, xzr
    mov     x30, xzr
    bl      secondary_main              // never returns

// Clobbers x0-x3.
enable_mmu:
    msr     spsel, #1
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    adrp    x0, _translation_table
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, xzr
    ldr     x1, ={MAIR}
    msr     mair_el1, x1
    ldr     x1, ={TCR}
    mrs     x2, id_aa64mmfr0_el1        // IPS = PARange, at most 48 bits
    and     x2, x2, #0xf
    mov     x3, #5
    cmp     x2, x3
    csel    x2, x2, x3, lo
    bfi     x1, x2, #32, #3
    msr     tcr_el1, x1
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x1, ={SCTLR}
    msr     sctlr_el1, x1
    isb
    ret

// Cleans and invalidates the data cache over [x0, x1). Clobbers x0, x2, x3.
invalidate_range:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4
    mov     x3, #4
    lsl     x2, x3, x2
1:  dc      civac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret
.ltorg
