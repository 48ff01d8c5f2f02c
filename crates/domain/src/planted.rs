//! Bugs that are planted on purpose, to prove that the simulation finds them. This module, and every line that asks it,
//! exists only in builds with `--cfg planted`, which no release is.

use std::{cell::Cell, fmt, str::FromStr};

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)+) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug { $($(#[$doc])* $bug,)+ }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$bug,)+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$bug => $name,)+ }
            }
        }
    };
}

bugs! {
    /// A renewal is acknowledged without a round of the quorum.
    NoQuorumRound = "no-quorum-round",
    /// The lease counts from the acknowledgement, not from the sending.
    LeaseFromReceipt = "lease-from-receipt",
    /// A renewal counts although the assignment that it needs is not installed.
    RenewalWithoutAssignment = "renewal-without-assignment",
    /// Another host is promoted after a third of D.
    PromoteBeforeD = "promote-before-d",
    /// The wait D goes on counting over a change of leader.
    WaitKeptAcrossLeaders = "wait-kept-across-leaders",
    /// Epochs are not compared.
    NoEpochCheck = "no-epoch-check",
    /// Hosts that are not online, or whose disk has failed, are promoted.
    PromoteUnfit = "promote-unfit",
    /// A member whose disk was replaced, or not read since a restart, is promoted.
    BlankDiskEligible = "blank-disk-eligible",
    /// A restarted agent goes on under the epoch that it had.
    ActAfterRestart = "act-after-restart",
    /// An agent says that it released while a process may still believe in its answer.
    ReleaseWhileTold = "release-while-told",
    /// Snapshots lack the table of requests.
    SnapshotWithoutRequests = "snapshot-without-requests",
    /// Folding an event depends on the order of a hash map.
    MapOrder = "map-order",
    /// Two starts of an agent that count alike are taken for one.
    StartsShareNumber = "starts-share-number",
    /// An agent takes whoever held an epoch for its own, dead predecessor.
    PredecessorAssumed = "predecessor-assumed",
    /// An agent counts a demotion that failed as a release.
    FailedDemotionReleases = "failed-demotion-releases",
    /// An agent counts a guard that gives no word as one whose service has stopped.
    SilentGuardReleases = "silent-guard-releases",
    /// A guard takes what hides itself for nothing of its group's, although it is not known what an earlier one has left.
    HiddenCountsAsGone = "hidden-counts-as-gone",
    /// A guard is told of an epoch before it is on disk that it is.
    GuardToldBeforeDisk = "guard-told-before-disk",
    /// D does not cover the demotion that a host allows itself.
    WaitWithoutHooks = "wait-without-hooks",
    /// The warden ends services long after their deadline.
    WardenAfterD = "warden-after-d",
    /// An open session counts as contact, although no renewal counts.
    ContactWithoutRenewal = "contact-without-renewal",
    /// A coordinator that was cut off from the quorum takes that for an outage of it.
    OutageOfOne = "outage-of-one",
    /// A copy of a coordinator's data folder speaks for its node.
    CloneCounted = "clone-counted",
    /// Coordinators get or lose votes although those that shall vote have no quorum.
    NoQuorumCheckOfMembers = "no-quorum-check-of-members",
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().find(|bug| bug.name() == text).copied();
        found.ok_or_else(|| format!("there is no bug {text:?}; there are {}", names()))
    }
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    static SHUFFLES: Cell<u64> = const { Cell::new(0) };
}

/// Plants a bug in everything that this thread runs from now on, in place of an earlier one.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
    SHUFFLES.set(0);
}

/// True when this bug is planted.
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Puts things into an order that no other call gives, as iterating over a hash map would.
pub fn shuffle<T>(things: &mut [T]) {
    let turn = SHUFFLES.get();
    SHUFFLES.set(turn.wrapping_add(1));
    if !things.is_empty() {
        let by = usize::try_from(turn % things.len() as u64).unwrap_or(0);
        things.rotate_left(by);
    }
}
