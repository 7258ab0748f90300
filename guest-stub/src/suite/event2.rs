// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels between dom0 and another domain.

use core::sync::atomic::Ordering;

use xen_abi::event::{
    AllocUnbound, BindInterdomain, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN,
    EVTCHNOP_CLOSE, EVTCHNOP_SEND, EVTCHNOP_STATUS, Port, Status,
};
use xen_abi::hypercall::EVENT_CHANNEL_OP;
use xen_abi::xen::DOMID_SELF;

use super::call::with;
use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq};
use super::errno::EINVAL;
use super::two::peer;
use crate::xen::event::{close, map_shared_info, send, set_masked, shared_info};
use crate::xen::mailbox::Command;
use crate::xen::peer::Peer;

/// A channel: dom0's end and the peer's.
struct Channel {
    peer: Peer,
    own: u32,
    theirs: u32,
}

/// A port of the peer's for `remote_dom`.
fn alloc(peer: Peer, remote_dom: u16) -> Result<u32, Failure> {
    let argument = AllocUnbound {
        dom: DOMID_SELF,
        remote_dom,
        port: 0,
    };
    let (answer, alloc) = peer.with(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, argument);
    ensure_eq!(answer, 0, "the peer's alloc_unbound");
    Ok(alloc.port)
}

fn bind(remote_dom: u16, remote_port: u32) -> (i64, u32) {
    let argument = BindInterdomain {
        remote_dom,
        _pad: 0,
        remote_port,
        local_port: 0,
    };
    let (answer, bind) = with(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, argument);
    (answer, bind.local_port)
}

fn their_close(peer: Peer, port: u32) -> i64 {
    peer.answer(EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, Port { port })
}

fn their_send(peer: Peer, port: u32) -> i64 {
    peer.answer(EVENT_CHANNEL_OP, EVTCHNOP_SEND, Port { port })
}

/// Status and what it names, of a port in a domain.
fn status(dom: u16, port: u32) -> (u32, [u32; 2]) {
    let (_, status) = with(EVENT_CHANNEL_OP, EVTCHNOP_STATUS, status_of(dom, port));
    (status.status, status.u)
}

fn status_of(dom: u16, port: u32) -> Status {
    Status {
        dom,
        _pad: 0,
        port,
        status: 99,
        vcpu: 0,
        u: [0; 2],
    }
}

/// Runs `body` with a channel to the peer, whose ends are quiet.
fn with_channel(body: impl FnOnce(&Channel) -> Outcome) -> Outcome {
    let peer = peer()?;
    let mapped = map_shared_info();
    ensure!(
        matches!(mapped, 0 | -16),
        "mapping shared_info gives {mapped}"
    );
    let theirs = alloc(peer, 0)?;
    let (answer, own) = bind(peer.domid, theirs);
    ensure_eq!(answer, 0, "bind_interdomain");
    set_masked(own, true);
    pending(own);
    let channel = Channel { peer, own, theirs };
    peer.ask(Command::Pending, &[theirs.into()]);
    let outcome = body(&channel);
    close(own);
    their_close(peer, theirs);
    set_masked(own, false);
    outcome
}

/// Whether one of dom0's ports is pending; it is not afterwards.
fn pending(port: u32) -> bool {
    let bit = 1 << (port % 64);
    let word = &shared_info().pending[port as usize / 64];
    word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
}

fn their_pending(channel: &Channel) -> bool {
    channel.peer.ask(Command::Pending, &[channel.theirs.into()]) != 0
}

