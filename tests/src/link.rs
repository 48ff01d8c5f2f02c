//! A TCP link that can be cut and slowed, each direction by itself.
//!
//! A cut link behaves as a network does that loses every packet: connections stay open and nothing arrives. What was
//! underway arrives when the link heals, as TCP would send it again.

use anyhow::{Context, Result};
use std::{
    net::{SocketAddr, SocketAddrV4},
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
    task::{JoinHandle, JoinSet, spawn_blocking},
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
    /// Whoever made a connection still believes in it, for good, while the other end has none any more: what is said
    /// goes nowhere. The same befalls new connections. Only connections made after this mode is over work again.
    HalfOpen,
}

/// One direction of one or more links, by which they are all cut and slowed together.
#[derive(Debug, Clone)]
pub struct Direction {
    mode: Arc<watch::Sender<Mode>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    closed: AtomicU64,
    half_opened: AtomicU64,
    given_up: AtomicU64,
}

impl Default for Direction {
    fn default() -> Self {
        Self { mode: Arc::new(watch::channel(Mode::Open).0), counts: Arc::default() }
    }
}

impl Direction {
    /// Changes what it does, from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many bytes it has passed on.
    pub fn passed_bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// How many connections were made through it and closed because it, or the way back, was.
    pub fn closed_connections(&self) -> u64 {
        self.counts.closed.load(Ordering::Relaxed)
    }

    /// How many connections were made through it and left half open.
    pub fn half_opened_connections(&self) -> u64 {
        self.counts.half_opened.load(Ordering::Relaxed)
    }

    /// How many of the half-open ones were given up by those who had made them.
    pub fn given_up_connections(&self) -> u64 {
        self.counts.given_up.load(Ordering::Relaxed)
    }

    /// Waits until its mode is one of those.
    async fn is(&self, wanted: impl Fn(Mode) -> bool) {
        let mut mode = self.mode.subscribe();
        // An error would mean that the sender is gone, and this holds one.
        let _ = mode.wait_for(|mode| wanted(*mode)).await;
    }
}

/// Both directions of a connection, as seen by whoever made it.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// What it says.
    pub there: Direction,
    /// What it is answered.
    pub back: Direction,
}

impl Way {
    /// Waits until either direction is in a mode.
    async fn either_is(&self, wanted: Mode) {
        tokio::select! {
            () = self.there.is(|mode| mode == wanted) => {}
            () = self.back.is(|mode| mode == wanted) => {}
        }
    }
}

/// Finds the way for a connection by the address that it comes from; none, and it is closed.
pub type ChooseWay = Arc<dyn Fn(SocketAddrV4) -> Option<Way> + Send + Sync>;

/// A listener that passes connections on to a target. Dropping it closes them all.
#[derive(Debug)]
pub struct Link {
    task: JoinHandle<()>,
}

