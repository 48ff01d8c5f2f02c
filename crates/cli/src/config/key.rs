//! What a known key is, and which role knows which keys.

use std::fmt;

use super::kind::Kind;
use super::{agent, coordinator};

/// Environment variables begin with this.
pub(super) const VARIABLE_PREFIX: &str = "QUORATE_";

/// A process that is configured by a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// A Raft member.
    Coordinator,
    /// What speaks for a storage host.
    Agent,
}

impl Role {
    /// Every key this role knows, in the order in which it is shown.
    pub(crate) fn keys(self) -> &'static [Key] {
        match self {
            Self::Coordinator => coordinator::KEYS,
            Self::Agent => agent::KEYS,
        }
    }

    /// The key of that dotted name.
    pub(super) fn key(self, name: &str) -> Option<&'static Key> {
        self.keys().iter().find(|key| key.name == name)
    }

    /// The key that says where processes on the same machine reach it.
    pub(super) fn listener(self) -> &'static str {
        match self {
            Self::Coordinator => "listen.api",
            Self::Agent => "listen",
        }
    }

    /// The role that is not this one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Coordinator => Self::Agent,
            Self::Agent => Self::Coordinator,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coordinator => "coordinator",
            Self::Agent => "agent",
        })
    }
}

/// One line of a role's table.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its dotted name.
    pub(crate) name: &'static str,
    /// What values it takes.
    pub(super) kind: Kind,
    /// What holds when nobody sets it.
    pub(super) fallback: Fallback,
    /// One line for people.
    pub(super) doc: &'static str,
}

/// What holds when nobody sets a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// Nothing: it has to be set.
    Required,
    /// This text, read as if it stood in the environment.
    Literal(&'static str),
    /// The value of another key of the same table.
    SameAs(&'static str),
    /// No value, which means something of its own.
    Unset,
}

impl Key {
    /// The environment variable that sets this key.
    pub(crate) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }

    /// How to set this key, for a remedy.
    pub(super) fn how_to_set(&self) -> String {
        format!("set `{}` in the file, {} or --set {}=VALUE", self.name, self.variable(), self.name)
    }
}
