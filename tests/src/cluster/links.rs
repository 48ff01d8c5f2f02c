//! The links of a cluster that can be cut.

use crate::{
    link::{Direction, Link, Mode},
    loopback::{API_PORT, Loopback, PEER_PORT},
};
use anyhow::Result;
use std::{collections::BTreeMap, net::SocketAddrV4};

/// Every link between two coordinators, and one to the API of each.
#[derive(Debug)]
pub struct Links {
    peers: BTreeMap<(u64, u64), Direction>,
    apis: BTreeMap<u64, (Direction, Direction)>,
    _open: Vec<Link>,
}

impl Links {
    pub(super) async fn open(loopback: Loopback, coordinators: u64) -> Result<Self> {
        let ids = 1..=coordinators;
        let pairs = ids.clone().flat_map(|from| ids.clone().map(move |to| (from, to)));
        let peers: BTreeMap<_, _> =
            pairs.filter(|(from, to)| from != to).map(|pair| (pair, Direction::default())).collect();
        let mut open = Vec::new();
        for ((from, to), there) in &peers {
            let target = SocketAddrV4::new(loopback.coordinator(*to), PEER_PORT);
            let back = peers[&(*to, *from)].clone();
            open.push(Link::open(loopback.peer_link(*from, *to), target, there.clone(), back).await?);
        }
        let mut apis = BTreeMap::new();
        for id in ids {
            let (there, back) = (Direction::default(), Direction::default());
            let target = SocketAddrV4::new(loopback.coordinator(id), API_PORT);
            open.push(Link::open(loopback.api_link(id), target, there.clone(), back.clone()).await?);
            apis.insert(id, (there, back));
        }
        Ok(Self { peers, apis, _open: open })
    }

    /// Cuts or heals everything between one coordinator and the others, whoever made the connection.
    pub fn set_around(&self, id: u64, mode: Mode) {
        for ((from, to), direction) in &self.peers {
            if *from == id || *to == id {
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

    /// Cuts or heals the advertised way to a coordinator's API.
    ///
    /// # Panics
    /// When there is no such coordinator.
    pub fn set_api(&self, id: u64, mode: Mode) {
        let (there, back) = &self.apis[&id];
        there.set(mode);
        back.set(mode);
    }

    /// How many bytes went to a coordinator's API over the advertised way.
    ///
    /// # Panics
    /// When there is no such coordinator.
    pub fn api_bytes(&self, id: u64) -> u64 {
        self.apis[&id].0.passed_bytes()
    }
}
