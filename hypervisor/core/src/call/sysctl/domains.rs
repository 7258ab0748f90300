// SPDX-License-Identifier: MIT OR Apache-2.0
//! All domains at once.

use crate::addr::DomId;
use crate::call::domctl::describe;
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::Payload;
use xen_abi::domctl::GetDomainInfo;
use xen_abi::errno::Errno;
use xen_abi::sysctl::GetDomainInfoList;

/// Domains described in one call, at most: what libxl asks for. A tool that gets fewer than it has
/// room for takes them for all there are.
const MOST: u32 = 1024;

/// `XEN_SYSCTL_getdomaininfolist`: those from a number on, in rising order.
pub(super) fn list(cur: &Current<'_>, arg: &mut Payload) -> Result<(), Errno> {
    let mut op: GetDomainInfoList = arg.get();
    let list = GuestPtr::<GetDomainInfo>::from(op.buffer);
    op.num_domains = 0;
    let mut next = DomId(op.first_domain);
    while op.num_domains < op.max_domains.min(MOST) {
        let Some(domain) = cur.sys.domains.at_or_after(next) else {
            break;
        };
        let at = list.at(op.num_domains.into())?;
        at.write(cur.memory(), &describe(&domain))?;
        op.num_domains = op.num_domains.saturating_add(1);
        next = DomId(domain.id.0.saturating_add(1));
    }
    arg.set(&op);
    Ok(())
}
