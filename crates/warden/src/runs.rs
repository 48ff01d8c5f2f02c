//! The hooks that wait and run: in which order, for how long, and how they ended.

use crate::{
    exec::Preparation,
    output::{Flow, Outlet, REST_MS},
    processes::{self, Identity},
    protocol::{FromWarden, Hook, HookOutcome},
    record::Record,
    spawner::{Child, Order},
    warden::Warden,
};
use quorate_agent_core::{
    BootMs,
    guard::{Guarded, RunKey},
};
use quorate_domain::{Epoch, GroupId};
use rustix::{
    fd::{AsFd, OwnedFd},
    process::{WaitId, WaitIdOptions, waitid},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The most fence commands that run at once, beside the hooks.
const FENCES_MAX: usize = 8;
/// How long a hook that was killed may take to be gone: one that hangs in the kernel stays, and is waited for no longer.
const GONE_WITHIN_MS: u64 = 2_000;

/// What a run is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) group: GroupId,
    pub(crate) epoch: Epoch,
    pub(crate) hook: Hook,
}

#[derive(Debug)]
enum State {
    Queued,
    Starting { since: u64 },
    Running { since: u64, process: Identity, handle: OwnedFd },
}

/// It is being killed.
#[derive(Debug)]
struct Stop {
    why: String,
    since: u64,
}

#[derive(Debug)]
struct Run {
    whose: Whose,
    reason: String,
    /// The agent's number of it, while that agent is there.
    asked: Option<u64>,
    state: State,
    stop: Option<Stop>,
    /// How its process ended.
    exit: Option<Result<(), String>>,
    /// What it said last on a stream that nobody holds any more.
    last_words: String,
}

/// Watches descriptors for the loop.
pub(crate) trait Watch {
    /// Tells when the hook's process has ended.
    fn hook(&mut self, key: RunKey, handle: &OwnedFd) -> rustix::io::Result<()>;
    /// Tells when there is output.
    fn outlet(&mut self, number: u64, pipe: &OwnedFd) -> rustix::io::Result<()>;
    /// Tells it no longer.
    fn forget(&mut self, fd: &OwnedFd);
}

/// All runs, and the streams of those that have ended too.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    all: BTreeMap<RunKey, Run>,
    queue: VecDeque<RunKey>,
    /// Given up before they were started: what comes up late is killed at once.
    late: BTreeSet<RunKey>,
    /// Killed, and hanging in the kernel.
    hung: BTreeMap<RunKey, OwnedFd>,
    outlets: BTreeMap<u64, (RunKey, Outlet)>,
    outlets_known: u64,
    pub(crate) outlets_max: usize,
    /// Streams that have more to say and rest until then.
    resting: BTreeSet<u64>,
    rested_at: u64,
}

impl Runs {
    /// The most programs that run at once, those that hang in the kernel included.
    pub(crate) fn at_once_max(parallel: usize) -> usize {
        parallel + FENCES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.late.is_empty() && self.outlets.is_empty()
    }

    /// The agent that asked is gone.
    pub(crate) fn nobody_asks(&mut self) {
        self.all.values_mut().for_each(|run| run.asked = None);
    }

    /// The run that the agent knows under this number, and its group.
    pub(crate) fn asked_as(&self, number: u64) -> Option<(RunKey, GroupId)> {
        let (key, run) = self.all.iter().find(|(_, run)| run.asked == Some(number))?;
        Some((*key, run.whose.group.clone()))
    }

    /// Those that are being killed.
    pub(crate) fn stopping(&self) -> Vec<(RunKey, Identity, bool)> {
        let stopping = |(key, run): (&RunKey, &Run)| match (&run.state, &run.stop) {
            (State::Running { process, .. }, Some(_)) => Some((*key, *process, run.exit.is_some())),
            _ => None,
        };
        self.all.iter().filter_map(stopping).collect()
    }

    pub(crate) fn next_wake(&self) -> Option<u64> {
        let rest = (!self.resting.is_empty()).then(|| self.rested_at.saturating_add(REST_MS));
        // Limits are looked at with the tick below: runs are few and short.
        let limits = self.all.values().any(|run| !matches!(run.state, State::Queued));
        let tick = limits.then(|| self.rested_at.saturating_add(TICK_MS));
        [rest, tick].into_iter().flatten().min()
    }

    /// True when something waits that could be started.
    pub(crate) fn may_start(&self, parallel: usize) -> bool {
        self.next(parallel).is_some()
    }

    fn active(&self, promotions_only: bool) -> usize {
        let counts = |run: &&Run| {
            !matches!(run.state, State::Queued)
                && run.whose.hook != Hook::Fence
                && (!promotions_only || run.whose.hook == Hook::Promote)
        };
        self.all.values().filter(counts).count()
    }

