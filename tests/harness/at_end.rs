//! For threads that go on until a flag is set: it is set however the scope is left, since a scope
//! waits for its threads also when a test fails.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets the flag when it is dropped.
#[derive(Debug)]
pub struct SetAtEnd<'f>(pub &'f AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
