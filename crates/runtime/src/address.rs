//! `host:port`, where host is a name or an IP address; IPv6 stands in brackets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Where a process listens or is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `:port` at the end.
    #[error("there is no port; write host:port, for example 10.0.0.1:7400")]
    NoPort,
    /// The part after the last colon is not a usable port.
    #[error("`{0}` is not a port; use a number from 1 to 65535")]
    BadPort(String),
    /// The part before the port is empty.
    #[error("there is no host before the port; write host:port, for example 10.0.0.1:7400")]
    NoHost,
    /// The host is neither a name nor an IP address.
    #[error("`{0}` is neither a host name nor an IP address (IPv6 stands in brackets: [::1]:7400)")]
    BadHost(String),
}

impl Address {
    /// The host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether this is `0.0.0.0` or `[::]`: fit to listen on, but nobody can connect to it.
    pub fn is_unspecified(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    /// Where a process on the same machine connects to when another one listens here.
    #[must_use]
    pub fn as_reached_locally(&self) -> Self {
        let loopback = match self.host.parse() {
            Ok(IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            Ok(IpAddr::V6(ip)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
            _ => self.host.clone(),
        };
        Self { host: loopback, port: self.port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
        let bad_host = || AddressError::BadHost(host.to_owned());
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match bracketed {
            Some(inner) => inner.parse::<Ipv6Addr>().map_err(|_| bad_host())?.to_string(),
            None if is_host(host) => host.to_owned(),
            None => return Err(bad_host()),
        };
        Ok(Self { host, port: parse_port(port)? })
    }
}

/// Port 0 ("any free one") is refused: others must be told the number beforehand.
fn parse_port(text: &str) -> Result<u16, AddressError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(AddressError::BadPort(text.to_owned())),
    }
}

/// An IPv4 address, or a host name by RFC 1123 (underscores too, since container names have them).
fn is_host(text: &str) -> bool {
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric {
        return text.parse::<IpAddr>().is_ok();
    }
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_both_kinds_of_ip_and_writes_them_back() {
        for text in ["10.0.0.1:7400", "coordinator-1:7400", "a.example.org:1", "[::1]:65535", "host_a:80"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let address: Address = "[2001:db8::7]:7400".parse().unwrap();
        assert_eq!((address.host(), address.port()), ("2001:db8::7", 7400));
    }

    #[test]
    fn refuses_what_is_no_address_and_says_which_part() {
        let bad_port = |port: &str| AddressError::BadPort(port.to_owned());
        let bad_host = |host: &str| AddressError::BadHost(host.to_owned());
        let cases = [
            ("", AddressError::NoPort),
            ("localhost", AddressError::NoPort),
            (":7400", AddressError::NoHost),
            ("localhost:", bad_port("")),
            ("localhost:0", bad_port("0")),
            ("localhost:+80", bad_port("+80")),
            ("localhost:65536", bad_port("65536")),
            ("localhost:http", bad_port("http")),
            ("10.0.0.256:80", bad_host("10.0.0.256")),
            ("::1:7400", bad_host("::1")),
            ("[nope]:7400", bad_host("[nope]")),
            ("http://a:7400", bad_host("http://a")),
            ("a b:7400", bad_host("a b")),
            ("-a:7400", bad_host("-a")),
            ("a..b:7400", bad_host("a..b")),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Address>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn knows_the_addresses_nobody_can_connect_to() {
        let unspecified = |text: &str| text.parse::<Address>().unwrap().is_unspecified();
        assert!(unspecified("0.0.0.0:7400") && unspecified("[::]:7400"));
        assert!(!unspecified("127.0.0.1:7400") && !unspecified("localhost:7400"));
    }

    #[test]
    fn whoever_listens_on_every_address_is_reached_on_the_loopback_one() {
        for (listens, reached) in [
            ("0.0.0.0:7401", "127.0.0.1:7401"),
            ("[::]:7401", "[::1]:7401"),
            ("10.0.0.1:7401", "10.0.0.1:7401"),
            ("localhost:7401", "localhost:7401"),
        ] {
            assert_eq!(listens.parse::<Address>().unwrap().as_reached_locally().to_string(), reached);
        }
    }
}
