//! Refuses messages over the limit by the name of the setting. tonic refuses them as well, but does not know the name.

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use quorate_rpc::{ApiError, InvalidField};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tonic::{Status, body::Body, server::NamedService};
use tower_service::Service;

/// What gRPC puts before each message: whether it is compressed, and its length in four bytes.
const PREFIX_BYTES: usize = 5;

/// A service whose requests are measured before they are read.
#[derive(Clone)]
pub(crate) struct Measured<S> {
    service: S,
    max_bytes: usize,
}

impl<S> Measured<S> {
    pub(crate) fn new(service: S, max_bytes: usize) -> Self {
        Self { service, max_bytes }
    }
}

impl<S: NamedService> NamedService for Measured<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Measured<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        let max_bytes = self.max_bytes;
        let measure = |body| Body::new(Limited { body, prefixes: Prefixes::default(), max_bytes });
        self.service.call(request.map(measure))
    }
}

struct Limited {
    body: Body,
    prefixes: Prefixes,
    max_bytes: usize,
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Some(largest) = self.prefixes.largest_in(data)
            && largest > self.max_bytes
        {
            return Poll::Ready(Some(Err(too_large(largest, self.max_bytes))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn too_large(bytes: usize, max_bytes: usize) -> Status {
    let problem = format!("a message of {bytes} bytes is over the limit of this coordinator");
    let remedy = format!(
        "send less at once, or raise limits.max_message_bytes, now {max_bytes}, on every coordinator"
    );
    ApiError::Invalid(InvalidField::new("request", problem, remedy)).into()
}

/// Finds the lengths of messages in a stream that is cut anywhere.
#[derive(Default)]
struct Prefixes {
    /// The part of a prefix that has come.
    begun: Vec<u8>,
    /// What is left of the message that is coming.
    left: usize,
}

impl Prefixes {
    /// The largest message that begins in this part of the stream.
    fn largest_in(&mut self, mut part: &[u8]) -> Option<usize> {
        let mut largest = None;
        while !part.is_empty() {
            let skipped = self.left.min(part.len());
            self.left -= skipped;
            part = &part[skipped..];
            let taken = (PREFIX_BYTES - self.begun.len()).min(part.len());
            self.begun.extend_from_slice(&part[..taken]);
            part = &part[taken..];
            if let [_, length @ ..] = self.begun.as_slice()
                && let Ok(length) = length.try_into().map(u32::from_be_bytes)
            {
                self.left = length as usize;
                largest = largest.max(Some(self.left));
                self.begun.clear();
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(PREFIX_BYTES + length as usize, 0xff);
        bytes
    }

    #[test]
    fn every_message_is_measured_however_the_stream_is_cut() {
        let stream = [message(3), message(0), message(700), message(1)].concat();
        for step in 1..=stream.len() {
            let mut prefixes = Prefixes::default();
            let found: Vec<_> = stream.chunks(step).filter_map(|part| prefixes.largest_in(part)).collect();
            assert_eq!(found.iter().max(), Some(&700), "in parts of {step}");
            assert_eq!((prefixes.left, prefixes.begun.len()), (0, 0), "in parts of {step}");
        }
    }

    #[test]
    fn the_refusal_names_the_setting_and_both_sizes() {
        let status = too_large(70_000, 65_536);
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        for word in ["request", "70000", "limits.max_message_bytes", "65536"] {
            assert!(status.message().contains(word), "{status}");
        }
    }
}
