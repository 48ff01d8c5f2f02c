//! The way to the warden, the agent's second process, which runs the hooks and ends services whose lease is over whatever
//! becomes of the agent. It is started with the agent and outlives it; a start of the agent finds the one of the start
//! before and takes it over.
//!
//! Architecture invariant: what the warden has not acknowledged is not counted on.

use crate::{
    config::AgentOptions,
    error::AgentError,
    event::{Event, WardenEvent},
};
use quorate_warden::{
    Decoder, Holder, VERB, adopt_orphans, connect, encode, guards_something,
    protocol::{FROM_WARDEN_MAX_BYTES, FromWarden, Hello, TO_WARDEN_MAX_BYTES, ToWarden, VERSION, Welcome},
    reap_orphans,
};
use std::{
    io,
    os::unix::net::UnixStream as StdStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

/// The most messages that wait to be written: a run and its end for each group there can be.
const MESSAGES_MAX: usize = 2 * quorate_warden::protocol::GROUPS_MAX + 64;
/// How often the warden is asked whether it is there.
const PING_EVERY: Duration = Duration::from_millis(250);
/// A warden that has not answered for so long is gone: four pings, and a small part of any lease.
const SILENT_MAX: Duration = Duration::from_secs(1);
/// A look at the clock that comes later than this says more about the agent than about its warden.
const LATE: Duration = Duration::from_millis(400);
/// A warden that has just been started listens within that.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
/// It welcomes within that: it kills first what a dead one left.
const WELCOMES_WITHIN: Duration = Duration::from_secs(20);
/// A warden that was killed is gone within that.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// The wait between two tries to have one.
const RETRY: Duration = Duration::from_millis(200);
/// How long what a dead warden left is looked after.
const LOOK_AFTER_ORPHANS: Duration = Duration::from_secs(30);
/// How often.
const REAP_EVERY: Duration = Duration::from_secs(1);
/// How long the last words to the warden may take.
const GOODBYE_WAIT: Duration = Duration::from_millis(500);

/// The agent's end of the way to the warden.
#[derive(Debug)]
pub(crate) struct Warden {
    messages: Sender<(u64, ToWarden)>,
    /// Counts the wardens: what was meant for one is not for the next.
    generation: u64,
    task: JoinHandle<()>,
}

impl Warden {
    /// Finds or starts one and is welcomed by it. `None` where nothing is configured that needs one, and nothing is left of
    /// starts that had one: `has_left` says that something may be.
    pub(crate) async fn start(
        options: &AgentOptions,
        has_left: bool,
        events: Sender<Event>,
    ) -> Result<Option<(Self, Welcome)>, AgentError> {
        let settings = options.warden_settings();
        if !settings.need_a_warden() {
            let state_dir = options.state_dir.clone();
            let guards = tokio::task::spawn_blocking(move || guards_something(&state_dir)).await;
            if !has_left && !guards.unwrap_or(true) {
                return Ok(None);
            }
            tracing::warn!(
                "this agent has no hooks, and a start before it had some and has left something: a warden ends what it finds of it, \
                 and what cannot be proven so waits for those hooks"
            );
        }
        let refused = |problem| AgentError::Warden { problem };
        adopt_orphans().map_err(|error| refused(format!("it cannot be a subreaper: {error}")))?;
        let host = options.host.clone();
        let hello = Hello { version: VERSION, host, settings };
        let program = options.warden.program.clone().unwrap_or_else(|| "/proc/self/exe".into());
        let way = Way { state_dir: options.state_dir.clone(), program, hello };
        let mut children = Children::default();
        let (line, welcome) = match way.open(&mut children).await {
            Ok(open) => open,
            Err(Unwelcome::Refused { field, problem }) if field != "hello" => {
                return Err(AgentError::Option { option: field, problem });
            }
            // One that hangs, or of another version, was killed: another one is started.
            Err(_) => way.open(&mut children).await.map_err(|error| refused(error.to_string()))?,
        };
        let (messages, waiting) = mpsc::channel(MESSAGES_MAX);
        let keeper = Keeper { way, events, waiting, children, generation: 0 };
        let task = tokio::spawn(keeper.keep(line));
        Ok(Some((Self { messages, generation: 0, task }, welcome)))
    }

    /// Says something to the warden. False when it takes nothing any more.
    pub(crate) fn say(&self, message: ToWarden) -> bool {
        self.messages.try_send((self.generation, message)).is_ok()
    }

    /// It was heard that the warden is lost: what is said from here on is for the next.
    pub(crate) fn is_lost(&mut self) {
        self.generation += 1;
    }

    /// Takes leave in order: the warden ends once nothing is left to guard.
    pub(crate) async fn close(self) {
        self.say(ToWarden::Goodbye);
        drop(self.messages);
        let mut task = self.task;
        if timeout(GOODBYE_WAIT, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// Why there is no way to a warden.
#[derive(Debug, thiserror::Error)]
enum Unwelcome {
    #[error("it does not start: {0}")]
    NotStarted(#[from] io::Error),
    #[error("it refuses this agent: {field}: {problem}")]
    Refused { field: String, problem: String },
    #[error("it did not welcome the agent within {} s", WELCOMES_WITHIN.as_secs())]
    Silent,
    #[error("it is not understood: {0}")]
    Garbage(String),
}

/// How a warden is reached.
#[derive(Debug, Clone)]
struct Way {
    state_dir: PathBuf,
    program: PathBuf,
    hello: Hello,
}

/// The wardens that this process has started; one at most has not ended.
#[derive(Debug, Default)]
struct Children {
    warden: Option<Child>,
}

impl Children {
    fn pid(&self) -> Option<u32> {
        self.warden.as_ref().map(Child::id)
    }

    /// Ends the one that was started, if any.
    fn end(&mut self) {
        if let Some(mut child) = self.warden.take() {
            // It may have ended before; then there is only its end to take note of.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One connection that was welcomed.
#[derive(Debug)]
struct Line {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: Decoder,
    /// Whoever is at the other end.
    holder: Arc<Holder>,
}

impl Way {
    /// Connects to the warden that is there, or starts one, and is welcomed.
    async fn open(&self, children: &mut Children) -> Result<(Line, Welcome), Unwelcome> {
        let stream = match self.reach().await? {
            Some(stream) => stream,
            None => self.start(children).await?,
        };
        let holder = Arc::new(Holder::of(&stream)?);
        stream.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(stream)?.into_split();
        let decoder = Decoder::new(FROM_WARDEN_MAX_BYTES);
        let mut line = Line { reader, writer, decoder, holder };
        let welcomed = match timeout(WELCOMES_WITHIN, line.introduce(&self.hello)).await {
            Ok(welcomed) => welcomed,
            Err(_) => Err(Unwelcome::Silent),
        };
        if let Err(error) = &welcomed {
            if !matches!(error, Unwelcome::Refused { field, .. } if field != "hello") {
                line.kill().await;
            }
            // One that this start has begun guards nothing yet: left behind, it would refuse the next start by what this one
            // was allowed.
            children.end();
        }
        welcomed.map(|welcome| (line, welcome))
    }

    /// The state folder's disk may hang, and the agent must not with it.
    async fn reach(&self) -> io::Result<Option<StdStream>> {
        let state_dir = self.state_dir.clone();
        let connected = tokio::task::spawn_blocking(move || connect(&state_dir)).await;
        Ok(connected.map_err(io::Error::other)?.ok())
    }

    async fn start(&self, children: &mut Children) -> io::Result<StdStream> {
        children.end();
        let mut command = Command::new(&self.program);
        command
            .args([VERB.as_ref(), "--state-dir".as_ref(), self.state_dir.as_os_str()])
            .arg("--orphans-of")
            .arg(std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child =
            tokio::task::spawn_blocking(move || command.spawn()).await.map_err(io::Error::other)??;
        let warden = children.warden.insert(child);
        let end = Instant::now() + LISTENS_WITHIN;
        loop {
            let ended = warden.try_wait()?;
            // Another one may have come first.
            if let Some(stream) = self.reach().await? {
                return Ok(stream);
            }
            if let Some(status) = ended {
                children.warden = None;
                return Err(io::Error::other(format!(
                    "it ended with {status}; what it said last is in the agent's log"
                )));
            }
            if Instant::now() >= end {
                children.end();
                return Err(io::Error::other(format!(
                    "it did not listen within {} s",
                    LISTENS_WITHIN.as_secs()
                )));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Line {
    async fn introduce(&mut self, hello: &Hello) -> Result<Welcome, Unwelcome> {
        self.write(&ToWarden::Hello(Box::new(hello.clone()))).await?;
        loop {
            while let Some(message) =
                self.decoder.next_message().map_err(|error| Unwelcome::Garbage(error.to_string()))?
            {
                match message {
                    FromWarden::Welcome(welcome) => return Ok(welcome),
                    FromWarden::Refused { field, problem } => {
                        return Err(Unwelcome::Refused { field, problem });
                    }
                    _ => {}
                }
            }
            let mut bytes = [0; 4_096];
            match self.reader.read(&mut bytes).await? {
                0 => return Err(Unwelcome::Garbage("it closed the connection".to_owned())),
                count => self.decoder.take(&bytes[..count]),
            }
        }
    }

    async fn write(&mut self, message: &ToWarden) -> io::Result<()> {
        let bytes = encode(message, TO_WARDEN_MAX_BYTES).map_err(io::Error::other)?;
        self.writer.write_all(&bytes).await
    }

    async fn write_soon(&mut self, message: &ToWarden) -> Result<(), String> {
        match timeout(SILENT_MAX, self.write(message)).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("it takes no messages any more".to_owned()),
        }
    }

    async fn kill(&self) {
        let holder = Arc::clone(&self.holder);
        let killed = tokio::task::spawn_blocking(move || holder.kill(GONE_WITHIN)).await;
        if let Err(error) = killed.map_err(io::Error::other).flatten() {
            tracing::warn!(error = %error, "the warden that is not to be counted on is not gone");
        }
    }
}

/// Why a line is over.
enum Over {
    /// The agent ends.
    Agent,
    /// The warden is gone; why.
    Warden(String),
}

/// Keeps the way open for as long as the agent lives.
struct Keeper {
    way: Way,
    events: Sender<Event>,
    waiting: Receiver<(u64, ToWarden)>,
    generation: u64,
    children: Children,
}

impl Keeper {
    async fn keep(mut self, mut line: Line) {
        let mut orphans_until = Instant::now();
        loop {
            let Over::Warden(why) = self.talk(&mut line, orphans_until).await else { return };
            tracing::error!(
                reason = why,
                "the warden is gone: roles that rest on it end until there is another one"
            );
            line.kill().await;
            self.children.end();
            self.generation += 1;
            if self.tell(WardenEvent::Lost(why)).await.is_none() {
                return;
            }
            orphans_until = Instant::now() + LOOK_AFTER_ORPHANS;
            line = loop {
                match self.way.open(&mut self.children).await {
                    Ok((line, welcome)) => {
                        if self.tell(WardenEvent::Up(welcome)).await.is_none() {
                            return;
                        }
                        break line;
                    }
                    Err(error) => {
                        tracing::error!(error = %error, "there is no warden; trying again");
                        sleep(RETRY).await;
                    }
                }
                if self.events.is_closed() {
                    return;
                }
            };
        }
    }

    async fn tell(&self, event: WardenEvent) -> Option<()> {
        self.events.send(Event::Warden(event)).await.ok()
    }

    async fn talk(&mut self, line: &mut Line, orphans_until: Instant) -> Over {
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut number, mut heard, mut looked) = (0_u64, Instant::now(), Instant::now());
        let mut reap_at = Instant::now();
        let mut bytes = vec![0; 16 << 10];
        loop {
            tokio::select! {
                // What has come is taken in before it is judged that nothing came.
                biased;
                read = line.reader.read(&mut bytes) => {
                    heard = Instant::now();
                    let taken = match read {
                        Ok(0) => Err("it closed the connection".to_owned()),
                        Ok(count) => self.take(line, &bytes[..count]).await,
                        Err(error) => Err(error.to_string()),
                    };
                    match taken {
                        Ok(true) => {}
                        Ok(false) => return Over::Agent,
                        Err(why) => return Over::Warden(why),
                    }
                }
                message = self.waiting.recv() => {
                    let Some((generation, message)) = message else { return Over::Agent };
                    if generation != self.generation {
                        continue;
                    }
                    if let Err(why) = line.write_soon(&message).await {
                        return Over::Warden(why);
                    }
                }
                _ = pings.tick() => {
                    let now = Instant::now();
                    let on_time = now - looked < PING_EVERY + LATE;
                    looked = now;
                    if !on_time {
                        // The agent itself stood still; the warden has not been asked meanwhile.
                        heard = now;
                    }
                    if now - heard > SILENT_MAX {
                        return Over::Warden(format!("it has not answered for {} ms", (now - heard).as_millis()));
                    }
                    number += 1;
                    if let Err(why) = line.write_soon(&ToWarden::Ping { number }).await {
                        return Over::Warden(why);
                    }
                    if now < orphans_until && now >= reap_at {
                        reap_at = now + REAP_EVERY;
                        let warden = self.children.pid();
                        // One look at `/proc`, which may take a while on a large machine.
                        tokio::task::spawn_blocking(move || reap_orphans(warden));
                    }
                }
            }
        }
    }

    /// Passes on what the warden says; false when nobody listens.
    async fn take(&self, line: &mut Line, bytes: &[u8]) -> Result<bool, String> {
        line.decoder.take(bytes);
        while let Some(message) = line.decoder.next_message().map_err(|error| error.to_string())? {
            if !matches!(message, FromWarden::Pong { .. })
                && self.tell(WardenEvent::Said(message)).await.is_none()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
