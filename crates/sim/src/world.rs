//! The world: all nodes, and what happens to them in order of true time.

use crate::{
    agent::Agent,
    client::{self, Client},
    coordinator::{Coordinator, coordinator_id, coordinator_node},
    count::Counts,
    env::{Env, Happening},
    inject::Active,
    network::Node,
    oracle::{EQUAL_MS, Fact, Health, LEADER_MS, Unserved, Violation},
    plan::Plan,
    raft::Raft,
    time::Moment,
};
use quorate_domain::{Failover, GroupId, State, Verdict, group::Phase};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

/// How often a healed world is looked at.
const LOOK_EVERY_MS: u64 = 100;
/// Clients fall silent this long after everything is healed, so that states can become equal.
const CLIENTS_MS: u64 = 22_000;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The first thing that did not hold.
    pub violation: Option<Violation>,
    /// A digest of everything that happened: equal for two runs of the same plan.
    pub digest: u64,
    /// How often what happened.
    pub counts: Counts,
    /// How many events there were.
    pub steps: u64,
    /// How much time passed in the world.
    pub lasted: Moment,
    /// The last events of each node, if they were asked for.
    pub timeline: Vec<String>,
}

/// Everything there is.
pub struct World {
    pub(crate) env: Env,
    pub(crate) coordinators: Vec<Coordinator>,
    /// The hosts, and one machine more for a copy of one.
    pub(crate) agents: Vec<Agent>,
    pub(crate) clients: Vec<Client>,
    /// Machines for copies of coordinators' folders.
    pub(crate) clones: Vec<Coordinator>,
    /// What each fault of the plan has broken and its end must mend.
    pub(crate) active: Vec<Active>,
    /// Faults that wait for a leader in the middle of a change of Raft's members.
    pub(crate) halfway: Vec<usize>,
    /// How often a leader has handed over, and when that was seen last.
    handed_over: (u64, Moment),
    /// Nothing goes wrong any more.
    healed: bool,
    /// Since when each group could be served, by what looks in the healed world have found.
    able_since: BTreeMap<GroupId, Moment>,
    digest: DefaultHasher,
    steps: u64,
}

impl World {
    /// The world of a plan, in which nothing runs yet.
    pub fn new(plan: Plan, traced: bool) -> Self {
        let (initial, coordinators) = (plan.coordinators, plan.machines());
        let (machines, clients) = (plan.agents + 1, plan.clients);
        let (groups, faults, clones) = (plan.groups, plan.faults.len(), plan.clones);
        let env = Env::new(plan, traced);
        let first_client = coordinators + machines;
        Self {
            coordinators: (0..coordinators).map(|n| Coordinator::new(n, initial)).collect(),
            agents: (0..machines).map(|n| Agent::new(coordinators + n, client::host(n + 1))).collect(),
            clients: (0..clients)
                .map(|n| Client::new(first_client + n, if n == 0 { groups } else { 0 }))
                .collect(),
            clones: (0..clones).map(|n| Coordinator::for_a_copy(first_client + clients + n)).collect(),
            active: (0..faults).map(|_| Active::default()).collect(),
            halfway: Vec::new(),
            handed_over: (0, Moment::default()),
            healed: false,
            able_since: BTreeMap::new(),
            digest: DefaultHasher::new(),
            steps: 0,
            env,
        }
    }

    /// Runs a plan to its end, or to the first thing that does not hold.
    pub fn run(plan: Plan, traced: bool) -> Report {
        let mut world = Self::new(plan, traced);
        world.begin();
        world.safety_phase();
        if world.env.oracle.violation.is_none() {
            world.healing_phase();
        }
        world.report()
    }

    fn begin(&mut self) {
        let env = &mut self.env;
        for coordinator in &mut self.coordinators {
            coordinator.start(env);
        }
        let hosts = env.plan.agents;
        for agent in self.agents.iter_mut().take(hosts) {
            agent.start(env);
        }
        for client in &mut self.clients {
            client.start(env);
        }
        for (index, fault) in env.plan.faults.clone().into_iter().enumerate() {
            env.schedule(fault.at, Happening::FaultBegins(index));
        }
    }

    fn safety_phase(&mut self) {
        let horizon = self.env.plan.horizon;
        while self.steps < self.env.plan.steps && self.env.oracle.violation.is_none() {
            let Some(next) = self.env.next(horizon) else { break };
            self.happen(next);
        }
        if self.steps < self.env.plan.steps {
            self.env.now = self.env.now.max(horizon);
        }
    }

