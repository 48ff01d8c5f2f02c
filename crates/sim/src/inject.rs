//! Makes faults take effect, proves that they did, and mends what they broke.

mod hosts;

use crate::{
    agent::Services, coordinator::Coordinator, env::Happening, fault::Kind, network::Node, timeline::WORLD,
    world::World,
};
use quorate_domain::Verdict;

/// A flapping link changes this often.
const FLAP_MS: u64 = 300;

/// The longest that it takes to start a guard again where all is well.
const GUARD_RESTART_MS: u64 = 1_000;

/// What a fault has broken.
#[derive(Debug, Default)]
pub(crate) struct Active {
    undo: Vec<Undo>,
    /// How often its effect had shown when it began.
    shown: u64,
    begun: bool,
}

#[derive(Debug, Clone, Copy)]
enum Undo {
    Mend(Node, Node),
    StartCoordinator(usize),
    ResumeCoordinator(usize),
    FastDisk(usize),
    StartAgent(usize),
    ResumeAgent(usize),
    HooksWork(usize),
    GuardsGoOn(usize),
    ServicesRun(usize),
    NotCutShort(usize),
    EndCopy(usize),
    EndClone(usize),
    MoveBack { place: usize, original: usize },
    ReplaceDisk(usize),
    ClearUp,
}

/// How it shows that a fault has had an effect.
enum Effect {
    /// It was certain when it began.
    AtOnce(bool),
    /// By what the counts say when it ends.
    Later,
}

impl World {
    pub(crate) fn fault_begins(&mut self, index: usize) {
        let fault = self.env.plan.faults[index];
        self.active[index].shown = self.shown(fault.kind);
        self.active[index].begun = true;
        self.env.note(WORLD, || format!("fault {index} begins: {} for {} ms", fault.kind, fault.lasts_ms));
        let effect = self.inject(index, fault.kind, fault.target);
        if let Effect::AtOnce(true) = effect {
            self.env.counts.add(format!("fault/{}", fault.kind));
        }
        self.env.schedule(self.env.now.after_ms(fault.lasts_ms), Happening::FaultEnds(index));
    }

    pub(crate) fn fault_ends(&mut self, index: usize) {
        if !std::mem::take(&mut self.active[index].begun) {
            return;
        }
        self.halfway.retain(|waiting| *waiting != index);
        let kind = self.env.plan.faults[index].kind;
        let showed = self.shown(kind) > self.active[index].shown;
        if showed {
            self.env.counts.add(format!("fault/{kind}"));
        }
        self.env.note(WORLD, || format!("fault {index} ends: {kind}"));
        if kind == Kind::LeaderCrash && self.leader().is_some() {
            self.env.counts.add("recovered/led-by-another-before-the-leader-was-back");
        }
        if kind == Kind::FollowersCrash && self.is_led() {
            self.env.counts.add("recovered/led-before-the-last-follower-was-back");
        }
        let undo = std::mem::take(&mut self.active[index].undo);
        undo.into_iter().rev().for_each(|undo| self.undo(undo));
    }

    /// A fault does its next step.
    pub(crate) fn fault_goes_on(&mut self, index: usize, step: u32) {
        if !self.active[index].begun {
            return;
        }
        if self.env.plan.faults[index].kind == Kind::FollowersCrash {
            // Enough of them for a quorum.
            for _ in 0..self.coordinators.len() / 2 {
                if let Some(back) = self.active[index].undo.pop() {
                    self.undo(back);
                }
            }
            return;
        }
        let links: Vec<(Node, Node)> = self.links_of(self.env.plan.faults[index].target);
        for (from, to) in links {
            if step.is_multiple_of(2) {
                self.cut(index, from, to);
            } else {
                self.mend(from, to);
                self.active[index].undo.retain(|undo| !matches!(undo, Undo::Mend(..)));
            }
        }
        self.env.schedule(self.env.now.after_ms(FLAP_MS), Happening::FaultGoesOn(index, step + 1));
    }

    /// Ends every fault, lets everything run, and calms the network.
    pub(crate) fn heal(&mut self) {
        for index in 0..self.active.len() {
            self.fault_ends(index);
        }
        self.env.network.calm();
        self.env.drop_underway();
        self.env.plan.assignment_lag_ms = 1;
        self.env.plan.habits.demote_fails_ppm = 0;
        self.env.plan.habits.guards_are_settled = true;
        self.env.plan.habits.guard_restart_max_ms = GUARD_RESTART_MS;
        for coordinator in &mut self.coordinators {
            coordinator.forget_the_lag();
            coordinator.start(&mut self.env);
        }
        let hosts = self.env.plan.agents;
        for agent in self.agents.iter_mut().take(hosts) {
            agent.reinstate(&mut self.env);
            agent.start(&mut self.env);
            agent.settle_guards(&mut self.env);
        }
        self.clients.iter_mut().for_each(|client| client.tame = true);
    }

