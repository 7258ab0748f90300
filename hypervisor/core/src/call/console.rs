// SPDX-License-Identifier: MIT OR Apache-2.0
//! `console_io` (public/xen.h): the initial domain's way to the hypervisor's console.

use super::{Args, CallResult, OK, Outcome, done};
use crate::addr::Gva;
use crate::current::Current;
use xen_abi::console::{CONSOLEIO_READ, CONSOLEIO_WRITE};
use xen_abi::errno::Errno;

/// Bytes copied at a time.
const CHUNK: usize = 32;

pub(super) fn console_io(cur: &mut Current<'_>, [cmd, count, buffer, ..]: Args) -> CallResult {
    if !cur.domain.role.console && !cur.domain.role.control {
        return Err(Errno::Perm);
    }
    let (cmd, count) = (cmd as u32, count as u32);
    if cmd != CONSOLEIO_WRITE && cmd != CONSOLEIO_READ {
        return Err(Errno::NoSys);
    }
    match cmd {
        CONSOLEIO_WRITE => write(cur, count, Gva(buffer)),
        _ if i32::try_from(count).is_err() => Err(Errno::TooBig),
        _ => read(cur, count, Gva(buffer)),
    }
}

fn write(cur: &Current<'_>, count: u32, buffer: Gva) -> CallResult {
    let mut chunk = [0; CHUNK];
    let (mut at, mut left) = (buffer, count as usize);
    while left > 0 {
        let len = left.min(CHUNK);
        let bytes = chunk.get_mut(..len).unwrap_or_default();
        cur.memory().read_bytes(at, bytes)?;
        cur.sys.hw.console_write(bytes);
        left = left.saturating_sub(len);
        at = at.checked_add(len as u64).ok_or(Errno::Fault)?;
        if left > 0 && cur.must_give_way() {
            let cmd = CONSOLEIO_WRITE.into();
            return Ok(Outcome::Again([cmd, left as u64, at.0, 0, 0]));
        }
    }
    OK
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
