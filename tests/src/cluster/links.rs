//! The links of a cluster that can be cut.

use crate::{
    link::{ChooseWay, Direction, Link, Mode, Way},
    loopback::{API_PORT, Loopback, PEER_PORT},
    origin,
    process::PidCell,
};
use anyhow::Result;
use std::{collections::BTreeMap, net::SocketAddrV4, sync::Arc};

/// Every link between two coordinators, and one to the API of each, on which every agent has a way of its own.
#[derive(Debug)]
pub struct Links {
    peers: BTreeMap<(u64, u64), Direction>,
    agents: BTreeMap<(u64, u64), Way>,
    others: BTreeMap<u64, Way>,
    open: Vec<Link>,
}

impl Links {
    pub(super) async fn open(
        loopback: Loopback,
        coordinators: u64,
        agents: &BTreeMap<u64, PidCell>,
    ) -> Result<Self> {
        let ids = 1..=coordinators;
        let pairs = ids.clone().flat_map(|from| ids.clone().map(move |to| (from, to)));
        let peers: BTreeMap<_, _> =
            pairs.filter(|(from, to)| from != to).map(|pair| (pair, Direction::default())).collect();
        let mut links = Self { peers, agents: BTreeMap::new(), others: BTreeMap::new(), open: Vec::new() };
        for ((from, to), there) in &links.peers {
            let target = SocketAddrV4::new(loopback.coordinator(*to), PEER_PORT);
            let way = Way { there: there.clone(), back: links.peers[&(*to, *from)].clone() };
            links.open.push(Link::open(loopback.peer_link(*from, *to), target, way).await?);
        }
        for id in ids {
            links.open_api(loopback, id, agents).await?;
        }
        Ok(links)
    }

    /// What calls the advertised address of a coordinator is an agent, which goes its own way, or anybody else.
    async fn open_api(&mut self, loopback: Loopback, id: u64, agents: &BTreeMap<u64, PidCell>) -> Result<()> {
        let others = Way::default();
        let ways: Vec<(PidCell, Way)> =
            agents.values().map(|process| (process.clone(), Way::default())).collect();
        for (number, (_, way)) in agents.keys().zip(&ways) {
            self.agents.insert((*number, id), way.clone());
        }
        self.others.insert(id, others.clone());
        let called = loopback.api_link(id);
        let choose: ChooseWay = Arc::new(move |caller| {
            let agents = ways.iter().filter_map(|(process, _)| process.get());
            let likely: Vec<u32> = agents.chain([std::process::id()]).collect();
            // Whoever cannot be told apart calls again: an agent that went as somebody else would escape its cut.
            let pid = origin::caller(caller, called, &likely)?;
            let agent = ways.iter().find(|(process, _)| process.get() == Some(pid));
            Some(agent.map_or_else(|| others.clone(), |(_, way)| way.clone()))
        });
        let target = SocketAddrV4::new(loopback.coordinator(id), API_PORT);
        self.open.push(Link::open_by_caller(called, target, choose).await?);
        Ok(())
    }

    /// Cuts or heals everything between one coordinator and the others, whoever made the connection.
    pub fn set_around(&self, id: u64, mode: Mode) {
        self.set_peers(mode, |from, to| from == id || to == id);
    }

    /// Cuts or heals everything between two sides.
    pub fn set_between(&self, left: &[u64], right: &[u64], mode: Mode) {
        self.set_peers(mode, |from, to| crosses(left, right, from, to));
    }

    /// Changes everything between coordinators that fulfils the condition, by sender and receiver.
    pub fn set_peers(&self, mode: Mode, wanted: impl Fn(u64, u64) -> bool) {
        for ((from, to), direction) in &self.peers {
            if wanted(*from, *to) {
                direction.set(mode);
            }
        }
    }

    /// Changes what one coordinator sends to another, requests and answers alike.
    ///
    /// # Panics
    /// When there are no such coordinators.
    pub fn set_peer(&self, from: u64, to: u64, mode: Mode) {
        self.peers[&(from, to)].set(mode);
    }

    /// Cuts or heals everything between an agent and a coordinator.
    ///
    /// # Panics
    /// When there are no such processes.
    pub fn set_agent(&self, agent: u64, coordinator: u64, mode: Mode) {
        let way = &self.agents[&(agent, coordinator)];
        way.there.set(mode);
        way.back.set(mode);
    }

    /// Heals everything.
    pub fn heal(&self) {
        self.set_peers(Mode::Open, |_, _| true);
        for way in self.agents.values().chain(self.others.values()) {
            way.there.set(Mode::Open);
            way.back.set(Mode::Open);
        }
    }

    /// How many bytes coordinators have sent to each other as far as the condition goes, by sender and receiver.
    pub fn peer_bytes(&self, wanted: impl Fn(u64, u64) -> bool) -> u64 {
        self.sum(wanted, Direction::passed_bytes)
    }

    /// How many connections between coordinators were closed by the link.
    pub fn closed_connections(&self) -> u64 {
        self.sum(|_, _| true, Direction::closed_connections)
    }

    /// How many connections between coordinators were left half open.
    pub fn half_opened_connections(&self) -> u64 {
        self.sum(|_, _| true, Direction::half_opened_connections)
    }

    /// How many of them were given up by those who had made them.
    pub fn given_up_connections(&self) -> u64 {
        self.sum(|_, _| true, Direction::given_up_connections)
    }

    fn sum(&self, wanted: impl Fn(u64, u64) -> bool, count: impl Fn(&Direction) -> u64) -> u64 {
        let chosen = self.peers.iter().filter(|((from, to), _)| wanted(*from, *to));
        chosen.map(|(_, direction)| count(direction)).sum()
    }

    /// How many bytes an agent has sent to a coordinator.
    ///
    /// # Panics
    /// When there are no such processes.
    pub fn agent_bytes(&self, agent: u64, coordinator: u64) -> u64 {
        self.agents[&(agent, coordinator)].there.passed_bytes()
    }
}

/// True when something sent goes from one side to the other.
pub fn crosses(left: &[u64], right: &[u64], from: u64, to: u64) -> bool {
    (left.contains(&from) && right.contains(&to)) || (right.contains(&from) && left.contains(&to))
}
