//! The standard gRPC health service: serving while a leader is known and, on the leader itself, a quorum acknowledges it.

use quorate_consensus::Leadership;
use std::time::Duration;
use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

/// A leader's acknowledgement grows stale without anything happening, so it is looked at this often.
const CHECK_EVERY: Duration = Duration::from_millis(250);

fn status(leadership: &Leadership) -> ServingStatus {
    let serving = if leadership.leads { leadership.can_decide() } else { leadership.leader.is_some() };
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

/// Keeps the status of the whole server (the empty name) up to date.
pub(crate) async fn follow(reporter: HealthReporter, mut leadership: watch::Receiver<Leadership>) {
    let mut known = ServingStatus::NotServing;
    reporter.set_service_status("", known).await;
    loop {
        let now = status(&leadership.borrow_and_update());
        if now != known {
            known = now;
            reporter.set_service_status("", known).await;
        }
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(CHECK_EVERY) => {}
        }
    }
}
