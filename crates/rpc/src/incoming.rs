//! Connections as they come in, the same for every server of ours.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};
use tokio_stream::Stream;

/// The pause after a connection could not be taken because this process or machine lacks something, such as a descriptor.
const LACK_PAUSE: Duration = Duration::from_millis(100);

/// The connections that a listener takes. While what a new one needs is lacking, the system says so at once however often it is
/// asked: without a pause the processor would be busy with asking, and whoever is connected already would pay for it.
pub fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    let accept = move |cx: &mut Context<'_>| {
        listener.poll_accept(cx).map_ok(|(stream, _)| {
            // One that is gone already is noticed by whoever reads from it.
            let _ = stream.set_nodelay(true);
            stream
        })
    };
    Incoming { accept, pause: None }
}

struct Incoming<A> {
    accept: A,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<A, T> Stream for Incoming<A>
where
    A: FnMut(&mut Context<'_>) -> Poll<io::Result<T>> + Unpin,
{
    type Item = io::Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
            }
            match ready!((this.accept)(cx)) {
                Ok(connection) => return Poll::Ready(Some(Ok(connection))),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(error = %error, "no connection is taken; trying again in a moment");
                    this.pause = Some(Box::pin(sleep(LACK_PAUSE)));
                }
            }
        }
    }
}

/// Whoever wanted it is gone again; the next one may be there.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;
    use tokio_stream::StreamExt;

    const EMFILE: i32 = 24;
    const ECONNABORTED: i32 = 103;

    /// How long the first connection takes, and how often it is tried, where every try before it ends like this.
    async fn after(errors: &[i32]) -> (Duration, usize) {
        let (began, mut tries) = (Instant::now(), 0);
        let accept = |_: &mut Context<'_>| {
            let error = errors.get(tries).map(|error| io::Error::from_raw_os_error(*error));
            tries += 1;
            Poll::Ready(error.map_or(Ok("connection"), Err))
        };
        let mut incoming = Incoming { accept, pause: None };
        assert_eq!(incoming.next().await.unwrap().unwrap(), "connection");
        drop(incoming);
        (began.elapsed(), tries)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lack_of_descriptors_is_waited_for_and_not_tried_all_the_time() {
        assert_eq!(after(&[]).await, (Duration::ZERO, 1));
        assert_eq!(after(&[EMFILE; 5]).await, (LACK_PAUSE * 5, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_gone_again_holds_nobody_up() {
        assert_eq!(after(&[ECONNABORTED; 5]).await, (Duration::ZERO, 6));
    }
}
