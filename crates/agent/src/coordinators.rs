//! Whom to ask for a session next, and when.

use quorate_rpc::Failure;
use quorate_runtime::retry::Backoff;
use std::{collections::BTreeMap, time::Duration};

/// The most coordinators that are asked because a leader named them; a cluster has five.
const NAMED_MAX: usize = 8;
const RETRY_BASE: Duration = Duration::from_millis(50);
const RETRY_CAP: Duration = Duration::from_secs(1);
/// The longest that a coordinator puts an agent off.
const PUT_OFF_MAX: Duration = Duration::from_secs(5);
/// How long a coordinator may take to accept a session: a leader commits the registration first.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for one that said nothing the last time; twice as long after each time.
const OPEN_AGAIN: Duration = Duration::from_millis(500);
/// The most of which it is remembered that they said nothing.
const SILENT_MAX: usize = 16;

/// The coordinators that are known, and where the last tries led.
#[derive(Debug)]
pub(crate) struct Coordinators {
    configured: Vec<String>,
    /// All of them, as a leader last named them; empty before one has.
    named: Vec<String>,
    /// Those that are configured and that no leader names: retired ones, most likely, each of which costs a timeout that
    /// a lease has no time for. They are asked all the same, lest what was named is out of date.
    others: Vec<String>,
    /// Whom of the named, or of the configured before any were, to ask next.
    next: usize,
    next_other: usize,
    /// How many of the named were asked since a leader took the agent in, or since one of the others was asked.
    asked_in_vain: usize,
    hint: Option<String>,
    /// Hints since the last wait: two that believe in each other must not be asked in circles.
    hints_followed: usize,
    /// Those that said nothing when they were last asked, and how often in a row.
    silent: BTreeMap<String, u32>,
    backoff: Backoff,
}

impl Coordinators {
    /// Those that are configured, and those that a leader named before the agent started.
    pub(crate) fn new(configured: Vec<String>, known: &[String]) -> Self {
        let mut all = Self {
            configured,
            named: Vec::new(),
            others: Vec::new(),
            next: 0,
            next_other: 0,
            asked_in_vain: 0,
            hint: None,
            hints_followed: 0,
            silent: BTreeMap::new(),
            backoff: Backoff::new(RETRY_BASE, RETRY_CAP),
        };
        all.learn(known);
        all
    }

    /// A leader has named all coordinators.
    pub(crate) fn learn(&mut self, api_addresses: &[String]) {
        self.named = api_addresses.iter().take(NAMED_MAX).cloned().collect();
        let unnamed = |address: &&String| !self.named.contains(address);
        self.others = self.configured.iter().filter(unnamed).cloned().collect();
    }

    /// Whom to ask now: those that a leader has named, in turn, and after each round of them one of the others.
    pub(crate) fn target(&mut self) -> String {
        if let Some(hint) = self.hint.take() {
            return hint;
        }
        if self.named.is_empty() {
            return in_turn(&self.configured, &mut self.next);
        }
        if self.asked_in_vain >= self.named.len() && !self.others.is_empty() {
            self.asked_in_vain = 0;
            return in_turn(&self.others, &mut self.next_other);
        }
        self.asked_in_vain += 1;
        in_turn(&self.named, &mut self.next)
    }

    /// A leader took the agent in, and named all coordinators.
    pub(crate) fn welcomed(&mut self, api_addresses: &[String]) {
        self.backoff.reset();
        self.hints_followed = 0;
        self.asked_in_vain = 0;
        self.silent.clear();
        self.learn(api_addresses);
    }

    /// How long this one may take to accept a session. A lease has no time to wait twice for one that stands still; one
    /// that is only slow gets its time in the end.
    pub(crate) fn patience(&self, target: &str) -> Duration {
        let doubled = |times: u32| OPEN_AGAIN.saturating_mul(1 << (times - 1).min(8)).min(OPEN_TIMEOUT);
        self.silent.get(target).map_or(OPEN_TIMEOUT, |times| doubled(*times))
    }

