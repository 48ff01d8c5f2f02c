//! What guards before this one have left, or this one could not kill: looked for and ended before anything is started, and
//! before the agent is told that nothing is left.

use quorate_domain::GroupId;
use quorate_warden::keeper::{Bystanders, end_what_others_left, kill_what_is_left};
use std::{future::pending, time::Duration};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

/// How long one search may take before it is told what stands in its way.
const SEARCH_FOR: Duration = Duration::from_secs(5);
/// The wait before the next search.
const RETRY: Duration = Duration::from_secs(2);

/// How far the search is.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about a search or an attachment")]
#[derive(Debug, Default)]
pub(super) struct Others {
    /// What everything has in its environment that guards of this group on this host start; empty when it is not known.
    mark: String,
    /// What was below this guard from the start, and is spared unless it has the mark.
    bystanders: Bystanders,
    search: Option<JoinHandle<Result<usize, String>>>,
    /// The search that is under way began too early to say anything.
    stale: bool,
    gone: bool,
    attached: bool,
    told: bool,
    failed: bool,
}

impl Others {
    pub(super) fn than(bystanders: Bystanders) -> Self {
        Self { bystanders, ..Self::default() }
    }

    pub(super) fn bystanders(&self) -> Bystanders {
        self.bystanders.clone()
    }

    /// The agent has taken this guard in, and has to be told anew.
    pub(super) fn attached(&mut self) {
        self.attached = true;
        self.told = false;
    }

    /// There is no agent to be told.
    pub(super) fn away(&mut self) {
        self.attached = false;
    }

    /// Which host this is. Another state folder of the agent is another host.
    pub(super) fn are_of(&mut self, instance: &str, group: &GroupId) {
        let mark = format!("{instance}/{group}");
        if self.mark != mark {
            self.mark = mark;
            self.are_left();
        }
    }

    /// Something may be left.
    pub(super) fn are_left(&mut self) {
        self.gone = false;
        self.stale = self.search.is_some();
    }

    /// By what all that is started can be found again.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// Begins to look, unless that was done or is not possible yet. No service may run.
    pub(super) fn look(&mut self) {
        if self.mark.is_empty() || !self.attached || self.gone || self.search.is_some() {
            return;
        }
        let (mark, bystanders) = (self.mark.clone(), self.bystanders());
        let wait = if self.failed { RETRY } else { Duration::ZERO };
        self.search = Some(tokio::spawn(async move {
            sleep(wait).await;
            let search = spawn_blocking(move || {
                let count = end_what_others_left(&mark, &bystanders, SEARCH_FOR)?;
                let is_gone = kill_what_is_left(&bystanders, SEARCH_FOR);
                if is_gone { Ok(count) } else { Err("something of the service cannot be killed".to_owned()) }
            });
            search.await.unwrap_or_else(|error| Err(error.to_string()))
        }));
    }

    /// Waits for the end of a search.
    pub(super) async fn ended(&mut self) {
        let Some(search) = &mut self.search else { return pending().await };
        let found = search.await.unwrap_or_else(|error| Err(error.to_string()));
        self.search = None;
        if std::mem::take(&mut self.stale) {
            return;
        }
        match found {
            Ok(count) => {
                self.gone = true;
                if count > 0 {
                    tracing::warn!(count, "killed what an earlier guard had left running");
                }
            }
            Err(why) if self.failed => tracing::debug!(error = why, "something is left of an earlier guard"),
            Err(why) => tracing::error!(error = why, "something is left of an earlier guard; looking again"),
        }
        self.failed = !self.gone;
    }

    /// True when nothing is left.
    pub(super) fn are_gone(&self) -> bool {
        self.gone
    }

    /// True when the agent is to be told so, once for each time that it takes this guard in.
    pub(super) fn are_to_be_told(&mut self) -> bool {
        let due = self.gone && self.attached && !self.told;
        self.told |= due;
        due
    }
}
