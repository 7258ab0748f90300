// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console: UART, log ring, and the `log` crate's sink.
//!
//! One lock for output and one for input. A panic does not wait for them.

use crate::{machine, percpu};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use hv_core::addr::DomId;
use hv_core::boot::cmdline::{self as options, Options, Params, Timestamps};
use hv_core::console::lines::Lines;
use hv_core::console::{Conring, Input, InputSwitch, Switch, Target};
use hv_core::sync::{Lock, rank};
use hv_core::timer::Purpose;
use log::{Level, LevelFilter, Metadata, Record};
use platform::uart::{EarlyUart, Uart};
use spin::Once;

struct Output {
    uart: Option<Uart>,
    ring: Conring,
}

/// What is written, and whose lines wait.
struct Console {
    output: Output,
    lines: Lines,
}

static CONSOLE: Lock<Console, { rank::CONSOLE }> = Lock::new(Console {
    output: Output {
        uart: None,
        ring: Conring::new(),
    },
    lines: Lines::EMPTY,
});
/// How long a line waits for the end of another, in parts of a second.
const WAITS: u64 = 5;
/// The way out that needs no lock.
static EARLY: Once<EarlyUart> = Once::new();
static INPUT: Lock<InputSwitch, { rank::CONSOLE }> = Lock::new(InputSwitch::new(Switch::CTRL_A));
/// Whose the input is, for those who must not wait for the lock: a domain's number, or [`NOBODY`].
static INPUT_OF: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = u32::MAX;
static TIMESTAMPS: AtomicBool = AtomicBool::new(false);
/// What dom0 writes is kept in the ring (`console_to_ring`).
static DOM0_TO_RING: AtomicBool = AtomicBool::new(false);
static GUEST_LEVEL: AtomicU8 = AtomicU8::new(LevelFilter::Warn as u8);

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.target() == hv_core::GUEST_LOG {
            return metadata.level() as u8 <= GUEST_LEVEL.load(Ordering::Relaxed);
        }
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            print_line(record.level(), *record.args());
        }
    }

    fn flush(&self) {}
}

