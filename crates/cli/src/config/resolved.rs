//! Every key of a role with its value and where that came from.

use std::collections::BTreeMap;
use std::path::Path;

use quorate_runtime::address::Address;
use quorate_runtime::telemetry::LogFormat;

use super::disk_folder::DiskFolder;
use super::key::{Key, Role};
use super::member::{Member, PeerRoute};
use super::origin::Origin;
use super::problem::Problem;
use super::value::Value;

/// What the winning layer says about one key.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The value, or `None` when the winning layer gave something unusable (which is a problem of its own).
    pub(super) value: Option<Value>,
    /// The winning layer.
    pub(super) origin: Origin,
}

/// Every key of a role, as far as it has a value.
#[derive(Debug)]
pub(crate) struct Resolved {
    role: Role,
    settings: BTreeMap<&'static str, Setting>,
}

/// How a process logs; the same for both roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// The filter for log lines.
    pub(crate) level: String,
    /// How they look.
    pub(crate) format: LogFormat,
}

impl Resolved {
    /// What the layers came to.
    pub(super) fn new(role: Role, settings: BTreeMap<&'static str, Setting>) -> Self {
        Self { role, settings }
    }

    /// Whose configuration this is.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Every known key, with its value and origin unless it has none.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'static Key, Option<(&Value, &Origin)>)> {
        self.role.keys().iter().map(|key| (key, self.entry(key.name)))
    }

    fn entry(&self, key: &str) -> Option<(&Value, &Origin)> {
        let setting = self.settings.get(key)?;
        Some((setting.value.as_ref()?, &setting.origin))
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|(value, _)| value)
    }

    /// A problem of the value that `key` has.
    pub(super) fn problem(&self, key: &str, found: String, expected: String, remedy: String) -> Problem {
        let entry = self.entry(key);
        Problem {
            key: key.to_owned(),
            value: entry.map(|(value, _)| value.to_string()),
            origin: entry.map(|(_, origin)| origin.clone()),
            found,
            expected,
            remedy,
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        if let Value::Text(text) = self.value(key)? { Some(text) } else { None }
    }

    pub(super) fn integer(&self, key: &str) -> Option<u64> {
        if let Value::Integer(number) = self.value(key)? { Some(*number) } else { None }
    }

    pub(super) fn switch(&self, key: &str) -> Option<bool> {
        if let Value::Switch(on) = self.value(key)? { Some(*on) } else { None }
    }

    pub(super) fn ppm(&self, key: &str) -> Option<u64> {
        if let Value::Percent { ppm } = self.value(key)? { Some(*ppm) } else { None }
    }

    pub(super) fn address(&self, key: &str) -> Option<&Address> {
        if let Value::Address(address) = self.value(key)? { Some(address) } else { None }
    }

    pub(super) fn path(&self, key: &str) -> Option<&Path> {
        if let Value::Path(path) = self.value(key)? { Some(path) } else { None }
    }

    pub(super) fn addresses(&self, key: &str) -> Option<&[Address]> {
        if let Value::Addresses(list) = self.value(key)? { Some(list) } else { None }
    }

    pub(super) fn members(&self, key: &str) -> Option<&[Member]> {
        if let Value::Members(list) = self.value(key)? { Some(list) } else { None }
    }

    pub(super) fn peer_routes(&self, key: &str) -> Option<&[PeerRoute]> {
        if let Value::PeerRoutes(list) = self.value(key)? { Some(list) } else { None }
    }

    pub(super) fn disks(&self, key: &str) -> Option<&[DiskFolder]> {
        if let Value::Disks(list) = self.value(key)? { Some(list) } else { None }
    }

    pub(super) fn log(&self) -> Option<LogConfig> {
        let level = self.text("log.level")?.to_owned();
        Some(LogConfig { level, format: self.text("log.format")?.parse().ok()? })
    }

    /// Refuses an address that others are told to use when nobody can connect to it.
    pub(super) fn unreachable_advertise(&self, advertise: &str) -> Option<Problem> {
        self.address(advertise).filter(|address| address.is_unspecified())?;
        let key = self.role.key(advertise)?;
        Some(self.problem(
            advertise,
            "nobody can connect to this address".to_owned(),
            "an address at which others reach this node".to_owned(),
            key.how_to_set(),
        ))
    }
}
