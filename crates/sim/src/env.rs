//! What surrounds the nodes: time, the network, clocks, what is to happen, and who watches.

use crate::{
    agent::guard::{GuardSays, Keeps, Pid, Way, Word},
    chance::Chance,
    count::Counts,
    message::Packet,
    network::{Fate, Network, Node},
    oracle::{Fact, Oracle},
    plan::Plan,
    time::{Clock, Moment},
    timeline::Timeline,
};
use quorate_agent_core::{BootMs, HookKind, HookOutcome, Seat};
use quorate_domain::{Epoch, GroupId, InstanceId, State};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// What a node asked to be woken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A coordinator's Raft looks at the clock.
    Tick,
    /// The first batch on the way to a coordinator's disk is durable.
    Written,
    /// A coordinator's driver looks at the world.
    Look,
    /// A coordinator tells agents what has changed for them.
    Tell,
    /// A coordinator publishes who leads.
    Publish,
    /// An agent has something to do at this time.
    Wake,
    /// An agent's epochs are durable.
    Stored(u64),
    /// A warden tells its agent that a hook has ended.
    HookEnded(GroupId, Epoch, HookKind, HookOutcome),
    /// A warden tells its agent that it knows the end of the lease.
    WardenTold(u64),
    /// A warden tells its agent that nothing is left of a service.
    ServiceEnded(GroupId, Epoch),
    /// A warden has something to do at this time.
    Warden,
    /// A hook that a warden runs ends.
    HookRan(u64),
    /// Everything that the hooks of a group started is dead.
    GroupKilled(GroupId),
    /// A guard wants to be its group's.
    GuardAttaches { group: GroupId, pid: Pid, way: Way, seat: Seat },
    /// A guard says something to the agent.
    GuardSays(Way, GuardSays),
    /// The way between a guard and the agent is closed.
    GuardGone(Way),
    /// A keeper that has outlived its guard tells the agent that nothing is left of a service.
    KeeperStopped(GroupId, Epoch),
    /// Something reaches a guard.
    Guard(GroupId, Pid, Word),
    /// Something reaches a keeper.
    Keeper(GroupId, Pid, Keeps),
    /// Somebody starts a guard.
    StartGuard(GroupId),
    /// A keeper tries again to tell the agent, until then.
    LastWord(GroupId, Epoch, BootMs),
    /// A client does the next thing, or gives up waiting for an answer to this try.
    Act(u64),
    /// A process of the platform asks its agent.
    Ask,
}

impl Timer {
    /// True for what reaches guards and their keepers, and not an agent.
    pub(crate) fn is_of_guards(&self) -> bool {
        matches!(self, Self::Guard(..) | Self::Keeper(..) | Self::StartGuard(_) | Self::LastWord(..))
    }
}

/// Something that happens.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// A packet arrives.
    Arrival { from: Node, to: Node, packet: Packet },
    /// A node is woken; `life` is the start of it that asked.
    Waking { node: Node, life: u32, timer: Timer },
    /// A fault of the plan begins.
    FaultBegins(usize),
    /// It does another step.
    FaultGoesOn(usize, u32),
    /// It ends.
    FaultEnds(usize),
}

#[derive(Debug)]
struct Scheduled {
    at: Moment,
    order: u64,
    /// Large, and moved whenever the queue is put in order.
    what: Box<Happening>,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The surroundings of all nodes.
#[derive(Debug)]
pub(crate) struct Env {
    /// What the run is made from.
    pub(crate) plan: Plan,
    /// True time.
    pub(crate) now: Moment,
    /// The network.
    pub(crate) network: Network,
    /// Watches and judges.
    pub(crate) oracle: Oracle,
    /// How often what happened.
    pub(crate) counts: Counts,
    /// The last events of each node, when somebody wants to read them.
    pub(crate) timeline: Option<Timeline>,
    clocks: Vec<Clock>,
    wall_ahead_ms: Vec<i64>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    /// Chance of the nodes themselves.
    chance: Vec<Chance>,
    connections: u64,
    instances: u64,
    /// The machines of copies, and the coordinators that they were made of.
    copies: BTreeMap<Node, Node>,
    /// Who is reached at the address of another one.
    taken: BTreeMap<Node, Node>,
    /// What operators see of the cluster.
    pub(crate) seen: Option<State>,
}

impl Env {
    /// A world in which nothing has happened.
    pub(crate) fn new(plan: Plan, traced: bool) -> Self {
        let nodes = plan.nodes();
        let rho = i64::try_from(plan.lease.clock_error_ppm).unwrap_or(0);
        let mut chance = Chance::new(plan.seed, 2);
        let clocks = (0..nodes)
            .map(|_| {
                let error = i64::try_from(chance.draw(0..=plan.lease.clock_error_ppm * 2)).unwrap_or(0) - rho;
                // The two ends of what is allowed are where mistakes show.
                let error = if chance.happens(400_000) { rho * error.signum() } else { error };
                Clock::new(Moment::default(), chance.draw(0..=10_000_000_000), error)
            })
            .collect();
        Self {
            now: Moment::default(),
            network: Network::new(nodes, plan.weather, plan.seed),
            oracle: Oracle::new(&plan),
            counts: Counts::default(),
            timeline: traced.then(|| Timeline::new(&plan)),
            clocks,
            wall_ahead_ms: vec![0; nodes],
            queue: BinaryHeap::new(),
            scheduled: 0,
            chance: (0..nodes as u64).map(|node| Chance::new(plan.seed, 100 + node)).collect(),
            connections: 0,
            instances: 0,
            copies: BTreeMap::new(),
            taken: BTreeMap::new(),
            seen: None,
            plan,
        }
    }

