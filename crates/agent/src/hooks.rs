//! The operator's executables that start and stop a group's service on this host, which the warden runs.

use crate::{event::WardenEvent, warden::Warden};
use quorate_agent_core::{BootMs, HookKind, HookOutcome};
use quorate_domain::{Epoch, GroupId};
use quorate_warden::protocol::{Disk, FromWarden, GroupEnded, Hook, Outcome, Output, Run, ToWarden, Welcome};
use std::collections::BTreeMap;

/// A run of a hook that ended.
pub(crate) type Ended = (GroupId, Epoch, HookKind, HookOutcome);

/// The hooks that run, and the warden that runs them; without any hook there is none.
#[derive(Debug)]
pub(crate) struct Hooks {
    warden: Option<Warden>,
    /// The warden is there.
    up: bool,
    running: BTreeMap<u64, (GroupId, Epoch, HookKind)>,
    runs: u64,
    told: BootMs,
}

impl Hooks {
    pub(crate) fn new(warden: Option<(Warden, Welcome)>) -> Self {
        let mut hooks = Self { warden: None, up: false, running: BTreeMap::new(), runs: 0, told: BootMs(0) };
        if let Some((warden, welcome)) = warden {
            hooks.warden = Some(warden);
            hooks.welcomed(&welcome);
        }
        hooks
    }

    /// Tells the warden when the lease ends, if it was not told so already.
    pub(crate) fn tell(&mut self, deadline: BootMs) {
        if let Some(warden) = self.warden.as_ref().filter(|_| deadline != self.told) {
            self.told = deadline;
            warden.say(ToWarden::Lease { deadline_ms: deadline.0 });
        }
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
        let Some(warden) = &self.warden else { return Some(HookOutcome::NotConfigured) };
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

    /// Takes in what the way to the warden says; the runs that ended by it.
    pub(crate) fn event(&mut self, event: WardenEvent) -> Vec<Ended> {
        match event {
            WardenEvent::Up(welcome) => {
                self.welcomed(&welcome);
                Vec::new()
            }
            WardenEvent::Lost(why) => {
                self.up = false;
                let running = std::mem::take(&mut self.running);
                let ended = |(group, epoch, kind)| {
                    (group, epoch, kind, HookOutcome::Failed(format!("the warden is gone: {why}")))
                };
                running.into_values().map(ended).collect()
            }
            WardenEvent::Said(message) => self.said(message).into_iter().collect(),
        }
    }

    fn said(&mut self, message: FromWarden) -> Option<Ended> {
        match message {
            FromWarden::Ended { run, outcome } => {
                let (group, epoch, kind) = self.running.remove(&run)?;
                let outcome = match outcome {
                    Outcome::Succeeded => HookOutcome::Succeeded,
                    Outcome::NotConfigured => HookOutcome::NotConfigured,
                    Outcome::Failed(why) => HookOutcome::Failed(why),
                };
                if let HookOutcome::Failed(why) = &outcome {
                    tracing::warn!(group.id = %group, epoch = epoch.0, hook = %kind, error = why, "hook failed");
                } else {
                    tracing::info!(group.id = %group, epoch = epoch.0, hook = %kind, "hook ended well");
                }
                return Some((group, epoch, kind, outcome));
            }
            FromWarden::Output(output) => log_output(&output),
            FromWarden::GroupEnded(ended) => self.group_ended(&ended),
            FromWarden::Log { warning: true, text } => tracing::warn!("warden: {text}"),
            FromWarden::Log { warning: false, text } => tracing::info!("warden: {text}"),
            FromWarden::Told { .. }
            | FromWarden::Pong { .. }
            | FromWarden::Welcome(_)
            | FromWarden::Refused { .. } => {}
        }
        None
    }

    fn welcomed(&mut self, welcome: &Welcome) {
        self.up = true;
        let (pid, finds_by, holds) = (welcome.pid, &welcome.finds_by, welcome.holds.len());
        tracing::info!(warden.pid = pid, finds_by, holds, "the warden is there");
        for ended in &welcome.ended {
            self.group_ended(ended);
        }
    }

    fn group_ended(&self, ended: &GroupEnded) {
        let GroupEnded { number, group, epoch, proof } = ended;
        if proof.holds() {
            tracing::info!(group.id = %group, epoch = epoch.0, proof = %proof, "the service has stopped");
        } else {
            tracing::warn!(group.id = %group, epoch = epoch.0, "{proof}");
        }
        if let Some(warden) = &self.warden {
            warden.say(ToWarden::Heard { number: *number });
        }
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