    /// All faults end, everything runs, and the world must become well in time.
    fn healing_phase(&mut self) {
        self.heal();
        self.healed = true;
        let _ = self.is_handed_over();
        self.handed_over.1 = Moment::default();
        let since = self.env.now;
        let mut look = since;
        let mut tame = false;
        while self.env.now < since.after_ms(EQUAL_MS) && self.env.oracle.violation.is_none() {
            look = look.after_ms(LOOK_EVERY_MS);
            while let Some(next) = self.env.next(look) {
                self.happen(next);
                if self.env.oracle.violation.is_some() {
                    return;
                }
            }
            self.env.now = look;
            self.put_right_what_was_left_behind();
            let hosts = self.env.plan.agents;
            // One that was cut off hears only now that another took its place, which has ended since; and one that was
            // still stopping when everything was started has stopped by now.
            for agent in self.agents.iter_mut().take(hosts) {
                agent.reinstate(&mut self.env);
                agent.start(&mut self.env);
            }
            if !tame && look >= since.after_ms(CLIENTS_MS) {
                tame = true;
                self.clients.iter_mut().for_each(|client| client.silent = true);
            }
            // A digest is dear, and is asked for only at the end.
            let health = self.health(look >= since.after_ms(EQUAL_MS));
            self.env.see(&Fact::Healing { since, health: &health });
        }
    }

    fn happen(&mut self, what: Happening) {
        self.steps += 1;
        let env = &mut self.env;
        (env.now, kind(&what)).hash(&mut self.digest);
        if let Happening::Arrival { to: node, .. } | Happening::Waking { node, .. } = what {
            env.see(&Fact::Happened { node });
        }
        match what {
            Happening::Arrival { from, to, packet } => match self.place(self.env.reached_at(to)) {
                Place::Coordinator(n) => self.coordinators[n].arrival(from, packet, &mut self.env),
                Place::Agent(n) => self.agents[n].arrival(from, packet, &mut self.env),
                Place::Client(n) => self.clients[n].arrival(from, packet, &mut self.env),
                Place::Clone(n) => self.clones[n].arrival(from, packet, &mut self.env),
            },
            Happening::Waking { node, life, timer } => match self.place(node) {
                Place::Coordinator(n) => self.coordinators[n].waking(life, timer, &mut self.env),
                Place::Agent(n) => self.agents[n].waking(life, timer, &mut self.env),
                Place::Client(n) => self.clients[n].waking(&timer, &mut self.env),
                Place::Clone(n) => self.clones[n].waking(life, timer, &mut self.env),
            },
            Happening::FaultBegins(_) if self.healed => {}
            Happening::FaultBegins(index) => self.fault_begins(index),
            Happening::FaultGoesOn(index, step) => self.fault_goes_on(index, step),
            Happening::FaultEnds(index) => self.fault_ends(index),
        }
        self.crash_halfway();
    }

    fn place(&self, node: Node) -> Place {
        let first_agent = self.coordinators.len();
        let first_client = first_agent + self.agents.len();
        let first_clone = first_client + self.clients.len();
        match node {
            node if node < first_agent => Place::Coordinator(node),
            node if node < first_client => Place::Agent(node - first_agent),
            node if node < first_clone => Place::Client(node - first_client),
            node => Place::Clone(node - first_clone),
        }
    }

    /// The coordinator that leads, as a quorum would say; the one of the highest term if several believe it.
    pub(crate) fn leader(&self) -> Option<usize> {
        let led = self.coordinators.iter().enumerate().filter_map(|(place, coordinator)| {
            let raft = coordinator.raft().filter(|raft| raft.leads())?;
            Some((raft.term(), place))
        });
        led.max().map(|(_, place)| place)
    }

    /// True when a coordinator leads and a quorum says so.
    pub(crate) fn is_led(&self) -> bool {
        self.leader().is_some_and(|leader| {
            let now_ms = self.env.local_ms(leader);
            self.coordinators[leader].raft().is_some_and(|raft| raft.can_decide(now_ms))
        })
    }

    /// The state of whoever has applied most.
    pub(crate) fn newest_state(&self) -> Option<&State> {
        let rafts = self.coordinators.iter().filter_map(Coordinator::raft);
        rafts.max_by_key(|raft| raft.applied().index).map(Raft::state)
    }

    /// True while a leader that has handed over may yet be followed by another one; or one that has heard the higher term
    /// of a coordinator whose start did not count before.
    fn is_handed_over(&mut self) -> bool {
        let counts = &self.env.counts;
        let times = counts.of("members/leader-handed-over") + counts.of("starts/counts-elsewhere");
        if times != self.handed_over.0 {
            self.handed_over = (times, self.env.now);
        }
        times > 0 && self.env.now < self.handed_over.1.after_ms(LEADER_MS)
    }

    fn health(&mut self, at_the_end: bool) -> Health {
        let led = self.is_handed_over() || self.is_led();
        let differences = if at_the_end { self.differences() } else { None };
        Health { led, without_primary: self.without_primary(), differences, coordinators: self.unsettled() }
    }

