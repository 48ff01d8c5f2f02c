//! The operator's executables that start and stop a group's service on this host, which the warden runs.

use crate::{event::WardenEvent, warden::Warden};
use quorate_agent_core::{BootMs, HookKind, HookOutcome};
use quorate_domain::{Epoch, GroupId};
use quorate_warden::protocol::{Disk, FromWarden, GroupEnded, Hook, Output, Proof, Run, ToWarden};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be done about a service that hooks started, in a start that has none.
const GIVE_BACK: &str = "hooks started it and this agent has none any more: give it back the hooks that it had, so that the demote \
     hook stops it";

/// What the warden has to say to the core.
#[derive(Debug)]
pub(crate) enum Word {
    /// It knows the deadline of this request.
    Told(u64),
    /// It is gone.
    Lost,
    /// A hook ended.
    Ended(GroupId, Epoch, HookKind, HookOutcome),
    /// The service of a group has stopped; how that is known.
    Stopped(GroupId, Epoch, Proof),
}

/// The hooks that run, and the warden that runs them. Without any hook there is none, unless starts before had some and have
/// left something.
#[derive(Debug)]
pub(crate) struct Hooks {
    warden: Option<Warden>,
    /// In a start without hooks, the epochs of those before: its warden ends what is left of them, and does nothing else.
    left: Option<BTreeSet<(GroupId, Epoch)>>,
    running: BTreeMap<u64, (GroupId, Epoch, HookKind)>,
    runs: u64,
    /// The request under way, and its deadline.
    telling: Option<(u64, BootMs)>,
}

impl Hooks {
    /// `left` in a start without hooks.
    pub(crate) fn new(warden: Option<Warden>, left: Option<BTreeSet<(GroupId, Epoch)>>) -> Self {
        Self { warden, left, running: BTreeMap::new(), runs: 0, telling: None }
    }

    /// True when the warden starts and ends services.
    pub(crate) fn start_services(&self) -> bool {
        self.warden.is_some() && self.left.is_none()
    }

    /// Tells the warden when the lease ends; [`Word::Told`] answers. True when there is none to be told.
    pub(crate) fn tell(&mut self, request: u64, deadline: BootMs) -> bool {
        let Some(warden) = self.warden.as_ref().filter(|_| self.left.is_none()) else { return true };
        self.telling = Some((request, deadline));
        // One that takes nothing more is found to be gone, and then is lost.
        warden.say(ToWarden::Lease { deadline_ms: deadline.0 });
        false
    }

    /// Runs a hook; gives back how it ended when it has already.
    pub(crate) fn run(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        kind: HookKind,
        reason: String,
        disk: Option<Disk>,
    ) -> Option<HookOutcome> {
        let is_not_its_own =
            |left: &BTreeSet<_>| kind == HookKind::Promote || !left.contains(&(group.clone(), epoch));
        let Some(warden) = self.warden.as_ref().filter(|_| !self.left.as_ref().is_some_and(is_not_its_own))
        else {
            return Some(HookOutcome::NotConfigured);
        };
        self.runs += 1;
        let hook = match kind {
            HookKind::Promote => Hook::Promote,
            HookKind::Demote => Hook::Demote,
        };
        let run = Run { run: self.runs, group: group.clone(), epoch, hook, reason, disk };
        if !warden.say(ToWarden::Run(run)) {
            return Some(HookOutcome::Failed("the warden takes nothing any more".to_owned()));
        }
        self.running.insert(self.runs, (group.clone(), epoch, kind));
        None
    }

    /// Kills the promote hook of an epoch that has ended.
    pub(crate) fn kill(&self, group: &GroupId, epoch: Epoch) {
        let wanted = (group.clone(), epoch, HookKind::Promote);
        let runs = self.running.iter().filter(|(_, running)| **running == wanted);
        for (run, _) in runs {
            if let Some(warden) = &self.warden {
                warden.say(ToWarden::Kill { run: *run });
            }
        }
    }

