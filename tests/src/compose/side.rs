//! Clients of one side of a cut, or of everybody: they label and create groups and ask for failovers all the time, and
//! count what that side decides.

use anyhow::{Context, Result, bail, ensure};
use quorate_rpc::{
    Client, ClientError, ClientOptions,
    client::new_request_id,
    pb::{
        control::{
            CreateGroupRequest, DeleteGroupRequest, GetGroupRequest, RequestFailoverRequest,
            SetGroupLabelsRequest,
        },
        types::{GroupPhase, Member},
    },
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::RwLockWriteGuard,
    task::JoinSet,
    time::{Instant, sleep},
};

/// A client gives up and tries something else after this time.
const PATIENCE: Duration = Duration::from_secs(1);
const PER_TRY: Duration = Duration::from_millis(500);
const LABEL_EVERY: Duration = Duration::from_millis(40);
const OPERATE_EVERY: Duration = Duration::from_millis(500);
/// How long a failover is watched before another is asked for.
const WATCHED: Duration = Duration::from_secs(10);

/// What a side answered so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Decisions that it acknowledged, by kind.
    pub(super) acknowledged: BTreeMap<&'static str, u64>,
    /// How often its coordinators answered that none of them leads with a quorum.
    pub(super) no_leader: u64,
    /// How often none of them answered.
    pub(super) unreachable: u64,
    /// How often a decision may have been taken or not.
    pub(super) unknown: u64,
    /// Refusals of commands, which are decisions of a leader too, but nobody's progress; by code.
    pub(super) refused: BTreeMap<String, u64>,
    /// An answer that no client should get.
    pub(super) unexpected: Option<String>,
}

impl Tally {
    /// How many decisions were acknowledged.
    pub(super) fn decided(&self) -> u64 {
        self.acknowledged.values().sum()
    }

    fn note(&mut self, kind: &'static str, answer: Result<(), ClientError>) {
        match answer {
            Ok(()) => *self.acknowledged.entry(kind).or_default() += 1,
            Err(ClientError::NoLeader { .. }) => self.no_leader += 1,
            Err(ClientError::Unreachable { .. }) => self.unreachable += 1,
            Err(ClientError::OutcomeUnknown { .. }) => self.unknown += 1,
            Err(ClientError::Refused { code, .. }) => *self.refused.entry(code).or_default() += 1,
            Err(error) => self.unexpected = Some(format!("{kind}: {error}")),
        }
    }
}

#[derive(Debug)]
struct Shared {
    name: String,
    client: RwLock<Client>,
    groups: Vec<String>,
    hosts: Vec<String>,
    tally: Mutex<Tally>,
    /// Every operation holds it for reading; whoever writes to it has the cluster for itself.
    calm: tokio::sync::RwLock<()>,
    may_operate: AtomicBool,
    created: AtomicU64,
}

