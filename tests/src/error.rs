// SPDX-License-Identifier: MIT OR Apache-2.0
//! The harness's one error type: a sentence for a person, grown outwards by `context`.

use std::fmt;

/// What went wrong, where, and where there is something to do, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

/// A result whose error is a [`Failure`].
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An `Err` that says `message`.
pub fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Failure::new(message))
}

/// Puts what was being done in front of an error.
pub trait Context<T> {
    /// Prefixes the error with `doing()` and a colon.
    ///
    /// # Errors
    /// The error of `self`, with its context.
    fn context(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure(format!("{}: {error}", doing())))
    }
}
