// SPDX-License-Identifier: MIT OR Apache-2.0
// Entry. The arm64 Image header, then the boot CPU's way to Rust, then the secondary CPUs'.
//
// On entry (Linux Documentation/arch/arm64/booting.rst): x0 = device tree, MMU and data cache off,
// the image clean to the point of coherency. Nothing but plain loads and stores runs before the
// MMU is on, since exclusives are not architected on Device memory.

.arch armv8-a+fp+simd

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
    msr     daifset, #0xf
    mov     x20, x0                     // x20: device tree
    adrp    x21, _image_start           // x21: where the image is

    // .bss, tables and stack will be written with the cache off: no stale line may come back.
    adrp    x0, _text_end
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

3:  adrp    x0, _boot_stack_end
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mrs     x1, CurrentEL
    lsr     x1, x1, #2
    cmp     x1, #2
    b.eq    4f
    mov     x0, x20
    bl      refuse_entry                // (device tree, exception level): says why; never returns

4:  bl      reset_el2
    mov     x0, x20
    mov     x1, x21
    bl      early_map                   // -> root table
    mov     x22, x0
    adrp    x0, _text_end               // what was written since, speculation may have cached
    adrp    x1, _image_end
    bl      invalidate_range
    mov     x0, x22
    bl      enable_mmu
    mov     x0, x20
    mov     x1, x21
    bl      boot_main
5:  wfi
    b       5b

// A secondary CPU, from PSCI CPU_ON: x0 = its `SecondaryStart`.
// The block was cleaned to the point of coherency.
.global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mov     x19, x0
    bl      reset_el2
    ldr     x0, [x19, #{START_ROOT}]
    bl      enable_mmu
    ldr     x0, [x19, #{START_STACK}]
    mov     sp, x0
    ldr     x0, [x19, #{START_PERCPU}]
    msr     tpidr_el2, x0
    mov     x29, xzr
    mov     x30, xzr
    bl      secondary_main
6:  wfi
    b       6b

// Brings EL2 to a known state whatever firmware left. Clobbers x0, x1.
reset_el2:
    mov     x0, #(1 << 31)              // HCR_EL2: RW; E2H off, everything else off
    msr     hcr_el2, x0
    msr     spsel, #1
    isb
    ldr     x0, =0x30c50830             // SCTLR_EL2: RES1 bits; M, C, I off
    msr     sctlr_el2, x0
    isb
    mov     x0, #0x33ff                 // CPTR_EL2: nothing trapped (RES1 bits)
    msr     cptr_el2, x0
    msr     cntvoff_el2, xzr
    msr     tpidr_el2, xzr              // no per-CPU data yet
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el2, x0
    isb
    ret

// x0 = root of the stage-1 table. Clobbers x0-x3.
enable_mmu:
    msr     ttbr0_el2, x0
    ldr     x1, ={MAIR}
    msr     mair_el2, x1
    ldr     x1, ={TCR}
    mrs     x2, id_aa64mmfr0_el1        // PS = PARange, at most 48 bits
    and     x2, x2, #0xf
    mov     x3, #5
    cmp     x2, x3
    csel    x2, x2, x3, lo
    bfi     x1, x2, #16, #3
    msr     tcr_el2, x1
    isb
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    ldr     x1, ={SCTLR}
    msr     sctlr_el2, x1
    isb
    ret

// Invalidates the data cache over [x0, x1). Clobbers x0-x3.
invalidate_range:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4
    mov     x3, #4
    lsl     x2, x3, x2
1:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret
.ltorg
