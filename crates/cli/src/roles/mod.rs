//! The long-running roles: configuration, logs, a graceful stop, an exit code.

pub(crate) mod agent;
pub(crate) mod coordinator;

use crate::exit;
use quorate_runtime::shutdown::Shutdown;
use std::{error::Error, time::Duration};

/// Runs a role until a signal or a fatal error, and says how it ended. Once it is told to stop it has until `deadline`,
/// which must be more than it ever needs.
async fn until_stopped<E: Error + Send + 'static>(
    name: &'static str,
    role: impl Future<Output = Result<(), E>> + Send + 'static,
    shutdown: &Shutdown,
    deadline: Duration,
) -> anyhow::Result<u8> {
    let own = shutdown.clone();
    shutdown.spawn(name, async move {
        match role.await {
            Ok(()) => own.trigger(format!("the {name} ended")),
            Err(error) => own.fatal(exit::chain(&error)),
        }
    });
    shutdown.wait_for_signal().await?;
    let outcome = shutdown.finish(deadline).await;
    if let Some(fatal) = &outcome.fatal {
        anyhow::bail!("{name}: {fatal}");
    }
    if !outcome.unfinished.is_empty() {
        anyhow::bail!(
            "{name}: {}; did not end in {} s: {}",
            outcome.reason,
            deadline.as_secs(),
            outcome.unfinished.join(", ")
        );
    }
    tracing::info!(reason = outcome.reason, "{name} stopped");
    Ok(exit::OK)
}
