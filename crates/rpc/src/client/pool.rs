//! The connections of a client: those that it was given and those that it learned by hints.

use crate::{
    field::InvalidField,
    transport::{endpoint, parse_endpoint},
};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// The members are asked for no more often than this while all goes well.
const MEMBERS_REST: Duration = Duration::from_secs(10);
/// And no more often than this when somebody was not reached or did not lead.
const DOUBTS_REST: Duration = Duration::from_secs(1);
/// The most coordinators that are remembered from hints; a cluster has five.
const LEARNED_MAX: usize = 8;

/// A coordinator and the connection to it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// As `host:port`.
    pub(super) address: String,
    /// Shared by all calls.
    pub(super) channel: Channel,
}

/// All connections, and who is believed to lead.
#[derive(Debug)]
pub(super) struct Pool {
    targets: Vec<Target>,
    /// The first of them were given and are never forgotten.
    given: usize,
    /// Where the next call begins.
    current: usize,
    /// False when only those that were given may be asked.
    learns: bool,
    /// When the members were last asked for.
    asked_at: Instant,
    /// Somebody was not reached or did not lead: the members may have changed.
    doubts: bool,
}

impl Pool {
    pub(super) fn new<E: AsRef<str>>(endpoints: impl IntoIterator<Item = E>) -> Result<Self, InvalidField> {
        let mut targets: Vec<Target> = Vec::new();
        for text in endpoints {
            let target = connect(text.as_ref())?;
            if targets.iter().all(|known| known.address != target.address) {
                targets.push(target);
            }
        }
        if targets.is_empty() {
            return Err(InvalidField::required("endpoint", "name at least one coordinator as host:port"));
        }
        let given = targets.len();
        Ok(Self { targets, given, current: 0, learns: true, asked_at: Instant::now(), doubts: false })
    }

    /// The believed leader, or whoever comes after it and was not tried yet.
    pub(super) fn pick(&self, tried: &[String]) -> Option<Target> {
        let (before, from) = self.targets.split_at(self.current);
        from.iter().chain(before).find(|target| !tried.contains(&target.address)).cloned()
    }

    /// How many there are beside those that were tried.
    pub(super) fn count_unasked(&self, tried: &[String]) -> usize {
        self.targets.iter().filter(|target| !tried.contains(&target.address)).count()
    }

    /// Believes a hint. False when it is not an address.
    pub(super) fn follow(&mut self, hint: &str) -> bool {
        let Ok(address) = parse_endpoint(hint) else { return false };
        if self.prefer(&address) {
            return true;
        }
        let Ok(target) = connect(&address) else { return false };
        if self.targets.len() >= self.given + LEARNED_MAX {
            self.targets.remove(self.given);
        }
        self.targets.push(target);
        self.current = self.targets.len() - 1;
        true
    }

    /// Asks nobody but those that were given, unless they hint at others.
    pub(super) fn learn_nothing(&mut self) {
        self.learns = false;
    }

    /// Somebody was not reached or did not lead.
    pub(super) fn doubt(&mut self) {
        self.doubts = true;
    }

    /// True when it is time to ask for the members; it is then taken as asked.
    pub(super) fn wants_members(&mut self) -> bool {
        let rest = if self.doubts { DOUBTS_REST } else { MEMBERS_REST };
        let wants = self.learns && self.asked_at.elapsed() >= rest;
        if wants {
            self.asked_at = Instant::now();
            self.doubts = false;
        }
        wants
    }

    /// Those of the members that it has no connection to.
    pub(super) fn strangers(&self, members: &[String]) -> Vec<Target> {
        let known = |target: &Target| self.targets.iter().any(|other| other.address == target.address);
        members.iter().filter_map(|text| connect(text).ok()).filter(|target| !known(target)).collect()
    }

