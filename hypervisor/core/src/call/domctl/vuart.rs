// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XEN_DOMCTL_vuart_op`: a UART for a domain, whose other end is a console ring that another
//! domain serves.

use super::Answer;
use crate::addr::{Gfn, Ipa};
use crate::call::access;
use crate::call::page::ram_of;
use crate::current::Current;
use crate::domain::Domain;
use crate::event;
use crate::vdev::ring::ConsoleRing;
use crate::vdev::vpl011::{Backend, Vpl011};
use alloc::sync::Arc;
use xen_abi::Payload;
use xen_abi::arch_arm::{GUEST_PL011_BASE, GUEST_PL011_SIZE, GUEST_VPL011_SPI};
use xen_abi::domctl::{VuartOp, XEN_DOMCTL_VUART_OP_INIT, XEN_DOMCTL_VUART_TYPE_VPL011};
use xen_abi::errno::Errno;

/// The UART is where all domains have it that a toolstack makes. `EPERM` once the domain was let
/// run, `EOPNOTSUPP` for another kind, `EINVAL` without the SPI, for a second one, and for a frame
/// without RAM of the domain's.
pub(super) fn vuart_op(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let mut op: VuartOp = arg.get();
    if op.pad != [0; 2] || op.cmd != XEN_DOMCTL_VUART_OP_INIT {
        return Err(Errno::Inval);
    }
    if domain.life.lock().is_built() || domain.is_dying() {
        return Err(Errno::Perm);
    }
    let server = access::by_any_id(cur, op.console_domid)?;
    if op.r#type != XEN_DOMCTL_VUART_TYPE_VPL011 {
        return Err(Errno::OpNotSupp);
    }
    if domain.uart.get().is_some() || !domain.vgic.has_spi(GUEST_VPL011_SPI) {
        return Err(Errno::Inval);
    }
    let ring = ConsoleRing::new(ram_of(cur, domain, Gfn(op.gfn))?);
    let port = event::alloc_xen(&**domain, server.id)?;
    let (range, spi) = ((Ipa(GUEST_PL011_BASE), GUEST_PL011_SIZE), GUEST_VPL011_SPI);
    let end = Backend::Ring(ring, port);
    domain
        .uart
        .call_once(|| Vpl011::new(cur.sys.hw, domain.id, range, spi, end));
    op.evtchn = port;
    arg.set(&op);
    Ok(Answer::Copy)
}
