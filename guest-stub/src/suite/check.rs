// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a check is, and how it says what it saw.

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

/// What Xen 4.20 does with a check.
pub(super) enum OnXen {
    Passes,
    /// Fails it: ours is better, and why.
    Differs(&'static str),
    /// Does not come back from it.
    Hangs(&'static str),
}

/// One check.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) run: fn() -> Outcome,
    pub(super) on_xen: OnXen,
}

/// A check that Xen passes.
pub(super) const fn check(name: &'static str, run: fn() -> Outcome) -> Check {
    Check {
        name,
        run,
        on_xen: OnXen::Passes,
    }
}

impl Check {
    /// Xen fails it.
    pub(super) const fn differs(mut self, reason: &'static str) -> Self {
        self.on_xen = OnXen::Differs(reason);
        self
    }

    /// Xen does not survive it.
    pub(super) const fn hangs(mut self, reason: &'static str) -> Self {
        self.on_xen = OnXen::Hangs(reason);
        self
    }
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

pub(super) use {ensure, ensure_eq, fail};

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