    /// Whether this one said nothing when it was last asked, and is asked again once all others were. Followers name a
    /// leader that stands still until they have elected another.
    fn waits_its_turn(&self, target: &str) -> bool {
        let has_a_turn = self.named.iter().chain(&self.configured).any(|known| known == target);
        has_a_turn && self.silent.contains_key(target)
    }

    /// A try or a session with this one is over: how long to wait before the next.
    pub(crate) fn failed(&mut self, target: &str, failure: Option<&Failure>) -> Duration {
        if !matches!(failure, Some(Failure::Unreachable { .. })) {
            self.silent.remove(target);
        } else if self.silent.len() < SILENT_MAX || self.silent.contains_key(target) {
            let times = self.silent.entry(target.to_owned()).or_default();
            *times = times.saturating_add(1);
        }
        if let Some(Failure::NotLeader { hint: Some(leader), .. }) = failure
            && !self.waits_its_turn(&leader.api_address)
        {
            self.hint = Some(leader.api_address.clone());
            self.hints_followed += 1;
            if self.hints_followed == 1 {
                return Duration::ZERO;
            }
        }
        self.hints_followed = 0;
        let pause = self.backoff.next_delay().unwrap_or(RETRY_CAP);
        match failure {
            // It says when there is room again; a number from outside is not waited for without end.
            Some(Failure::Overloaded { retry_after: Some(after), .. }) => {
                pause.max((*after).min(PUT_OFF_MAX))
            }
            _ => pause,
        }
    }
}

