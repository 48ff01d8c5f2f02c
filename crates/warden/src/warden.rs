//! The warden's state, and what it makes of what an agent says and of time.

use crate::{
    cgroup::Cgroups,
    conn::Conn,
    ending::Endings,
    journal::Journal,
    kin::Kin,
    limits::Limits,
    processes::Identity,
    protocol::{
        Disk, FromWarden, GROUPS_MAX, GroupEnded, Held, Hello, Hook, HookOutcome, Proof, REASON_MAX_BYTES,
        Run, ToWarden, VERSION, Welcome,
    },
    record::Records,
    runs::{Runs, Whose},
    search::Searcher,
    settings::Settings,
    spawner::Spawner,
    told::Told,
    watchdog::Watchdog,
};
use quorate_agent_core::{
    BootMs,
    guard::{Action, Guarded, Guards, Moment, Rules},
};
use quorate_domain::{GroupId, HostId};
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
};

/// How long a warden without an agent waits for one when nothing is left to do.
const IDLE_MAX_MS: u64 = 10_000;

/// More runs than any warden starts in a millisecond.
const KEYS_PER_MS: u64 = 1_000;

/// An agent that is there.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) conn: Conn,
    /// It has been welcomed.
    pub(crate) welcomed: bool,
}

/// Everything that a warden knows.
#[derive(Debug)]
pub(crate) struct Warden {
    pub(crate) limits: Limits,
    pub(crate) journal: Journal,
    pub(crate) records: Records,
    pub(crate) spawner: Spawner,
    pub(crate) searcher: Searcher,
    pub(crate) kin: Kin,
    pub(crate) boot: String,
    pub(crate) mark: String,
    pub(crate) host: Option<HostId>,
    pub(crate) settings: Settings,
    pub(crate) cgroups: Option<Cgroups>,
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) guards: Guards,
    /// The disks of the groups that are guarded, as hooks are told of them.
    pub(crate) disks: BTreeMap<GroupId, Disk>,
    pub(crate) runs: Runs,
    pub(crate) endings: Endings,
    pub(crate) agent: Option<Agent>,
    /// The agent to which what a dead warden left has fallen.
    pub(crate) orphans_of: Option<Identity>,
    /// The host's lease, as the agent that is there told it.
    pub(crate) lease: u64,
    /// Demotions without a hook that the agent waits for, by the agent's number.
    by_force: BTreeMap<GroupId, u64>,
    gone_since: u64,
    goodbye: bool,
    ended: VecDeque<GroupEnded>,
    ends: u64,
}

/// What a warden is made of, before an agent has said hello.
pub(crate) struct Parts {
    pub(crate) limits: Limits,
    pub(crate) journal: Journal,
    pub(crate) records: Records,
    pub(crate) spawner: Spawner,
    pub(crate) searcher: Searcher,
    pub(crate) kin: Kin,
    pub(crate) boot: String,
    pub(crate) mark: String,
    pub(crate) orphans_of: Option<Identity>,
}

impl Warden {
    pub(crate) fn new(parts: Parts, now: u64) -> Self {
        let Parts { limits, journal, records, spawner, searcher, kin, boot, mark, orphans_of } = parts;
        Self {
            limits,
            journal,
            records,
            spawner,
            searcher,
            kin,
            boot,
            mark,
            host: None,
            settings: Settings::default(),
            cgroups: None,
            watchdog: None,
            guards: Guards::with_keys_from(now.saturating_mul(KEYS_PER_MS)),
            disks: BTreeMap::new(),
            runs: Runs::default(),
            endings: Endings::default(),
            agent: None,
            orphans_of,
            lease: 0,
            by_force: BTreeMap::new(),
            gone_since: now,
            goodbye: false,
            ended: VecDeque::new(),
            ends: 0,
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            fence: self.settings.fence_command.is_some(),
            demotion_ms: self.settings.on_demote.as_ref().map(|_| self.settings.demote_limit_ms),
            child: !self.settings.is_elsewhere(),
            agent: self.agent.is_some(),
        }
    }

    pub(crate) fn moment(&self, now: u64) -> Moment {
        Moment { now: BootMs(now), lease: BootMs(self.lease), rules: self.rules() }
    }

