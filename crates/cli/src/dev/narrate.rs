//! Tells what happens from the event stream, and keeps what is needed to judge it.

use anyhow::{Context, Result, bail};
use quorate_rpc::{
    client::{Client, EventWatch},
    pb::types::Event,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// When the steps of one group's failover were committed, by the leader's clock, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Failover {
    pub(super) revoked_at_ms: Option<u64>,
    pub(super) released_at_ms: Option<u64>,
    pub(super) switched_at_ms: Option<u64>,
    pub(super) started_at_ms: Option<u64>,
    pub(super) operation: String,
}

/// The event stream since a moment before something was broken.
pub(super) struct Narrator {
    watch: EventWatch,
    began_at_ms: Option<u64>,
    pub(super) failovers: BTreeMap<String, Failover>,
    /// Every type of event that was seen, with the subject.
    pub(super) seen: Vec<(String, String)>,
}

impl Narrator {
    /// Follows what happens after a revision.
    pub(super) fn after(client: &Client, revision: u64) -> Self {
        Self {
            watch: client.watch_events(revision + 1),
            began_at_ms: None,
            failovers: BTreeMap::new(),
            seen: Vec::new(),
        }
    }

    /// Tells until the condition holds or the time is over.
    pub(super) async fn until(
        &mut self,
        what: &str,
        deadline: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + deadline;
        while !done(self) {
            let left = end.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.watch.next()).await {
                Err(_) => bail!("waited {} s for {what} in vain", deadline.as_secs()),
                Ok(None) => bail!("the event stream ended while waiting for {what}"),
                Ok(Some(Err(error))) if error.is_unavailable() => println!("  (no leader: {error})"),
                Ok(Some(Err(error))) => return Err(error).context("following the events"),
                Ok(Some(Ok(revision))) => {
                    for event in &revision.events {
                        self.tell(revision.at_ms, event);
                    }
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, at_ms: u64, event: &Event) {
        let began = *self.began_at_ms.get_or_insert(at_ms);
        let offset = Duration::from_millis(at_ms.saturating_sub(began)).as_secs_f64();
        println!("  +{offset:7.3} s  {}", event.message);
        let subject = if event.group.is_empty() { &event.host } else { &event.group };
        self.seen.push((event.r#type.clone(), subject.clone()));
        if event.group.is_empty() {
            return;
        }
        let failover = self.failovers.entry(event.group.clone()).or_default();
        match event.r#type.as_str() {
            "FailoverBegun" => {
                *failover = Failover {
                    revoked_at_ms: Some(at_ms),
                    operation: event.operation.clone(),
                    ..Failover::default()
                };
            }
            "PrimaryReleased" => failover.released_at_ms = Some(at_ms),
            "PrimarySwitched" => failover.switched_at_ms = Some(at_ms),
            "PrimaryStarted" => failover.started_at_ms = Some(at_ms),
            _ => {}
        }
    }
}
