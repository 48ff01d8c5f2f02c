//! Values that have a form of their own on the command line.

use std::str::FromStr;
use std::time::Duration;

/// A member of a group: `HOST` or `HOST/DISK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberSpec {
    /// The host.
    pub(crate) host: String,
    /// The disk, or empty for the host's only one.
    pub(crate) disk: String,
}

impl FromStr for MemberSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((host, disk)) = text.split_once('/') else {
            return if text.is_empty() {
                Err("the host is missing; write HOST or HOST/DISK".to_owned())
            } else {
                Ok(Self { host: text.to_owned(), disk: String::new() })
            };
        };
        two_names(host, disk).map_err(|problem| format!("{problem}; write HOST or HOST/DISK"))?;
        Ok(Self { host: host.to_owned(), disk: disk.to_owned() })
    }
}

/// A disk: `HOST/DISK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskSpec {
    /// The host.
    pub(crate) host: String,
    /// The name of the disk on that host.
    pub(crate) name: String,
}

impl FromStr for DiskSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, name) =
            text.split_once('/').ok_or("there is no `/` between host and disk; write HOST/DISK")?;
        two_names(host, name).map_err(|problem| format!("{problem}; write HOST/DISK"))?;
        Ok(Self { host: host.to_owned(), name: name.to_owned() })
    }
}

fn two_names(host: &str, disk: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("the host is missing");
    }
    if disk.is_empty() {
        return Err("the disk is missing");
    }
    if disk.contains('/') {
        return Err("there is more than one `/`");
    }
    Ok(())
}

/// A label: `KEY=VALUE`, where the value may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    /// Its key.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None => Err("there is no `=`; write KEY=VALUE".to_owned()),
            Some(("", _)) => Err("the key is missing; write KEY=VALUE".to_owned()),
            Some((key, value)) => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
        }
    }
}

/// The longest time that a verb waits, in seconds: a day.
const SECONDS_MAX: f64 = 86_400.0;

/// Reads a time in seconds, such as `10` or `0.5`.
///
/// # Errors
/// What would have been accepted.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= SECONDS_MAX);
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration
        .filter(|duration| duration.as_millis() > 0)
        .ok_or_else(|| format!("use a number of seconds from 0.001 to {SECONDS_MAX}"))
}
