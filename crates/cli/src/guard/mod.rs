//! `quorate guard`: runs a service under a group's lease. The agent of the host says when it may run and until when; the keeper,
//! a process of its own, runs it and leaves nothing of it when that is over, whatever becomes of the guard.
//!
//! Architecture invariant: the agent is told that a deadline is known only after the keeper has taken it in, and that the
//! service has stopped only after nothing of it is left.

mod agent;
mod keeper;
mod last_word;
mod others;
mod program;
mod signals;

use crate::{Machine, args::GuardArgs, exit, output, verbs::agent::no_agent};
use agent::{Attachment, FromAgent, Mandate};
use anyhow::Context;
use keeper::{Keeper, Said};
use last_word::LastWord;
pub(crate) use last_word::kept;
use others::Others;
use quorate_agent_core::{mandate::Mandates, seal};
use quorate_domain::Epoch;
use quorate_rpc::Failure;
use quorate_runtime::{
    clock::{BootInstant, Clock, sleep_until},
    telemetry::{self, LogFormat},
};
use quorate_warden::{
    adopt_orphans,
    keeper::{Bystanders, End, FromKeeper, ToKeeper, Until},
};
use signals::{Received, Signals, TERMINATE};
use std::{future::pending, sync::Arc, time::Duration};
use tonic::Code;

/// Runs the guard until it is told to stop, is refused, or its service ends by itself.
///
/// # Errors
/// What keeps it from running any service.
pub(crate) async fn run(args: GuardArgs, machine: Machine) -> anyhow::Result<u8> {
    program::check(&args.command)?;
    telemetry::init("info", LogFormat::Human)?;
    let others =
        Others::than(Bystanders::find().context("the guard cannot look at the processes of this machine")?);
    // What a keeper that is killed leaves falls to the guard.
    adopt_orphans().context("the guard cannot be a subreaper")?;
    let signals = Signals::install()?;
    let secret = format!("{:032x}", rand::random::<u128>());
    let attachment = Attachment::open(&args, seal(&secret))?;
    let guard = Guard {
        args,
        clock: machine.clock,
        secret,
        attachment,
        signals,
        mandates: Mandates::default(),
        service: None,
        waits_for: String::new(),
        was_attached: false,
        leaving: None,
        others,
    };
    guard.run().await
}

/// The service of one epoch.
struct Service {
    keeper: Keeper,
    epoch: u64,
    /// The last deadline that the keeper has taken in.
    known: Until,
}

struct Guard {
    args: GuardArgs,
    clock: Arc<dyn Clock>,
    /// By what the agent knows the keepers of this guard.
    secret: String,
    attachment: Attachment,
    signals: Signals,
    mandates: Mandates<Mandate>,
    service: Option<Service>,
    /// As it was said last.
    waits_for: String,
    was_attached: bool,
    /// The exit code, once nothing is to be started any more.
    leaving: Option<u8>,
    others: Others,
}

impl Guard {
    async fn run(mut self) -> anyhow::Result<u8> {
        loop {
            if let (None, Some(code)) = (&self.service, self.leaving) {
                self.attachment.close().await;
                return Ok(code);
            }
            let late_at = self.service.as_ref().map(|service| service.known.keeper_is_late_at_ms());
            tokio::select! {
                said = self.attachment.next() => self.agent_said(said),
                said = hear(&mut self.service) => self.keeper_said(said).await,
                signal = self.signals.next() => self.signalled(signal),
                () = reach(self.clock.as_ref(), late_at) => {
                    self.without_keeper(true, "its keeper did not end it in time").await;
                }
                () = self.others.ended() => {}
            }
            self.say_what_is_left();
            self.start_if_due();
        }
    }

    fn now(&self) -> u64 {
        self.clock.boottime().as_ms()
    }