    fn fences(&self) -> usize {
        let counts = |run: &&Run| !matches!(run.state, State::Queued) && run.whose.hook == Hook::Fence;
        self.all.values().filter(counts).count()
    }

    /// What is to be started next: fence commands, then demotions, then promotions, for which not the whole window is.
    fn next(&self, parallel: usize) -> Option<RunKey> {
        let first = |hook| {
            self.queue.iter().copied().find(|key| self.all.get(key).is_some_and(|run| run.whose.hook == hook))
        };
        let free = self.active(false) + self.hung.len() < parallel;
        let promotions = parallel - parallel / 4;
        first(Hook::Fence)
            .filter(|_| self.fences() < FENCES_MAX)
            .or_else(|| first(Hook::Demote).filter(|_| free))
            .or_else(|| first(Hook::Promote).filter(|_| free && self.active(true) < promotions))
    }
}

/// How often limits are looked at while something runs.
const TICK_MS: u64 = 20;

impl Warden {
    pub(crate) fn start_run(&mut self, key: RunKey, whose: Whose, reason: String, asked: Option<u64>) {
        if let Some(running) = self.runs.all.get_mut(&key) {
            // It was started by the warden itself and the agent wants the same.
            running.asked = asked;
            return;
        }
        let run = Run {
            whose,
            reason,
            asked,
            state: State::Queued,
            stop: None,
            exit: None,
            last_words: String::new(),
        };
        self.runs.all.insert(key, run);
        self.runs.queue.push_back(key);
    }

    pub(crate) fn start_queued(&mut self, now: u64) {
        while let Some(key) = self.runs.next(self.settings.parallel) {
            self.runs.queue.retain(|queued| *queued != key);
            let Some(run) = self.runs.all.get_mut(&key) else { continue };
            run.state = State::Starting { since: now };
            let (whose, reason) = (run.whose.clone(), run.reason.clone());
            match self.program(whose.hook) {
                Some(program) => {
                    let order = self.order(key, &whose, &reason, program);
                    self.spawner.order(order);
                }
                None => self.finish(key, &HookOutcome::NotConfigured, now),
            }
        }
    }

    fn order(&self, key: RunKey, whose: &Whose, reason: &str, program: std::path::PathBuf) -> Order {
        let held = self.guards.get(&whose.group);
        let deadline = held.map_or(0, |held| held.deadline(BootMs(self.lease)).0);
        let cgroup = self.cgroups.as_ref().map(|cgroups| cgroups.of(whose.group.as_str()));
        let record = Record {
            boot: self.boot.clone(),
            group: whose.group.clone(),
            epoch: whose.epoch,
            disk: self.disks.get(&whose.group).cloned(),
            hook: whose.hook.to_string(),
            mark: format!("{}:{}:{}", self.mark, whose.group, key.0),
            cgroup: cgroup.as_ref().map(|cgroup| cgroup.path().to_owned()),
            process: None,
            seen: false,
            agent: self.agent_process(),
            ended: None,
        };
        let not_after_ms = (whose.hook == Hook::Promote).then_some(deadline);
        Order {
            key,
            hook: whose.hook,
            program,
            environment: self.environment(whose, reason),
            preparation: Preparation { not_after_ms, ..self.limits.given.clone() },
            cgroup,
            output: self.runs.outlets.len() + 2 <= self.runs.outlets_max,
            record,
        }
    }

    /// A program was started, or not.
    pub(crate) fn started(
        &mut self,
        key: RunKey,
        result: Result<Child, String>,
        watch: &mut impl Watch,
        now: u64,
    ) {
        let whose = self.runs.all.get(&key).map(|run| run.whose.clone());
        let Child { process, handle, output } = match result {
            Ok(child) => child,
            Err(why) => {
                self.runs.late.remove(&key);
                if whose.is_some() {
                    self.finish(key, &HookOutcome::Failed(why), now);
                }
                return;
            }
        };
        let Some(whose) = whose.filter(|_| !self.runs.late.remove(&key)) else {
            self.log(true, format!("process {} came up after its time and is killed", process.0));
            self.kill_late(key, process, handle, watch);
            return;
        };
        self.kin.hook(process, whose.group.clone(), key);
        if let Err(error) = watch.hook(key, &handle) {
            processes::kill(process);
            self.finish(key, &HookOutcome::Failed(format!("it cannot be watched: {error}")), now);
            return;
        }
        for (pipe, stream) in output.into_iter().flatten().zip(["stdout", "stderr"]) {
            let whose = (whose.group.clone(), whose.epoch, whose.hook);
            self.runs.outlets_known += 1;
            let number = self.runs.outlets_known;
            if let Ok(outlet) = Outlet::new(pipe, whose, stream)
                && watch.outlet(number, &outlet.pipe).is_ok()
            {
                self.runs.outlets.insert(number, (key, outlet));
            }
        }
        if let Some(run) = self.runs.all.get_mut(&key) {
            // A hook's time begins when it runs, not when the machine got round to starting it.
            run.state = State::Running { since: now, process, handle };
        }
    }

