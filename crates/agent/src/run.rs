//! An agent from its start to its end.

use crate::{
    config::{AgentOptions, CLOSING_MAX},
    disks::{DiskIo, SystemIo, Watch, watch},
    driver::Driver,
    error::AgentError,
    event::{EVENTS_MAX, Event, WardenEvent},
    hooks::Hooks,
    keeper::{CLOSE_WAIT, Keeper},
    local_api::{LocalApi, QUESTIONS_MAX, Question},
    state_folder::StateFolder,
    warden::Warden,
};
use quorate_agent_core::{BootMs, Core, Start};
use quorate_domain::{Incarnation, LeaseSettings};
use quorate_rpc::{
    incoming,
    pb::agent::local_agent_server::{LocalAgentServer, SERVICE_NAME},
    reflection::reflection,
};
use quorate_runtime::{
    clock::{BootInstant, Clock, sleep_until},
    shutdown::Shutdown,
};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};

/// How long the last report may take to go out.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// How long the answers to local processes may take to go out.
const SERVER_WAIT: Duration = Duration::from_secs(1);
const _: () = assert!(
    FLUSH_WAIT.as_millis() + SERVER_WAIT.as_millis() + CLOSE_WAIT.as_millis() <= CLOSING_MAX.as_millis()
);

/// An agent that has taken its state folder and its address, and does nothing yet.
pub struct Agent {
    options: Arc<AgentOptions>,
    clock: Arc<dyn Clock>,
    disk_io: Arc<dyn DiskIo>,
    folder: StateFolder,
    start: Start,
    listener: TcpListener,
    local_addr: SocketAddr,
}

/// Runs an agent until `shutdown` is triggered, and ends its roles before it returns.
///
/// # Errors
/// [`AgentError`]: why it did not start, or ended by itself.
pub async fn run(options: AgentOptions, clock: Arc<dyn Clock>, shutdown: Shutdown) -> Result<(), AgentError> {
    Agent::start(options, clock).await?.run(shutdown.token()).await
}

impl Agent {
    /// Checks the options, takes the state folder and listens for local processes. From here on the start counts.
    ///
    /// # Errors
    /// [`AgentError`] that names the option or file at fault.
    pub async fn start(options: AgentOptions, clock: Arc<dyn Clock>) -> Result<Self, AgentError> {
        options.check()?;
        let refused = |source| AgentError::Listen { address: options.listen.clone(), source };
        // Before the folder: an agent that cannot listen has not started.
        let listener = TcpListener::bind(&options.listen).await.map_err(refused)?;
        let local_addr = listener.local_addr().map_err(refused)?;
        let (folder, on_disk) = StateFolder::open(&options.state_dir, &options.host, clock.unix_ms())?;
        let known = folder.identity().cluster.as_ref();
        if let (Some(meant), Some(known)) = (&options.cluster, known)
            && meant != known
        {
            let folder = options.state_dir.display();
            let problem = format!(
                "is {meant}, and the state folder {folder} belongs to cluster {known}; correct one of them, or use another state_dir"
            );
            return Err(AgentError::Option { option: "cluster.id".to_owned(), problem });
        }
        // After the lock: a lease of the start before cannot have been renewed since.
        let at = BootMs(clock.boottime().as_ms());
        let incarnation = folder.identity().incarnation;
        let guarded = options.warden_settings().need_a_warden();
        let demotion_ms = options.hook_times().demotion_ms;
        let settings = LeaseSettings::default();
        let start = Start { incarnation, on_disk, settings, at, guarded, demotion_ms };
        let (options, disk_io) = (Arc::new(options), Arc::new(SystemIo));
        Ok(Self { options, clock, disk_io, folder, start, listener, local_addr })
    }

    /// Looks at the disks through this instead, such as one with faults.
    #[must_use]
    pub fn with_disk_io(mut self, disk_io: Arc<dyn DiskIo>) -> Self {
        self.disk_io = disk_io;
        self
    }

