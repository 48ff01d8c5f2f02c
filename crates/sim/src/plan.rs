//! What a seed stands for: the size of the world, its pace, its faults and its clients. Every parameter is drawn, so
//! that a run looks at one corner of what is possible and many runs look at all of it.

use crate::{
    chance::Chance,
    fault::{Fault, Kind},
    oracle::LEADER_MS,
    raft::Timing,
    time::Moment,
};
use quorate_domain::{HookTimes, LeaseSettings};
use std::fmt;

/// How a network behaves when nothing is wrong with it, and how much worse it may get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// The shortest way from node to node.
    pub(crate) delay_us: u64,
    /// What may come on top.
    pub(crate) jitter_us: u64,
    /// Datagrams that are lost, in a million.
    pub(crate) loss_ppm: u64,
    /// Datagrams that arrive twice, in a million.
    pub(crate) twice_ppm: u64,
    /// Sessions of agents keep no order, which is worse than what TCP can do.
    pub(crate) unordered: bool,
}

/// What starts and ends the services of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starter {
    /// They ask for themselves.
    Themselves,
    /// Hooks.
    Hooks,
    /// Hooks, and what these start runs elsewhere, such as by a service manager: only a demote hook ends it.
    HooksElsewhere,
    /// Guards.
    Guards,
}

/// What the platform on a host is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// What starts and ends services.
    pub(crate) starter: Starter,
    /// The longest that it takes until a guard that has ended is started again.
    pub(crate) guard_restart_max_ms: u64,
    /// Guards run as the user that they should, and operators vouch for what they cannot see.
    pub(crate) guards_are_settled: bool,
    /// The longest run of a hook.
    pub(crate) hook_max_ms: u64,
    /// A demote hook fails this often, in a million.
    pub(crate) demote_fails_ppm: u64,
    /// The platform's processes ask for their role this often; zero: never.
    pub(crate) asks_every_ms: u64,
}

/// The least that an agent is gone for: longer than D with every hook.
const GONE_MS: u64 = 12_000;
/// What ending a hook by force may take beyond its limit.
pub(crate) const KILL_ALLOWANCE_MS: u64 = 100;

impl Habits {
    /// Hosts have hooks.
    pub(crate) fn have_hooks(&self) -> bool {
        matches!(self.starter, Starter::Hooks | Starter::HooksElsewhere)
    }

    /// How long a host allows its hooks, as its agent tells the coordinators.
    pub(crate) fn hook_times(&self) -> HookTimes {
        if !self.have_hooks() {
            return HookTimes::default();
        }
        HookTimes { promotion_ms: self.hook_max_ms, demotion_ms: self.hook_max_ms + KILL_ALLOWANCE_MS }
    }
}

/// How likely each thing is that a client does, in parts of their sum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    /// Sets a label.
    pub(crate) write: u64,
    /// Reads a group.
    pub(crate) read: u64,
    /// Asks for a failover.
    pub(crate) failover: u64,
    /// Creates or deletes a group.
    pub(crate) remake: u64,
    /// Sends a finished request again.
    pub(crate) again: u64,
}

/// Everything about a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// The most events of the safety phase.
    pub steps: u64,
    /// Three or five.
    pub coordinators: usize,
    /// Coordinators that wait with an empty log to be added; none where the coordinators do not change.
    pub spares: usize,
    /// Machines for copies of coordinators' folders, each for one copy.
    pub(crate) clones: usize,
    /// An operator changes the coordinators this often.
    pub(crate) change_pause_ms: u64,
    /// Five to thirty.
    pub agents: usize,
    /// Groups at the beginning.
    pub(crate) groups: usize,
    /// Programs that ask for things.
    pub clients: usize,
    /// A client does something this often.
    pub(crate) client_pause_ms: u64,
    /// What clients do.
    pub(crate) mix: Mix,
    /// H, T, D and the rest.
    pub(crate) lease: LeaseSettings,
    /// Raft.
    pub(crate) timing: Timing,
    /// The network.
    pub(crate) weather: Weather,
    /// The longest that a coordinator takes to tell an agent of a change of its assignment; renewals do not wait for it.
    pub(crate) assignment_lag_ms: u64,
    /// The longest a batch takes to become durable.
    pub(crate) sync_max_us: u64,
    /// Hosts.
    pub(crate) habits: Habits,
    /// When the safety phase ends.
    pub(crate) horizon: Moment,
    /// What goes wrong before.
    pub faults: Vec<Fault>,
}

