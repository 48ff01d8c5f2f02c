//! How often agents may come. What a hello costs the cluster is bounded for each host, and for hosts that nobody knows:
//! an entry of the log, a round of the quorum, a record that stays. Whoever speaks the agents' protocol can say hello as
//! often as it likes, and an agent that is started again and again does.
//!
//! Starts that count and starts that are refused have a measure each, so that a stranger who is refused under a host's
//! name does not keep the host's own agent out.

use crate::session::Hello;
use quorate_domain::{HostId, State, host::HOSTS_MAX};
use quorate_planner::{Haste, Mono};
use std::collections::BTreeMap;

/// A host's agent may start so often at once, and then once in so many milliseconds: an agent in a crash loop is up
/// within two seconds of its last start.
const STARTS: Measure = Measure { at_once: 30, then_every_ms: 2_000 };
/// So often a start under a host's name is refused with a reason that a quorum confirmed.
const REFUSALS: Measure = Measure { at_once: 60, then_every_ms: 1_000 };
/// So many hosts may be new, all together: several racks at once, and a rack more each half minute.
const NEW_HOSTS: Measure = Measure { at_once: 512, then_every_ms: 100 };

/// How often something may happen.
#[derive(Debug, Clone, Copy)]
struct Measure {
    at_once: u64,
    then_every_ms: u64,
}

/// What has happened of late: when it will all have been paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Account(Mono);

impl Account {
    /// Takes one, or says in how many milliseconds there will be one.
    fn take(&mut self, measure: Measure, now: Mono) -> Result<(), u64> {
        let owed_ms = self.0.since_ms(now);
        let most_ms = (measure.at_once - 1) * measure.then_every_ms;
        if owed_ms > most_ms {
            return Err(owed_ms - most_ms);
        }
        self.0 = now.plus_ms(owed_ms + measure.then_every_ms);
        Ok(())
    }
}

/// An agent came too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooOften {
    /// What for.
    pub haste: Haste,
    /// The host, where it is known.
    pub host: Option<HostId>,
    /// When it may fare better.
    pub retry_after_ms: u64,
}

/// How often agents came in this leadership.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    hosts: BTreeMap<(Haste, HostId), Account>,
    new_hosts: Account,
}

impl Pace {
    /// Counts a hello for what it costs by this state; one that costs no entry and is not refused is not counted.
    pub(crate) fn admit(&mut self, hello: &Hello, state: &State, now: Mono) -> Result<(), TooOften> {
        if hello.registration(state).is_none() {
            return Ok(());
        }
        if !state.hosts.contains_key(&hello.host) {
            let taken = self.new_hosts.take(NEW_HOSTS, now);
            return taken.map_err(|ms| TooOften { haste: Haste::NewHosts, host: None, retry_after_ms: ms });
        }
        let (haste, measure) = match hello.refusal(state) {
            Some(_) => (Haste::Refusals, REFUSALS),
            None => (Haste::Starts, STARTS),
        };
        self.forget_the_paid(now);
        let account = self.hosts.entry((haste, hello.host.clone())).or_default();
        let too_often = |ms| TooOften { haste, host: Some(hello.host.clone()), retry_after_ms: ms };
        account.take(measure, now).map_err(too_often)
    }

    /// Hosts are forgotten and others come: there may be more names in a long leadership than there are hosts.
    fn forget_the_paid(&mut self, now: Mono) {
        if self.hosts.len() >= 2 * HOSTS_MAX {
            self.hosts.retain(|_, account| account.0 > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_after_the_other() {
        let (mut account, now) = (Account::default(), Mono(1_000_000));
        let measure = Measure { at_once: 3, then_every_ms: 2_000 };
        for _ in 0..3 {
            assert_eq!(account.take(measure, now), Ok(()));
        }
        assert_eq!(account.take(measure, now), Err(2_000));
        assert_eq!(account.take(measure, now), Err(2_000), "asking in vain costs nothing");
        assert_eq!(account.take(measure, now.plus_ms(1_999)), Err(1));
        assert_eq!(account.take(measure, now.plus_ms(2_000)), Ok(()));
        assert_eq!(account.take(measure, now.plus_ms(2_000)), Err(2_000));
        let rested = now.plus_ms(60_000);
        for _ in 0..3 {
            assert_eq!(account.take(measure, rested), Ok(()));
        }
        assert_eq!(account.take(measure, rested), Err(2_000), "rest is saved up to the measure");
    }
}
