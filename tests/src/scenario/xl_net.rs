// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests that xl has put on dom0's bridge: pings come back, and what is sent by TCP arrives unharmed.

use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::dom0::Dom0;
use crate::error::Result;
use crate::guest::{Guest, LONG, PORT, receiving};
use crate::machine::Gic;

const SIZE: u32 = 64 << 20;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::Full;
    let case = |selection, gic: Gic, pings: u32| {
        let name = format!("xl-net/{gic}-{pings}s");
        Scenario::new(name, selection, move |stage| talk(stage, gic, pings))
    };
    vec![
        case(Full, Gic::V3, 10),
        case(Full, Gic::V2, 10),
        case(Full, Gic::V3, 60),
        case(Full, Gic::V2, 60),
    ]
}

/// Guest number `n` of those on the bridge.
pub(super) fn bridged(name: &str, n: u32) -> Guest {
    Guest {
        cpus: 2,
        memory_mib: 256,
        args: format!("address={}/24", address(n)),
        config: vec!["vif = [ \"bridge=xenbr0\" ]".to_owned()],
        ..Guest::new(name)
    }
}

/// The address of guest number `n`; dom0 is number 0.
pub(super) fn address(n: u32) -> String {
    format!("192.168.128.{}", n + 1)
}

/// A shell on the bridge.
struct Host<'g> {
    guest: Option<&'g Guest>,
    address: String,
}

impl Host<'_> {
    fn run(&self, dom0: &mut Dom0, command: &str) -> Result<String> {
        match self.guest {
            Some(guest) => guest.run(dom0, command),
            None => dom0.run_within(command, LONG),
        }
    }
}

fn talk(stage: &Stage, gic: Gic, pings: u32) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(gic))?;
    let guests = [bridged("one", 1), bridged("two", 2)];
    for guest in &guests {
        guest.create(&mut dom0)?;
    }
    let [one, two] = [1, 2].map(|n| Host {
        guest: guests.get(n as usize - 1),
        address: address(n),
    });
    let zero = Host {
        guest: None,
        address: address(0),
    };
    // dom0 asks one guest, which asks the other.
    let ping = |to: &Host<'_>| format!("ping -q -c {pings} {}", to.address);
    let inner = guests[0].command(&ping(&two));
    let both = format!("({inner}) & {}; wait", ping(&one));
    let told = dom0.run_within(&both, LONG + Duration::from_secs(pings.into()))?;
    if told.matches(" 0% packet loss").count() != 2 {
        return Err(dom0.console.failure(&format!("pings are lost: {told}")));
    }

    dom0.run_within(&format!("head -c {SIZE} /dev/urandom >/tmp/data"), LONG)?;
    let sum = dom0.run_within("sha256sum </tmp/data", LONG)?;
    for (from, to) in [(&zero, &one), (&one, &zero), (&one, &two)] {
        let arrived = send(&mut dom0, from, to)?;
        if arrived.trim() != sum.trim() {
            let (from, to) = (&from.address, &to.address);
            let message = format!("from {from} to {to} came {arrived}, sent was {sum}");
            return Err(dom0.console.failure(&message));
        }
    }
    dom0.run_within("xl shutdown -a -w", LONG)?;
    for guest in &guests {
        guest.await_gone(&mut dom0)?;
    }
    let cards = dom0.run("ls /sys/class/net")?;
    if cards.contains("vif") {
        let message = format!("guests are gone, their cards stay: {cards}");
        return Err(dom0.console.failure(&message));
    }
    dom0.power_off()
}

/// Sends /tmp/data to the same place of another host's; what that one computes of it.
fn send(dom0: &mut Dom0, from: &Host<'_>, to: &Host<'_>) -> Result<String> {
    let place = match to.guest {
        Some(_) => "tee /tmp/data |",
        None => "",
    };
    to.run(dom0, &receiving(&format!("{place} sha256sum >/tmp/sum")))?;
    from.run(dom0, &format!("nc {} {PORT} </tmp/data", to.address))?;
    to.run(dom0, "wait; cat /tmp/sum")
}