    /// Where it answers local processes.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Which start of the agent this is.
    pub fn incarnation(&self) -> Incarnation {
        self.start.incarnation
    }

    /// Acts as the coordinators say until `stop`, then ends every role, says so and returns.
    ///
    /// # Errors
    /// [`AgentError`] when it could not go on, or could not end every role for certain in time.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AgentError> {
        let (events, happened) = mpsc::channel(EVENTS_MAX);
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        // Before anything else: what a start before left is ended first.
        let epochs = &self.start.on_disk;
        let held: BTreeSet<_> = epochs.primary_of.union(&epochs.elsewhere).cloned().collect();
        let has_left = epochs.demotion_ms > 0 && !held.is_empty();
        let (warden, welcome) = Warden::start(&self.options, has_left, events.clone()).await?.unzip();
        let left = (!self.start.guarded).then_some(held);
        let identity = self.folder.identity().clone();
        let mut beside = JoinSet::new();
        for disk in &self.options.disks {
            let known = identity.disks.get(&disk.name).cloned();
            let (io, clock) = (Arc::clone(&self.disk_io), Arc::clone(&self.clock));
            let watch = Watch { disk: disk.clone(), known, options: self.options.probe.clone(), io, clock };
            beside.spawn(watch_disk(watch, events.clone()));
        }
        let closing = CancellationToken::new();
        let reflection = reflection([SERVICE_NAME])?;
        let keeper = Keeper::start(self.folder, events.clone())?;
        let (core, steps) = Core::new(self.start);
        let (host, told) = (self.options.host.clone(), events.clone());
        let mut driver =
            Driver::new(core, self.options, self.clock, identity, keeper, Hooks::new(warden, left), events);
        let api = LocalApi { host, cluster: driver.known_cluster(), questions, events: told };
        let server = tokio::spawn(serve(self.listener, api, reflection, closing.clone()));
        driver.perform(steps);
        if let Some(welcome) = welcome {
            driver.warden(WardenEvent::Up(welcome));
        }
        let outcome = drive(driver, happened, asked, stop).await;
        closing.cancel();
        if tokio::time::timeout(SERVER_WAIT, server).await.is_err() {
            tracing::debug!("a local process keeps its connection open");
        }
        outcome
    }
}

async fn watch_disk(one: Watch, events: Sender<Event>) {
    watch(one, |state| {
        let events = events.clone();
        async move { events.send(Event::Disk(state)).await.is_ok() }
    })
    .await;
}

async fn serve(listener: TcpListener, api: LocalApi, reflection: Routes, closing: CancellationToken) {
    let server = Server::builder().add_routes(reflection).add_service(LocalAgentServer::new(api));
    if let Err(error) =
        server.serve_with_incoming_shutdown(incoming(listener), closing.cancelled_owned()).await
    {
        tracing::error!(error = %error, "local processes can no longer ask for roles");
    }
}

/// The loop around the core. Nothing in it waits for anything but the next input.
async fn drive(
    mut driver: Driver,
    mut happened: Receiver<Event>,
    mut asked: Receiver<Question>,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let mut stopping = false;
    while !driver.is_done() {
        let wake = BootInstant::from_ms(driver.next_wake().0);
        let clock = Arc::clone(&driver.clock);
        tokio::select! {
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                driver.stop("the agent is stopping");
            }
            () = sleep_until(clock.as_ref(), wake) => driver.wake(),
            Some(event) = happened.recv() => driver.event(event),
            Some(question) = asked.recv() => driver.question(question),
        }
        driver.note_mode();
        driver.note_what_is_left();
        driver.tell_guards();
        driver.flush_report();
    }
    let outcome = driver.outcome();
    let Driver { link, keeper, hooks, .. } = driver;
    tokio::select! {
        () = link.close(FLUSH_WAIT) => {}
        // What the session still has to say holds up its end unless somebody takes it.
        () = async { while happened.recv().await.is_some() {} std::future::pending().await } => {}
    }
    drop(happened);
    hooks.close().await;
    keeper.close().await;
    outcome
}