    /// Says something to whoever reads logs.
    pub(crate) fn log(&mut self, warning: bool, text: String) {
        match &mut self.agent {
            Some(agent) if agent.welcomed => {
                if !agent.conn.say_if_idle(&FromWarden::Log { warning, text: text.clone() }) {
                    self.journal.say(text);
                }
            }
            _ => self.journal.say(text),
        }
    }

    pub(crate) fn tell(&mut self, message: &FromWarden) {
        if let Some(agent) = &mut self.agent {
            agent.conn.say(message);
        }
    }

    /// A connection said hello: it is the agent from now on, and the one before is closed. False when it is refused.
    pub(crate) fn hello(&mut self, mut conn: Conn, hello: &Hello, now: u64) -> bool {
        if let Err((field, problem)) = self.take_up(hello) {
            self.journal.say(format!("an agent is refused: {field}: {problem}"));
            conn.say(&FromWarden::Refused { field, problem });
            return false;
        }
        let before = self.agent.replace(Agent { conn, welcomed: false });
        if before.is_some() {
            self.journal.say("another start of the agent takes the place of the one before".to_owned());
        }
        self.goodbye = false;
        self.runs.nobody_asks();
        self.by_force.clear();
        let actions = self.guards.freeze_all(BootMs(self.lease), BootMs(u64::MAX));
        self.lease = 0;
        self.perform(actions, now);
        self.inherit(now);
        true
    }

    fn take_up(&mut self, hello: &Hello) -> Result<(), (String, String)> {
        let Hello { host, settings, .. } = hello;
        settings.check().map_err(|error| {
            let field = error.field.to_owned();
            (field, format!("{}; expected {}; {}", error.found, error.expected, error.remedy))
        })?;
        if let Some(known) = self.host.as_ref().filter(|known| *known != host) {
            let problem =
                format!("is {host}, and what is guarded here is of {known}; correct host.id or state_dir");
            return Err(("host.id".to_owned(), problem));
        }
        let at_once = Runs::at_once_max(settings.parallel);
        let for_output = self.limits.files_for_output(at_once);
        self.runs.outlets_max = for_output.map_err(|problem| ("hooks.parallel".to_owned(), problem))?;
        if self.watchdog.is_none()
            && let Some(device) = &settings.watchdog
        {
            let opened = Watchdog::open(device);
            let opened = opened.map_err(|error| {
                let problem = format!("cannot open {}: {error}; name a watchdog device that this user may write to, or leave it out", device.display());
                ("warden.watchdog".to_owned(), problem)
            })?;
            self.watchdog = Some(opened);
        }
        // What is guarded stays in the cgroups that it is in.
        if self.host.is_none() || settings.cgroups != self.settings.cgroups {
            if let Some(before) = self.cgroups.take() {
                let held = self.guards.iter().map(|(group, _)| group.clone());
                self.endings.stay_in(held.map(|group| (group.clone(), before.of(group.as_str()))));
            }
            self.cgroups = Cgroups::find(settings.cgroups, host.as_str(), &self.mark);
        }
        self.host = Some(host.clone());
        self.settings = settings.clone();
        Ok(())
    }

    /// Welcomes the agent once what a dead warden left has been dealt with.
    pub(crate) fn welcome_when_ready(&mut self) {
        let waits = self.agent.as_ref().is_some_and(|agent| !agent.welcomed);
        if !waits || self.endings.inherits() {
            return;
        }
        let holds = self.guards.iter().map(|(group, held)| Held {
            group: group.clone(),
            epoch: held.epoch(),
            deadline_ms: held.deadline(BootMs(self.lease)).0,
        });
        let finds_by = match &self.cgroups {
            Some(cgroups) => cgroups.to_string(),
            None => "descent, session and environment (no cgroup can be made)".to_owned(),
        };
        let welcome = Welcome {
            version: VERSION,
            pid: std::process::id(),
            finds_by,
            holds: holds.collect(),
            ended: self.ended.iter().cloned().collect(),
        };
        self.kin.adopt(None);
        self.tell(&FromWarden::Welcome(welcome));
        if let Some(agent) = &mut self.agent {
            agent.welcomed = true;
        }
        for text in std::mem::take(&mut self.limits.without) {
            self.log(false, text);
        }
    }