    fn agent_said(&mut self, said: FromAgent) {
        match said {
            FromAgent::Attached => {
                self.was_attached = true;
                self.others.left.attached();
                tracing::info!(group.id = %self.args.group, agent = self.args.agent, "attached to the agent");
            }
            FromAgent::Host { instance, nothing_awaited } => {
                self.others.are_of(&instance, &self.args.group);
                self.others.left.are_awaited(!nothing_awaited);
            }
            FromAgent::Asks(epoch) => self.mandates.asked(Epoch(epoch)),
            FromAgent::Primary(mandate) => {
                self.waits_for.clear();
                match &mut self.service {
                    Some(service) if service.epoch == mandate.epoch => {
                        service.keeper.say(&ToKeeper::Until(mandate.until));
                    }
                    Some(_) => self.end_service(TERMINATE),
                    None => {}
                }
                let unbegun = self.mandates.told(Epoch(mandate.epoch), mandate);
                self.never_begins(unbegun);
            }
            FromAgent::Other(reason) => {
                let unbegun = self.mandates.over();
                self.never_begins(unbegun);
                if self.service.is_some() {
                    tracing::info!(group.id = %self.args.group, reason, "the role has ended: ending the service");
                    self.end_service(TERMINATE);
                } else {
                    self.wait_for(reason);
                }
            }
            FromAgent::Away(why) => {
                // What runs goes on until its deadline: an agent that comes back in time has ended the epoch by itself.
                self.mandates.away();
                self.others.left.away();
                if self.args.no_wait && !self.was_attached {
                    output::note(&format!("error: {why}"));
                    self.leaving = Some(exit::UNREACHABLE);
                }
                self.wait_for(why);
            }
            FromAgent::Refused(failure) => self.refused(&failure),
        }
    }

    fn refused(&mut self, failure: &Failure) {
        let (group, agent) = (&self.args.group, &self.args.agent);
        let (text, code) = match failure {
            Failure::NotFound { .. } => (
                format!(
                    "the agent at {agent} knows no group {group}; check its name, and that this host is a member of it (`quorate group show {group}`)"
                ),
                exit::REFUSED,
            ),
            Failure::Refused { code, message } => (format!("{message} [{code}]"), exit::REFUSED),
            Failure::Other { code: Code::Unimplemented, .. } => (no_agent(agent), exit::FAILED),
            other => (format!("the agent at {agent}: {other}"), exit::FAILED),
        };
        self.mandates.away();
        self.others.left.away();
        self.leaving = Some(code);
        // Before anything is said, which may take its time.
        self.end_service(TERMINATE);
        output::note(&format!("error: {text}"));
    }

    /// Says what it waits for, unless that is known.
    fn wait_for(&mut self, reason: String) {
        if self.waits_for != reason {
            tracing::info!(group.id = %self.args.group, reason, "waiting");
            self.waits_for = reason;
        }
    }

    /// Says that nothing is left of what ran here before, once that is so, and that this guard is there for what is to come.
    fn say_what_is_left(&mut self) {
        if self.service.is_some() {
            return;
        }
        self.others.look();
        if self.others.left.are_to_be_told(self.args.nothing_left) {
            self.attachment.nothing_left(self.args.nothing_left);
        }
        if let Some(reason) = self.others.left.hindrance_to_be_told() {
            if !reason.is_empty() {
                tracing::error!(group.id = %self.args.group, error = reason, "something may be left of an earlier guard; looking again");
            }
            self.attachment.hindered(reason);
        }
        let may_begin = self.leaving.is_none() && self.others.left.are_gone();
        if may_begin && let Some(epoch) = self.mandates.ready() {
            self.attachment.ready(epoch.0);
        }
    }

    fn start_if_due(&mut self) {
        if self.service.is_some() || self.leaving.is_some() || !self.others.left.are_gone() {
            return;
        }
        let Some((_, Mandate { epoch, until, environment })) = self.mandates.begin() else { return };
        let (agent, secret) = (self.args.agent.clone(), self.secret.clone());
        let last_word = LastWord { agent, epoch, secret, group: self.args.group.to_string() };
        match Keeper::start(&self.args.command, self.others.mark(), &last_word, until, environment) {
            Ok(keeper) => self.service = Some(Service { keeper, epoch, known: until }),
            Err(error) => self.not_started(epoch, &format!("its keeper does not start: {error}")),
        }
    }

