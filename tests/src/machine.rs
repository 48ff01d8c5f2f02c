//! The machine, which clusters share and a storm has for itself: on two cores, several clusters under load would measure
//! the scheduler.

use crate::binary;
use anyhow::{Context, Result};
use std::fs::File;

/// The right to use the machine, until it is dropped; other processes ask for the same.
#[derive(Debug)]
pub struct Machine(File);

impl Machine {
    /// Waits for it, alone or with others.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub async fn take(alone: bool) -> Result<Self> {
        let lock = move || {
            let file = File::create(binary::scratch()?.join("machine.lock")).context("the machine's lock")?;
            if alone { file.lock() } else { file.lock_shared() }.context("the machine's lock")?;
            Ok(Self(file))
        };
        tokio::task::spawn_blocking(lock).await.context("waiting for the machine")?
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Closing the file would do the same.
        let _ = self.0.unlock();
    }
}