    fn kill_late(&mut self, key: RunKey, process: Identity, handle: OwnedFd, watch: &mut impl Watch) {
        processes::kill(process);
        if watch.hook(key, &handle).is_ok() {
            self.runs.hung.insert(key, handle);
        }
    }

    /// The process of a hook has ended.
    pub(crate) fn hook_ended(&mut self, key: RunKey, watch: &mut impl Watch, now: u64) {
        if let Some(handle) = self.runs.hung.remove(&key) {
            watch.forget(&handle);
            // How it ended does not matter any more.
            let _ = waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            return;
        }
        let Some(run) = self.runs.all.get_mut(&key) else { return };
        let State::Running { handle, .. } = &run.state else { return };
        let exit = match waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
        {
            Ok(None) => return,
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(0), _) => Ok(()),
                (Some(code), _) => Err(format!("ended with exit code {code}")),
                (None, signal) => Err(format!("was ended by signal {}", signal.unwrap_or(0))),
            },
            Err(error) => Err(format!("cannot be waited for: {error}")),
        };
        watch.forget(handle);
        run.exit = Some(exit.clone());
        if run.stop.is_some() {
            return;
        }
        self.drain(key, watch, now);
        let outcome = match exit {
            Ok(()) => HookOutcome::Succeeded,
            Err(how) => HookOutcome::Failed(format!("{} {how}{}", self.name_of(key), self.last_words(key))),
        };
        self.finish(key, &outcome, now);
    }

    fn name_of(&self, key: RunKey) -> String {
        let program = self.runs.all.get(&key).and_then(|run| self.program(run.whose.hook));
        program.map_or_else(|| "the hook".to_owned(), |program| program.display().to_string())
    }

    fn last_words(&self, key: RunKey) -> String {
        let said = self.runs.outlets.values().filter(|(of, _)| *of == key);
        let said: Vec<&str> =
            said.map(|(_, outlet)| outlet.last_words()).filter(|said| !said.is_empty()).collect();
        let over = self.runs.all.get(&key).map(|run| run.last_words.as_str()).filter(|said| !said.is_empty());
        said.last().copied().or(over).map_or_else(String::new, |last| format!(": {last}"))
    }

    /// Ends a run, whatever it takes.
    pub(crate) fn stop_run(&mut self, key: RunKey, why: &str, now: u64) {
        let Some(run) = self.runs.all.get_mut(&key) else { return };
        match &run.state {
            State::Queued => {
                self.runs.queue.retain(|queued| *queued != key);
                self.finish(key, &HookOutcome::Failed(format!("it was not run: {why}")), now);
            }
            State::Starting { .. } => {
                self.runs.late.insert(key);
                self.finish(key, &HookOutcome::Failed(format!("it was not started in time: {why}")), now);
            }
            // Killed by the next round, which looks first what it has started.
            State::Running { .. } if run.stop.is_none() => {
                run.stop = Some(Stop { why: why.to_owned(), since: now });
                self.endings.soon(now);
            }
            State::Running { .. } => {}
        }
    }

    /// Nothing of a run that was killed is left.
    pub(crate) fn run_gone(&mut self, key: RunKey, watch: &mut impl Watch, now: u64) {
        let Some(why) =
            self.runs.all.get(&key).and_then(|run| run.stop.as_ref()).map(|stop| stop.why.clone())
        else {
            return;
        };
        self.drain(key, watch, now);
        let outcome =
            HookOutcome::Failed(format!("{} was killed: {why}{}", self.name_of(key), self.last_words(key)));
        self.finish(key, &outcome, now);
    }

    fn finish(&mut self, key: RunKey, outcome: &HookOutcome, now: u64) {
        let Some(run) = self.runs.all.remove(&key) else { return };
        let Run { whose, asked, state, exit, .. } = run;
        if let State::Running { handle, .. } = state
            && exit.is_none()
        {
            self.runs.hung.insert(key, handle);
        }
        match asked {
            Some(run) => self.tell(&FromWarden::Ended { run, outcome: outcome.clone() }),
            None => {
                if let HookOutcome::Failed(why) = outcome {
                    self.log(true, format!("the {} hook of group {} failed: {why}", whose.hook, whose.group));
                }
            }
        }
        let at = self.moment(now);
        let actions = self.guards.run_ended(&whose.group, key, whose.hook, outcome, at);
        if whose.hook == Hook::Promote {
            if *outcome == HookOutcome::Succeeded {
                self.look_soon(whose.group, now);
            } else if *outcome == HookOutcome::NotConfigured
                || self.guards.get(&whose.group).is_some_and(Guarded::is_seen)
            {
                // Nothing was started that would be on record by that, and it may run all the same.
                self.note(&whose.group, whose.epoch, None);
            }
        }
        self.perform(actions, now);
    }

    /// Ends what has taken its time.
    pub(crate) fn pass_runs(&mut self, now: u64) {
        let due: Vec<(RunKey, bool)> = self
            .runs
            .all
            .iter()
            .filter_map(|(key, run)| {
                let limit = self.limit_of(run.whose.hook);
                match (&run.state, &run.stop) {
                    (State::Starting { since } | State::Running { since, .. }, None) => {
                        (now >= since.saturating_add(limit)).then_some((*key, false))
                    }
                    (State::Running { .. }, Some(stop)) => {
                        (now >= stop.since.saturating_add(GONE_WITHIN_MS)).then_some((*key, true))
                    }
                    _ => None,
                }
            })
            .collect();
        for (key, hangs) in due {
            if hangs {
                let name = self.name_of(key);
                let why = format!(
                    "{name} was killed and is not gone after {GONE_WITHIN_MS} ms: it hangs in the kernel"
                );
                self.finish(key, &HookOutcome::Failed(why), now);
            } else {
                let limit = self.runs.all.get(&key).map_or(0, |run| self.limit_of(run.whose.hook));
                self.stop_run(key, &format!("it took longer than {limit} ms"), now);
            }
        }
        self.start_queued(now);
    }

    fn limit_of(&self, hook: Hook) -> u64 {
        match hook {
            Hook::Promote => self.settings.promote_limit_ms,
            Hook::Demote => self.settings.demote_limit_ms,
            Hook::Fence => self.settings.fence_limit_ms,
        }
    }

    fn drain(&mut self, key: RunKey, watch: &mut impl Watch, now: u64) {
        let of_run = self.runs.outlets.iter().filter(|(_, (of, _))| *of == key).map(|(number, _)| *number);
        for number in of_run.collect::<Vec<_>>() {
            if self.read_outlet(number, now) == Flow::Over {
                self.close_outlet(number, watch);
            }
        }
    }

    /// There is output.
    pub(crate) fn output(&mut self, number: u64, watch: &mut impl Watch, now: u64) {
        match self.read_outlet(number, now) {
            Flow::Dry => {}
            Flow::More => {
                if let Some((_, outlet)) = self.runs.outlets.get(&number) {
                    watch.forget(&outlet.pipe);
                    self.runs.resting.insert(number);
                    self.runs.rested_at = now;
                }
            }
            Flow::Over => self.close_outlet(number, watch),
        }
    }

    fn read_outlet(&mut self, number: u64, now: u64) -> Flow {
        let Some((_, outlet)) = self.runs.outlets.get_mut(&number) else { return Flow::Dry };
        let agent = self.agent.as_mut().filter(|agent| agent.welcomed);
        let mut conn = agent.map(|agent| &mut agent.conn);
        let mut say = |output| match &mut conn {
            Some(conn) => conn.say_if_idle(&FromWarden::Output(output)),
            None => false,
        };
        outlet.read(now, &mut [0; 16 << 10], &mut say)
    }

    fn close_outlet(&mut self, number: u64, watch: &mut impl Watch) {
        if let Some((key, outlet)) = self.runs.outlets.remove(&number) {
            if let Some(run) = self.runs.all.get_mut(&key)
                && !outlet.last_words().is_empty()
            {
                outlet.last_words().clone_into(&mut run.last_words);
            }
            if !self.runs.resting.remove(&number) {
                watch.forget(&outlet.pipe);
            }
        }
    }

    /// Lets streams that had much to say go on, and says when time was last looked at.
    pub(crate) fn rest_is_over(&mut self, watch: &mut impl Watch, now: u64) {
        if now < self.runs.rested_at.saturating_add(REST_MS) {
            return;
        }
        self.runs.rested_at = now;
        for number in std::mem::take(&mut self.runs.resting) {
            let watched =
                self.runs.outlets.get(&number).map(|(_, outlet)| watch.outlet(number, &outlet.pipe));
            if watched.is_some_and(|watched| watched.is_err()) {
                self.runs.outlets.remove(&number);
            }
        }
    }
}
