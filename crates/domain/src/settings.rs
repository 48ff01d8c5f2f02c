//! Replicated settings, and the arithmetic that keeps leases safe.

use serde::{Deserialize, Serialize};

/// Parts per million in one.
const PPM: u64 = 1_000_000;

/// How leases and waits are sized (DESIGN section 5). All coordinators and agents use the same replicated values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseSettings {
    /// H: an agent renews this often.
    pub heartbeat_ms: u64,
    /// T: a renewal is good for this long on the agent's clock, from the moment it was sent.
    pub lease_ms: u64,
    /// A primary takes no new writes from this age of its lease on.
    pub write_stop_ms: u64,
    /// D: the coordinators wait this long after a revoke before they promote another host.
    pub wait_ms: u64,
    /// Rho: the largest error of a clock's rate, in parts per million.
    pub clock_error_ppm: u64,
    /// What D must exceed the longest lease by.
    pub margin_ms: u64,
    /// A host is suspect after this many heartbeats did not come.
    pub suspect_after_heartbeats: u64,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            heartbeat_ms: 1_000,
            lease_ms: 6_000,
            write_stop_ms: 5_000,
            wait_ms: 7_500,
            clock_error_ppm: 10_000,
            margin_ms: 500,
            suspect_after_heartbeats: 3,
        }
    }
}

/// A setting that would not be safe, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {remedy}")]
pub struct UnsafeSetting {
    /// The setting at fault, such as `lease.wait_ms`.
    pub field: &'static str,
    /// What is wrong, with the numbers.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl LeaseSettings {
    /// The longest that a lease of T can last on a true clock, seen from a coordinator whose own clock is as wrong as
    /// allowed: `T * (1 + rho) / (1 - rho)`, rounded up.
    pub fn longest_lease_ms(&self) -> u64 {
        self.longest_ms(self.lease_ms)
    }

    /// The longest that something can last on a coordinator's clock that takes `ms` on a host's.
    pub fn longest_ms(&self, ms: u64) -> u64 {
        let rho = self.clock_error_ppm.min(PPM - 1);
        let scaled = u128::from(ms) * u128::from(PPM + rho);
        u64::try_from(scaled.div_ceil(u128::from(PPM - rho))).unwrap_or(u64::MAX)
    }

    /// D for a host that allows a demotion to take this long after its lease (rule 11): before that nobody else is promoted
    /// unless the host says that its service has stopped.
    pub fn wait_for_ms(&self, demotion_ms: u64) -> u64 {
        #[cfg(planted)]
        if crate::planted::is(crate::planted::Bug::WaitWithoutHooks) {
            return self.wait_ms;
        }
        self.wait_ms.saturating_add(self.longest_ms(demotion_ms))
    }

    /// How long a new primary in contact may take to act, where another host could follow it: twice as long as D for what it
    /// must be told, renewed and store, and then for its promote hook. Its agent ends a hook by itself; this is for one that
    /// cannot.
    pub fn start_limit_ms(&self, promotion_ms: u64) -> u64 {
        self.wait_ms.saturating_mul(2).saturating_add(self.longest_ms(promotion_ms))
    }

    /// The longest time without a leader that does not end leases which were about to be renewed.
    pub fn longest_election_allowed_ms(&self) -> u64 {
        self.lease_ms.saturating_sub(self.heartbeat_ms.saturating_mul(2))
    }

    /// Every setting by its key, as it is configured.
    fn by_key(&self) -> [(&'static str, String); 7] {
        let number = |number: u64| number.to_string();
        let (percent, rest) = (self.clock_error_ppm / 10_000, self.clock_error_ppm % 10_000);
        [
            ("lease.heartbeat_ms", number(self.heartbeat_ms)),
            ("lease.lease_ms", number(self.lease_ms)),
            ("lease.write_stop_ms", number(self.write_stop_ms)),
            ("lease.wait_ms", number(self.wait_ms)),
            ("lease.clock_error_percent", format!("{percent}.{rest:04}")),
            ("lease.margin_ms", number(self.margin_ms)),
            ("lease.suspect_after_heartbeats", number(self.suspect_after_heartbeats)),
        ]
    }

    /// The settings that differ: the key, the value here, and the value there.
    pub fn differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        let both = self.by_key().into_iter().zip(other.by_key());
        both.filter(|((_, here), (_, there))| here != there)
            .map(|((key, here), (_, there))| (key, here, there))
            .collect()
    }

    /// No heartbeat for this long makes a host suspect.
    pub fn suspect_after_ms(&self) -> u64 {
        self.heartbeat_ms.saturating_mul(self.suspect_after_heartbeats)
    }