    /// The coordinators on record; those of the beginning while there are none.
    fn on_record(&self) -> Vec<usize> {
        let known = self.newest_state().map(|state| &state.coordinators).filter(|known| !known.is_empty());
        known.map_or_else(
            || (0..self.env.plan.coordinators).collect(),
            |known| known.keys().map(|id| coordinator_node(*id)).collect(),
        )
    }

    /// What is not as it should be with the coordinators themselves: a change that is open, a leader without a vote, one
    /// that was removed and does not know it.
    fn unsettled(&self) -> Vec<String> {
        let mut found = Vec::new();
        let Some(state) = self.newest_state() else { return found };
        if let Some((operation, progress)) = state.open_change() {
            found.push(format!("{} is open: {progress:?}", operation.id));
        }
        if let Some(leader) = self.leader()
            && !state.recorded_voters().contains(&coordinator_id(leader))
        {
            found.push(format!("c{} leads and does not vote", leader + 1));
        }
        for (place, coordinator) in self.coordinators.iter().enumerate() {
            if state.has_gone(coordinator_id(place)) && coordinator.raft().is_some_and(Raft::takes_part) {
                found.push(format!("c{} was removed and does not know it", place + 1));
            }
        }
        found
    }

    /// How the coordinators' states differ.
    fn differences(&self) -> Option<String> {
        let on_record = self.on_record();
        let standing: Vec<(u64, u64, String)> = on_record
            .iter()
            .filter_map(|place| self.coordinators[*place].raft())
            .map(|raft| (raft.term(), raft.applied().index, raft.state().digest()))
            .collect();
        let equal = standing.len() == on_record.len()
            && standing.windows(2).all(|pair| (pair[0].1, &pair[0].2) == (pair[1].1, &pair[1].2));
        (!equal).then(|| format!("(term, entry, digest) of the coordinators are {standing:?}"))
    }

    /// Groups that could have a primary that acts, and do not have exactly one.
    fn without_primary(&mut self) -> Vec<Unserved> {
        let now = self.env.now;
        let Some(state) = self.newest_state() else {
            let what = "there is no state".to_owned();
            return vec![Unserved { since: Moment::default(), failed_starts: 0, what }];
        };
        let (mut found, mut able_since) = (Vec::new(), BTreeMap::new());
        for group in state.groups.values() {
            if matches!(group.phase, Phase::Deleting { .. }) {
                continue;
            }
            let hosts = &self.agents[..self.env.plan.agents];
            let able = hosts.iter().any(|agent| {
                group.member(&agent.host).is_some()
                    && !group.unaccepted.contains_key(&agent.host)
                    && agent.runs()
                    && agent.verdict() != Verdict::Failed
            });
            if able {
                let since = self.able_since.get(&group.id).copied().unwrap_or(now);
                able_since.insert(group.id.clone(), since);
            }
            let acting: Vec<String> = self
                .agents
                .iter()
                .filter(|agent| agent.acts_for(&group.id, &self.env))
                .map(|agent| agent.host.to_string())
                .collect();
            if able && acting.len() != 1 {
                let primary = hosts.iter().find(|agent| agent.host == group.primary.host);
                let says = primary.map(|agent| agent.says_of(&group.id, &self.env)).unwrap_or_default();
                let what = format!(
                    "{} is {} under epoch {}; {says}; acting are {acting:?}; blocked: {:?}",
                    group.id, group.phase, group.epoch, group.blocked
                );
                let failover = group.phase.operation().and_then(|id| state.operations.get(&id)?.failover());
                let failed_starts = failover.map_or(0, Failover::failed_attempts);
                found.push(Unserved { since: able_since[&group.id], failed_starts, what });
            }
        }
        self.able_since = able_since;
        found
    }

    fn report(mut self) -> Report {
        for coordinator in &self.coordinators {
            if let Some(raft) = coordinator.raft() {
                (raft.term(), raft.applied().index, raft.state().digest()).hash(&mut self.digest);
            }
        }
        let (env, steps) = (self.env, self.steps);
        Report {
            violation: env.oracle.violation,
            digest: self.digest.finish(),
            counts: env.counts,
            steps,
            lasted: env.now,
            timeline: env.timeline.map(|timeline| timeline.lines()).unwrap_or_default(),
        }
    }
}

enum Place {
    Coordinator(usize),
    Agent(usize),
    Client(usize),
    Clone(usize),
}

/// What an event is, for the digest.
fn kind(what: &Happening) -> (u8, usize, u64) {
    match what {
        Happening::Arrival { from, to, .. } => (0, *from, *to as u64),
        Happening::Waking { node, life, .. } => (1, *node, u64::from(*life)),
        Happening::FaultBegins(index) => (2, *index, 0),
        Happening::FaultGoesOn(index, step) => (3, *index, u64::from(*step)),
        Happening::FaultEnds(index) => (4, *index, 0),
    }
}
