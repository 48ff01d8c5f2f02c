//! Exit codes, and which error has which.

use crate::config::Problems;
use quorate_domain::text::one_line;
use quorate_rpc::ClientError;
use std::{borrow::Cow, error::Error};

/// It went well.
pub(crate) const OK: u8 = 0;
/// It failed, or its outcome is unknown.
pub(crate) const FAILED: u8 = 1;
/// The command line or the configuration is at fault.
pub(crate) const USAGE: u8 = 2;
/// No coordinator answered, or none could decide.
pub(crate) const UNREACHABLE: u8 = 3;
/// It was refused, or it names something that does not exist.
pub(crate) const REFUSED: u8 = 4;

/// A command line that parses and yet asks for something impossible.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The exit code of an error.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return of_client(error);
    }
    let is_usage = error.downcast_ref::<Problems>().is_some() || error.downcast_ref::<Usage>().is_some();
    if is_usage { USAGE } else { FAILED }
}

fn of_client(error: &ClientError) -> u8 {
    match error {
        ClientError::Unreachable { .. } | ClientError::NoLeader { .. } => UNREACHABLE,
        ClientError::Refused { .. } | ClientError::NotFound { .. } | ClientError::Compacted { .. } => REFUSED,
        ClientError::Invalid { .. } => USAGE,
        // Not "unreachable": whoever takes that for "nothing happened" and sends it anew may have it done twice.
        ClientError::OutcomeUnknown { .. } | ClientError::Other { .. } => FAILED,
    }
}

/// An error with its causes, each said once.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    text
}

/// What is said of an error on stderr.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    let text = chain(error.as_ref());
    // What is wrong with a configuration is a list; everything else may be another one's words.
    let text = if error.downcast_ref::<Problems>().is_some() { Cow::from(&text) } else { one_line(&text) };
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused { code, .. } | ClientError::NotFound { code, .. }) => {
            format!("error: {text} [{}]", one_line(code))
        }
        Some(ClientError::OutcomeUnknown { request_id, .. }) => format!(
            "error: {text}\nThe change may have been made or not. To learn which, repeat this command with\n  \
             --request-id {request_id}\nThat never makes it twice."
        ),
        _ => format!("error: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use quorate_domain::Revision;
    use tonic::Code;

    fn every_client_error() -> Vec<(ClientError, u8)> {
        let text = || "m".to_owned();
        vec![
            (ClientError::Unreachable { deadline_ms: 1, asked: vec![], last: text() }, 3),
            (ClientError::NoLeader { deadline_ms: 1, asked: vec![], last: text() }, 3),
            (ClientError::Refused { code: "GROUP_EXISTS".into(), message: text() }, 4),
            (ClientError::NotFound { code: text(), what: text(), id: text(), message: text() }, 4),
            (ClientError::Compacted { first_kept: Revision(7), message: text() }, 4),
            (ClientError::Invalid { field: text(), message: text() }, 2),
            (ClientError::OutcomeUnknown { request_id: "r-1".into(), deadline_ms: 1, last: text() }, 1),
            (ClientError::Other { code: Code::Unimplemented, message: text() }, 1),
        ]
    }

    #[test]
    fn every_client_error_has_its_exit_code_also_with_context() {
        for (error, code) in every_client_error() {
            assert_eq!(code_of(&anyhow::Error::new(error.clone())), code, "{error:?}");
            let wrapped = Err::<(), _>(error.clone()).context("while waiting").unwrap_err();
            assert_eq!(code_of(&wrapped), code, "{error:?}");
        }
    }

    #[test]
    fn usage_is_2_and_everything_else_1() {
        assert_eq!(code_of(&Usage("no".into()).into()), 2);
        assert_eq!(code_of(&anyhow::anyhow!("disk full")), 1);
    }

    #[test]
    fn an_unknown_outcome_says_how_to_ask_again() {
        let error =
            ClientError::OutcomeUnknown { request_id: "r-1".into(), deadline_ms: 5, last: "cut".into() };
        let text = explain(&error.into());
        assert!(text.contains("--request-id r-1"), "{text}");
        assert!(text.contains("may have been made or not"), "{text}");
    }

    #[test]
    fn the_words_of_another_one_stay_on_the_line_of_the_error() {
        let bad = || "gone\n\x1b[2JHEALTHY".to_owned();
        for error in [
            ClientError::Refused { code: "GROUP_EXISTS".into(), message: bad() },
            ClientError::Refused { code: bad(), message: bad() },
            ClientError::Other { code: Code::Unknown, message: bad() },
        ] {
            let text = explain(&anyhow::Error::new(error));
            assert!(text.contains("gone\\n\\u{1b}[2JHEALTHY"), "{text}");
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_shows_its_stable_code() {
        let error = ClientError::Refused { code: "GROUP_EXISTS".into(), message: "group g1 exists".into() };
        assert_eq!(explain(&error.into()), "error: group g1 exists [GROUP_EXISTS]");
    }
}
