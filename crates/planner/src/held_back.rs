//! Agents that come to a leader more often than it lets them.

use crate::Mono;
use quorate_domain::HostId;
use std::{collections::BTreeMap, fmt};

/// For how long it is told of after the last time.
pub const HELD_BACK_TOLD_MS: u64 = 60_000;
/// The most that are remembered. Those of known hosts, twice, and one for the unknown ones.
const REMEMBERED_MAX: usize = 2 * quorate_domain::host::HOSTS_MAX + 1;

/// What an agent comes for too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Haste {
    /// A start, or a change of address, of a host that is known: each is an entry of the log.
    Starts,
    /// A start that is refused for who it is: each is a round of the quorum.
    Refusals,
    /// Hosts that are not known yet, all of them together: each is an entry of the log and a record for good.
    NewHosts,
}

impl fmt::Display for Haste {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starts => "starts of this host",
            Self::Refusals => "refused starts of this host",
            Self::NewHosts => "new hosts",
        })
    }
}

/// How often somebody was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How many times, since then.
    pub times: u64,
    /// The first time.
    pub since: Mono,
    /// The last time.
    pub last: Mono,
}

/// Everybody who was held back lately; no host for those that are not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldBack(BTreeMap<(Haste, Option<HostId>), Held>);

impl HeldBack {
    /// Somebody was held back.
    pub fn note(&mut self, haste: Haste, host: Option<HostId>, now: Mono) {
        let key = (haste, host);
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, held| is_told(held, now));
            if self.0.len() >= REMEMBERED_MAX {
                return;
            }
        }
        let held = self.0.entry(key).or_insert(Held { times: 0, since: now, last: now });
        if !is_told(held, now) {
            (held.times, held.since) = (0, now);
        }
        held.times = held.times.saturating_add(1);
        held.last = now;
    }

    /// Those that are told of now.
    pub(crate) fn told(&self, now: Mono) -> impl Iterator<Item = (Haste, Option<&HostId>, &Held)> {
        let recent = self.0.iter().filter(move |(_, held)| is_told(held, now));
        recent.map(|((haste, host), held)| (*haste, host.as_ref(), held))
    }
}

fn is_told(held: &Held, now: Mono) -> bool {
    now.since_ms(held.last) <= HELD_BACK_TOLD_MS
}
