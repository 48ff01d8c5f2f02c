//! Who wanted a change, and what it rests on.

use crate::ids::{HostId, RequestId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who wanted a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A person or a program, under a request id.
    Operator {
        /// The id that makes a retry harmless.
        request_id: RequestId,
    },
    /// A rule of a planner.
    Planner {
        /// Its name, such as `failover/host-suspect`.
        rule: String,
    },
    /// A host's agent, about itself.
    Agent {
        /// The host.
        host: HostId,
    },
    /// The coordinators themselves, when the cluster is formed.
    Cluster,
}

impl Cause {
    /// The request id, when there is one.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Operator { request_id } => Some(request_id),
            _ => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { request_id } => write!(f, "operator ({request_id})"),
            Self::Planner { rule } => write!(f, "rule {rule}"),
            Self::Agent { host } => write!(f, "agent of {host}"),
            Self::Cluster => f.write_str("cluster"),
        }
    }
}

/// One observation that a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was looked at, such as `last_contact_ms`.
    pub what: String,
    /// What was seen.
    pub observed: String,
    /// What it was held against; empty when it is a plain fact.
    pub threshold: String,
    /// Who saw it, such as `leader 2`.
    pub source: String,
}

impl Evidence {
    /// An observation held against a threshold.
    pub fn new(
        what: impl Into<String>,
        observed: impl fmt::Display,
        threshold: impl fmt::Display,
        source: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            observed: observed.to_string(),
            threshold: threshold.to_string(),
            source: source.into(),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.what, self.observed)?;
        if !self.threshold.is_empty() {
            write!(f, " (threshold {})", self.threshold)?;
        }
        if !self.source.is_empty() {
            write!(f, " by {}", self.source)?;
        }
        Ok(())
    }
}
