//! What values a key takes, and how they are read from text (environment, flags) and from TOML.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use quorate_domain::ids::ClusterId;
use quorate_runtime::address::Address;
use quorate_runtime::telemetry::{self, LogFormat};
use toml::de::{DeTable, DeValue};

use super::disk_folder::{DiskFolder, disk_conflicts};
use super::member::{member_conflicts, route_conflicts};
use super::value::{Value, parse_percent};

/// The longest duration that a key takes.
pub(crate) const LONGEST_MS: u64 = 86_400_000;

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name of a cluster, host, zone.
    Name,
    /// A whole number.
    Integer {
        /// What it counts, in the plural; empty when it is no count.
        unit: &'static str,
        /// The least that makes sense.
        min: u64,
        /// The most that makes sense.
        max: u64,
    },
    /// A share in percent, below 100.
    Percent,
    /// `host:port`.
    Address,
    /// A file or folder.
    Path,
    /// A program to run, by its absolute path.
    Program,
    /// A filter for log lines.
    LogLevel,
    /// How log lines look.
    LogFormat,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Yes or no.
    Switch,
    /// One or more of `host:port`.
    Addresses,
    /// The coordinators of a cluster.
    Members,
    /// Ways to peers, possibly none.
    PeerRoutes,
    /// The disks of a host.
    Disks,
}

impl Kind {
    /// A duration of 1 ms to a day: longer ones are slips, and short of every overflow.
    pub(super) const MILLISECONDS: Self = Self::Integer { unit: "milliseconds", min: 1, max: LONGEST_MS };

    /// Reads a value from an environment variable, a flag or the table of defaults.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read_text(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Addresses | Self::Members | Self::PeerRoutes | Self::Disks => {
                let listed = text.split(',').map(str::trim);
                let items = if text.trim().is_empty() { Vec::new() } else { listed.collect() };
                self.read_list(&items)
            }
            _ => self.read_scalar(text),
        }
    }

    /// Reads a value from the configuration file, where a number in quotes is not a number.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read_toml(self, value: &DeValue<'_>) -> Result<Value, String> {
        match (self, value) {
            (Self::Integer { .. }, DeValue::Integer(number)) => {
                let negative = number.as_str().starts_with('-');
                match u64::from_str_radix(number.as_str().trim_start_matches('+'), number.radix()) {
                    Ok(number) => self.in_range(number),
                    Err(_) if negative => Err("this is a negative number".to_owned()),
                    Err(_) => Err("this number is too large".to_owned()),
                }
            }
            (Self::Switch, DeValue::Boolean(on)) => Ok(Value::Switch(*on)),
            (Self::Percent, DeValue::Float(number)) => self.read_scalar(number.as_str()),
            (Self::Percent, DeValue::Integer(number)) => self.read_scalar(number.as_str()),
            (Self::Disks, DeValue::Array(items)) => read_disks(items.iter().map(toml::Spanned::get_ref)),
            (Self::Addresses | Self::Members | Self::PeerRoutes, DeValue::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
                match texts {
                    Some(texts) => self.read_list(&texts),
                    None => Err("the list holds something other than strings".to_owned()),
                }
            }
            (
                Self::Name
                | Self::Address
                | Self::Path
                | Self::Program
                | Self::LogLevel
                | Self::LogFormat
                | Self::OneOf(_),
                DeValue::String(text),
            ) => self.read_scalar(text),
            _ => Err(format!("this is {}", type_name(value))),
        }
    }

    fn read_scalar(self, text: &str) -> Result<Value, String> {
        let owned = || Value::Text(text.to_owned());
        match self {
            Self::Name => ClusterId::new(text).map(|_| owned()).map_err(|_| "this is not a name".to_owned()),
            Self::Integer { .. } => match text.parse() {
                Ok(number) => self.in_range(number),
                Err(_) => Err("this is not a whole number".to_owned()),
            },
            Self::Percent => match parse_percent(text) {
                Some(Value::Percent { ppm }) if ppm < 1_000_000 => Ok(Value::Percent { ppm }),
                Some(_) => Err("this is 100 % or more".to_owned()),
                None => Err("this is not a number with at most four decimals".to_owned()),
            },
            Self::Address => text
                .parse()
                .map(Value::Address)
                .map_err(|error: <Address as FromStr>::Err| format!("this is not an address: {error}")),
            Self::Path if text.is_empty() => Err("this path is empty".to_owned()),
            Self::Program if !text.starts_with('/') => Err("this is not an absolute path".to_owned()),
            Self::Path | Self::Program => Ok(Value::Path(PathBuf::from(text))),
            Self::LogLevel => telemetry::check_filter(text).map(|()| owned()).map_err(|error| match error {
                telemetry::TelemetryError::BadFilter { reason, .. } => reason,
                other => other.to_string(),
            }),
            Self::LogFormat => {
                text.parse::<LogFormat>().map(|_| owned()).map_err(|_| "there is no such format".to_owned())
            }
            Self::OneOf(words) if words.contains(&text) => Ok(owned()),
            Self::OneOf(_) => Err("this is none of them".to_owned()),
            Self::Switch => {
                text.parse().map(Value::Switch).map_err(|_| "this is neither true nor false".to_owned())
            }
            Self::Addresses | Self::Members | Self::PeerRoutes | Self::Disks => self.read_list(&[text]),
        }
    }

    fn read_list(self, items: &[&str]) -> Result<Value, String> {
        match self {
            Self::Members => list(items, Value::Members, |members| member_conflicts(members)),
            Self::PeerRoutes if items.is_empty() => Ok(Value::PeerRoutes(Vec::new())),
            Self::PeerRoutes => list(items, Value::PeerRoutes, |routes| route_conflicts(routes)),
            Self::Disks => list(items, Value::Disks, |disks| disk_conflicts(disks)),
            _ => list(items, Value::Addresses, |addresses| address_conflicts(addresses)),
        }
    }

    fn in_range(self, number: u64) -> Result<Value, String> {
        match self {
            Self::Integer { min, .. } if number < min => Err(format!("this is less than {min}")),
            Self::Integer { max, .. } if number > max => Err(format!("this is more than {max}")),
            _ => Ok(Value::Integer(number)),
        }
    }
}

