//! Waiting for something to become true.

use anyhow::{Result, anyhow};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `check` succeeds and gives back what it found. An error of `check` means "not yet".
///
/// # Errors
/// After `deadline`, with what was waited for and why the last look was not good enough.
pub async fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut check: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    let end = started + deadline;
    let mut last = anyhow!("the first look took longer");
    loop {
        let next_look = Instant::now() + LOOK_EVERY;
        match timeout_at(end, check()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(problem)) => last = problem,
            Err(_) => {}
        }
        if next_look >= end {
            return Err(last.context(format!("waited {deadline:?} in vain until {what}")));
        }
        sleep_until(next_look).await;
    }
}
