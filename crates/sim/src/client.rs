//! Programs that ask for things, try again under the same request id when they are not answered, and remember.

mod operator;

use crate::{
    env::{Env, Timer},
    message::{Answers, Asks, Packet},
    network::Node,
    oracle::{Fact, REGISTER},
    time::Moment,
};
use quorate_domain::{
    Command, GroupId, HostId, Outcome, Rejection, RequestId, command::MemberSpec, operation::FailoverReason,
};
use std::{collections::BTreeMap, sync::Arc};

/// How long a client waits for an answer.
const PATIENCE_MS: u64 = 2_000;
/// The pause before the next coordinator is asked.
const RETRY_MS: u64 = 100;
/// After so many tries a client gives up; what became of its request is unknown.
const TRIES_MAX: u32 = 12;
/// The most members of a group.
const MEMBERS_MAX: usize = 4;

/// One thing that a client wants.
#[derive(Debug, Clone)]
struct Wish {
    /// Its number among the client's wishes.
    number: u64,
    asks: Asks,
    tries: u32,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    node: Node,
    /// Groups that it has yet to create.
    to_create: Vec<GroupId>,
    wish: Option<Wish>,
    wishes: u64,
    /// Numbers tries, so that a late answer or timer is told from a present one.
    tries: u64,
    leader: Option<usize>,
    finished: Vec<Wish>,
    /// When it next changes the coordinators.
    next_change: Moment,
    /// Only reads and writes from now on.
    pub(crate) tame: bool,
    /// Asks for nothing any more.
    pub(crate) silent: bool,
}

/// The group of a number.
pub(crate) fn group(number: usize) -> GroupId {
    GroupId::new(format!("g{number}")).expect("a letter and a number make a name")
}

impl Client {
    /// A client; the first one creates the groups.
    pub(crate) fn new(node: Node, creates: usize) -> Self {
        Self {
            node,
            to_create: (0..creates).map(group).collect(),
            wish: None,
            wishes: 0,
            tries: 0,
            leader: None,
            finished: Vec::new(),
            next_change: Moment::default(),
            tame: false,
            silent: false,
        }
    }

    /// Begins.
    pub(crate) fn start(&mut self, env: &mut Env) {
        self.pause(env);
    }

    fn pause(&mut self, env: &mut Env) {
        let pause_ms = if self.to_create.is_empty() { env.plan.client_pause_ms } else { 200 };
        let after_us = env.chance(self.node).draw(0..=pause_ms * 2_000);
        self.tries += 1;
        env.wake_at(env.now.after_us(after_us), self.node, 0, Timer::Act(self.tries));
    }

    /// It is time to do something, or to give up waiting.
    pub(crate) fn waking(&mut self, timer: &Timer, env: &mut Env) {
        if *timer != Timer::Act(self.tries) {
            return;
        }
        match self.wish.take() {
            Some(wish) if wish.tries >= TRIES_MAX => {
                env.counts.add("clients/gave-up");
                self.pause(env);
            }
            Some(wish) => {
                self.leader = None;
                self.send(wish, env);
            }
            None if self.silent => self.pause(env),
            None => {
                let asks = self.choose(env);
                self.wishes += 1;
                let wish = Wish { number: self.wishes, asks, tries: 0 };
                env.see(&Fact::Asked { client: self.node, number: wish.number, asks: &wish.asks });
                self.send(wish, env);
            }
        }
    }

    fn send(&mut self, wish: Wish, env: &mut Env) {
        let coordinators = env.plan.machines();
        let coordinator = self.leader.unwrap_or_else(|| env.chance(self.node).index(coordinators));
        self.tries += 1;
        env.send(self.node, coordinator, Packet::Request(self.tries, wish.asks.clone()));
        env.wake_at(env.now.after_ms(PATIENCE_MS), self.node, 0, Timer::Act(self.tries));
        self.wish = Some(Wish { tries: wish.tries + 1, ..wish });
    }

