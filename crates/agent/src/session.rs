//! One session with one coordinator, from the hello to the end of the stream.

use crate::event::{Event, SessionEvent};
use quorate_rpc::{
    DEFAULT_MAX_MESSAGE_BYTES, Failure, classify,
    client::open_session,
    session::{ParsedAgentMessage, ParsedCoordinatorMessage, ParsedHello},
};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// Holds a session with one coordinator, which has `patience` to accept it, and tells what happens in it under its number.
pub(crate) async fn hold_session(
    number: u64,
    target: String,
    hello: ParsedHello,
    patience: Duration,
    events: Sender<Event>,
) {
    let ended = converse(number, &target, &hello, patience, &events).await;
    // The agent is ending when nobody listens.
    let _ = events.send(Event::Session(number, SessionEvent::Ended(ended))).await;
}

async fn converse(
    number: u64,
    target: &str,
    hello: &ParsedHello,
    patience: Duration,
    events: &Sender<Event>,
) -> Option<Failure> {
    let hello = (&ParsedAgentMessage::Hello(hello.clone())).into();
    let session = match open_session(target, hello, patience, DEFAULT_MAX_MESSAGE_BYTES).await {
        Ok(session) => session,
        Err(failure) => return Some(failure),
    };
    let tell = |event| events.send(Event::Session(number, event));
    if tell(SessionEvent::Opened(session.to_coordinator)).await.is_err() {
        return None;
    }
    let mut incoming = session.from_coordinator;
    loop {
        let message = match incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return None,
            Err(status) => return Some(classify(&status)),
        };
        match ParsedCoordinatorMessage::try_from(message) {
            Ok(message) => {
                if tell(SessionEvent::Message(message)).await.is_err() {
                    return None;
                }
            }
            Err(bad) => {
                let message = format!("{target} sent something that is not valid: {bad}");
                return Some(Failure::Invalid { field: bad.field, message });
            }
        }
    }
}
