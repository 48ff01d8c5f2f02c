//! The network between all nodes: every direction of every link by itself.

use crate::{chance::Chance, message::Packet, plan::Weather, time::Moment};
use std::collections::BTreeMap;

/// Any node, by its place: coordinators first, spare ones with them, then agents, then clients.
pub(crate) type Node = usize;

/// The longest that a lost packet of a stream takes to be sent again.
const RESEND_US: u64 = 400_000;

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives at this moment, and for a second time at the other.
    Arrives(Moment, Option<Moment>),
    /// It never arrives.
    Lost,
    /// It waits at a cut link.
    Held,
}

/// The network.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    /// How it is without faults.
    fair: Weather,
    /// How it is now.
    weather: Weather,
    /// How many faults cut a direction.
    cut: Vec<u32>,
    /// When the last packet of a stream arrives, by direction.
    stream: Vec<Moment>,
    chance: Vec<Chance>,
    held: BTreeMap<(Node, Node), Vec<Packet>>,
    /// Packets that met a cut.
    pub(crate) stopped: u64,
    /// Packets that were lost or came twice by chance.
    pub(crate) spoiled: u64,
}

impl Network {
    /// A network of this many nodes.
    pub(crate) fn new(nodes: usize, weather: Weather, seed: u64) -> Self {
        let links = nodes * nodes;
        Self {
            nodes,
            fair: weather,
            weather,
            cut: vec![0; links],
            stream: vec![Moment::default(); links],
            chance: (0..links as u64).map(|link| Chance::new(seed, 1_000 + link)).collect(),
            held: BTreeMap::new(),
            stopped: 0,
            spoiled: 0,
        }
    }

    fn link(&self, from: Node, to: Node) -> usize {
        from * self.nodes + to
    }

    /// Cuts a direction, once more.
    pub(crate) fn cut(&mut self, from: Node, to: Node) {
        let link = self.link(from, to);
        self.cut[link] += 1;
    }

    /// Takes back one cut; what was held there and must be sent again is returned once nothing cuts it any more.
    pub(crate) fn mend(&mut self, from: Node, to: Node) -> Vec<Packet> {
        let link = self.link(from, to);
        self.cut[link] = self.cut[link].saturating_sub(1);
        if self.cut[link] > 0 { Vec::new() } else { self.held.remove(&(from, to)).unwrap_or_default() }
    }

    /// Makes it worse until [`Network::clear_up`].
    pub(crate) fn spoil(&mut self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.weather);
    }

    /// Back to how it is without faults.
    pub(crate) fn clear_up(&mut self) {
        self.weather = self.fair;
    }

    /// From now on nothing is lost or doubled by chance.
    pub(crate) fn calm(&mut self) {
        self.fair = Weather { loss_ppm: 0, twice_ppm: 0, unordered: false, ..self.fair };
        self.clear_up();
    }

    /// Sends a packet; one that is held is kept here.
    pub(crate) fn send(&mut self, from: Node, to: Node, packet: &Packet, now: Moment) -> Fate {
        let link = self.link(from, to);
        let stream = packet.is_stream();
        let chance = &mut self.chance[link];
        if self.cut[link] > 0 {
            self.stopped += 1;
            // A stream sends again what was not acknowledged; so may what carries single messages.
            if stream || chance.happens(300_000) {
                self.held.entry((from, to)).or_default().push(packet.clone());
                return Fate::Held;
            }
            return Fate::Lost;
        }
        let Weather { delay_us, jitter_us, loss_ppm, twice_ppm, unordered } = self.weather;
        let mut arrives = now.after_us(delay_us + chance.draw(0..=jitter_us));
        if chance.happens(loss_ppm) {
            self.spoiled += 1;
            if !stream {
                return Fate::Lost;
            }
            arrives = arrives.after_us(chance.draw(0..=RESEND_US));
        }
        if stream && !unordered {
            arrives = arrives.max(self.stream[link].after_us(1));
            self.stream[link] = arrives;
            return Fate::Arrives(arrives, None);
        }
        let twice = chance.happens(twice_ppm).then(|| {
            self.spoiled += 1;
            now.after_us(delay_us + chance.draw(0..=20 * jitter_us))
        });
        Fate::Arrives(arrives, twice)
    }
}