    /// The agent said something.
    pub(crate) fn said(&mut self, message: ToWarden, now: u64) {
        match message {
            // A second one on a connection changes nothing.
            ToWarden::Hello(_) => {}
            ToWarden::Lease { deadline_ms } => {
                self.lease = deadline_ms;
                self.tell(&FromWarden::Told { deadline_ms });
            }
            ToWarden::Run(run) => self.asked_to_run(run, now),
            ToWarden::Kill { run } => {
                if let Some((key, group)) = self.runs.asked_as(run) {
                    self.guards.interrupt(&group, key, self.moment(now));
                    self.stop_run(key, "the epoch ended", now);
                }
            }
            ToWarden::Forget { group, epoch } => {
                if self.guards.forget(&group, epoch) {
                    self.let_go(&group);
                }
            }
            ToWarden::EndAll => {
                let actions = self.guards.freeze_all(BootMs(self.lease), BootMs(now));
                self.perform(actions, now);
            }
            ToWarden::Ping { number } => self.tell(&FromWarden::Pong { number }),
            ToWarden::Heard { number } => {
                while let Some(heard) = self.ended.pop_front_if(|ended| ended.number <= number) {
                    if heard.proof.holds() && self.guards.get(&heard.group).is_none() {
                        self.spawner.strike(heard.group);
                    }
                }
            }
            ToWarden::Goodbye => self.goodbye = true,
        }
    }

    fn asked_to_run(&mut self, run: Run, now: u64) {
        let Run { run, group, epoch, hook, mut reason, disk } = run;
        reason.truncate(reason.floor_char_boundary(REASON_MAX_BYTES));
        let at = self.moment(now);
        let key = match hook {
            Hook::Promote => self.guards.promote(&group, epoch, at),
            Hook::Demote if self.settings.on_demote.is_none() => {
                let is_held = self.guards.get(&group).is_some();
                let unread = self.endings.why_unread(&group).filter(|_| !is_held);
                match unread.map_or_else(|| self.guards.demote_by_force(&group, epoch, at), Err) {
                    Ok(actions) => {
                        self.by_force.insert(group, run);
                        self.perform(actions, now);
                    }
                    Err(why) => self.tell(&FromWarden::Ended { run, outcome: HookOutcome::Failed(why) }),
                }
                return;
            }
            Hook::Demote => self.guards.demote(&group, epoch, at),
            Hook::Fence => Err("an agent does not fence by hook".to_owned()),
        };
        match key {
            Ok(key) => {
                if let Some(disk) = disk {
                    self.disks.insert(group.clone(), disk);
                }
                let whose = Whose { group, epoch, hook };
                self.start_run(key, whose, reason, Some(run));
            }
            Err(why) => self.tell(&FromWarden::Ended { run, outcome: HookOutcome::Failed(why) }),
        }
    }

    /// The connection of the agent is over.
    pub(crate) fn agent_gone(&mut self, why: &str, now: u64) {
        self.agent = None;
        self.gone_since = now;
        self.runs.nobody_asks();
        self.by_force.clear();
        if !self.goodbye && !self.guards.is_empty() {
            let groups = self.guards.len();
            self.journal.say(format!("the agent is gone ({why}); guarding {groups} groups without it"));
        }
    }