    /// Takes the members in beside those that were given, as far as they were known or have been reached, and forgets
    /// those that it had learned before. The addresses by which coordinators know each other may mean nothing here, as
    /// those of containers do: whoever was never reached must not make the outcome of a change doubtful.
    pub(super) fn learn(&mut self, members: &[String], reached: &[Target]) {
        let current = self.targets.get(self.current).map(|target| target.address.clone());
        let mut learned: Vec<Target> = Vec::new();
        for address in members.iter().filter_map(|text| parse_endpoint(text).ok()) {
            let known = self.targets.iter().position(|target| target.address == address);
            let target = match known {
                Some(place) if place < self.given => continue,
                Some(place) => Some(self.targets[place].clone()),
                None => reached.iter().find(|target| target.address == address).cloned(),
            };
            learned.extend(target);
        }
        learned.truncate(LEARNED_MAX);
        self.targets.truncate(self.given);
        self.targets.extend(learned);
        let place = self.targets.iter().position(|target| Some(&target.address) == current.as_ref());
        self.current = place.unwrap_or(0);
    }

    /// Begins here from now on, if it is known.
    pub(super) fn prefer(&mut self, address: &str) -> bool {
        let place = self.targets.iter().position(|target| target.address == address);
        self.current = place.unwrap_or(self.current);
        place.is_some()
    }

    /// No longer begins here.
    pub(super) fn leave(&mut self, address: &str) {
        if self.targets.get(self.current).is_some_and(|target| target.address == address) {
            self.current = (self.current + 1) % self.targets.len();
        }
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.targets.iter().map(|target| target.address.clone()).collect()
    }
}

fn connect(text: &str) -> Result<Target, InvalidField> {
    Ok(Target { address: parse_endpoint(text)?, channel: endpoint(text)?.connect_lazy() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(pool: &Pool, tried: &[&str]) -> Option<String> {
        let tried: Vec<_> = tried.iter().map(ToString::to_string).collect();
        pool.pick(&tried).map(|target| target.address)
    }

    #[tokio::test]
    async fn goes_round_from_the_believed_leader_and_ends_when_all_were_tried() {
        let mut pool = Pool::new(["a:1", "b:1", "c:1"]).unwrap();
        assert!(pool.follow("b:1"));
        assert_eq!(picked(&pool, &[]).as_deref(), Some("b:1"));
        assert_eq!(picked(&pool, &["b:1"]).as_deref(), Some("c:1"));
        assert_eq!(picked(&pool, &["b:1", "c:1"]).as_deref(), Some("a:1"));
        assert_eq!(picked(&pool, &["b:1", "c:1", "a:1"]), None);
        pool.leave("b:1");
        assert_eq!(picked(&pool, &[]).as_deref(), Some("c:1"));
        pool.leave("b:1");
        assert_eq!(picked(&pool, &[]).as_deref(), Some("c:1"));
    }

    #[tokio::test]
    async fn learned_coordinators_stay_bounded_and_never_displace_given_ones() {
        let mut pool = Pool::new(["a:1", "a:1", "http://b:1"]).unwrap();
        for port in 1..100 {
            assert!(pool.follow(&format!("learned:{port}")));
            assert_eq!(picked(&pool, &[]), Some(format!("learned:{port}")));
        }
        let addresses = pool.addresses();
        assert_eq!(addresses.len(), 2 + LEARNED_MAX);
        assert_eq!(addresses[..2], ["a:1", "b:1"]);
        assert!(!pool.follow("not an address"));
    }

    #[tokio::test]
    async fn members_take_the_place_of_what_was_learned_before_and_never_of_what_was_given() {
        let mut pool = Pool::new(["a:1", "b:1"]).unwrap();
        let members = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let first = members(&["a:1", "c:1", "d:1", "nonsense"]);
        let reached = pool.strangers(&first);
        assert_eq!(reached.iter().map(|target| target.address.as_str()).collect::<Vec<_>>(), ["c:1", "d:1"]);
        pool.learn(&first, &reached);
        assert_eq!(pool.addresses(), ["a:1", "b:1", "c:1", "d:1"]);
        assert!(pool.prefer("d:1"));
        let second = members(&["d:1", "e:1", "never-reached:1"]);
        let reached = pool.strangers(&second);
        pool.learn(&second, &reached[..1]);
        assert_eq!(pool.addresses(), ["a:1", "b:1", "d:1", "e:1"]);
        assert_eq!(picked(&pool, &[]).as_deref(), Some("d:1"));
        pool.learn(&members(&["e:1"]), &[]);
        assert_eq!(picked(&pool, &[]).as_deref(), Some("a:1"));
    }

    #[tokio::test]
    async fn refuses_to_be_a_client_of_nobody() {
        assert_eq!(Pool::new([""; 0]).unwrap_err().field, "endpoint");
    }
}