    /// The agent waits for a word of every epoch that it told of.
    fn never_begins(&self, unbegun: Option<Epoch>) {
        if let Some(Epoch(epoch)) = unbegun {
            tracing::info!(group.id = %self.args.group, epoch, "the epoch is over before its service was started");
            self.attachment.stopped(epoch, "its service was not started".to_owned(), false);
        }
    }

    fn not_started(&mut self, epoch: u64, why: &str) {
        tracing::error!(group.id = %self.args.group, epoch, error = why, "the service does not start");
        self.attachment.stopped(epoch, why.to_owned(), true);
        self.leaving = Some(exit::FAILED);
    }

    fn end_service(&mut self, signal: i32) {
        let by_ms = self.now().saturating_add(u64::try_from(self.args.stop_timeout.as_millis()).unwrap_or(0));
        if let Some(service) = &mut self.service {
            service.keeper.say(&ToKeeper::End { by_ms, signal });
        }
    }

    fn signalled(&mut self, signal: Received) {
        match (signal, &mut self.service) {
            (Received::Pass(signal), Some(service)) => service.keeper.say(&ToKeeper::Signal { signal }),
            (Received::Pass(_), None) => {}
            (Received::Stop(_), Some(service)) if self.leaving.is_some() => {
                service.keeper.say(&ToKeeper::Kill);
            }
            (Received::Stop(signal), _) => {
                tracing::info!(group.id = %self.args.group, signal, "told to stop");
                self.leaving.get_or_insert(exit::OK);
                self.end_service(signal);
            }
        }
    }

    async fn keeper_said(&mut self, said: Said) {
        let Some(service) = &mut self.service else { return };
        let epoch = service.epoch;
        match said {
            Said::Word(FromKeeper::Started { pid }) => {
                tracing::info!(group.id = %self.args.group, epoch, service.pid = pid, "the service runs");
                self.attachment.started(epoch);
                self.attachment.knows(epoch, service.known.lease_ms);
            }
            Said::Word(FromKeeper::Knows(until)) => {
                service.known = until;
                self.attachment.knows(epoch, until.lease_ms);
            }
            Said::Word(FromKeeper::NotStarted { why }) => {
                self.not_started(epoch, &why);
                self.release_keeper().await;
            }
            Said::Word(FromKeeper::Gone { end, asked }) => {
                self.service_gone(epoch, end, asked);
                self.release_keeper().await;
            }
            Said::Lost => self.without_keeper(false, "its keeper is gone").await,
        }
    }

    async fn release_keeper(&mut self) {
        if let Some(service) = self.service.take() {
            service.keeper.release().await;
        }
    }

    fn service_gone(&mut self, epoch: u64, end: End, asked: bool) {
        tracing::info!(group.id = %self.args.group, epoch, "the service {end}, and nothing of it is left");
        let why = if asked { "it was asked to end" } else { "nobody had asked it to end" };
        self.attachment.stopped(epoch, format!("the service {end}; {why}"), !asked);
        if !asked || self.leaving == Some(exit::OK) {
            self.leaving = Some(end.code());
        }
    }

    /// The keeper is not to be counted on: the guard itself makes certain that nothing of the service is left, and another host
    /// is to be tried.
    async fn without_keeper(&mut self, goes_on: bool, why: &str) {
        let Some(Service { keeper, epoch, .. }) = self.service.take() else { return };
        tracing::error!(group.id = %self.args.group, epoch, reason = why, "killing everything that the service started");
        if keeper.kill(self.others.bystanders()).await {
            self.attachment.stopped(epoch, format!("the service was killed: {why}"), true);
        } else {
            tracing::error!(group.id = %self.args.group, epoch, "something of the service is not gone: it hangs in the kernel");
            self.others.are_left();
        }
        if !goes_on {
            self.leaving = Some(exit::FAILED);
        }
    }
}

async fn hear(service: &mut Option<Service>) -> Said {
    match service {
        Some(service) => service.keeper.next().await,
        None => pending().await,
    }
}

async fn reach(clock: &dyn Clock, at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => sleep_until(clock, BootInstant::from_ms(at_ms)).await,
        None => pending().await,
    }
}

/// How long the agent may take to read the last word.
const LAST_WORD_WAIT: Duration = Duration::from_secs(1);
