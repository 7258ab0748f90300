// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisor's console, from afar: its log ring and its keys.

use crate::addr::Gva;
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::Payload;
use xen_abi::errno::Errno;
use xen_abi::sysctl::{DebugKeys, ReadConsole};

/// Bytes copied at a time.
const CHUNK: usize = 128;
/// Bytes read in one call, at most: a tool asks until there are none.
const MOST: u32 = 16 << 10;

/// `XEN_SYSCTL_readconsole`: the log ring, from its start or from where an earlier call stopped.
pub(super) fn read(cur: &Current<'_>, arg: &mut Payload) -> Result<(), Errno> {
    let mut op: ReadConsole = arg.get();
    let buffer = GuestPtr::<u8>::from(op.buffer).gva();
    let mut at = (op.incremental != 0).then_some(op.index);
    let (mut done, room) = (0u32, op.count.min(MOST));
    while done < room {
        let mut chunk = [0; CHUNK];
        let len = (room.saturating_sub(done) as usize).min(CHUNK);
        let piece = chunk.get_mut(..len).unwrap_or_default();
        let (read, next) = cur.sys.hw.read_log(at, piece);
        at = Some(next);
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        let to = buffer.checked_add(done.into()).ok_or(Errno::Fault)?;
        cur.memory().write_bytes(Gva(to.0), bytes)?;
        done = done.saturating_add(read as u32);
    }
    if op.clear != 0 {
        cur.sys.hw.clear_log();
    }
    op.count = done;
    op.index = at.unwrap_or(op.index);
    arg.set(&op);
    Ok(())
}

/// `XEN_SYSCTL_debug_keys`: as if they were typed. What one shows may take long to write: meanwhile
/// and after each an interrupt may come, and `arg` is what is left then. True if that is nothing.
pub(super) fn keys(cur: &Current<'_>, arg: &mut Payload) -> Result<bool, Errno> {
    let mut op: DebugKeys = arg.get();
    let mut interrupted = cur.vcpu.showing.take();
    while let Some(left) = op.nr_keys.checked_sub(1) {
        let list = GuestPtr::<u8>::from(op.keys);
        let key = list.read(cur.memory())?;
        let from = interrupted.take().filter(|(of, _)| *of == key);
        if let Some(at) = cur.sys.hw.debug_key(key, from.map(|(_, at)| at)) {
            cur.vcpu.showing.put(key, at);
            arg.set(&op);
            return Ok(false);
        }
        op.keys.0 = list.at(1)?.gva().0;
        op.nr_keys = left;
        if left != 0 && cur.must_give_way() {
            arg.set(&op);
            return Ok(false);
        }
    }
    Ok(true)
}