/// Starts logging to the ring; the UART comes with [`set_uart`].
pub(crate) fn init(ring_size: usize) {
    resize_ring(ring_size);
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

/// Sends output to `uart` from now on, and first what the ring holds already.
pub(crate) fn set_uart(uart: Uart) {
    EARLY.call_once(|| uart.early());
    let output = &mut CONSOLE.lock().output;
    let oldest = output.ring.oldest();
    output
        .ring
        .read(oldest, &mut |bytes| write_cooked(&uart, bytes));
    output.uart = Some(uart);
}

/// Applies the options of the command line.
pub(crate) fn configure(options: &Options<'_>) {
    let params = Params::of(options);
    set_params(&params);
    DOM0_TO_RING.store(options.console_to_ring, Ordering::Relaxed);
    turn_input_to(match params.conswitch.dom0_first {
        true => Target::Domain(DomId(0)),
        false => Target::Xenolith,
    });
}

/// Applies those that can change. Who has the input keeps it.
pub(crate) fn set_params(params: &Params) {
    log::set_max_level(filter(params.loglvl.always));
    GUEST_LEVEL.store(filter(params.guest_level()) as u8, Ordering::Relaxed);
    let timestamps = params.console_timestamps != Timestamps::None;
    TIMESTAMPS.store(timestamps, Ordering::Relaxed);
    let mut input = INPUT.lock();
    let target = input.target();
    input.set_switch(Switch {
        key: params.conswitch.key.map(|key| key & 0x1f),
        target,
    });
}

const fn filter(level: options::Level) -> LevelFilter {
    match level {
        options::Level::None => LevelFilter::Off,
        options::Level::Error => LevelFilter::Error,
        options::Level::Warning => LevelFilter::Warn,
        options::Level::Info => LevelFilter::Info,
        options::Level::Debug => LevelFilter::Debug,
    }
}

/// Gives the log ring `size` bytes (`conring_size=`).
pub(crate) fn resize_ring(size: usize) {
    let buffer = alloc::vec![0; size];
    let old = CONSOLE.lock().output.ring.replace_buffer(buffer);
    drop(old);
}

/// `\n` becomes `\r\n` on the wire, as a terminal wants it.
fn write_cooked(uart: &Uart, bytes: &[u8]) {
    for piece in bytes.split_inclusive(|&b| b == b'\n') {
        match piece.strip_suffix(b"\n") {
            Some(line) => {
                uart.write_bytes(line);
                uart.write_bytes(b"\r\n");
            }
            None => uart.write_bytes(piece),
        }
    }
}

fn show(uart: Option<&Uart>, bytes: &[u8]) {
    if let Some(uart) = uart {
        write_cooked(uart, bytes);
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.ring.write(text.as_bytes());
        show(self.uart.as_ref(), text.as_bytes());
        Ok(())
    }
}

impl Console {
    /// Runs `f` with the lines and the way out.
    fn with<R>(f: impl FnOnce(&mut Lines, &mut dyn FnMut(&[u8])) -> R) -> R {
        Self::with_ring(|lines, _, sink| f(lines, sink))
    }

    /// Runs `f` also with the ring, which has each line when it is written, whenever it is shown.
    fn with_ring<R>(f: impl FnOnce(&mut Lines, &mut Conring, &mut dyn FnMut(&[u8])) -> R) -> R {
        let Self {
            output: Output { uart, ring },
            lines,
        } = &mut *CONSOLE.lock();
        f(lines, ring, &mut |bytes| show(uart.as_ref(), bytes))
    }
}

/// One line of our own: `(XL) [time] dNvM LEVEL: text`.
fn print_line(level: Level, args: fmt::Arguments<'_>) {
    // What went wrong waits for nobody; nor can anything while nobody runs the timers.
    if level > Level::Error && machine::try_system().is_some() {
        let mut text = Text::new();
        write_own_line(&mut text, level, args);
        return settle_soon(keep_and_show(None, text.bytes()));
    }
    let mut console = CONSOLE.lock();
    let Console { output: out, lines } = &mut *console;
    lines.begin_own(&mut |bytes| show(out.uart.as_ref(), bytes));
    write_own_line(out, level, args);
    let _ = out.write_str("\n");
    drop(console);
    log_grew();
}

fn write_own_line(out: &mut dyn Write, level: Level, args: fmt::Arguments<'_>) {
    let _ = out.write_str("(XL) ");
    if TIMESTAMPS.load(Ordering::Relaxed) {
        let us = u128::from(platform::timer::now()) * 1_000_000
            / u128::from(platform::timer::cntfrq().max(1));
        let _ = write!(out, "[{:5}.{:06}] ", us / 1_000_000, us % 1_000_000);
    }
    if let Some(running) = percpu::try_this()
        .map(|cpu| cpu.running.get())
        .filter(|&r| r != u32::MAX)
    {
        let _ = write!(out, "d{}v{} ", running >> 16, running & 0xffff);
    }
    if level <= Level::Warn {
        let _ = write!(out, "{level}: ");
    }
    let _ = out.write_fmt(args);
}

/// A line of Xenolith's that may wait; what is too long is cut.
struct Text {
    bytes: [u8; Self::SIZE],
    len: usize,
}

impl Text {
    const SIZE: usize = 512;

    fn new() -> Self {
        Self {
            bytes: [0; Self::SIZE],
            len: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

/// Bytes of Xenolith's own that are not a line by themselves.
pub(crate) fn write_own(bytes: &[u8]) {
    Console::with_ring(|lines, ring, sink| {
        ring.write(bytes);
        lines.settle(sink);
        lines.direct(bytes, sink);
    });
    log_grew();
}

/// The log ring has more text.
fn log_grew() {
    if let Some(sys) = machine::try_system() {
        sys.log_grew();
    }
}

/// Bytes of the domain that has the input, or of dom0.
pub(crate) fn write_direct(from: DomId, bytes: &[u8]) {
    let other_has_input = input_of().is_some_and(|domain| domain != from);
    let dom0_to_ring = DOM0_TO_RING.load(Ordering::Relaxed);
    let waits = Console::with_ring(|lines, ring, sink| {
        ring.write_direct(from, bytes, dom0_to_ring);
        match other_has_input {
            true => lines.dom0(bytes, sink),
            false => {
                lines.direct(bytes, sink);
                false
            }
        }
    });
    settle_soon(waits);
    if from != DomId(0) || dom0_to_ring {
        log_grew();
    }
}

/// A line that domain `from` has written, with its name in front.
pub(crate) fn write_line(from: DomId, line: &[u8]) {
    settle_soon(keep_and_show(Some(from), line));
}

/// A line for the ring and the UART. True if it waits on its way to the UART.
fn keep_and_show(from: Option<DomId>, line: &[u8]) -> bool {
    let waits = Console::with_ring(|lines, ring, sink| {
        ring.write_line(from, line);
        lines.line(from, line, sink)
    });
    log_grew();
    waits
}

/// What waits waits no longer than this.
fn settle_soon(waits: bool) {
    if waits && let Some(sys) = machine::try_system() {
        let deadline = sys.hw.now() + sys.hw.frequency() / WAITS;
        sys.timers.set(sys.hw, deadline, Purpose::Console);
    }
}

/// Shows what waits for the end of another's line.
pub(crate) fn settle() {
    Console::with(|lines, sink| lines.settle(sink));
}

/// The console of a CPU that panics: no lock that another CPU, or this one, may hold.
pub(crate) struct LastWords;

impl Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(uart) = EARLY.get() {
            for piece in text.split_inclusive('\n') {
                uart.write_bytes(piece.trim_end_matches('\n').as_bytes());
                if piece.ends_with('\n') {
                    uart.write_bytes(b"\r\n");
                }
            }
        }
        if let Some(mut console) = CONSOLE.try_lock() {
            console.output.ring.write(text.as_bytes());
        }
        Ok(())
    }
}

/// Waits until the UART has sent everything.
pub(crate) fn flush() {
    settle();
    if let Some(uart) = &CONSOLE.lock().output.uart {
        uart.flush();
    }
}

/// Lets the UART interrupt when input comes.
pub(crate) fn enable_input() {
    if let Some(uart) = &CONSOLE.lock().output.uart {
        uart.enable_rx_interrupt();
    }
}

/// Takes in what the UART received; `sink` is told of each byte's fate, no lock held. False if
/// there may be more.
pub(crate) fn receive(sink: &mut dyn FnMut(Input)) -> bool {
    // Cleared before reading: a byte that comes after the last look raises it anew.
    if let Some(uart) = &CONSOLE.lock().output.uart {
        uart.clear_interrupts();
    }
    // Bounded, however fast somebody pastes.
    for _ in 0..256 {
        let byte = match &CONSOLE.lock().output.uart {
            Some(uart) => uart.read_byte(),
            None => None,
        };
        let Some(byte) = byte else { return true };
        let fate = INPUT.lock().accept(byte);
        sink(fate);
    }
    false
}

/// Gives the input to `target`.
pub(crate) fn turn_input_to(target: Target) {
    let mut input = INPUT.lock();
    input.turn_to(target);
    let number = match target {
        Target::Xenolith => NOBODY,
        Target::Domain(domain) => domain.0.into(),
    };
    INPUT_OF.store(number, Ordering::Relaxed);
    drop(input);
    if target == Target::Domain(DomId(0)) {
        Console::with(|lines, sink| lines.show_dom0(sink));
    }
}

/// Whose the input is.
pub(crate) fn input_target() -> Target {
    INPUT.lock().target()
}

/// The domain that has the input, if one has.
pub(crate) fn input_of() -> Option<DomId> {
    let number = INPUT_OF.load(Ordering::Relaxed);
    u16::try_from(number).ok().map(DomId)
}

/// The character that turns the input to another, if there is one.
pub(crate) fn switch_key() -> Option<u8> {
    INPUT.lock().key()
}

/// dom0 reads its input.
pub(crate) fn read_input(buffer: &mut [u8]) -> usize {
    INPUT.lock().read(buffer)
}

/// Reads the log ring from byte number `from` (its low half) on, or from the oldest; returns how
/// many bytes there were room for, and the number of the next.
pub(crate) fn read_log(from: Option<u32>, buffer: &mut [u8]) -> (usize, u32) {
    CONSOLE.lock().output.ring.read_from(from, buffer)
}

/// Forgets what is in the log ring.
pub(crate) fn clear_log() {
    CONSOLE.lock().output.ring.clear();
}
