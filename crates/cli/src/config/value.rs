//! A value that has been read and is of its key's kind.

use std::fmt;
use std::path::PathBuf;

use quorate_runtime::address::Address;

use super::disk_folder::DiskFolder;
use super::member::{Member, PeerRoute};

/// Parts per million in one percent.
const PPM_PER_PERCENT: u64 = 10_000;

/// A checked value; it prints as TOML that reads back as the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A name, a level, a format.
    Text(String),
    /// Yes or no.
    Switch(bool),
    /// A whole number in the unit of its key.
    Integer(u64),
    /// A share, in parts per million; written in percent.
    Percent {
        /// The share.
        ppm: u64,
    },
    /// `host:port`.
    Address(Address),
    /// A file or folder.
    Path(PathBuf),
    /// Several of `host:port`.
    Addresses(Vec<Address>),
    /// The coordinators of a cluster.
    Members(Vec<Member>),
    /// Ways to peers.
    PeerRoutes(Vec<PeerRoute>),
    /// The disks of a host.
    Disks(Vec<DiskFolder>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => quoted(f, text),
            Self::Switch(on) => write!(f, "{on}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Percent { ppm } => {
                let (whole, part) = (ppm / PPM_PER_PERCENT, ppm % PPM_PER_PERCENT);
                let digits = format!("{part:04}");
                let digits = digits.trim_end_matches('0');
                write!(f, "{whole}.{}", if digits.is_empty() { "0" } else { digits })
            }
            Self::Address(address) => quoted(f, address),
            Self::Path(path) => quoted(f, path.display()),
            Self::Addresses(list) => array(f, list),
            Self::Members(list) => array(f, list),
            Self::PeerRoutes(list) => array(f, list),
            Self::Disks(list) => array(f, list),
        }
    }
}

/// Reads a share in percent with up to four decimals, exactly, so that no rounding can move a safety margin.
pub(super) fn parse_percent(text: &str) -> Option<Value> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let part = part.trim_end_matches('0');
    if part.len() > 4 {
        return None;
    }
    let ppm = whole.parse::<u64>().ok()?.checked_mul(PPM_PER_PERCENT)?;
    let rest: u64 = format!("{part:0<4}").parse().ok()?;
    Some(Value::Percent { ppm: ppm.checked_add(rest)? })
}

fn quoted(f: &mut fmt::Formatter<'_>, text: impl fmt::Display) -> fmt::Result {
    write!(f, "{}", toml::Value::String(text.to_string()))
}

fn array<T: fmt::Display>(f: &mut fmt::Formatter<'_>, list: &[T]) -> fmt::Result {
    f.write_str("[")?;
    for (position, item) in list.iter().enumerate() {
        if position > 0 {
            f.write_str(", ")?;
        }
        quoted(f, item)?;
    }
    f.write_str("]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_read_exactly_and_written_back() {
        let cases = [("1", 10_000, "1.0"), ("1.0", 10_000, "1.0"), ("0.05", 500, "0.05")];
        for (text, ppm, shown) in cases {
            let value = parse_percent(text).unwrap();
            assert_eq!(value, Value::Percent { ppm }, "{text}");
            assert_eq!(value.to_string(), shown);
        }
        for text in ["", "1.", "-1", "1e0", "0.00001", ".5", "x", "1.0.0", "99999999999999999999"] {
            assert_eq!(parse_percent(text), None, "{text:?}");
        }
    }

    #[test]
    fn text_prints_as_toml_whatever_it_holds() {
        for text in ["plain", "with \"quotes\"", "back\\slash", "line\nbreak", "it's"] {
            let line = format!("x = {}", Value::Text(text.to_owned()));
            let table: toml::Table = line.parse().unwrap();
            assert_eq!(table["x"].as_str(), Some(text), "{line}");
        }
    }
}