pub(super) const CHECKS: &[Check] = &[
    check(
        "a channel: each end's status names the other domain and port",
        || {
            with_channel(|channel| {
                let own = status(DOMID_SELF, channel.own);
                let theirs = status(channel.peer.domid, channel.theirs);
                ensure_eq!(own, (2, [1, channel.theirs]), "dom0's end");
                ensure_eq!(
                    theirs,
                    (2, [0, channel.own]),
                    "the other end, by its domain"
                );
                Ok(())
            })
        },
    ),
    check("a channel: the other domain sees its end", || {
        with_channel(|channel| {
            let argument = status_of(DOMID_SELF, channel.theirs);
            let (answer, status) = channel
                .peer
                .with(EVENT_CHANNEL_OP, EVTCHNOP_STATUS, argument);
            ensure_eq!((answer, status.status), (0, 2), "answer, status");
            ensure_eq!(status.u, [0, channel.own], "domain and port");
            Ok(())
        })
    }),
    check("a channel: dom0 sends, the other end is pending", || {
        with_channel(|channel| {
            ensure!(!their_pending(channel), "it is pending before");
            ensure_eq!(send(channel.own), 0, "send");
            ensure!(their_pending(channel), "it is not pending");
            Ok(())
        })
    }),
    check(
        "a channel: the other domain sends, dom0's end is pending",
        || {
            with_channel(|channel| {
                ensure!(!pending(channel.own), "it is pending before");
                ensure_eq!(their_send(channel.peer, channel.theirs), 0, "send");
                ensure!(pending(channel.own), "it is not pending");
                Ok(())
            })
        },
    ),
    check("a channel: binding makes the one who binds pending", || {
        let peer = peer()?;
        let theirs = alloc(peer, 0)?;
        let (answer, own) = bind(peer.domid, theirs);
        set_masked(own, true);
        let was = pending(own);
        close(own);
        set_masked(own, false);
        their_close(peer, theirs);
        ensure_eq!(answer, 0, "bind_interdomain");
        ensure!(was, "it is not pending");
        Ok(())
    }),
    check(
        "a channel: dom0 closes, the other end is unbound for dom0",
        || {
            with_channel(|channel| {
                ensure_eq!(close(channel.own), 0, "close");
                let theirs = status(channel.peer.domid, channel.theirs);
                ensure_eq!((theirs.0, theirs.1[0]), (1, 0), "the other end");
                ensure_eq!(
                    their_send(channel.peer, channel.theirs),
                    0,
                    "sending from it"
                );
                Ok(())
            })
        },
    ),
    check(
        "a channel: the other domain closes, dom0's end is unbound for it",
        || {
            with_channel(|channel| {
                ensure_eq!(their_close(channel.peer, channel.theirs), 0, "close");
                let own = status(DOMID_SELF, channel.own);
                ensure_eq!((own.0, own.1[0]), (1, 1), "dom0's end");
                ensure_eq!(send(channel.own), 0, "sending from it");
                Ok(())
            })
        },
    ),
    check("a channel: closed by dom0 it can be bound again", || {
        with_channel(|channel| {
            close(channel.own);
            let (answer, again) = bind(channel.peer.domid, channel.theirs);
            close(again);
            ensure_eq!(answer, 0, "bind_interdomain");
            Ok(())
        })
    }),
    check("a channel: its ends cannot be bound a second time", || {
        with_channel(|channel| {
            let (answer, _) = bind(channel.peer.domid, channel.theirs);
            ensure_eq!(answer, EINVAL, "bind_interdomain");
            Ok(())
        })
    }),
    check("a port for another domain cannot be bound", || {
        let peer = peer()?;
        let theirs = alloc(peer, DOMID_SELF)?;
        let (answer, _) = bind(peer.domid, theirs);
        their_close(peer, theirs);
        ensure_eq!(answer, EINVAL, "bind_interdomain");
        Ok(())
    }),
    check("a closed port of another domain cannot be bound", || {
        let peer = peer()?;
        let theirs = alloc(peer, 0)?;
        their_close(peer, theirs);
        ensure_eq!(bind(peer.domid, theirs).0, EINVAL, "bind_interdomain");
        Ok(())
    }),
    check("dom0 makes a port in another domain", || {
        let peer = peer()?;
        let argument = AllocUnbound {
            dom: peer.domid,
            remote_dom: 0,
            port: 0,
        };
        let (answer, made) = with(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, argument);
        ensure_eq!(answer, 0, "alloc_unbound");
        let there = status(peer.domid, made.port);
        let closed = their_close(peer, made.port);
        ensure_eq!((there.0, there.1[0]), (1, 0), "its status");
        ensure_eq!(closed, 0, "its domain closes it");
        Ok(())
    }),
    check("a port of dom0's is bound by the domain it is for", || {
        let peer = peer()?;
        let argument = AllocUnbound {
            dom: DOMID_SELF,
            remote_dom: peer.domid,
            port: 0,
        };
        let (answer, made) = with(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, argument);
        ensure_eq!(answer, 0, "alloc_unbound");
        let bind = BindInterdomain {
            remote_dom: 0,
            _pad: 0,
            remote_port: made.port,
            local_port: 0,
        };
        let (answer, bound) = peer.with(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, bind);
        let own = status(DOMID_SELF, made.port);
        their_close(peer, bound.local_port);
        close(made.port);
        ensure_eq!(answer, 0, "bind_interdomain");
        ensure_eq!(own, (2, [1, bound.local_port]), "dom0's end");
        Ok(())
    }),
    check("a thousand events there and back", || {
        with_channel(|channel| {
            for round in 0..1000 {
                ensure_eq!(send(channel.own), 0, "send {round}");
                ensure!(
                    shared_info().pending[0].load(Ordering::SeqCst) & 1 == 0,
                    "port 0 is pending"
                );
            }
            ensure!(their_pending(channel), "it is not pending");
            ensure!(!their_pending(channel), "it is pending twice");
            Ok(())
        })
    }),
];