/// Clients, at work from [`Side::begin`] until it is dropped.
#[derive(Debug)]
pub(super) struct Side {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Side {
    /// Clients that know only these coordinators; new groups are made on these hosts.
    ///
    /// # Errors
    /// When an address is none.
    pub(super) fn new(
        name: &str,
        coordinators: &[String],
        groups: &[String],
        hosts: &[String],
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            client: RwLock::new(client(coordinators)?),
            groups: groups.to_vec(),
            hosts: hosts.to_vec(),
            tally: Mutex::default(),
            calm: tokio::sync::RwLock::default(),
            may_operate: AtomicBool::new(true),
            created: AtomicU64::new(0),
        });
        Ok(Self { shared, tasks: JoinSet::new() })
    }

    /// The clients begin their work.
    pub(super) fn begin(&mut self) {
        self.tasks.spawn(label(Arc::clone(&self.shared)));
        self.tasks.spawn(operate(Arc::clone(&self.shared)));
    }

    /// Waits for every operation that is under way, and lets none begin before the guard is dropped.
    pub(super) async fn calm(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.calm.write().await
    }

    /// The coordinators are reached here from now on.
    ///
    /// # Errors
    /// When an address is none.
    pub(super) fn readdress(&self, coordinators: &[String]) -> Result<()> {
        *self.shared.client.write().unwrap_or_else(PoisonError::into_inner) = client(coordinators)?;
        Ok(())
    }

    /// Whether groups are created, deleted and moved, beside the labels; what is under way goes on.
    pub(super) fn operate(&self, may: bool) {
        self.shared.may_operate.store(may, Ordering::Release);
    }

    /// What it answered so far.
    pub(super) fn tally(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// An error when a client was told something that it must never be told.
    ///
    /// # Errors
    /// That.
    pub(super) fn expect_well(&self) -> Result<()> {
        match self.tally().unexpected {
            None => Ok(()),
            Some(answer) => bail!("a client of {} was told: {answer}", self.shared.name),
        }
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn any_group(&self) -> String {
        self.groups[rand::random_range(0..self.groups.len())].clone()
    }
}

fn client(coordinators: &[String]) -> Result<Client> {
    ensure!(!coordinators.is_empty(), "a side without a coordinator decides nothing");
    let options = ClientOptions { deadline: PATIENCE, per_try_timeout: PER_TRY, ..ClientOptions::default() };
    Client::connect(coordinators, options).context("the clients of a side")
}

async fn label(shared: Arc<Shared>) {
    for value in 0_u64.. {
        let request = SetGroupLabelsRequest {
            request_id: new_request_id(),
            group: shared.any_group(),
            labels: [(shared.name.clone(), value.to_string())].into(),
        };
        let busy = shared.calm.read().await;
        let answer = shared.client().set_group_labels(request).await;
        shared.tally().note("label", answer.map(drop));
        drop(busy);
        sleep(LABEL_EVERY).await;
    }
}

/// Moves a group, then makes one and deletes it, and so on.
async fn operate(shared: Arc<Shared>) {
    loop {
        let busy = shared.calm.read().await;
        if shared.may_operate.load(Ordering::Acquire) {
            failover(&shared).await;
            create_and_delete(&shared).await;
        }
        drop(busy);
        sleep(OPERATE_EVERY).await;
    }
}

async fn failover(shared: &Shared) {
    let group = shared.any_group();
    let request = RequestFailoverRequest { group: group.clone(), ..Default::default() };
    let answer = shared.client().request_failover(request).await;
    let begun = answer.is_ok();
    shared.tally().note("failover", answer.map(drop));
    if begun {
        watch(shared, &group).await;
    }
}

async fn create_and_delete(shared: &Shared) {
    let number = shared.created.fetch_add(1, Ordering::Relaxed);
    let group = format!("{}-{number}", shared.name);
    let mut members = shared.hosts.iter().map(|host| Member { host: host.clone(), disk: String::new() });
    let request = CreateGroupRequest {
        group: group.clone(),
        primary: members.next(),
        backups: members.collect(),
        ..Default::default()
    };
    let answer = shared.client().create_group(request).await;
    let made = answer.is_ok();
    shared.tally().note("create", answer.map(drop));
    if made {
        watch(shared, &group).await;
        let request = DeleteGroupRequest { group, ..Default::default() };
        let answer = shared.client().delete_group(request).await;
        shared.tally().note("delete", answer.map(drop));
    }
}

/// Looks on until the group is active or this takes too long.
async fn watch(shared: &Shared, group: &str) {
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        let request = GetGroupRequest { group: group.to_owned(), ..Default::default() };
        let answer = shared.client().get_group(request).await;
        if answer.is_ok_and(|answer| answer.group.is_some_and(|group| group.phase() == GroupPhase::Active)) {
            return;
        }
        sleep(LABEL_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_acknowledged_counts_as_decided() {
        let text = || "m".to_owned();
        let mut tally = Tally::default();
        tally.note("label", Ok(()));
        tally.note("label", Err(ClientError::NoLeader { deadline_ms: 1, asked: vec![], last: text() }));
        tally.note("label", Err(ClientError::Unreachable { deadline_ms: 1, asked: vec![], last: text() }));
        let unknown = ClientError::OutcomeUnknown { request_id: text(), deadline_ms: 1, last: text() };
        tally.note("create", Err(unknown));
        tally.note("failover", Err(ClientError::Refused { code: "X".to_owned(), message: text() }));
        let counts = (tally.decided(), tally.no_leader, tally.unreachable, tally.unknown);
        assert_eq!((counts, tally.refused.len()), ((1, 1, 1, 1), 1));
        assert!(tally.unexpected.is_none());
        tally.note("label", Err(ClientError::Invalid { field: text(), message: text() }));
        assert!(tally.unexpected.is_some());
    }
}