/// What is expected, to follow "expected" in a message and to stand in the reference.
impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneOf(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                return f.write_str(&words.join(" or "));
            }
            Self::Switch => "`true` or `false`",
            Self::Integer { unit: "", min, max } => return write!(f, "a whole number from {min} to {max}"),
            Self::Integer { unit, min, max } => {
                return write!(f, "a whole number of {unit} from {min} to {max}");
            }
            Self::Name => {
                "a name: 1 to 63 characters of a-z, A-Z, 0-9, `.`, `_` and `-`, beginning with a letter or digit"
            }
            Self::Percent => "a number of percent from 0 to below 100 with at most four decimals",
            Self::Address => "an address `host:port`",
            Self::Path => "a path",
            Self::Program => "the absolute path of an executable file",
            Self::LogLevel => {
                "a level (off, error, warn, info, debug, trace) or levels by target (`info,quorate_agent=debug`)"
            }
            Self::LogFormat => "`human` or `json`",
            Self::Addresses => "a list of different addresses `host:port`, at least one",
            Self::Members => {
                "a list of `ID=PEER_ADDRESS/API_ADDRESS`, at least one, no id or address twice"
            }
            Self::PeerRoutes => "a list of `ID=ADDRESS`, no id twice",
            Self::Disks => {
                "a list of `NAME=PATH` or of tables {name, path}, at least one, no name or path twice"
            }
        })
    }
}

/// Reads every item, so that all bad ones are named at once, and then looks at the list as a whole.
fn list<T: FromStr<Err: Display>>(
    items: &[&str],
    wrap: fn(Vec<T>) -> Value,
    conflicts: fn(&Vec<T>) -> Vec<String>,
) -> Result<Value, String> {
    finish_list(items.iter().map(|item| list_item(item)), wrap, conflicts)
}

fn list_item<T: FromStr<Err: Display>>(item: &str) -> Result<T, String> {
    item.parse().map_err(|error| format!("`{item}`: {error}"))
}

fn finish_list<T>(
    items: impl Iterator<Item = Result<T, String>>,
    wrap: fn(Vec<T>) -> Value,
    conflicts: fn(&Vec<T>) -> Vec<String>,
) -> Result<Value, String> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok(item) => good.push(item),
            Err(error) => bad.push(error),
        }
    }
    bad.extend(conflicts(&good));
    if bad.is_empty() && good.is_empty() {
        bad.push("the list is empty".to_owned());
    }
    if bad.is_empty() { Ok(wrap(good)) } else { Err(bad.join(", ")) }
}

fn read_disks<'a>(items: impl Iterator<Item = &'a DeValue<'a>>) -> Result<Value, String> {
    let one = |item: &DeValue<'_>| match item {
        DeValue::String(text) => list_item(text),
        DeValue::Table(table) => disk_of_table(table),
        other => Err(format!("an item is {}", type_name(other))),
    };
    finish_list(items.map(one), Value::Disks, |disks| disk_conflicts(disks))
}

fn disk_of_table(table: &DeTable<'_>) -> Result<DiskFolder, String> {
    if let Some(stray) = table.keys().find(|key| !["name", "path"].contains(&key.get_ref().as_ref())) {
        return Err(format!("a disk has `name` and `path`, but no `{}`", stray.get_ref()));
    }
    let text = |field: &str| {
        let value = table.get(field).ok_or_else(|| format!("a disk has no `{field}`"))?;
        value.get_ref().as_str().ok_or_else(|| format!("the `{field}` of a disk is not a string"))
    };
    DiskFolder::new(text("name")?, text("path")?)
}

fn address_conflicts(addresses: &[Address]) -> Vec<String> {
    let twice = |(position, address): (usize, &Address)| {
        addresses[..position].contains(address).then(|| format!("{address} is there twice"))
    };
    addresses.iter().enumerate().filter_map(twice).collect()
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
