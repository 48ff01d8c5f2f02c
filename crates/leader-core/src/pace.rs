//! How often agents may come. What a hello costs the cluster is bounded for each host, and for hosts that nobody knows:
//! an entry of the log, a round of the quorum, a record that stays. Whoever speaks the agents' protocol can say hello as
//! often as it likes, and an agent that is started again and again does.
//!
//! Starts that count and starts that are refused have a measure each, so that a stranger who is refused under a host's
//! name does not keep the host's own agent out.

use crate::session::Hello;
use quorate_domain::{HostId, State, host::HOSTS_MAX};
use quorate_planner::{Haste, Mono};
use std::{collections::BTreeMap, net::IpAddr};

/// A host's agent may start so often at once, and then once in so many milliseconds: an agent in a crash loop is up
/// within two seconds of its last start.
const STARTS: Measure = Measure { at_once: 30, then_every_ms: 2_000 };
/// So often a start under a host's name is refused with a reason that a quorum confirmed.
const REFUSALS: Measure = Measure { at_once: 60, then_every_ms: 1_000 };
/// So many hosts may be new, all together: several racks at once, and a rack more each half minute.
const NEW_HOSTS: Measure = Measure { at_once: 512, then_every_ms: 100 };
/// So many of them from one address: half, so that whoever asks most leaves the other half to all others. There is no queue,
/// and a free place goes to whoever asks next.
const NEW_HOSTS_OF_ONE: Measure = Measure { at_once: 256, then_every_ms: 200 };
/// So many addresses have an account of their own. Beyond it all others share one until some have paid.
const SOURCES_MAX: usize = 1_024;

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
    /// In how many milliseconds there will be one, unless there is one now.
    fn wait(self, measure: Measure, now: Mono) -> Result<(), u64> {
        let owed_ms = self.0.since_ms(now);
        let most_ms = (measure.at_once - 1) * measure.then_every_ms;
        if owed_ms > most_ms { Err(owed_ms - most_ms) } else { Ok(()) }
    }

    /// Takes one, or says in how many milliseconds there will be one.
    fn take(&mut self, measure: Measure, now: Mono) -> Result<(), u64> {
        self.wait(measure, now)?;
        self.0 = now.plus_ms(self.0.since_ms(now) + measure.then_every_ms);
        Ok(())
    }
}

/// Whoever may have many addresses of IPv6 has a whole network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
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
    /// By the address that the hello came from; none for all those beyond the limit.
    sources: BTreeMap<Option<IpAddr>, Account>,
}

impl Pace {
    /// Counts a hello for what it costs by this state; one that costs no entry and is not refused is not counted. `source` is
    /// where it came from, if that is known.
    pub(crate) fn admit(
        &mut self,
        hello: &Hello,
        source: Option<IpAddr>,
        state: &State,
        now: Mono,
    ) -> Result<(), TooOften> {
        if hello.registration(state).is_none() {
            return Ok(());
        }
        if !state.hosts.contains_key(&hello.host) {
            let taken = self.take_new_host(source, now);
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

    fn take_new_host(&mut self, source: Option<IpAddr>, now: Mono) -> Result<(), u64> {
        let Some(source) = source else { return self.new_hosts.take(NEW_HOSTS, now) };
        let mut source = Some(network(source));
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.sources.retain(|_, account| account.0 > now);
            if self.sources.len() >= SOURCES_MAX {
                source = None;
            }
        }
        let of_one = self.sources.get(&source).copied().unwrap_or_default();
        of_one.wait(NEW_HOSTS_OF_ONE, now)?;
        self.new_hosts.take(NEW_HOSTS, now)?;
        self.sources.entry(source).or_default().take(NEW_HOSTS_OF_ONE, now)
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
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    #[test]
    fn one_address_takes_no_more_than_half_of_the_places_for_new_hosts() {
        let (flood, honest) = (Some(v4(1)), Some(v4(2)));
        // Who asks how often at this time, and how many of them are let in.
        let table = [
            ("at once half of them", flood, 6_000, 0, 256),
            ("the other half is left", honest, 300, 0, 256),
            ("then half of what comes", flood, 6_000, 10_000, 50),
            ("and the other half again", honest, 60, 10_000, 50),
            ("whatever one asks for that has had its share", flood, 6_000, 10_000, 0),
            (
                "or comes by IPv4 within IPv6",
                Some(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().into()),
                10,
                10_000,
                0,
            ),
            ("rest is saved up to the measure", flood, 6_000, 900_000, 256),
            ("one that nobody knows has all that is left", None, 6_000, 900_000, 256),
        ];
        let mut pace = Pace::default();
        for (case, source, asked, at, let_in) in table {
            let now = Mono(1_000_000).plus_ms(at);
            let taken = (0..asked).filter(|_| pace.take_new_host(source, now).is_ok());
            assert_eq!(taken.count(), let_in, "{case}");
        }
    }

    #[test]
    fn a_new_host_of_another_address_waits_for_nobody_who_floods() {
        let mut pace = Pace::default();
        let mut waited = 0;
        // A flood that asks for every place in every millisecond, and one honest host in every second.
        for ms in 0..60_000 {
            let now = Mono(1_000_000 + ms);
            for _ in 0..3 {
                let _ = pace.take_new_host(Some(v4(1)), now);
            }
            if ms % 1_000 == 999 && pace.take_new_host(Some(v4(2)), now).is_err() {
                waited += 1;
            }
        }
        assert_eq!(waited, 0);
    }

    #[test]
    fn what_is_remembered_of_addresses_is_bounded_and_a_network_of_ipv6_is_one() {
        let mut pace = Pace::default();
        let now = Mono(1_000_000);
        for number in 0..10_000 {
            let _ = pace.take_new_host(Some(v4(number)), now);
        }
        assert!(pace.sources.len() <= SOURCES_MAX + 1, "{}", pace.sources.len());
        let mut pace = Pace::default();
        let of_one_network = (0..6_000).map(|host| Some(Ipv6Addr::from((0x2001 << 112) + host).into()));
        assert_eq!(of_one_network.filter(|source| pace.take_new_host(*source, now).is_ok()).count(), 256);
    }

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
