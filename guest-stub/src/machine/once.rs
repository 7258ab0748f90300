// SPDX-License-Identifier: MIT OR Apache-2.0
//! A value found at boot and read ever after.

use core::cell::UnsafeCell;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, Ordering};

/// Set once, by the boot CPU, before anyone reads it.
pub(crate) struct Once<T> {
    value: UnsafeCell<Option<T>>,
    set: AtomicBool,
}

// SAFETY: the value is written only in `set`, once, before `set` is true; afterwards it is only read.
unsafe impl<T: Sync + Send> Sync for Once<T> {}

impl<T> Once<T> {
    pub(crate) const fn new() -> Self {
        Self {
            value: UnsafeCell::new(None),
            set: AtomicBool::new(false),
        }
    }

    /// Sets the value. The boot CPU calls this, alone.
    pub(crate) fn set(&self, value: T) {
        assert!(!self.set.load(Ordering::Acquire), "set twice");
        // SAFETY: no reader comes past `deref` before the store below, and there is one writer, the boot CPU.
        unsafe { *self.value.get() = Some(value) };
        self.set.store(true, Ordering::Release);
    }
}

impl<T> Deref for Once<T> {
    type Target = T;

    fn deref(&self) -> &T {
        assert!(self.set.load(Ordering::Acquire), "read before it was set");
        // SAFETY: nothing writes the value any more once `set` is true.
        let value = unsafe { &*self.value.get() };
        value.as_ref().expect("`set` stores a value first")
    }
}