impl Link {
    /// Listens on `from` and passes everything on in the same way.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn open(from: SocketAddrV4, to: SocketAddrV4, way: Way) -> Result<Self> {
        Self::open_by_caller(from, to, Arc::new(move |_| Some(way.clone()))).await
    }

    /// Listens on `from`; who calls decides how each connection is passed on.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn open_by_caller(from: SocketAddrV4, to: SocketAddrV4, choose: ChooseWay) -> Result<Self> {
        let listener = TcpListener::bind(from).await.with_context(|| format!("link on {from}"))?;
        Ok(Self { task: tokio::spawn(accept(listener, to, choose)) })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, to: SocketAddrV4, choose: ChooseWay) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, SocketAddr::V4(caller))) = accepted else { continue };
                let choose = Arc::clone(&choose);
                connections.spawn(async move {
                    // Finding the caller reads files.
                    if let Ok(Some(way)) = spawn_blocking(move || choose(caller)).await {
                        connect(client, to, &way).await;
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until one end closes it or the way does.
async fn connect(mut client: TcpStream, to: SocketAddrV4, way: &Way) {
    let half_open = tokio::select! {
        () = serve(&mut client, to, way) => false,
        () = way.either_is(Mode::Closed) => {
            // A reset, as a firewall or a host that has come up again sends it.
            let _ = client.set_zero_linger();
            way.there.counts.closed.fetch_add(1, Ordering::Relaxed);
            false
        }
        // The other end's connection went with `serve`.
        () = way.either_is(Mode::HalfOpen) => true,
    };
    if half_open {
        way.there.counts.half_opened.fetch_add(1, Ordering::Relaxed);
        let mut unheard = vec![0; CHUNK_BYTES];
        while let Ok(1..) = client.read(&mut unheard).await {}
        way.there.counts.given_up.fetch_add(1, Ordering::Relaxed);
    }
}

async fn serve(client: &mut TcpStream, to: SocketAddrV4, way: &Way) {
    // A connection is made by packets too: none while they are lost.
    way.there.is(passes).await;
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        () = pump(from_client, to_server, &way.there) => {}
        () = pump(from_server, to_client, &way.back) => {}
    }
}

fn passes(mode: Mode) -> bool {
    matches!(mode, Mode::Open | Mode::Delayed(_))
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
            direction.is(passes).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
            direction.counts.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
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
        way: Way,
        link: SocketAddrV4,
        listener: TcpListener,
        _link: Link,
    }

    async fn ends() -> Ends {
        let net = Loopback::draw().unwrap();
        let (link, target) = (net.api_link(1), SocketAddrV4::new(net.coordinator(1), 7401));
        let listener = TcpListener::bind(target).await.unwrap();
        let way = Way::default();
        let held = Link::open(link, target, way.clone()).await.unwrap();
        let client = TcpStream::connect(link).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        Ends { client, server, way, link, listener, _link: held }
    }

    #[tokio::test]
    async fn a_silent_direction_holds_its_bytes_until_it_heals_and_the_other_goes_on() {
        let mut ends = ends().await;
        ends.way.there.set(Mode::Silent);
        ends.client.write_all(b"lost?").await.unwrap();
        ends.server.write_all(b"heard").await.unwrap();
        let mut answer = [0; 5];
        ends.client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"heard");
        let mut held = [0; 5];
        let early = timeout(Duration::from_millis(200), ends.server.read_exact(&mut held)).await;
        assert!(early.is_err(), "a silent direction passed {held:?} on");
        assert_eq!(ends.way.there.passed_bytes(), 0);
        ends.way.there.set(Mode::Open);
        ends.server.read_exact(&mut held).await.unwrap();
        assert_eq!(&held, b"lost?");
        wait_until("both are counted", Duration::from_secs(5), async || {
            anyhow::ensure!(ends.way.there.passed_bytes() == 5 && ends.way.back.passed_bytes() == 5);
            Ok(())
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_delayed_direction_delivers_late_and_whole() {
        let mut ends = ends().await;
        ends.way.there.set(Mode::Delayed(Duration::from_millis(300)));
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
        ends.way.back.set(Mode::Closed);
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), ends.client.read_to_end(&mut rest)).await.unwrap().ok();
        let mut another = TcpStream::connect(ends.link).await.unwrap();
        timeout(Duration::from_secs(5), another.read_to_end(&mut rest)).await.unwrap().ok();
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn a_half_open_link_leaves_the_caller_with_a_dead_connection_that_stays_dead() {
        let mut ends = ends().await;
        ends.way.there.set(Mode::HalfOpen);
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), ends.server.read_to_end(&mut rest)).await.unwrap().ok();
        ends.client.write_all(b"anybody?").await.unwrap();
        ends.way.there.set(Mode::Open);
        let answer = timeout(Duration::from_millis(200), ends.client.read_to_end(&mut rest)).await;
        assert!(answer.is_err(), "the dead connection came back to life: {answer:?}");
        assert_eq!(ends.way.there.half_opened_connections(), 1);
        let mut another = TcpStream::connect(ends.link).await.unwrap();
        let (mut server, _) = ends.listener.accept().await.unwrap();
        another.write_all(b"new").await.unwrap();
        let mut heard = [0; 3];
        server.read_exact(&mut heard).await.unwrap();
        drop(ends.client);
        wait_until("the dead connection is given up", Duration::from_secs(5), async || {
            anyhow::ensure!(ends.way.there.given_up_connections() == 1);
            Ok(())
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_link_by_caller_passes_on_only_those_for_whom_there_is_a_way() {
        let net = Loopback::draw().unwrap();
        let (link, target) = (net.api_link(1), SocketAddrV4::new(net.coordinator(1), 7401));
        let listener = TcpListener::bind(target).await.unwrap();
        let way = Way::default();
        let known = way.clone();
        let served = AtomicU64::new(0);
        let choose: ChooseWay =
            Arc::new(move |_| (served.fetch_add(1, Ordering::Relaxed) == 0).then(|| known.clone()));
        let _link = Link::open_by_caller(link, target, choose).await.unwrap();
        let _first = TcpStream::connect(link).await.unwrap();
        listener.accept().await.unwrap();
        let mut second = TcpStream::connect(link).await.unwrap();
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), second.read_to_end(&mut rest)).await.unwrap().ok();
        assert!(rest.is_empty());
    }
}
