//! Sending a command, once or until there is an answer.

use super::history::{Call, Told};
use anyhow::{Context, Result};
use quorate_rpc::{
    Client, ClientError,
    pb::control::{RequestFailoverRequest, SetGroupLabelsRequest},
};
use std::time::Duration;
use tokio::time::Instant;

/// How long a patient client goes on asking for the answer to one command: longer than any fault.
const PATIENCE: Duration = Duration::from_mins(2);

/// The command that sets one label.
pub(super) fn label(request_id: &str, group: &str, label: &str, value: &str) -> SetGroupLabelsRequest {
    SetGroupLabelsRequest {
        request_id: request_id.to_owned(),
        group: group.to_owned(),
        labels: [(label.to_owned(), value.to_owned())].into(),
    }
}

/// Sends a command once; the revision that it led to.
///
/// # Panics
/// When it is a read.
pub(super) async fn send(client: &Client, call: &Call) -> Result<u64, ClientError> {
    match call {
        Call::Write { request_id, group, register, value } => {
            let request = label(request_id, group, register, &value.to_string());
            Ok(client.set_group_labels(request).await?.revision)
        }
        Call::Failover { request_id, group } => {
            let (request_id, group) = (request_id.clone(), group.clone());
            let request = RequestFailoverRequest { request_id, group, target: String::new() };
            Ok(client.request_failover(request).await?.revision)
        }
        Call::Read { .. } => unreachable!("a read has no request id"),
    }
}

/// Sends a command, again and again under the same id if the client is patient.
///
/// # Errors
/// When the client hears what no client should hear.
pub(super) async fn carry_out(client: &Client, call: &Call, patient: bool) -> Result<Told> {
    let end = Instant::now() + PATIENCE;
    let mut maybe = false;
    loop {
        match send(client, call).await {
            Ok(revision) => return Ok(Told::Done { revision }),
            Err(ClientError::Refused { code, .. } | ClientError::NotFound { code, .. }) => {
                return Ok(Told::Refused(code));
            }
            Err(ClientError::OutcomeUnknown { .. }) => maybe = true,
            Err(error) if error.is_unavailable() => {}
            Err(error) => return Err(error).with_context(|| format!("{call:?} was answered so")),
        }
        if !patient || Instant::now() >= end {
            return Ok(if maybe { Told::Unknown } else { Told::Failed });
        }
    }
}
