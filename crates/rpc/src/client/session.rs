//! The agent's end of a session.

use crate::{
    pb::agent::{AgentMessage, CoordinatorMessage, agent_gateway_client::AgentGatewayClient},
    status::{Failure, classify},
    transport::endpoint,
};
use std::time::Duration;
use tokio::{
    sync::mpsc::{self, Sender},
    time::timeout,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Streaming;

/// The most messages of an agent that wait to be sent. When the queue is full the connection is stuck, and an old
/// heartbeat is of no use: drop the session rather than wait.
pub const SESSION_QUEUE_MAX: usize = 64;

/// Both directions of a session. Dropping either end closes it.
#[derive(Debug)]
pub struct Session {
    /// To the coordinator.
    pub to_coordinator: Sender<AgentMessage>,
    /// From the coordinator.
    pub from_coordinator: Streaming<CoordinatorMessage>,
}

/// Opens a session with one coordinator and says hello. The caller says who it is in `hello`, follows the hint of
/// [`Failure::NotLeader`], and reads the end of the stream with [`classify`].
///
/// The hello travels along because a coordinator may read it before it accepts the stream.
///
/// # Errors
/// Why no session came about within `open_timeout`.
pub async fn open_session(
    coordinator: &str,
    hello: AgentMessage,
    open_timeout: Duration,
    max_message_bytes: usize,
) -> Result<Session, Failure> {
    let endpoint = endpoint(coordinator)
        .map_err(|bad| Failure::Invalid { field: bad.field.clone(), message: bad.to_string() })?;
    let (to_coordinator, outgoing) = mpsc::channel(SESSION_QUEUE_MAX);
    let outgoing = tokio_stream::once(hello).chain(ReceiverStream::new(outgoing));
    let mut client = AgentGatewayClient::new(endpoint.connect_lazy())
        .max_decoding_message_size(max_message_bytes)
        .max_encoding_message_size(max_message_bytes);
    match timeout(open_timeout, client.session(outgoing)).await {
        Ok(Ok(response)) => Ok(Session { to_coordinator, from_coordinator: response.into_inner() }),
        Ok(Err(status)) => Err(classify(&status)),
        Err(_) => {
            let message = format!("{coordinator} opened no session within {} ms", open_timeout.as_millis());
            Err(Failure::Unreachable { sent: true, message })
        }
    }
}