/// Faults begin once the cluster had time to form.
const QUIET_MS: u64 = 12_000;

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64, steps: u64) -> Self {
        let mut chance = Chance::new(seed, 1);
        let coordinators = *chance.pick(&[3, 3, 5]);
        let agents = if chance.happens(700_000) { chance.draw(5..=12) } else { chance.draw(13..=30) };
        let agents = usize::try_from(agents).unwrap_or(5);
        let horizon = Moment::default().after_ms(chance.draw(50_000..=140_000));
        // From a stream of its own: what there was before the coordinators could change is drawn as it was.
        let mut changes = Chance::new(seed, 4);
        let mut plan = Self {
            seed,
            steps,
            coordinators,
            spares: if changes.happens(600_000) { 1 + changes.index(2) } else { 0 },
            clones: 0,
            change_pause_ms: *changes.pick(&[1_000, 3_000, 8_000]),
            agents,
            groups: 1 + chance.index(agents.min(10)),
            clients: 1 + chance.index(3),
            client_pause_ms: *chance.pick(&[100, 300, 1_000]),
            mix: mix(&mut chance),
            lease: lease(&mut chance),
            timing: timing(&mut chance),
            weather: weather(&mut chance),
            assignment_lag_ms: *chance.pick(&[1, 5, 5, 50, 500, 12_000]),
            sync_max_us: *chance.pick(&[500, 2_000, 10_000]),
            habits: habits(&mut chance),
            horizon,
            faults: faults(&mut chance, horizon),
        };
        if plan.spares > 0 {
            plan.add_crashes_halfway(&mut changes);
        } else {
            plan.add_clones(&mut Chance::new(seed, 5));
        }
        plan.add_guards(&mut Chance::new(seed, 6));
        if plan.habits.have_hooks() && Chance::new(seed, 7).happens(250_000) {
            plan.habits.starter = Starter::HooksElsewhere;
        }
        plan
    }

    /// Folders of coordinators are copied, where the coordinators do not change: whoever comes later may meet a copy first.
    fn add_clones(&mut self, chance: &mut Chance) {
        if chance.happens(400_000) {
            return;
        }
        self.clones = 1 + chance.index(3);
        for _ in 0..self.clones {
            let lasts_ms = chance.draw(5_000..=40_000);
            self.add_fault(Kind::Clone, lasts_ms, chance);
        }
        // About as long as the silence that the others ask for.
        for _ in 0..chance.index(3) {
            let lasts_ms = chance.draw(4_000..=14_000);
            self.clones += 1;
            self.add_fault(Kind::Moved, lasts_ms, chance);
        }
    }

    /// In a fourth of all plans hosts have guards in place of hooks, to which things happen all the time.
    fn add_guards(&mut self, chance: &mut Chance) {
        let share_ppm = if self.habits.have_hooks() { 100_000 } else { 600_000 };
        if !chance.happens(share_ppm) {
            return;
        }
        self.habits.starter = Starter::Guards;
        self.habits.guard_restart_max_ms = *chance.pick(&[500, 3_000, 15_000]);
        let kinds: Vec<Kind> = Kind::OF_GUARDS.iter().copied().filter(|_| chance.happens(600_000)).collect();
        for _ in 0..chance.draw(2..=16) {
            let kind = *chance.pick(if kinds.is_empty() { Kind::OF_GUARDS } else { &kinds });
            let lasts_ms = chance.draw(500..=15_000);
            self.add_fault(kind, lasts_ms, chance);
        }
    }

    fn add_fault(&mut self, kind: Kind, lasts_ms: u64, chance: &mut Chance) {
        let at = Moment::default().after_us(chance.draw(QUIET_MS * 1_000..=self.horizon.0));
        let (number, target) = (self.faults.len(), chance.draw(0..=u64::MAX));
        self.faults.push(Fault { number, kind, at, lasts_ms, target });
    }

    /// Leaders die in the middle of changes of the coordinators, which are too short to be met by chance.
    fn add_crashes_halfway(&mut self, chance: &mut Chance) {
        for _ in 0..chance.index(4) {
            let at = Moment::default().after_us(chance.draw(QUIET_MS * 1_000..=self.horizon.0));
            let (number, kind) = (self.faults.len(), Kind::LeaderCrashHalfway);
            let (lasts_ms, target) = (chance.draw(3_000..=25_000), chance.draw(0..=u64::MAX));
            self.faults.push(Fault { number, kind, at, lasts_ms, target });
        }
    }
}

impl Plan {
    /// Machines for coordinators, spare ones with them.
    pub(crate) fn machines(&self) -> usize {
        self.coordinators + self.spares
    }

    /// Everything that has an address.
    pub(crate) fn nodes(&self) -> usize {
        // One machine more than there are hosts, for a copy of one.
        self.machines() + self.agents + 1 + self.clients + self.clones
    }

