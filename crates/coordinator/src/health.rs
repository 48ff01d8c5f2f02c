//! The standard gRPC health service: serving while this coordinator belongs to a side that can decide. On a leader that
//! means a fresh acknowledgement by a quorum, on a follower that it hears a leader: one that has lost its quorum says
//! nothing any more, so its followers and itself turn to not serving within a bounded time.

use crate::services;
use quorate_consensus::Leadership;
use std::time::Duration;
use tokio::sync::watch;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::{HealthReporter, health_reporter},
};

/// An acknowledgement, or a leader's last word, grows stale without anything happening, so it is looked at this often.
const CHECK_EVERY: Duration = Duration::from_millis(250);

fn status(leadership: &Leadership) -> ServingStatus {
    if leadership.reaches_quorum() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

/// Every service by its name, and the whole server by the empty one.
async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for name in services::API.into_iter().chain([""]) {
        reporter.set_service_status(name, status).await;
    }
}

/// The service, which says from its first answer on that nothing is served yet, and the way to tell it more.
pub(crate) async fn begin() -> (HealthReporter, HealthServer<impl Health>) {
    let (reporter, service) = health_reporter();
    // It would call the whole server healthy by itself.
    report(&reporter, ServingStatus::NotServing).await;
    (reporter, service)
}

/// Keeps the status of all services up to date. One status for all: whoever routes requests by it wants them where they
/// can be decided.
pub(crate) async fn follow(reporter: HealthReporter, mut leadership: watch::Receiver<Leadership>) {
    let mut known = ServingStatus::NotServing;
    loop {
        let now = status(&leadership.borrow_and_update());
        if now != known {
            known = now;
            tracing::info!(status = %known, "health");
            report(&reporter, known).await;
        }
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(CHECK_EVERY) => {}
        }
    }
}