    /// How often the effect of a kind has shown so far.
    fn shown(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Loss | Kind::Duplicates => self.env.network.spoiled,
            Kind::SlowDisk => self.env.counts.of("disk/slow-writes"),
            Kind::Clone => self.env.counts.of("starts/refused-and-away"),
            Kind::Moved => self.env.counts.of("starts/promised"),
            Kind::FolderCopied => self.agents.last().map_or(0, |copy| u64::from(copy.was_welcomed)),
            Kind::LeaderCut
            | Kind::MinoritySplit
            | Kind::MajoritySplit
            | Kind::LeaderMute
            | Kind::LeaderDeaf
            | Kind::OneWay
            | Kind::Bridge
            | Kind::AgentCut
            | Kind::OldLeaderOnly
            | Kind::Flapping => self.env.network.stopped,
            // These show at once, or count themselves.
            _ => 0,
        }
    }

    fn inject(&mut self, index: usize, kind: Kind, target: u64) -> Effect {
        match kind {
            Kind::LeaderCrash => self.crash(index, &[self.leader_or(target)]),
            Kind::LeaderCrashHalfway => {
                self.halfway.push(index);
                Effect::AtOnce(false)
            }
            Kind::FollowerCrash => self.crash(index, &[self.follower(target)]),
            Kind::FollowersCrash => {
                let leader = self.leader_or(target);
                let half_way = self.env.now.after_ms(self.env.plan.faults[index].lasts_ms / 2);
                self.env.schedule(half_way, Happening::FaultGoesOn(index, 0));
                let others = self.all_but(leader);
                self.crash(index, &others)
            }
            Kind::Clone => self.clone_coordinator(index, target),
            Kind::Moved => self.move_coordinator(index, target),
            Kind::AllCrash => self.crash(index, &(0..self.coordinators.len()).collect::<Vec<_>>()),
            Kind::LeaderPause => self.pause(index, self.leader_or(target)),
            Kind::FollowerPause => self.pause(index, self.follower(target)),
            Kind::SlowDisk => {
                let place = pick(target, self.coordinators.len());
                self.coordinators[place].disk_slowness = 2 + target % 60;
                self.active[index].undo.push(Undo::FastDisk(place));
                Effect::Later
            }
            Kind::WallClockJump => {
                let by_ms = i64::try_from(target % 7_200_000).unwrap_or(0) - 3_600_000;
                self.env.jump_wall_clock(pick(target, self.coordinators.len()), by_ms);
                Effect::AtOnce(true)
            }
            Kind::Loss | Kind::Delay | Kind::Duplicates => self.bad_weather(index, kind, target),
            Kind::AgentCrash
            | Kind::HostCrash
            | Kind::AgentPause
            | Kind::AgentGone
            | Kind::AgentStop
            | Kind::DiskFailed
            | Kind::HookFails
            | Kind::HookHangs
            | Kind::FolderCopied => self.harm_host(index, kind, target),
            kind if Kind::OF_GUARDS.contains(&kind) => self.harm_guards(index, kind, target),
            _ => self.cut_links(index, kind, target),
        }
    }

    fn leader_or(&self, target: u64) -> usize {
        self.leader().unwrap_or_else(|| pick(target, self.coordinators.len()))
    }

    fn follower(&self, target: u64) -> usize {
        let leader = self.leader();
        let others: Vec<usize> = (0..self.coordinators.len())
            .filter(|place| Some(*place) != leader && !self.coordinators[*place].is_removed())
            .collect();
        others.get(pick(target, others.len())).copied().unwrap_or(0)
    }

    /// Every coordinator but one.
    fn all_but(&self, one: usize) -> Vec<usize> {
        (0..self.coordinators.len()).filter(|place| *place != one).collect()
    }

    /// A host; one that is primary of something, three times of four.
    fn host(&self, target: u64) -> usize {
        let hosts = self.env.plan.agents;
        let any = pick(target >> 8, hosts);
        if target.is_multiple_of(4) {
            return any;
        }
        let Some(state) = self.newest_state() else { return any };
        let primaries: Vec<usize> = (0..hosts)
            .filter(|place| {
                let host = &self.agents[*place].host;
                state.groups.values().any(|group| group.primary.host == *host)
            })
            .collect();
        if primaries.is_empty() { any } else { primaries[pick(target >> 8, primaries.len())] }
    }

    fn crash(&mut self, index: usize, places: &[usize]) -> Effect {
        let mut met = false;
        for place in places {
            if self.coordinators[*place].crash(&mut self.env) {
                met = true;
                self.active[index].undo.push(Undo::StartCoordinator(*place));
            }
        }
        Effect::AtOnce(met)
    }

    /// A leader dies between two sets of voters, or before it is committed that one of them votes alone, if such a fault
    /// waits for it.
    pub(crate) fn crash_halfway(&mut self) {
        let Some(index) = self.halfway.first().copied() else { return };
        let Some(leader) = self.leader() else { return };
        let target = self.env.plan.faults[index].target;
        let met = self.coordinators[leader].raft().is_some_and(|raft| {
            let joint = raft.members().is_joint();
            if target.is_multiple_of(2) { joint } else { !joint && !raft.members_committed() }
        });
        if met && let Effect::AtOnce(true) = self.crash(index, &[leader]) {
            self.halfway.retain(|waiting| *waiting != index);
            self.env.counts.add(format!("fault/{}", Kind::LeaderCrashHalfway));
        }
    }

    fn pause(&mut self, index: usize, place: usize) -> Effect {
        let met = self.coordinators[place].pause(&mut self.env);
        if met {
            self.active[index].undo.push(Undo::ResumeCoordinator(place));
        }
        Effect::AtOnce(met)
    }

    fn bad_weather(&mut self, index: usize, kind: Kind, target: u64) -> Effect {
        self.env.network.spoil(|weather| match kind {
            Kind::Loss => weather.loss_ppm += 20_000 + target % 400_000,
            Kind::Duplicates => {
                weather.twice_ppm += 50_000 + target % 400_000;
                weather.jitter_us += target % 50_000;
            }
            _ => {
                weather.delay_us += target % 300_000;
                weather.jitter_us += target % 1_500_000;
            }
        });
        self.active[index].undo.push(Undo::ClearUp);
        if kind == Kind::Delay { Effect::AtOnce(true) } else { Effect::Later }
    }

    /// Each copy has a machine of its own, which reaches everybody, whatever else is cut. It shows that it was met when it
    /// is refused for good.
    fn clone_coordinator(&mut self, index: usize, target: u64) -> Effect {
        let original = pick(target, self.env.plan.coordinators);
        if let Some(place) = self.clones.iter().position(Coordinator::is_blank) {
            self.clones[place].start_on_a_copy_of(&self.coordinators[original], &mut self.env);
            self.active[index].undo.push(Undo::EndClone(place));
        }
        Effect::Later
    }

    /// One after the other, as the runbook has it: two that move at once are no witnesses for each other.
    fn move_coordinator(&mut self, index: usize, target: u64) -> Effect {
        let original = pick(target, self.env.plan.coordinators);
        let blank = self.clones.iter().position(Coordinator::is_blank);
        // One after the other, each after the one before it counts, as the runbook says.
        let settled = !self.env.is_an_address_taken()
            && !self.coordinators.iter().any(Coordinator::is_left_behind)
            && self.coordinators.iter().all(Coordinator::has_settled_all);
        if let Some(place) = blank.filter(|_| settled) {
            self.coordinators[original].crash(&mut self.env);
            self.clones[place].start_on_a_copy_of(&self.coordinators[original], &mut self.env);
            self.env.take_address(original, self.clones[place].machine());
            self.active[index].undo.push(Undo::MoveBack { place, original });
        }
        Effect::Later
    }

    /// Where the others went over to a copy, the original's machine gets what that one had.
    pub(crate) fn put_right_what_was_left_behind(&mut self) {
        for place in 0..self.coordinators.len() {
            if !self.coordinators[place].is_left_behind() {
                continue;
            }
            let goes_on = |copy: &&Coordinator| self.coordinators.iter().any(|judge| judge.goes_on_as(copy));
            let mut copies = self.clones.iter().filter(|copy| copy.is_copy_of(&self.coordinators[place]));
            if let Some(copy) = copies.rfind(goes_on) {
                self.coordinators[place].take_back(copy, &mut self.env);
            }
        }
    }

    fn cut(&mut self, index: usize, from: Node, to: Node) {
        self.env.network.cut(from, to);
        self.active[index].undo.push(Undo::Mend(from, to));
    }

    fn cut_both(&mut self, index: usize, one: Node, other: Node) {
        self.cut(index, one, other);
        self.cut(index, other, one);
    }

    fn mend(&mut self, from: Node, to: Node) {
        for packet in self.env.network.mend(from, to) {
            self.env.send(from, to, packet);
        }
    }

    /// The two directions of a link between a coordinator and any other node.
    fn links_of(&self, target: u64) -> Vec<(Node, Node)> {
        let coordinator = pick(target, self.coordinators.len());
        let nodes = self.coordinators.len() + self.env.plan.agents;
        let other = pick(target >> 16, nodes);
        if coordinator == other { vec![] } else { vec![(coordinator, other), (other, coordinator)] }
    }

    fn cut_links(&mut self, index: usize, kind: Kind, target: u64) -> Effect {
        let leader = self.leader_or(target);
        let peers = self.all_but(leader);
        match kind {
            Kind::LeaderCut => peers.iter().for_each(|peer| self.cut_both(index, leader, *peer)),
            Kind::LeaderMute => peers.iter().for_each(|peer| self.cut(index, leader, *peer)),
            Kind::LeaderDeaf => peers.iter().for_each(|peer| self.cut(index, *peer, leader)),
            Kind::OneWay => {
                let links = self.links_of(target);
                if let Some((from, to)) = links.get(pick(target >> 32, links.len().max(1))) {
                    self.cut(index, *from, *to);
                }
            }
            Kind::Flapping => self.fault_goes_on(index, 0),
            Kind::AgentCut => {
                let node = self.agents[self.host(target)].node;
                (0..self.coordinators.len()).for_each(|place| self.cut_both(index, node, place));
            }
            Kind::MinoritySplit => self.split(index, leader, target),
            Kind::MajoritySplit => self.split(index, self.follower(target), target),
            Kind::Bridge => self.bridge(index, target),
            _ => self.only_the_old_leader(index, leader, target),
        }
        Effect::Later
    }

    /// One coordinator, with as many others as a minority may have and about half of all agents and clients, on one
    /// side.
    fn split(&mut self, index: usize, with: usize, target: u64) {
        let coordinators = self.coordinators.len();
        let minority = (coordinators - 1) / 2;
        let nodes = coordinators + self.agents.len() + self.clients.len();
        let near = |node: Node| match node {
            node if node == with => true,
            node if node < coordinators => {
                let rank = (node + coordinators - with) % coordinators;
                rank < minority.max(1) && target.is_multiple_of(2)
            }
            node => (target >> (node % 60)).is_multiple_of(2),
        };
        for one in 0..nodes {
            for other in (0..coordinators).filter(|other| near(*other) != near(one)) {
                self.cut_both(index, one, other);
            }
        }
    }

    /// Two halves that only one coordinator connects.
    fn bridge(&mut self, index: usize, target: u64) {
        let bridge = pick(target, self.coordinators.len());
        let rest = self.all_but(bridge);
        let (left, right) = rest.split_at(rest.len() / 2);
        for one in left {
            for other in right {
                self.cut_both(index, *one, *other);
            }
        }
    }

    fn only_the_old_leader(&mut self, index: usize, leader: usize, target: u64) {
        let others = self.all_but(leader);
        for other in &others {
            self.cut_both(index, leader, *other);
        }
        let near: Vec<Node> = self
            .agents
            .iter()
            .map(|agent| agent.node)
            .filter(|node| (target >> (node % 60)).is_multiple_of(2))
            .collect();
        for node in near {
            for other in &others {
                self.cut_both(index, node, *other);
            }
        }
    }

    fn undo(&mut self, undo: Undo) {
        let env = &mut self.env;
        match undo {
            Undo::Mend(from, to) => self.mend(from, to),
            Undo::StartCoordinator(place) => self.coordinators[place].start(env),
            Undo::ResumeCoordinator(place) => self.coordinators[place].resume(env),
            Undo::FastDisk(place) => self.coordinators[place].disk_slowness = 1,
            Undo::StartAgent(place) => self.agents[place].start(env),
            Undo::ResumeAgent(place) => self.agents[place].resume(env),
            Undo::HooksWork(place) => {
                (self.agents[place].hooks_fail, self.agents[place].hooks_hang) = (false, false);
            }
            Undo::GuardsGoOn(place) => self.agents[place].let_guards_go_on(env),
            Undo::ServicesRun(place) => self.agents[place].services = Services::Run,
            Undo::NotCutShort(place) => {
                self.agents[place].cut_short = None;
                self.agents[place].resume(env);
                self.agents[place].start(env);
            }
            Undo::ReplaceDisk(place) => {
                self.agents[place].set_disk(Verdict::Healthy, env);
            }
            Undo::ClearUp => env.network.clear_up(),
            Undo::EndClone(place) => {
                self.clones[place].crash(env);
            }
            Undo::MoveBack { place, original } => {
                self.clones[place].crash(env);
                env.give_address_back(original);
                self.coordinators[original].start(env);
            }
            Undo::EndCopy(place) => {
                if let Some(copy) = self.agents.last_mut() {
                    copy.lose_power(env);
                }
                self.agents[place].reinstate(env);
            }
        }
    }
}

fn pick(target: u64, length: usize) -> usize {
    usize::try_from(target % length.max(1) as u64).unwrap_or(0)
}
