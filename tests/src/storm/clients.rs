//! Clients that write, read and switch primaries all the time, and record what they are told.

use super::{
    command::carry_out,
    history::{Call, Recorder, Told},
};
use crate::cluster::Cluster;
use anyhow::{Context, Result, bail};
use quorate_rpc::{
    Client, ClientOptions,
    pb::{control::GetGroupRequest, types::GroupPhase},
};
use rand::{RngExt, seq::IndexedRandom};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, RwLock, RwLockWriteGuard},
    task::JoinSet,
    time::{Instant, sleep},
};

const WRITERS: u64 = 4;
const READERS: u64 = 3;
/// Registers of each group.
const REGISTERS: u32 = 2;
/// How long a client thinks between two operations.
const THINK_MS: std::ops::Range<u64> = 5..30;
/// How long an operator does between two failovers.
const OPERATOR_THINK_MS: std::ops::Range<u64> = 500..2_500;
/// How many writers are patient with a command; the others give up when the first call ends without an answer.
const PATIENT: f64 = 0.75;
/// How long an operator watches the failover that it asked for.
const WATCHED: Duration = Duration::from_secs(10);

/// The first word of a register's name.
const REGISTER: &str = "register";

/// What all clients share.
#[derive(Debug)]
struct Shared {
    recorder: Recorder,
    groups: Vec<String>,
    /// Every operation holds it for reading; whoever writes to it has the cluster for itself.
    calm: RwLock<()>,
    /// Held by whoever decides where primaries are: an operator, or a fault that hits a primary.
    helm: Arc<Mutex<()>>,
    values: AtomicU32,
    requests: AtomicU64,
    generation: AtomicU32,
}

/// Clients at work.
#[derive(Debug)]
pub(super) struct Clients {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<()>>,
}

impl Clients {
    /// Starts them. Each begins with another coordinator.
    ///
    /// # Errors
    /// When an address is none.
    pub(super) fn start(cluster: &Cluster, groups: &[String]) -> Result<Self> {
        let shared = Arc::new(Shared {
            recorder: Recorder::default(),
            groups: groups.to_vec(),
            calm: RwLock::default(),
            helm: Arc::default(),
            values: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            generation: AtomicU32::new(0),
        });
        let mut tasks = JoinSet::new();
        for number in 0..=WRITERS + READERS {
            let client = client(cluster, number)?;
            let shared = Arc::clone(&shared);
            match number {
                0 => tasks.spawn(async move { operate(&shared, &client).await }),
                1..=WRITERS => tasks.spawn(async move { write(&shared, &client).await }),
                _ => tasks.spawn(async move { read(&shared, &client).await }),
            };
        }
        Ok(Self { shared, tasks })
    }

    /// What they were told.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.shared.recorder
    }

    /// Waits for every operation that is under way, and lets none begin before the guard is dropped.
    pub(super) async fn calm(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.calm.write().await
    }

    /// Decides where primaries are: until it is dropped, no operator does.
    pub(super) fn helm(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.shared.helm)
    }

    /// From now on other registers are used. Only while it is calm.
    pub(super) fn next_generation(&self) {
        self.shared.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// True for a label that was a register and is none any more.
    pub(super) fn is_old_register(&self, label: &str) -> bool {
        label.starts_with(REGISTER) && !label.starts_with(&self.shared.registers())
    }

    /// An error when a client was told something that it must never be told.
    ///
    /// # Errors
    /// That.
    pub(super) fn expect_well(&mut self) -> Result<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(Ok(Ok(()))) => bail!("a client ended"),
            Some(Ok(Err(error))) => Err(error).context("a client"),
            Some(Err(error)) => Err(error).context("a client"),
        }
    }
}

fn client(cluster: &Cluster, number: u64) -> Result<Client> {
    let options = ClientOptions {
        deadline: Duration::from_secs(1),
        per_try_timeout: Duration::from_millis(500),
        ..ClientOptions::default()
    };
    let count = cluster.plan().coordinators;
    let addresses = (0..count).map(|next| cluster.api_address((number + next) % count + 1));
    Ok(Client::connect(addresses, options)?)
}

