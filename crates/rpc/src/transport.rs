//! How connections are made, the same for every client of ours.

use crate::field::InvalidField;
use quorate_runtime::address::Address;
use std::time::Duration;
use tonic::transport::Endpoint;

/// The largest message that is sent or taken, unless configured otherwise.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 4 << 20;
/// How long making a connection may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a connection is probed, also while nothing happens on it.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a probe may take before the connection counts as dead.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

const SCHEME: &str = "http://";

/// Reads `host:port`, with or without `http://`, and gives it back as `host:port`.
///
/// # Errors
/// What is no such address.
pub fn parse_endpoint(text: &str) -> Result<String, InvalidField> {
    let shown = || text.chars().take(80).collect::<String>();
    let bare = text.strip_prefix(SCHEME).map_or(text, |rest| rest.strip_suffix('/').unwrap_or(rest));
    if bare.starts_with("https://") {
        let problem = format!("{:?} asks for TLS, which this version does not speak", shown());
        return Err(InvalidField::new("endpoint", problem, "write host:port and keep the network private"));
    }
    match bare.parse::<Address>() {
        Ok(address) => Ok(address.to_string()),
        Err(error) => {
            let problem = format!("{:?} is not an endpoint", shown());
            Err(InvalidField::new("endpoint", problem, error.to_string()))
        }
    }
}

/// An endpoint with the settings above; connect it with `connect_lazy`.
///
/// # Errors
/// What is no address.
pub fn endpoint(text: &str) -> Result<Endpoint, InvalidField> {
    let address = parse_endpoint(text)?;
    let endpoint = Endpoint::from_shared(format!("{SCHEME}{address}")).map_err(|error| {
        InvalidField::new("endpoint", format!("{address:?} is not an endpoint: {error}"), "write host:port")
    })?;
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_endpoints_with_and_without_a_scheme() {
        for (text, bare) in [
            ("a:1", "a:1"),
            ("http://a:1", "a:1"),
            ("http://a:1/", "a:1"),
            ("[::1]:7400", "[::1]:7400"),
            ("http://10.0.0.1:80", "10.0.0.1:80"),
        ] {
            assert_eq!(parse_endpoint(text).as_deref(), Ok(bare));
            assert!(endpoint(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_endpoints_that_it_could_never_reach_and_says_why() {
        for (text, word) in [
            ("", "host:port"),
            ("a", "host:port"),
            ("a:0", "65535"),
            ("https://a:1", "TLS"),
            ("http://a:1/path", "65535"),
            ("ftp://a:1", "neither"),
        ] {
            let refused = endpoint(text).unwrap_err();
            assert_eq!(refused.field, "endpoint");
            assert!(refused.to_string().contains(word), "{text}: {refused}");
        }
    }
}
