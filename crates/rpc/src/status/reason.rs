//! The stable words in `ErrorInfo` that say what a status is about. Refusals add their own codes to these.

/// The domain of every `ErrorInfo` that coordinators and agents send.
pub const DOMAIN: &str = "quorate";

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// Why a request failed, other than by a refusal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $name),+ }

        impl Reason {
            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Reads the word, unless it is a refusal's code.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// Another coordinator leads, and is named.
    NotLeader = "NOT_LEADER",
    /// The one asked hears no leader: there is none at present, or it is cut off from the majority.
    NoLeader = "NO_LEADER",
    /// The leader cannot reach a quorum; nothing was proposed.
    NoQuorum = "NO_QUORUM",
    /// The request was proposed and its outcome is not known.
    OutcomeUnknown = "OUTCOME_UNKNOWN",
    /// The revision asked for is no longer kept.
    Compacted = "COMPACTED",
    /// Too much waits already; nothing was proposed.
    Overloaded = "OVERLOADED",
    /// An agent came too often.
    HeldBack = "HELD_BACK",
    /// There are as many watches as one coordinator serves.
    TooManyWatches = "TOO_MANY_WATCHES",
    /// The revision asked for does not exist yet.
    RevisionAhead = "REVISION_AHEAD",
    /// A field was refused.
    InvalidField = "INVALID_FIELD",
    /// The one asked is stopping; nothing was proposed.
    Stopping = "STOPPING",
    /// Another session of the same host has begun.
    SessionReplaced = "SESSION_REPLACED",
    /// Whoever asks means another cluster than this one.
    OtherCluster = "OTHER_CLUSTER",
    /// The agent belongs to another forming of a cluster of this name, and not to this one.
    OtherFormation = "OTHER_FORMATION",
    /// The group has a guard on this host already.
    Guarded = "GUARDED",
    /// The agent has hooks, or a fence for them, and a group has either those or a guard.
    GuardBesideHooks = "GUARD_BESIDE_HOOKS",
    /// A guard runs on the host of its agent and nowhere else.
    GuardElsewhere = "GUARD_ELSEWHERE",
    /// Whoever says that a guard's service has stopped is no keeper of that guard.
    NoKeeper = "NO_KEEPER",
    /// The other end does not read what it is sent.
    SlowReader = "SLOW_READER",
    /// Something that was waited for did not come in time.
    TooLate = "TOO_LATE",
    /// A fault of the one asked.
    Internal = "INTERNAL",
}

/// Keys of the metadata in `ErrorInfo`.
pub(super) mod key {
    pub(in crate::status) const LEADER_ID: &str = "leader_id";
    pub(in crate::status) const LEADER_API_ADDRESS: &str = "leader_api_address";
    pub(in crate::status) const FIRST_KEPT_REVISION: &str = "first_kept_revision";
    pub(in crate::status) const LAST_REVISION: &str = "last_revision";
    pub(in crate::status) const FIELD: &str = "field";
    pub(in crate::status) const WHAT: &str = "what";
    pub(in crate::status) const ID: &str = "id";
    pub(in crate::status) const REQUEST_ID: &str = "request_id";
    pub(in crate::status) const GROUP: &str = "group";
    pub(in crate::status) const HOST: &str = "host";
    pub(in crate::status) const DISK: &str = "disk";
    pub(in crate::status) const OPERATION: &str = "operation";
    pub(in crate::status) const COORDINATOR: &str = "coordinator";
    pub(in crate::status) const ADDRESS: &str = "address";
    pub(in crate::status) const VOTERS: &str = "voters";
    pub(in crate::status) const HEARD: &str = "heard";
    pub(in crate::status) const LAGGING: &str = "lagging";
    pub(in crate::status) const TERM: &str = "term";
    pub(in crate::status) const HIGHEST: &str = "highest";
    pub(in crate::status) const LIMIT: &str = "limit";
    pub(in crate::status) const COUNT: &str = "count";
    pub(in crate::status) const EPOCH: &str = "epoch";
    pub(in crate::status) const INCARNATION: &str = "incarnation";
    pub(in crate::status) const CLUSTER: &str = "cluster";
    pub(in crate::status) const FORMATION: &str = "formation";
    pub(in crate::status) const WAIT_MS: &str = "wait_ms";
    pub(in crate::status) const WAITED_MS: &str = "waited_ms";
}
