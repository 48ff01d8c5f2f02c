//! A TCP link that can be cut and slowed, each direction by itself.
//!
//! A cut link behaves as a network does that loses every packet: connections stay open and nothing arrives. What was
//! underway arrives when the link heals, as TCP would send it again.

use anyhow::{Context, Result};
use std::{
    net::SocketAddrV4,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

const CHUNK_BYTES: usize = 64 << 10;
/// Chunks of one direction of one connection that may be under way.
const UNDERWAY_MAX: usize = 256;

/// What a direction of a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Passes everything on at once.
    #[default]
    Open,
    /// Passes everything on after this time.
    Delayed(Duration),
    /// Passes nothing on; connections stay open.
    Silent,
    /// Connections are closed, also new ones.
    Closed,
}

/// One direction of one or more links, by which they are all cut and slowed together.
#[derive(Debug, Clone)]
pub struct Direction {
    mode: Arc<watch::Sender<Mode>>,
    bytes: Arc<AtomicU64>,
}

impl Default for Direction {
    fn default() -> Self {
        Self { mode: Arc::new(watch::channel(Mode::Open).0), bytes: Arc::default() }
    }
}

impl Direction {
    /// Changes what it does, from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many bytes it has passed on.
    pub fn passed_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A listener that passes connections on to a target. Dropping it closes them all.
#[derive(Debug)]
pub struct Link {
    task: JoinHandle<()>,
}

impl Link {
    /// Listens on `from`. What a client sends goes through `there`, what it is answered through `back`.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn open(
        from: SocketAddrV4,
        to: SocketAddrV4,
        there: Direction,
        back: Direction,
    ) -> Result<Self> {
        let listener = TcpListener::bind(from).await.with_context(|| format!("link on {from}"))?;
        Ok(Self { task: tokio::spawn(accept(listener, to, there, back)) })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, to: SocketAddrV4, there: Direction, back: Direction) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(connect(client, to, there.clone(), back.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until one end closes it or a direction is closed.
async fn connect(client: TcpStream, to: SocketAddrV4, there: Direction, back: Direction) {
    let closed = |direction: &Direction| {
        let mut mode = direction.mode.subscribe();
        async move {
            let _ = mode.wait_for(|mode| *mode == Mode::Closed).await;
        }
    };
    let serve = async {
        // A connection is made by packets too: none while they are lost.
        passing(&there).await;
        let Ok(server) = TcpStream::connect(to).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = pump(from_client, to_server, &there) => {}
            () = pump(from_server, to_client, &back) => {}
        }
    };
    tokio::select! {
        () = serve => {}
        () = closed(&there) => {}
        () = closed(&back) => {}
    }
}

/// Waits until the direction is not silent.
async fn passing(direction: &Direction) {
    let mut mode = direction.mode.subscribe();
    let _ = mode.wait_for(|mode| *mode != Mode::Silent).await;
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, direction: &Direction) {
    let (underway, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDERWAY_MAX);
    let read = async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            let delay = match *direction.mode.borrow() {
                Mode::Delayed(delay) => delay,
                _ => Duration::ZERO,
            };
            if underway.send((Instant::now() + delay, chunk[..length].to_vec())).await.is_err() {
                break;
            }
        }
        // The writer ends the connection, once everything has arrived.
        drop(underway);
        std::future::pending::<()>().await;
    };
    let write = async {
        while let Some((due, chunk)) = arriving.recv().await {
            sleep_until(due).await;
            passing(direction).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
            direction.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{loopback::Loopback, wait_until};
    use tokio::time::timeout;

    struct Ends {
        client: TcpStream,
        server: TcpStream,
        there: Direction,
        back: Direction,
        link: SocketAddrV4,
        _link: Link,
    }

    async fn ends() -> Ends {
        let net = Loopback::draw().unwrap();
        let (link, target) = (net.api_link(1), SocketAddrV4::new(net.coordinator(1), 7401));
        let listener = TcpListener::bind(target).await.unwrap();
        let (there, back) = (Direction::default(), Direction::default());
        let held = Link::open(link, target, there.clone(), back.clone()).await.unwrap();
        let client = TcpStream::connect(link).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        Ends { client, server, there, back, link, _link: held }
    }

    #[tokio::test]
    async fn a_silent_direction_holds_its_bytes_until_it_heals_and_the_other_goes_on() {
        let mut ends = ends().await;
        ends.there.set(Mode::Silent);
        ends.client.write_all(b"lost?").await.unwrap();
        ends.server.write_all(b"heard").await.unwrap();
        let mut answer = [0; 5];
        ends.client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"heard");
        let mut held = [0; 5];
        let early = timeout(Duration::from_millis(200), ends.server.read_exact(&mut held)).await;
        assert!(early.is_err(), "a silent direction passed {held:?} on");
        assert_eq!(ends.there.passed_bytes(), 0);
        ends.there.set(Mode::Open);
        ends.server.read_exact(&mut held).await.unwrap();
        assert_eq!(&held, b"lost?");
        wait_until("both are counted", Duration::from_secs(5), async || {
            anyhow::ensure!(ends.there.passed_bytes() == 5 && ends.back.passed_bytes() == 5);
            Ok(())
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_delayed_direction_delivers_late_and_whole() {
        let mut ends = ends().await;
        ends.there.set(Mode::Delayed(Duration::from_millis(300)));
        let sent = Instant::now();
        ends.client.write_all(b"late").await.unwrap();
        let mut arrived = [0; 4];
        ends.server.read_exact(&mut arrived).await.unwrap();
        assert_eq!(&arrived, b"late");
        assert!(sent.elapsed() >= Duration::from_millis(300));
    }

    #[tokio::test]
    async fn a_closed_link_ends_connections_old_and_new() {
        let mut ends = ends().await;
        ends.back.set(Mode::Closed);
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), ends.client.read_to_end(&mut rest)).await.unwrap().ok();
        let mut another = TcpStream::connect(ends.link).await.unwrap();
        timeout(Duration::from_secs(5), another.read_to_end(&mut rest)).await.unwrap().ok();
        assert!(rest.is_empty());
    }
}
