// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xl makes of each way in which a domain ends by itself: a kernel of a few instructions ends it at once, with the
//! reason that the test wants.

use super::xl_life::{await_that, listed};
use super::{Scenario, Selection, Stage};
use crate::dom0::Dom0;
use crate::error::Result;
use crate::guest::{Guest, LONG, list};
use crate::machine::Gic;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::Full;
    let case = |gic: Gic, selection| {
        Scenario::new(format!("xl/{gic}-ends"), selection, move |stage| {
            ends(stage, gic)
        })
    };
    vec![case(Gic::V3, Full), case(Gic::V2, Full)]
}

/// The setting for it, its number, and the fourth and fifth letter that `xl list` shows of a domain that is kept then.
const KEPT: &[(&str, u32, &str)] = &[
    ("on_poweroff", 0, "s-"),
    ("on_reboot", 1, "sr"),
    ("on_crash", 3, "sc"),
    ("on_watchdog", 4, "sw"),
];

fn ends(stage: &Stage, gic: Gic) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(gic))?;
    for (setting, reason, state) in KEPT {
        let kept = end(&mut dom0, setting, "preserve", *reason)?;
        await_that(&mut dom0, &format!("{setting}, preserved"), |dom0| {
            Ok(listed(dom0, "brief")?.state.get(3..5) == Some(*state))
        })?;
        let code = dom0.run("xl list -v brief | awk 'NR == 2 { print $8 }'")?;
        if code.trim() != reason.to_string() {
            let message = format!("{setting}: the reason is {code}, not {reason}");
            return Err(dom0.console.failure(&message));
        }
        dom0.run("xl destroy brief")?;
        kept.await_gone(&mut dom0)?;

        let gone = end(&mut dom0, setting, "destroy", *reason)?;
        gone.await_gone(&mut dom0)?;
    }

    // A crashed one comes again, and again, until the xl that sees to it is no more.
    let again = end(&mut dom0, "on_crash", "restart", 3)?;
    let first = list(&mut dom0)?.iter().map(|d| d.id).max().unwrap_or(0);
    await_that(&mut dom0, "a second restart", |dom0| {
        Ok(list(dom0)?.iter().any(|d| d.id > first + 1))
    })?;
    // It may have been about to create one.
    let kill = "pkill -f brief.cfg; xl list | awk 'NR > 1 && $2 > 0 { print $2 }' | xargs -r -n 1 xl destroy";
    dom0.run(kill)?;
    again.await_gone(&mut dom0)?;

    let dumped = end(&mut dom0, "on_crash", "coredump-destroy", 3)?;
    dumped.await_gone(&mut dom0)?;
    let size = dom0.run("stat -c %s /var/lib/xen/dump/*brief*")?;
    if !size
        .trim()
        .parse::<u64>()
        .is_ok_and(|bytes| bytes > 32 << 20)
    {
        let message = format!("the dump of a crashed domain of 32 MiB has {size} bytes");
        return Err(dom0.console.failure(&message));
    }
    dom0.power_off()
}

/// Creates a domain that ends with `reason`, of which xl is told that `setting` is `action`.
fn end(dom0: &mut Dom0, setting: &str, action: &str, reason: u32) -> Result<Guest> {
    let escaped: String = kernel(reason)
        .iter()
        .map(|b| format!("\\x{b:02x}"))
        .collect();
    let lines = format!(
        "name=\"brief\"\\ntype=\"pvh\"\\nkernel=\"/root/brief\"\\nmemory=32\\nvcpus=1\\n{setting}=\"{action}\"\\n"
    );
    dom0.run(&format!("printf '{escaped}' >/root/brief"))?;
    dom0.run(&format!(
        "mkdir -p /var/lib/xen/dump; printf '{lines}' >/etc/xen/brief.cfg"
    ))?;
    dom0.run_within("xl create -q /etc/xen/brief.cfg", LONG)?;
    Ok(Guest::new("brief"))
}

/// An arm64 `Image` (Linux: `Documentation/arch/arm64/booting.rst`) that calls `SCHEDOP_shutdown` with `reason`.
fn kernel(reason: u32) -> Vec<u8> {
    let header: [u32; 16] = [
        0x1400_0010, // b      code
        0,
        0x8_0000, // where it wants to be
        0,
        0x1000, // its size
        0,
        0xa, // little-endian, 4 KiB pages
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0x644d_5241, // "ARM\x64"
        0,
    ];
    let code = [
        0xd280_0040, // mov    x0, #2            SCHEDOP_shutdown
        0x1000_00a1, // adr    x1, reason
        0xd280_03b0, // mov    x16, #29          sched_op
        0xd401_d422, // hvc    #0xea1
        0xd503_207f, // wfi
        0x17ff_ffff, // b      wfi
        reason,
    ];
    header
        .iter()
        .chain(&code)
        .flat_map(|word| word.to_le_bytes())
        .collect()
}
