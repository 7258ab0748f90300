// SPDX-License-Identifier: MIT OR Apache-2.0
// Exception vectors: every register to the stack as a `Frame`, one Rust function a kind, and back.

.macro vector kind
    .balign 128
    sub     sp, sp, #{FRAME_SIZE}
    stp     x0, x1, [sp]
    b       take_\kind
.endm

.macro take kind
take_\kind:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x30, x0, [sp, #240]
    str     x1, [sp, #256]
    mov     x0, sp
    bl      exception_\kind
    b       leave
.endm

.section .text.vectors, "ax"
.balign 2048
.global vectors
vectors:
    vector  fatal                       // current EL with SP_EL0
    vector  fatal
    vector  fatal
    vector  fatal
    vector  sync                        // current EL with SP_ELx
    vector  irq
    vector  fatal
    vector  serror
    vector  sync                        // lower EL, AArch64
    vector  irq
    vector  fatal
    vector  serror
    vector  fatal                       // lower EL, AArch32
    vector  fatal
    vector  fatal
    vector  fatal

    take    sync
    take    irq
    take    serror
    take    fatal

leave:
    ldr     x1, [sp, #256]
    ldp     x30, x0, [sp, #240]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x28, x29, [sp, #224]
    ldp     x26, x27, [sp, #208]
    ldp     x24, x25, [sp, #192]
    ldp     x22, x23, [sp, #176]
    ldp     x20, x21, [sp, #160]
    ldp     x18, x19, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    add     sp, sp, #{FRAME_SIZE}
    eret

// x0 = entry point at EL0, x1 = SP_EL0. Comes back, with the x0 of EL0, when EL0 executes SVC or faults.
.global call_el0
call_el0:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    msr     sp_el0, x1
    msr     elr_el1, x0
    mov     x1, #0x3c0                  // EL0t, exceptions masked
    msr     spsr_el1, x1
    isb
    eret
.global el0_return
el0_return:
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret
