//! What guards before this one have left, or this one could not kill: looked for and ended before anything is started, and
//! before the agent is told that nothing is left.

use quorate_agent_core::leftovers::Leftovers;
use quorate_domain::GroupId;
use quorate_warden::keeper::{Bystanders, Ended, end_what_others_left, kill_what_is_left};
use std::{future::pending, time::Duration};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

/// How long one search may take before it is told what stands in its way.
const SEARCH_FOR: Duration = Duration::from_secs(5);
/// The wait before the next search.
const RETRY: Duration = Duration::from_secs(2);
/// What ends the wait for a process that hides what it is.
const HIDDEN_REMEDY: &str = "end it, run the guard as root, or start the guard with --nothing-left once you know that it is nothing of the group's service";

/// How far the search is.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// What everything has in its environment that guards of this group on this host start; empty when it is not known.
    mark: String,
    /// What was below this guard from the start, and is spared unless it has the mark.
    bystanders: Bystanders,
    search: Option<JoinHandle<Result<Ended, String>>>,
    /// The search that is under way began too early to say anything.
    stale: bool,
    pub(super) left: Leftovers,
}

impl Others {
    pub(super) fn than(bystanders: Bystanders) -> Self {
        Self { bystanders, ..Self::default() }
    }

    pub(super) fn bystanders(&self) -> Bystanders {
        self.bystanders.clone()
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
        self.left.may_be_there();
        self.stale = self.search.is_some();
    }

    /// By what all that is started can be found again.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// Begins to look, unless that was done or is not possible yet. No service may run.
    pub(super) fn look(&mut self) {
        if self.mark.is_empty() || !self.left.are_to_be_looked_for() || self.search.is_some() {
            return;
        }
        let (mark, bystanders) = (self.mark.clone(), self.bystanders());
        let wait = if self.left.have_a_problem() { RETRY } else { Duration::ZERO };
        self.search = Some(tokio::spawn(async move {
            sleep(wait).await;
            let search = spawn_blocking(move || {
                let ended = end_what_others_left(&mark, &bystanders, SEARCH_FOR)?;
                let is_gone = kill_what_is_left(&bystanders, SEARCH_FOR);
                if is_gone { Ok(ended) } else { Err("something of the service cannot be killed".to_owned()) }
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
            Ok(Ended { killed, hidden }) => {
                if killed > 0 {
                    tracing::warn!(count = killed, "killed what an earlier guard had left running");
                }
                self.left.ended(hidden.map(|hidden| format!("{hidden}; {HIDDEN_REMEDY}")));
            }
            Err(why) => self.left.remain(why),
        }
    }
}