    /// Chance of a node's own.
    pub(crate) fn chance(&mut self, node: Node) -> &mut Chance {
        &mut self.chance[node]
    }

    /// A node's clock.
    pub(crate) fn clock(&self, node: Node) -> Clock {
        self.clocks[node]
    }

    /// What a node's clock shows.
    pub(crate) fn local_ms(&self, node: Node) -> u64 {
        self.clocks[node].shows_ms(self.now)
    }

    /// The machine has booted: its clock begins anew.
    pub(crate) fn reboot(&mut self, node: Node) {
        let shown_us = self.chance[node].draw(0..=2_000_000);
        self.clocks[node] = Clock::new(self.now, shown_us, self.clocks[node].error_ppm());
    }

    /// A node's wall clock, in milliseconds since 1970.
    pub(crate) fn wall_ms(&self, node: Node) -> u64 {
        let true_ms = 1_700_000_000_000 + self.now.0 / 1_000;
        true_ms.saturating_add_signed(self.wall_ahead_ms[node])
    }

    /// A wall clock jumps.
    pub(crate) fn jump_wall_clock(&mut self, node: Node, by_ms: i64) {
        self.wall_ahead_ms[node] += by_ms;
    }

    /// A number for a connection that no other has.
    pub(crate) fn new_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    /// A name that was never drawn before.
    pub(crate) fn new_instance(&mut self) -> InstanceId {
        self.instances += 1;
        InstanceId::new(format!("i{}", self.instances)).expect("a letter and a number make a name")
    }

    /// A machine has a copy of a coordinator's folder.
    pub(crate) fn note_copy(&mut self, machine: Node, of: Node) {
        self.copies.insert(machine, of);
    }

    /// Whatever is sent to a coordinator reaches this machine from now on.
    pub(crate) fn take_address(&mut self, of: Node, machine: Node) {
        self.taken.insert(of, machine);
    }

    /// It reaches that one itself again.
    pub(crate) fn give_address_back(&mut self, of: Node) {
        self.taken.remove(&of);
    }

    /// True while one is reached at the address of another.
    pub(crate) fn is_an_address_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Who is reached there.
    pub(crate) fn reached_at(&self, node: Node) -> Node {
        self.taken.get(&node).copied().unwrap_or(node)
    }

    /// The coordinator that a machine speaks for.
    pub(crate) fn stands_for(&self, machine: Node) -> Node {
        self.copies.get(&machine).copied().unwrap_or(machine)
    }

    /// Lets something happen.
    pub(crate) fn schedule(&mut self, at: Moment, what: Happening) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled {
            at: at.max(self.now),
            order: self.scheduled,
            what: Box::new(what),
        }));
    }

    /// Wakes a node at a moment.
    pub(crate) fn wake_at(&mut self, at: Moment, node: Node, life: u32, timer: Timer) {
        self.schedule(at, Happening::Waking { node, life, timer });
    }

    /// Wakes a node when its clock shows this.
    pub(crate) fn wake_when_shown(&mut self, ms: u64, node: Node, life: u32, timer: Timer) {
        self.wake_at(self.clocks[node].reaches(ms), node, life, timer);
    }

    /// The next thing that happens, and lets time pass up to it; none when that would be after `until`.
    pub(crate) fn next(&mut self, until: Moment) -> Option<Happening> {
        if self.queue.peek()?.0.at > until {
            return None;
        }
        let Reverse(next) = self.queue.pop()?;
        self.now = next.at;
        Some(*next.what)
    }

    /// Sends a packet on its way.
    pub(crate) fn send(&mut self, from: Node, to: Node, packet: Packet) {
        match self.network.send(from, to, &packet, self.now) {
            Fate::Arrives(at, twice) => {
                if let Some(again) = twice {
                    let packet = packet.clone();
                    self.schedule(again, Happening::Arrival { from, to, packet });
                }
                self.schedule(at, Happening::Arrival { from, to, packet });
            }
            Fate::Lost | Fate::Held => {}
        }
    }

    /// Forgets what coordinators have said to each other and is still on its way: a network that is well again delivers
    /// nothing of half a minute ago.
    pub(crate) fn drop_underway(&mut self) {
        self.queue.retain(|Reverse(scheduled)| {
            !matches!(&*scheduled.what, Happening::Arrival { packet, .. } if packet.is_between_coordinators())
        });
    }

    /// Tells the oracle.
    pub(crate) fn see(&mut self, fact: &Fact<'_>) {
        self.oracle.see(fact, self.now, &mut self.counts);
        if let Fact::Applied { after, .. } = fact
            && self.seen.as_ref().is_none_or(|seen| seen.revision() < after.revision())
        {
            self.seen = Some((*after).clone());
        }
    }

    /// Writes a line into the timeline, if somebody wants to read it.
    pub(crate) fn note(&mut self, node: Node, line: impl FnOnce() -> String) {
        if let Some(timeline) = &mut self.timeline {
            timeline.add(self.now, node, line());
        }
    }
}