    /// A coordinator answers.
    pub(crate) fn arrival(&mut self, from: Node, packet: Packet, env: &mut Env) {
        let Packet::Response(number, answers) = packet else { return };
        if number != self.tries {
            return;
        }
        let Some(wish) = self.wish.take() else { return };
        match answers {
            Answers::Done(_) | Answers::Value { .. } => {
                self.leader = Some(from);
                let (client, number) = (self.node, wish.number);
                env.note(client, || format!("{:?} -> {answers:?}", wish.asks));
                env.see(&Fact::Returned { client, number, asks: &wish.asks, answers: &answers });
                self.take_note(&wish.asks, &answers);
                self.finished.push(wish);
                self.pause(env);
            }
            Answers::NotLeader(hint) => {
                self.leader = hint;
                self.retry_soon(wish, env);
            }
            Answers::Unavailable | Answers::Unknown => {
                self.leader = None;
                self.retry_soon(wish, env);
            }
        }
    }

    fn retry_soon(&mut self, wish: Wish, env: &mut Env) {
        self.wish = Some(wish);
        self.tries += 1;
        let after_us = env.chance(self.node).draw(0..=RETRY_MS * 1_000);
        env.wake_at(env.now.after_us(after_us), self.node, 0, Timer::Act(self.tries));
    }

    /// A group that was made, or is there already, need not be created again.
    fn take_note(&mut self, asks: &Asks, answers: &Answers) {
        if let (
            Asks::Change { command: Command::CreateGroup { group, .. }, .. },
            Answers::Done(Outcome::Accepted { .. } | Outcome::Refused(Rejection::GroupExists(_))),
        ) = (asks, answers)
        {
            self.to_create.retain(|known| known != group);
        }
    }

    fn choose(&mut self, env: &mut Env) -> Asks {
        if let Some(group) = self.to_create.first().cloned() {
            return self.change(create(group, self.node, env));
        }
        if let Some(command) = self.choose_acceptance(env) {
            return self.change(command);
        }
        if let Some(command) = self.choose_change(env) {
            return self.change(command);
        }
        let mix = env.plan.mix;
        let (groups, agents) = (env.plan.groups, env.plan.agents);
        let tame = self.tame;
        let chance = env.chance(self.node);
        let group = group(chance.index(groups));
        let weights = [
            mix.read,
            mix.write,
            if tame { 0 } else { mix.failover },
            if tame { 0 } else { mix.remake },
            if self.finished.is_empty() { 0 } else { mix.again },
        ];
        let mut drawn = chance.draw(0..=weights.iter().sum::<u64>() - 1);
        let choice = weights.iter().position(|weight| {
            let met = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            met
        });
        match choice {
            Some(1) => {
                let value = format!("{}-{}", self.node, self.wishes);
                let labels = Arc::new(BTreeMap::from([(REGISTER.to_owned(), value)]));
                self.change(Command::SetGroupLabels { group, labels })
            }
            Some(2) => {
                let target = chance.happens(400_000).then(|| host(1 + chance.index(agents)));
                let reason = FailoverReason::Requested;
                self.change(Command::BeginFailover { group, epoch: None, reason, target, evidence: vec![] })
            }
            Some(3) if chance.happens(400_000) => self.change(Command::DeleteGroup { group }),
            Some(3) => self.change(create(group, self.node, env)),
            Some(4) => chance.pick(&self.finished).asks.clone(),
            _ => Asks::Read(group),
        }
    }

    fn change(&self, command: Command) -> Asks {
        let request = RequestId::new(format!("r-{}-{}", self.node, self.wishes)).expect("visible characters");
        Asks::Change { request, command }
    }
}

/// The host of a number.
pub(crate) fn host(number: usize) -> HostId {
    HostId::new(format!("h{number}")).expect("a letter and a number make a name")
}

/// A group of any members, in any order.
fn create(group: GroupId, client: Node, env: &mut Env) -> Command {
    let mut hosts: Vec<HostId> = (1..=env.plan.agents).map(host).collect();
    let chance = env.chance(client);
    chance.shuffle(&mut hosts);
    hosts.truncate(2 + chance.index(MEMBERS_MAX - 1));
    let mut members = hosts.into_iter().map(|host| MemberSpec { host, disk: None });
    let primary = members.next().expect("a group has at least two members");
    Command::CreateGroup { group, primary, backups: members.collect(), labels: BTreeMap::new() }
}
