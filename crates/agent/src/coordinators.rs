//! Whom to ask for a session next, and when.

use quorate_rpc::Failure;
use quorate_runtime::retry::Backoff;
use std::time::Duration;

/// The most coordinators that are remembered beside the configured ones; a cluster has five.
const LEARNT_MAX: usize = 8;
const RETRY_BASE: Duration = Duration::from_millis(50);
const RETRY_CAP: Duration = Duration::from_secs(1);

/// The coordinators that are known, and where the last tries led.
#[derive(Debug)]
pub(crate) struct Coordinators {
    configured: Vec<String>,
    learnt: Vec<String>,
    next: usize,
    hint: Option<String>,
    /// Hints since the last wait: two that believe in each other must not be asked in circles.
    hints_followed: usize,
    backoff: Backoff,
}

impl Coordinators {
    /// Those that are configured, and those that were learnt before the agent started.
    pub(crate) fn new(configured: Vec<String>, known: &[String]) -> Self {
        let backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        let mut all =
            Self { configured, learnt: Vec::new(), next: 0, hint: None, hints_followed: 0, backoff };
        all.learn(known);
        all
    }

    /// A leader has named all coordinators.
    pub(crate) fn learn(&mut self, api_addresses: &[String]) {
        let unknown = |address: &&String| !self.configured.contains(address);
        self.learnt = api_addresses.iter().filter(unknown).take(LEARNT_MAX).cloned().collect();
    }

    /// Whom to ask now.
    pub(crate) fn target(&mut self) -> String {
        if let Some(hint) = self.hint.take() {
            return hint;
        }
        let all = self.configured.len() + self.learnt.len();
        let index = self.next % all.max(1);
        self.next = index + 1;
        self.configured.iter().chain(&self.learnt).nth(index).cloned().unwrap_or_default()
    }

    /// A leader took the agent in, and named all coordinators.
    pub(crate) fn welcomed(&mut self, api_addresses: &[String]) {
        self.backoff.reset();
        self.hints_followed = 0;
        self.learn(api_addresses);
    }

    /// A try or a session is over: how long to wait before the next.
    pub(crate) fn failed(&mut self, failure: Option<&Failure>) -> Duration {
        if let Some(Failure::NotLeader { hint: Some(leader), .. }) = failure {
            self.hint = Some(leader.api_address.clone());
            self.hints_followed += 1;
            if self.hints_followed == 1 {
                return Duration::ZERO;
            }
        }
        self.hints_followed = 0;
        self.backoff.next_delay().unwrap_or(RETRY_CAP)
    }
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
        assert_eq!(known.failed(Some(&not_leader(Some("c:1")))), Duration::ZERO);
        assert_eq!([known.target(), known.target(), known.target()], ["c:1", "b:1", "a:1"]);
        known.welcomed(&["a:1".into(), "c:1".into()]);
        assert_eq!([known.target(), known.target(), known.target()], ["b:1", "c:1", "a:1"]);
    }

    #[test]
    fn hints_in_a_circle_are_waited_for() {
        let mut known = Coordinators::new(vec!["a:1".into()], &[]);
        let waits: Vec<Duration> = (0..40).map(|_| known.failed(Some(&not_leader(Some("b:1"))))).collect();
        assert!(waits.iter().filter(|wait| !wait.is_zero()).count() >= 15, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= RETRY_CAP));
    }

    #[test]
    fn those_that_were_learnt_before_the_start_are_asked_as_well() {
        let mut known = Coordinators::new(vec!["a:1".into()], &["a:1".into(), "c:1".into()]);
        assert_eq!([known.target(), known.target(), known.target()], ["a:1", "c:1", "a:1"]);
        known.learn(&["d:1".into()]);
        assert_eq!([known.target(), known.target()], ["d:1", "a:1"]);
    }
}
