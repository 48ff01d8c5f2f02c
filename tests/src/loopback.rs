//! Loopback addresses that no other cluster uses.

use anyhow::{Result, bail};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

/// Where coordinators hear each other.
pub const PEER_PORT: u16 = 7400;
/// Where coordinators hear clients and agents.
pub const API_PORT: u16 = 7401;
/// Where agents hear local processes.
pub const AGENT_PORT: u16 = 7402;

const TRIES_MAX: u32 = 100;

/// A /24 of 127.0.0.0/8, drawn at random: each node has a host address of its own and the usual ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loopback {
    network: [u8; 3],
}

impl Loopback {
    /// Draws a network on which nobody listens yet.
    ///
    /// # Errors
    /// When none is found.
    pub fn draw() -> Result<Self> {
        for _ in 0..TRIES_MAX {
            // Not 127.0.x, where other programs of the machine listen.
            let drawn = Self { network: [127, rand::random_range(1..=254), rand::random_range(0..=254)] };
            let first = drawn.coordinator(1);
            if [PEER_PORT, API_PORT].iter().all(|port| TcpListener::bind((first, *port)).is_ok()) {
                return Ok(drawn);
            }
        }
        bail!("no free loopback network in {TRIES_MAX} draws");
    }

    fn host(self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Of coordinator 1 to 9.
    pub fn coordinator(self, id: u64) -> Ipv4Addr {
        self.host(u8::try_from(id).unwrap_or(u8::MAX).clamp(1, 9))
    }

    /// Of agent 1 to 80.
    pub fn agent(self, number: u64) -> Ipv4Addr {
        self.host(u8::try_from(number).unwrap_or(u8::MAX).clamp(1, 80) + 10)
    }

    /// Where the link from one coordinator to another begins.
    pub fn peer_link(self, from: u64, to: u64) -> SocketAddrV4 {
        let last = u8::try_from(100 + from * 10 + to).unwrap_or(u8::MAX);
        SocketAddrV4::new(self.host(last), PEER_PORT)
    }

    /// Where the link to a coordinator's API begins.
    pub fn api_link(self, to: u64) -> SocketAddrV4 {
        SocketAddrV4::new(self.host(u8::try_from(200 + to).unwrap_or(u8::MAX)), API_PORT)
    }
}
