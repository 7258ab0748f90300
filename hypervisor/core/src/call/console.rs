// SPDX-License-Identifier: MIT OR Apache-2.0
//! `console_io` (public/xen.h): the initial domain's way to the hypervisor's console, and for early
//! messages that of domains that the device tree describes.

use super::{Args, CallResult, OK, Outcome, done};
use crate::addr::Gva;
use crate::current::Current;
use crate::sync::{Lock, rank};
use crate::vdev::line::{LINE, Line, Shown};
use xen_abi::console::{CONSOLEIO_READ, CONSOLEIO_WRITE};
use xen_abi::errno::Errno;

/// Bytes copied at a time.
const CHUNK: usize = 32;

pub(super) fn console_io(cur: &mut Current<'_>, [cmd, count, buffer, ..]: Args) -> CallResult {
    let initial = cur.domain.role.console || cur.domain.role.control;
    if !initial && cur.domain.console_line.get().is_none() {
        return Err(Errno::Perm);
    }
    let (cmd, count) = (cmd as u32, count as u32);
    if cmd != CONSOLEIO_WRITE && cmd != CONSOLEIO_READ {
        return Err(Errno::NoSys);
    }
    match cmd {
        CONSOLEIO_WRITE => write(cur, count, Gva(buffer)),
        _ if i32::try_from(count).is_err() => Err(Errno::TooBig),
        _ if initial => read(cur, count, Gva(buffer)),
        // What is typed for another domain goes into its UART.
        _ => OK,
    }
}

fn write(cur: &Current<'_>, count: u32, buffer: Gva) -> CallResult {
    let mut chunk = [0; CHUNK];
    let (mut at, mut left) = (buffer, count as usize);
    while left > 0 {
        let len = left.min(CHUNK);
        let bytes = chunk.get_mut(..len).unwrap_or_default();
        cur.memory().read_bytes(at, bytes)?;
        match cur.domain.console_line.get() {
            Some(line) => write_lines(cur, line, bytes),
            None => cur.sys.hw.console_write(cur.domain.id, bytes),
        }
        left = left.saturating_sub(len);
        at = at.checked_add(len as u64).ok_or(Errno::Fault)?;
        if left > 0 && cur.must_give_way() {
            let cmd = CONSOLEIO_WRITE.into();
            return Ok(Outcome::Again([cmd, left as u64, at.0, 0, 0]));
        }
    }
    OK
}

/// Shows what a domain other than dom0 writes: whole lines, with its name in front.
fn write_lines(cur: &Current<'_>, line: &Lock<Line, { rank::VGIC_DIST }>, bytes: &[u8]) {
    for &byte in bytes {
        let mut text = [0; LINE];
        let (shown, len) = {
            let mut line = line.lock();
            match line.write(byte, false) {
                Shown::Nothing => continue,
                shown => (shown, line.take(&mut text)),
            }
        };
        if shown == Shown::Line {
            let text = text.get(..len).unwrap_or_default();
            cur.sys.hw.console_line(cur.domain.id, text);
        }
    }
}

/// What there is, `count` bytes at most.
fn read(cur: &Current<'_>, count: u32, buffer: Gva) -> CallResult {
    let mut chunk = [0; CHUNK];
    let (mut at, mut left) = (buffer, count as usize);
    while left > 0 {
        let room = chunk.get_mut(..left.min(CHUNK)).unwrap_or_default();
        let len = cur.sys.hw.console_read(room);
        let bytes = room.get(..len).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        cur.memory().write_bytes(at, bytes)?;
        left = left.saturating_sub(len);
        at = at.checked_add(len as u64).ok_or(Errno::Fault)?;
    }
    done(count.saturating_sub(left as u32))
}
