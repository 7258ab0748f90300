// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a check is, and how it says what it saw.

use core::fmt;

use crate::machine::exception::Fault;
use crate::text::Text;

/// Longest explanation.
pub(super) const DETAIL: usize = 200;

/// Why a check did not pass.
pub(super) enum Failure {
    /// The guest saw something else than it must.
    Failed(Text<DETAIL>),
    /// It does not apply to this machine.
    Skipped(&'static str),
}

pub(super) type Outcome = Result<(), Failure>;

/// What is known of a check on one hypervisor.
pub(super) enum Known {
    Passes,
    /// Fails it, and why that is accepted.
    Differs(&'static str),
    /// Does not come back from it.
    Hangs(&'static str),
}

/// One check: one promise.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) run: fn() -> Outcome,
    pub(super) on_xen: Known,
    pub(super) on_xenolith: Known,
}

/// A check that both pass.
pub(super) const fn check(name: &'static str, run: fn() -> Outcome) -> Check {
    Check {
        name,
        run,
        on_xen: Known::Passes,
        on_xenolith: Known::Passes,
    }
}

impl Check {
    /// Xen fails it: ours is better, and why.
    pub(super) const fn differs(mut self, reason: &'static str) -> Self {
        self.on_xen = Known::Differs(reason);
        self
    }

    /// Xen does not survive it.
    pub(super) const fn hangs(mut self, reason: &'static str) -> Self {
        self.on_xen = Known::Hangs(reason);
        self
    }

    /// Xen passes it, and Xenolith does not: on purpose or for now, and why.
    pub(super) const fn unlike_xen(mut self, reason: &'static str) -> Self {
        self.on_xenolith = Known::Differs(reason);
        self
    }
}

/// A check for each row: an expression and the value it must have.
macro_rules! rows {
    ($($name:expr, $is:expr => $want:expr $(, $known:ident $reason:expr)?;)*) => {
        &[$($crate::suite::check::check($name, || $crate::suite::check::equal($is, $want))$(.$known($reason))?),*]
    };
}

/// Fails the check with an explanation.
macro_rules! fail {
    ($($argument:tt)*) => {
        return Err($crate::suite::check::Failure::Failed($crate::text::Text::format(format_args!($($argument)*))))
    };
}

/// Fails the check with an explanation unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($argument:tt)*) => {
        if !$condition {
            $crate::suite::check::fail!($($argument)*);
        }
    };
}

/// Fails the check unless two values are the same.
macro_rules! ensure_eq {
    ($is:expr, $want:expr, $($argument:tt)*) => {{
        let (is, want) = ($is, $want);
        if is != want {
            $crate::suite::check::fail!("{} is {is:?}, not {want:?} (hexadecimal: {is:x?}, {want:x?})", format_args!($($argument)*));
        }
    }};
}

pub(super) use {ensure, ensure_eq, fail, rows};

/// Fails the check unless two values are the same.
pub(super) fn equal<T: PartialEq + fmt::Debug>(is: T, want: T) -> Outcome {
    ensure!(is == want, "it is {is:?}, not {want:?}");
    Ok(())
}

/// The fault that an attempt must have ended in.
pub(super) fn fault<R>(attempt: Result<R, Fault>, what: &str) -> Result<Fault, Failure> {
    match attempt {
        Ok(_) => fail!("{what} does not fault"),
        Err(fault) => Ok(fault),
    }
}

/// Passes when the attempt ended as an undefined instruction.
pub(super) fn undefined<R>(attempt: Result<R, Fault>, what: &str) -> Outcome {
    let fault = fault(attempt, what)?;
    ensure!(
        fault.is_undefined(),
        "{what} is not undefined but {fault:?}"
    );
    Ok(())
}

/// The value of an attempt that must not fault.
pub(super) fn value<R>(attempt: Result<R, Fault>, what: &str) -> Result<R, Failure> {
    match attempt {
        Ok(value) => Ok(value),
        Err(fault) => fail!("{what} faults with {fault:?}"),
    }
}