fn in_turn(all: &[String], next: &mut usize) -> String {
    let index = *next % all.len().max(1);
    *next = index + 1;
    all.get(index).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_domain::CoordinatorId;
    use quorate_rpc::status::LeaderAddress;

    fn not_leader(hint: Option<&str>) -> Failure {
        let leader = |address: &str| LeaderAddress { id: CoordinatorId(2), api_address: address.into() };
        Failure::NotLeader { hint: hint.map(leader), message: String::new() }
    }

    #[test]
    fn all_are_asked_in_turn_and_a_hint_goes_first() {
        let mut known = Coordinators::new(vec!["a:1".into(), "b:1".into()], &[]);
        assert_eq!(known.target(), "a:1");
        assert_eq!(known.failed("a:1", Some(&not_leader(Some("c:1")))), Duration::ZERO);
        assert_eq!([known.target(), known.target(), known.target()], ["c:1", "b:1", "a:1"]);
        known.welcomed(&["a:1".into(), "c:1".into()]);
        assert_eq!([known.target(), known.target(), known.target()], ["c:1", "a:1", "b:1"]);
    }

    #[test]
    fn one_that_was_put_off_comes_back_when_it_was_told_to() {
        let mut known = Coordinators::new(addresses(&["a"]), &[]);
        let put_off = |seconds| Failure::Overloaded {
            retry_after: Some(Duration::from_secs(seconds)),
            message: String::new(),
        };
        assert_eq!(known.failed("a:1", Some(&put_off(2))), Duration::from_secs(2));
        assert_eq!(known.failed("a:1", Some(&put_off(u64::MAX))), PUT_OFF_MAX);
    }

    #[test]
    fn hints_in_a_circle_are_waited_for() {
        let mut known = Coordinators::new(vec!["a:1".into()], &[]);
        let waits: Vec<Duration> =
            (0..40).map(|_| known.failed("a:1", Some(&not_leader(Some("b:1"))))).collect();
        assert!(waits.iter().filter(|wait| !wait.is_zero()).count() >= 15, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= RETRY_CAP));
    }

    #[test]
    fn one_that_said_nothing_is_given_little_time_and_more_each_time_until_it_answers() {
        let silence = Failure::Unreachable { sent: true, message: String::new() };
        let mut known = Coordinators::new(addresses(&["a", "b"]), &[]);
        let of_a: Vec<u128> = (0..6)
            .map(|_| {
                let patience = known.patience("a:1").as_millis();
                known.failed("a:1", Some(&silence));
                patience
            })
            .collect();
        assert_eq!(of_a, [3_000, 500, 1_000, 2_000, 3_000, 3_000]);
        assert_eq!(known.patience("b:1"), OPEN_TIMEOUT);
        known.failed("a:1", Some(&not_leader(None)));
        assert_eq!(known.patience("a:1"), OPEN_TIMEOUT, "it has answered");
        known.failed("a:1", Some(&silence));
        known.welcomed(&addresses(&["a", "b"]));
        assert_eq!(known.patience("a:1"), OPEN_TIMEOUT, "a session forgets");
        known.failed("a:1", Some(&silence));
        known.failed("c:1", Some(&silence));
        let rest = known.failed("b:1", Some(&not_leader(Some("a:1"))));
        assert!(!rest.is_zero(), "it is asked in its turn");
        assert_eq!(known.failed("b:1", Some(&not_leader(Some("c:1")))), Duration::ZERO, "it has no turn");
        assert_eq!(known.target(), "c:1");
        for number in 0..100 {
            known.failed(&format!("{number}:1"), Some(&silence));
        }
        assert_eq!(known.silent.len(), SILENT_MAX);
    }

    /// The next so many that are asked, each in vain.
    fn asked(known: &mut Coordinators, count: usize) -> Vec<String> {
        (0..count).map(|_| known.target()).collect()
    }

    fn addresses(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!("{name}:1")).collect()
    }

    #[test]
    fn those_that_a_leader_named_before_the_start_are_asked_and_the_configured_ones_after_them() {
        let mut known = Coordinators::new(addresses(&["a"]), &addresses(&["c", "d"]));
        assert_eq!(asked(&mut known, 5), addresses(&["c", "d", "a", "c", "d"]));
        known.learn(&addresses(&["d"]));
        assert_eq!(asked(&mut known, 4), addresses(&["a", "d", "a", "d"]));
    }

    #[test]
    fn at_a_change_of_leader_the_retired_ones_wait_until_all_that_are_left_were_asked() {
        let mut known = Coordinators::new(addresses(&["a", "b", "c"]), &[]);
        assert_eq!(known.target(), "a:1");
        known.failed("a:1", Some(&not_leader(Some("d:1"))));
        assert_eq!(known.target(), "d:1");
        known.welcomed(&addresses(&["d", "e", "f"]));
        // The leader dies, and nobody leads yet.
        let first = asked(&mut known, 3);
        assert!(first.iter().all(|address| addresses(&["d", "e", "f"]).contains(address)), "{first:?}");
        let round = |known: &mut Coordinators, other: &str| {
            assert_eq!(known.target(), other);
            let mut named = asked(known, 3);
            named.sort();
            assert_eq!(named, addresses(&["d", "e", "f"]));
        };
        for other in ["a:1", "b:1", "c:1", "a:1"] {
            round(&mut known, other);
        }
        // A session begins the count anew.
        known.welcomed(&addresses(&["d", "e", "f"]));
        assert!(asked(&mut known, 3).iter().all(|address| !addresses(&["a", "b", "c"]).contains(address)));
    }

    #[test]
    fn whatever_is_configured_and_named_everybody_is_asked_and_the_named_ones_most_often() {
        let all = ["a", "b", "c", "d", "e"];
        for sets in 0_usize..1 << 10 {
            let pick = |from: usize| -> Vec<String> {
                let chosen = all.iter().enumerate().filter(|(index, _)| sets >> (from + index) & 1 == 1);
                chosen.map(|(_, name)| format!("{name}:1")).collect()
            };
            let (configured, named) = (pick(0), pick(5));
            if configured.is_empty() {
                continue;
            }
            let mut known = Coordinators::new(configured.clone(), &named);
            let tried = asked(&mut known, 40);
            let regular = if named.is_empty() { &configured } else { &named };
            for window in tried.windows(regular.len() + 1) {
                let missing = regular.iter().find(|address| !window.contains(address));
                assert_eq!(missing, None, "{configured:?} {named:?}: {tried:?}");
            }
            let missing = configured.iter().find(|address| !tried.contains(address));
            assert_eq!(missing, None, "{configured:?} {named:?}: {tried:?}");
        }
    }
}
