//! How fast a test cluster ticks.

use anyhow::{Result, ensure};
use quorate_domain::settings::LeaseSettings;
use std::time::Duration;

/// The times that a test cluster is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Raft's heartbeat.
    pub raft_heartbeat_ms: u64,
    /// The shortest election timeout.
    pub election_min_ms: u64,
    /// The longest election timeout.
    pub election_max_ms: u64,
    /// H, T, D and their kin.
    pub lease: LeaseSettings,
    /// How often an agent tries its disks.
    pub probe_interval_ms: u64,
    /// How long a try of a disk may take.
    pub probe_timeout_ms: u64,
}

impl Timing {
    /// As short as the safety formula allows with room for a busy machine of two cores.
    pub fn short() -> Self {
        Self {
            raft_heartbeat_ms: 50,
            election_min_ms: 150,
            election_max_ms: 300,
            lease: LeaseSettings {
                heartbeat_ms: 200,
                lease_ms: 2_000,
                write_stop_ms: 1_600,
                wait_ms: 2_700,
                clock_error_ppm: 10_000,
                margin_ms: 500,
                suspect_after_heartbeats: 3,
            },
            probe_interval_ms: 500,
            probe_timeout_ms: 2_000,
        }
    }

    /// Raft as the product has it, and leases as short as that allows: for clusters under load, where an election of a
    /// fraction of a second would be the scheduler's doing.
    pub fn steady() -> Self {
        Self {
            raft_heartbeat_ms: 100,
            election_min_ms: 500,
            election_max_ms: 800,
            lease: LeaseSettings {
                heartbeat_ms: 250,
                lease_ms: 2_500,
                write_stop_ms: 2_100,
                wait_ms: 3_200,
                ..Self::short().lease
            },
            ..Self::short()
        }
    }

    /// The product's defaults.
    pub fn default_of_the_product() -> Self {
        Self {
            raft_heartbeat_ms: 100,
            election_min_ms: 500,
            election_max_ms: 800,
            lease: LeaseSettings::default(),
            probe_interval_ms: 10_000,
            probe_timeout_ms: 5_000,
        }
    }

    /// The longest election timeout.
    pub fn election_max(&self) -> Duration {
        Duration::from_millis(self.election_max_ms)
    }

    /// T.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease.lease_ms)
    }

    /// D.
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.lease.wait_ms)
    }

    /// Refuses times that the product would refuse.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn check(&self) -> Result<()> {
        let problems = self.lease.problems(self.election_max_ms * 2);
        ensure!(problems.is_empty(), "the timing of the test is not safe: {}", problems[0]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timings_of_tests_and_benches_are_safe() {
        Timing::short().check().unwrap();
        Timing::steady().check().unwrap();
        Timing::default_of_the_product().check().unwrap();
    }
}
