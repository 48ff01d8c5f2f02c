//! What a test cluster is made of.

use crate::timing::Timing;
use std::path::PathBuf;

/// What a test cluster is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many coordinators: 1 to 5.
    pub coordinators: u64,
    /// How many hosts, each with one disk `d1`, in zones `za`, `zb` and `zc` by turns.
    pub agents: u64,
    /// Its times.
    pub timing: Timing,
    /// The largest message that coordinators take.
    pub max_message_bytes: u64,
    /// Whether coordinators reach each other, and agents reach them, through links that can be cut. Clients of the
    /// test are given the direct addresses.
    pub linked: bool,
    /// The program of `quorate-faulty`, when coordinators are to run on disks that break as they are told.
    pub faulty_program: Option<PathBuf>,
    /// Entries after which a coordinator takes a snapshot, where it is not as many as by default.
    pub snapshot_every: Option<u64>,
    /// Whether processes log what happens to them, or only what is wrong.
    pub log_level: &'static str,
    /// Whether no other cluster may run meanwhile.
    pub alone: bool,
    /// Whether the folder stays when the test fails, as it does for `QUORATE_TEST_KEEP`.
    pub keep_on_failure: bool,
}

impl Plan {
    /// Three coordinators and some hosts with short times.
    pub fn with_agents(agents: u64) -> Self {
        Self {
            coordinators: 3,
            agents,
            timing: Timing::short(),
            max_message_bytes: 4 << 20,
            linked: false,
            faulty_program: None,
            snapshot_every: None,
            log_level: "info,openraft=warn",
            alone: false,
            keep_on_failure: false,
        }
    }
}