    /// Takes in what the way to the warden says.
    pub(crate) fn event(&mut self, event: WardenEvent) -> Vec<Word> {
        match event {
            WardenEvent::Up(welcome) => {
                let (pid, finds_by, holds) = (welcome.pid, &welcome.finds_by, welcome.holds.len());
                tracing::info!(warden.pid = pid, finds_by, holds, "the warden is there");
                welcome.ended.iter().filter_map(|ended| self.group_ended(ended)).collect()
            }
            WardenEvent::Lost(why) => {
                self.telling = None;
                if let Some(warden) = &mut self.warden {
                    warden.is_lost();
                }
                let running = std::mem::take(&mut self.running).into_values();
                let failed = format!("the warden is gone: {why}");
                let ended = running.map(|(group, epoch, kind)| {
                    Word::Ended(group, epoch, kind, HookOutcome::Failed(failed.clone()))
                });
                // First that nothing may be acted on: a promotion that failed by this is none of the group's fault. Roles
                // without hooks rest on no warden.
                let lost = self.left.is_none().then_some(Word::Lost);
                lost.into_iter().chain(ended).collect()
            }
            WardenEvent::Said(message) => self.said(message).into_iter().collect(),
        }
    }

    fn said(&mut self, message: FromWarden) -> Option<Word> {
        match message {
            FromWarden::Told { deadline_ms } => {
                let (request, _) = self.telling.take_if(|(_, deadline)| deadline.0 == deadline_ms)?;
                return Some(Word::Told(request));
            }
            FromWarden::Ended { run, outcome } => return self.run_ended(run, outcome),
            FromWarden::GroupEnded(ended) => return self.group_ended(&ended),
            FromWarden::Output(output) => log_output(&output),
            FromWarden::Log { warning: true, text } => tracing::warn!("warden: {text}"),
            FromWarden::Log { warning: false, text } => tracing::info!("warden: {text}"),
            FromWarden::Pong { .. } | FromWarden::Welcome(_) | FromWarden::Refused { .. } => {}
        }
        None
    }

    fn run_ended(&mut self, run: u64, outcome: HookOutcome) -> Option<Word> {
        let (group, epoch, kind) = self.running.remove(&run)?;
        let outcome = match outcome {
            HookOutcome::Failed(why) if self.left.is_some() => {
                HookOutcome::Failed(format!("{GIVE_BACK} ({why})"))
            }
            known => known,
        };
        if let HookOutcome::Failed(why) = &outcome {
            tracing::warn!(group.id = %group, epoch = epoch.0, hook = %kind, error = why, "hook failed");
        } else if outcome == HookOutcome::ByForce {
            tracing::info!(group.id = %group, epoch = epoch.0, "there is no demote hook, and nothing is left of what hooks had started");
        } else {
            tracing::info!(group.id = %group, epoch = epoch.0, hook = %kind, "hook ended well");
        }
        Some(Word::Ended(group, epoch, kind, outcome))
    }

    fn group_ended(&self, ended: &GroupEnded) -> Option<Word> {
        let GroupEnded { number, group, epoch, proof } = ended;
        if let Some(warden) = &self.warden {
            warden.say(ToWarden::Heard { number: *number });
        }
        if !proof.holds() {
            tracing::warn!(group.id = %group, epoch = epoch.0, "the service is {proof}");
            return None;
        }
        tracing::info!(group.id = %group, epoch = epoch.0, proof = %proof, "the service has stopped");
        Some(Word::Stopped(group.clone(), *epoch, proof.clone()))
    }

    /// Takes leave of the warden.
    pub(crate) async fn close(self) {
        if let Some(warden) = self.warden {
            warden.close().await;
        }
    }
}

fn log_output(output: &Output) {
    let Output { group, epoch, hook, stream, line, dropped } = output;
    if *dropped > 0 {
        tracing::warn!(group.id = %group, epoch = epoch.0, hook = %hook, stream, dropped, "lines of output were left out");
    }
    tracing::info!(group.id = %group, epoch = epoch.0, hook = %hook, stream, "{line}");
}
