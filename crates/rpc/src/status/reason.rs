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

            /// Reads the word, unless it is a refusal's code.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// Another coordinator leads, or none.
    NotLeader = "NOT_LEADER",
    /// The leader cannot reach a quorum; nothing was proposed.
    NoQuorum = "NO_QUORUM",
    /// The request was proposed and its outcome is not known.
    OutcomeUnknown = "OUTCOME_UNKNOWN",
    /// The revision asked for is no longer kept.
    Compacted = "COMPACTED",
    /// Too much waits already; nothing was proposed.
    Overloaded = "OVERLOADED",
    /// A field was refused.
    InvalidField = "INVALID_FIELD",
    /// A fault of the coordinator.
    Internal = "INTERNAL",
}

/// Keys of the metadata in `ErrorInfo`.
pub(super) mod key {
    pub(in crate::status) const LEADER_ID: &str = "leader_id";
    pub(in crate::status) const LEADER_API_ADDRESS: &str = "leader_api_address";
    pub(in crate::status) const FIRST_KEPT_REVISION: &str = "first_kept_revision";
    pub(in crate::status) const FIELD: &str = "field";
    pub(in crate::status) const WHAT: &str = "what";
    pub(in crate::status) const ID: &str = "id";
    pub(in crate::status) const REQUEST_ID: &str = "request_id";
}