async fn write(shared: &Shared, client: &Client) -> Result<()> {
    loop {
        think(THINK_MS).await;
        let _busy = shared.calm.read().await;
        let value = shared.values.fetch_add(1, Ordering::Relaxed) + 1;
        let register = format!("{}{}", shared.registers(), rand::random_range(0..REGISTERS));
        let (request_id, group) = (shared.request_id("write"), shared.group()?);
        let call = Call::Write { request_id, group, register, value };
        let patient = rand::rng().random_bool(PATIENT);
        let invoked = shared.recorder.now();
        let told = carry_out(client, &call, patient).await?;
        if let Told::Refused(code) = &told {
            bail!("{call:?} was refused: {code}");
        }
        shared.recorder.note(invoked, call, told);
    }
}

async fn read(shared: &Shared, client: &Client) -> Result<()> {
    loop {
        think(THINK_MS).await;
        let _busy = shared.calm.read().await;
        let group = shared.group()?;
        let request = GetGroupRequest { group: group.clone(), ..Default::default() };
        let prefix = shared.registers();
        let invoked = shared.recorder.now();
        let told = match client.get_group(request).await {
            Ok(answer) => {
                let view = answer.view.context("an answer without a view")?;
                if view.stale {
                    bail!("a stale answer to a linearizable read: {view:?}");
                }
                let labels = answer.group.context("an answer without a group")?.labels;
                Told::Values { values: values(labels, &prefix)?, revision: view.revision }
            }
            Err(error) if error.is_unavailable() => Told::Failed,
            Err(error) => return Err(error).context("not an answer that a reader should hear"),
        };
        shared.recorder.note(invoked, Call::Read { group }, told);
    }
}

/// Asks for a failover and looks on until the group is active again or this takes too long.
async fn operate(shared: &Shared, client: &Client) -> Result<()> {
    loop {
        think(OPERATOR_THINK_MS).await;
        let _helm = shared.helm.lock().await;
        let _busy = shared.calm.read().await;
        let (request_id, group) = (shared.request_id("failover"), shared.group()?);
        let call = Call::Failover { request_id, group: group.clone() };
        let invoked = shared.recorder.now();
        let told = carry_out(client, &call, false).await?;
        let begun = matches!(told, Told::Done { .. });
        shared.recorder.note(invoked, call, told);
        let end = Instant::now() + WATCHED;
        while begun && Instant::now() < end && !is_active(client, &group).await {
            think(THINK_MS).await;
        }
    }
}

async fn is_active(client: &Client, group: &str) -> bool {
    let request = GetGroupRequest { group: group.to_owned(), ..Default::default() };
    let answer = client.get_group(request).await;
    answer.is_ok_and(|answer| answer.group.is_some_and(|group| group.phase() == GroupPhase::Active))
}

/// The registers among the labels of a group.
fn values(labels: impl IntoIterator<Item = (String, String)>, prefix: &str) -> Result<BTreeMap<String, u32>> {
    let registers = labels.into_iter().filter(|(label, _)| label.starts_with(prefix));
    registers
        .map(|(label, value)| Ok((label, value.parse().context("a register holds what nobody wrote")?)))
        .collect()
}

async fn think(millis: std::ops::Range<u64>) {
    sleep(Duration::from_millis(rand::random_range(millis))).await;
}

impl Shared {
    /// How the names of the present registers begin.
    fn registers(&self) -> String {
        format!("{REGISTER}-{}-", self.generation.load(Ordering::Relaxed))
    }

    fn request_id(&self, what: &str) -> String {
        format!("{what}-{}", self.requests.fetch_add(1, Ordering::Relaxed))
    }

    fn group(&self) -> Result<String> {
        self.groups.choose(&mut rand::rng()).cloned().context("a storm has groups")
    }
}