    /// Does what the guards ask for.
    pub(crate) fn perform(&mut self, actions: Vec<Action>, now: u64) {
        for action in actions {
            match action {
                Action::Start { key, group, hook, reason } => {
                    let Some(epoch) = self.guards.get(&group).map(Guarded::epoch) else { continue };
                    self.log(
                        true,
                        format!("running the {hook} hook of group {group}, epoch {epoch}: {reason}"),
                    );
                    self.start_run(key, Whose { group, epoch, hook }, reason, None);
                }
                Action::Stop { key, why } => self.stop_run(key, &why, now),
                Action::Kill { group } => self.kill_group(group, now),
                Action::LetGo { group } => self.let_go(&group),
                Action::Spare { group } => self.endings.spare(&group),
                Action::Ended { group, epoch, proof } => {
                    self.log(true, format!("group {group}, epoch {epoch}: {proof}"));
                    if proof.holds() {
                        // Kept until an agent has heard of it, whatever becomes of this warden.
                        self.note(&group, epoch, Some(proof.clone()));
                        self.clear_away(&group);
                    }
                    self.endings.settled(&group);
                    if let Some(run) = self.by_force.remove(&group) {
                        let outcome = match &proof {
                            Proof::Not(why) => {
                                HookOutcome::Failed(format!("there is no demote hook, and {why}"))
                            }
                            // No hook ran: the agent must know that.
                            _ => HookOutcome::ByForce,
                        };
                        self.tell(&FromWarden::Ended { run, outcome });
                    }
                    self.ends += 1;
                    let ended = GroupEnded { number: self.ends, group, epoch, proof };
                    if self.ended.len() >= GROUPS_MAX {
                        self.ended.pop_front();
                    }
                    self.ended.push_back(ended.clone());
                    if self.agent.as_ref().is_some_and(|agent| agent.welcomed) {
                        self.tell(&FromWarden::GroupEnded(ended));
                    }
                }
            }
        }
    }

    /// Does what time asks for.
    pub(crate) fn pass(&mut self, now: u64) {
        let actions = self.guards.pass(self.moment(now));
        self.perform(actions, now);
        self.pass_runs(now);
        self.pass_endings(now);
        self.feed_watchdog(now);
    }

    /// False once a group was ended by every means and is not known to have stopped: the machine is to be rebooted then.
    fn all_kept(&self) -> bool {
        !self.guards.iter().any(|(_, held)| held.is_unproven())
    }

    fn feed_watchdog(&mut self, now: u64) {
        let all_kept = self.all_kept();
        if let Some(watchdog) = self.watchdog.as_mut().filter(|_| all_kept)
            && let Err(error) = watchdog.feed(now)
        {
            self.log(true, format!("the watchdog device cannot be fed: {error}"));
        }
    }

    /// When [`Warden::pass`] must be called at the latest.
    pub(crate) fn next_wake(&self) -> Option<u64> {
        let feed = self.watchdog.as_ref().filter(|_| self.all_kept()).map(Watchdog::next_feed);
        let idle = self.agent.is_none().then(|| self.gone_since.saturating_add(IDLE_MAX_MS));
        let idle = idle.filter(|_| self.has_nothing_to_do());
        let guards = self.guards.next_wake(self.rules(), BootMs(self.lease)).map(|at| at.0);
        let queue = self.runs.may_start(self.settings.parallel).then_some(0);
        [queue, guards, self.runs.next_wake(), self.endings.next_wake(), feed, idle]
            .into_iter()
            .flatten()
            .min()
    }

    /// True when nothing is guarded, runs or writes.
    pub(crate) fn has_nothing_to_do(&self) -> bool {
        self.guards.is_empty() && self.runs.is_empty() && !self.endings.inherits()
    }

    /// True when it may end.
    pub(crate) fn may_end(&self, now: u64) -> bool {
        let alone = self.goodbye || now >= self.gone_since.saturating_add(IDLE_MAX_MS);
        self.agent.is_none() && alone && self.has_nothing_to_do()
    }

    /// It was asked to, and nothing keeps it.
    pub(crate) fn end_now(&mut self) {
        self.goodbye = true;
    }

    /// What a program of a group is told.
    pub(crate) fn environment(&self, whose: &Whose, reason: &str) -> Vec<(&'static str, String)> {
        let told = Told {
            group: &whose.group,
            epoch: whose.epoch,
            role: if whose.hook == Hook::Promote { "primary" } else { "backup" },
            host: self.host.as_ref().map_or("", HostId::as_str),
            reason,
            disk: self.disks.get(&whose.group),
        };
        told.variables()
    }

    /// What is run for a hook.
    pub(crate) fn program(&self, hook: Hook) -> Option<PathBuf> {
        match hook {
            Hook::Promote => self.settings.on_promote.clone(),
            Hook::Demote => self.settings.on_demote.clone(),
            Hook::Fence => self.settings.fence_command.clone(),
        }
    }
}
