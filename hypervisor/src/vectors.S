// SPDX-License-Identifier: MIT OR Apache-2.0
// Exception vectors, and the door between the run loop and a guest.
//
// `enter_guest(regs)` returns when the guest leaves: to its caller a guest's turn is a function
// call. EL2 always runs with interrupts masked, so an exception taken from EL2 is a fault of ours.

.arch armv8-a+fp+simd

.macro fatal_entry kind
    .balign 0x80
    msr     tpidr_el0, x30              // scratch: the machine ends here
    mov     x30, #\kind
    b       fatal
.endm

.macro guest_entry kind
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    ldr     x0, [sp, #16]               // regs, as enter_guest left it
    mov     x1, #\kind
    b       guest_exit
.endm

.section .text.vectors, "ax"
.balign 0x800
.global vectors
vectors:
    fatal_entry 0
    fatal_entry 1
    fatal_entry 2
    fatal_entry 3
    fatal_entry 4                       // current EL, SP_ELx: synchronous
    fatal_entry 5
    fatal_entry 6
    .balign 0x80
    b       el2_serror
    guest_entry {EXIT_SYNC}
    guest_entry {EXIT_IRQ}
    guest_entry {EXIT_FIQ}
    guest_entry {EXIT_SERROR}
    guest_entry {EXIT_SYNC32}
    guest_entry {EXIT_IRQ}
    guest_entry {EXIT_FIQ}
    guest_entry {EXIT_SERROR}

// x0 = regs, x1 = kind; the guest's x0, x1 on the stack.
guest_exit:
    stp     x2, x3, [x0, #16]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    str     x30, [x0, #240]
    stp     x2, x3, [x0, #{REGS_PC}]
    mrs     x2, tpidr_el2               // no branch the guest may have trained before this
    ldr     x0, [x2, #{PERCPU_AFTER_GUEST}]
    cbnz    x0, 2f
1:  ldp     x29, x30, [sp, #16]
    ldp     x27, x28, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x23, x24, [sp, #64]
    ldp     x21, x22, [sp, #80]
    ldp     x19, x20, [sp, #96]
    add     sp, sp, #112
    mov     x0, x1
    ret
2:  mov     x19, x1
    lsr     x20, x0, #32
    mov     w0, w0
    cbz     w0, 3f
    smc     #0                          // SMCCC 1.1: x4 and up are kept
3:  cbz     x20, 6f
4:  b       5f                          // as many taken branches as the history has room for
5:  subs    x20, x20, #1
    b.ne    4b
    dsb     nsh
    isb
6:  mov     x1, x19
    b       1b

// extern "C" fn enter_guest(regs: *mut Regs) -> exit kind
.global enter_guest
enter_guest:
    sub     sp, sp, #112
    stp     x19, x20, [sp, #96]
    stp     x21, x22, [sp, #80]
    stp     x23, x24, [sp, #64]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #32]
    stp     x29, x30, [sp, #16]
    str     x0, [sp]
    ldp     x2, x3, [x0, #{REGS_PC}]
    ldr     x30, [x0, #240]
    msr     elr_el2, x2
    msr     spsr_el2, x3
    ldp     x28, x29, [x0, #224]
    ldp     x26, x27, [x0, #208]
    ldp     x24, x25, [x0, #192]
    ldp     x22, x23, [x0, #176]
    ldp     x20, x21, [x0, #160]
    ldp     x18, x19, [x0, #144]
    ldp     x16, x17, [x0, #128]
    ldp     x14, x15, [x0, #112]
    ldp     x12, x13, [x0, #96]
    ldp     x10, x11, [x0, #80]
    ldp     x8, x9, [x0, #64]
    ldp     x6, x7, [x0, #48]
    ldp     x4, x5, [x0, #32]
    ldp     x2, x3, [x0, #16]
    ldp     x0, x1, [x0]
    eret
    dsb     nsh                         // no speculation past ERET (XSA-312)
    isb

// A fault in EL2: x30 = vector, the true x30 in TPIDR_EL0. The stack may be what broke, so the
// frame goes to the CPU's emergency stack when there is one.
fatal:
    msr     tpidrro_el0, x29
    msr     tpidr_el1, x0
    mov     x29, sp
    mrs     x0, tpidr_el2
    cbz     x0, 1f
    ldr     x0, [x0, #{PERCPU_EMERGENCY}]
    sub     x0, x0, x29                 // on it already: go on below
    cmp     x0, #{EMERGENCY_SIZE}
    b.lo    1f
    mrs     x0, tpidr_el2
    ldr     x0, [x0, #{PERCPU_EMERGENCY}]
    mov     sp, x0
1:  sub     sp, sp, #{FATAL_SIZE}
    mrs     x0, tpidr_el1
    stp     x0, x1, [sp]
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
    mrs     x0, tpidrro_el0
    mrs     x1, tpidr_el0
    stp     x28, x0, [sp, #224]
    stp     x1, x29, [sp, #240]         // x30, SP at the fault
    mrs     x0, esr_el2
    mrs     x1, far_el2
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x30, x0, [sp, #256]         // vector, ESR
    stp     x1, x2, [sp, #272]          // FAR, ELR
    str     x3, [sp, #288]              // SPSR
    mov     x0, sp
    mov     x29, xzr
    bl      fatal_exception             // returns only for a fault that has a fixup, in ELR_EL2
    ldp     x1, x2, [sp, #8]
    ldp     x3, x4, [sp, #24]
    ldp     x5, x6, [sp, #40]
    ldp     x28, x29, [sp, #224]
    ldp     x30, x0, [sp, #240]
    mov     sp, x0
    mov     x0, #-1
    eret
    dsb     nsh
    isb

// A guest's SError that arrives between its exit and the next entry. Registers are live.
el2_serror:
    sub     sp, sp, #192
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x29, [sp, #144]
    mrs     x0, elr_el2
    mrs     x1, spsr_el2
    stp     x30, x0, [sp, #160]
    str     x1, [sp, #176]
    bl      serror_at_el2
    ldp     x30, x0, [sp, #160]
    ldr     x1, [sp, #176]
    msr     elr_el2, x0
    msr     spsr_el2, x1
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x29, [sp, #144]
    add     sp, sp, #192
    eret
    dsb     nsh
    isb

// Two functions that may fault at EL2 and then return all ones: fatal_exception knows their labels.
// The path there uses TPIDR_EL0, TPIDRRO_EL0 and TPIDR_EL1 for scratch.

// extern "C" fn probe_read(addr) -> u32 as u64: of memory or a device that may not be there.
.global probe_read
probe_read:
    ldr     w0, [x0]
    dsb     sy
.global probe_read_fixup
probe_read_fixup:
    ret

// extern "C" fn translate(gva, how) -> PAR_EL1: a guest's tables may lie where the bus answers
// with an error, which arrives here. how: 1 = to write, 2 = stage 1 only.
.global translate
translate:
    mrs     x2, par_el1
    mrs     x3, tpidr_el0
    mrs     x4, tpidrro_el0
    mrs     x5, tpidr_el1
    tbnz    x1, #1, 2f
    tbnz    x1, #0, 1f
    at      s12e1r, x0
    b       4f
1:  at      s12e1w, x0
    b       4f
2:  tbnz    x1, #0, 3f
    at      s1e1r, x0
    b       4f
3:  at      s1e1w, x0
4:  isb
    mrs     x0, par_el1
    msr     par_el1, x2
    ret
.global translate_fixup
translate_fixup:
    msr     par_el1, x2
    msr     tpidr_el0, x3
    msr     tpidrro_el0, x4
    msr     tpidr_el1, x5
    ret