    /// A world of three coordinators in which nothing goes wrong but that the leader is killed, again and again, each
    /// time for as long as a cluster may be without one.
    pub fn of_leader_kills(seed: u64, kills: usize) -> Self {
        let mut chance = Chance::new(seed, 3);
        let mut at = Moment::default().after_ms(QUIET_MS);
        let mut faults = Vec::new();
        for number in 0..kills {
            let (kind, lasts_ms) = (Kind::LeaderCrash, LEADER_MS);
            faults.push(Fault { number, kind, at, lasts_ms, target: number as u64 });
            at = at.after_ms(LEADER_MS + chance.draw(3_000..=6_000));
        }
        Self {
            coordinators: 3,
            spares: 0,
            clones: 0,
            agents: 5,
            horizon: at,
            faults,
            ..Self::of(seed, u64::MAX)
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} coordinators and {} spare, {} agents, {} groups, {} clients, {} faults in {} s",
            self.seed,
            self.coordinators,
            self.spares,
            self.agents,
            self.groups,
            self.clients,
            self.faults.len(),
            self.horizon
        )?;
        writeln!(f, "  {:?}\n  {:?}\n  {:?}\n  {:?}", self.lease, self.timing, self.weather, self.habits)?;
        for Fault { number, kind, at, lasts_ms, .. } in &self.faults {
            writeln!(f, "  {at:>12} fault {number}: {kind} for {lasts_ms} ms")?;
        }
        Ok(())
    }
}

fn mix(chance: &mut Chance) -> Mix {
    Mix {
        write: chance.draw(1..=10),
        read: chance.draw(1..=10),
        failover: chance.draw(0..=4),
        remake: chance.draw(0..=1),
        again: chance.draw(0..=3),
    }
}

/// The defaults, or settings close to what start-up would refuse: with little room a mistake shows sooner.
fn lease(chance: &mut Chance) -> LeaseSettings {
    let usual = LeaseSettings::default();
    let tight = |settings: LeaseSettings| {
        let wait_ms = settings.longest_lease_ms() + settings.margin_ms;
        LeaseSettings { wait_ms, ..settings }
    };
    match chance.index(4) {
        0 => usual,
        1 => tight(LeaseSettings { margin_ms: 10, ..usual }),
        2 => tight(LeaseSettings {
            heartbeat_ms: 500,
            lease_ms: 4_000,
            write_stop_ms: 3_999,
            margin_ms: 10,
            ..usual
        }),
        _ => tight(LeaseSettings {
            heartbeat_ms: chance.draw(300..=1_200),
            lease_ms: 5_000,
            write_stop_ms: chance.draw(4_000..=4_999),
            clock_error_ppm: *chance.pick(&[100, 10_000, 50_000]),
            margin_ms: 10,
            ..usual
        }),
    }
}

fn timing(chance: &mut Chance) -> Timing {
    let (heartbeat_ms, election_min_ms, election_max_ms) =
        *chance.pick(&[(100, 500, 800), (100, 500, 800), (50, 150, 300)]);
    Timing {
        heartbeat_ms,
        election_min_ms,
        election_max_ms,
        snapshot_every: *chance.pick(&[20, 60, 400]),
        keep_entries: *chance.pick(&[0, 10, 100]),
    }
}

fn weather(chance: &mut Chance) -> Weather {
    let often = chance.happens(500_000);
    Weather {
        delay_us: *chance.pick(&[100, 500, 2_000]),
        jitter_us: *chance.pick(&[200, 2_000, 20_000]),
        loss_ppm: if often { chance.draw(0..=20_000) } else { 0 },
        twice_ppm: if often { chance.draw(0..=20_000) } else { 0 },
        unordered: chance.happens(100_000),
    }
}

fn habits(chance: &mut Chance) -> Habits {
    Habits {
        starter: if chance.happens(700_000) { Starter::Hooks } else { Starter::Themselves },
        guard_restart_max_ms: 0,
        guards_are_settled: false,
        hook_max_ms: *chance.pick(&[50, 500, 2_500, 2_500]),
        demote_fails_ppm: *chance.pick(&[0, 100_000, 500_000]),
        asks_every_ms: *chance.pick(&[0, 100, 700, 3_000]),
    }
}

/// A swarm: about half of all kinds, at a pace of their own.
fn faults(chance: &mut Chance, horizon: Moment) -> Vec<Fault> {
    // Those have streams of their own.
    let rest = [Kind::LeaderCrashHalfway, Kind::Clone, Kind::Moved];
    let is_usual = |kind: &Kind| !rest.contains(kind) && !Kind::OF_GUARDS.contains(kind);
    let usual: Vec<Kind> = Kind::ALL.iter().copied().filter(is_usual).collect();
    let mut kinds: Vec<Kind> = usual.iter().copied().filter(|_| chance.happens(450_000)).collect();
    if kinds.is_empty() {
        kinds.push(*chance.pick(&usual));
    }
    let pace_ms = chance.draw(1_500..=12_000);
    let longest_ms = *chance.pick(&[2_000, 8_000, 20_000]);
    let mut found = Vec::new();
    let mut at = Moment::default().after_ms(QUIET_MS);
    loop {
        at = at.after_us(chance.draw(100_000..=2_000 * pace_ms));
        if at >= horizon {
            return found;
        }
        let usual_ms = chance.draw(50..=longest_ms);
        let (number, kind, target) = (found.len(), *chance.pick(&kinds), chance.draw(0..=u64::MAX));
        let lasts_ms = if kind == Kind::AgentGone { usual_ms + GONE_MS } else { usual_ms };
        found.push(Fault { number, kind, at, lasts_ms, target });
    }
}