    /// Every rule that these settings break; empty when they are safe.
    ///
    /// `longest_election_ms` is how long the coordinators may be without a leader when one dies.
    pub fn problems(&self, longest_election_ms: u64) -> Vec<UnsafeSetting> {
        let mut found = Vec::new();
        let mut refuse = |field, problem: String, remedy: String| {
            found.push(UnsafeSetting { field, problem, remedy });
        };
        if self.heartbeat_ms == 0 {
            refuse("lease.heartbeat_ms", "is 0".into(), "set it to at least 1".into());
        }
        if self.suspect_after_heartbeats < 2 {
            refuse(
                "lease.suspect_after_heartbeats",
                format!("is {}, so one late heartbeat would start a failover", self.suspect_after_heartbeats),
                "set it to at least 2".into(),
            );
        }
        if self.clock_error_ppm > 100_000 {
            refuse(
                "lease.clock_error_percent",
                format!("is {} ppm, more than 10 %", self.clock_error_ppm),
                "repair the clocks instead".into(),
            );
        }
        if self.write_stop_ms >= self.lease_ms {
            refuse(
                "lease.write_stop_ms",
                format!("is {} and not below lease.lease_ms ({})", self.write_stop_ms, self.lease_ms),
                "writes must stop before the lease ends: lower it".into(),
            );
        }
        if self.suspect_after_ms() > self.lease_ms {
            refuse(
                "lease.suspect_after_heartbeats",
                format!(
                    "{} heartbeats of {} ms are longer than lease.lease_ms ({})",
                    self.suspect_after_heartbeats, self.heartbeat_ms, self.lease_ms
                ),
                "lower lease.heartbeat_ms or raise lease.lease_ms".into(),
            );
        }
        let least_wait = self.longest_lease_ms().saturating_add(self.margin_ms);
        if self.wait_ms < least_wait {
            refuse(
                "lease.wait_ms",
                format!(
                    "D = {} ms is less than T * (1 + rho) / (1 - rho) + margin = {least_wait} ms: two primaries could act at once",
                    self.wait_ms
                ),
                format!("raise lease.wait_ms to at least {least_wait} or lower lease.lease_ms"),
            );
        }
        let least_lease = self.heartbeat_ms.saturating_mul(2).saturating_add(longest_election_ms);
        if self.lease_ms < least_lease {
            refuse(
                "lease.lease_ms",
                format!(
                    "T = {} ms is less than heartbeat + longest election + retry = {least_lease} ms: every election would fence every host",
                    self.lease_ms
                ),
                format!("raise lease.lease_ms to at least {least_lease} or shorten raft.election_max_ms"),
            );
        }
        found
    }
}

/// Everything about the cluster that can be set and that all members must agree on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Leases and waits.
    pub lease: LeaseSettings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_safe() {
        assert_eq!(LeaseSettings::default().problems(1_600), []);
        assert_eq!(LeaseSettings::default().longest_lease_ms(), 6_122);
    }

    #[test]
    fn each_rule_names_its_field_when_broken() {
        let good = LeaseSettings::default;
        let table: Vec<(LeaseSettings, &str)> = vec![
            (LeaseSettings { wait_ms: 6_621, ..good() }, "lease.wait_ms"),
            (
                LeaseSettings { clock_error_ppm: 100_001, wait_ms: 60_000, ..good() },
                "lease.clock_error_percent",
            ),
            (LeaseSettings { write_stop_ms: 6_000, ..good() }, "lease.write_stop_ms"),
            (LeaseSettings { lease_ms: 3_500, write_stop_ms: 3_000, ..good() }, "lease.lease_ms"),
            (LeaseSettings { suspect_after_heartbeats: 1, ..good() }, "lease.suspect_after_heartbeats"),
            (LeaseSettings { suspect_after_heartbeats: 7, ..good() }, "lease.suspect_after_heartbeats"),
            (LeaseSettings { heartbeat_ms: 0, ..good() }, "lease.heartbeat_ms"),
        ];
        for (settings, field) in table {
            let fields: Vec<_> = settings.problems(1_600).iter().map(|problem| problem.field).collect();
            assert_eq!(fields, [field], "{settings:?}");
        }
    }

    #[test]
    fn each_setting_that_differs_is_named_with_both_values() {
        let good = LeaseSettings::default;
        let table: Vec<(LeaseSettings, &str, &str, &str)> = vec![
            (LeaseSettings { heartbeat_ms: 900, ..good() }, "lease.heartbeat_ms", "900", "1000"),
            (LeaseSettings { lease_ms: 6_001, ..good() }, "lease.lease_ms", "6001", "6000"),
            (LeaseSettings { write_stop_ms: 4_000, ..good() }, "lease.write_stop_ms", "4000", "5000"),
            (LeaseSettings { wait_ms: 9_000, ..good() }, "lease.wait_ms", "9000", "7500"),
            (
                LeaseSettings { clock_error_ppm: 20_500, ..good() },
                "lease.clock_error_percent",
                "2.0500",
                "1.0000",
            ),
            (LeaseSettings { margin_ms: 501, ..good() }, "lease.margin_ms", "501", "500"),
            (
                LeaseSettings { suspect_after_heartbeats: 4, ..good() },
                "lease.suspect_after_heartbeats",
                "4",
                "3",
            ),
        ];
        for (settings, key, here, there) in table {
            assert_eq!(settings.differences(&good()), [(key, here.to_owned(), there.to_owned())]);
        }
        assert_eq!(good().differences(&good()), []);
    }

    #[test]
    fn the_longest_election_is_allowed_exactly_up_to_the_bound() {
        let settings = LeaseSettings::default();
        let longest_ms = settings.longest_election_allowed_ms();
        assert_eq!(settings.problems(longest_ms), []);
        assert_eq!(settings.problems(longest_ms + 1).len(), 1);
    }

    #[test]
    fn the_least_wait_is_accepted_exactly_at_the_bound() {
        assert_eq!(LeaseSettings { wait_ms: 6_622, ..LeaseSettings::default() }.problems(1_600), []);
    }
}
