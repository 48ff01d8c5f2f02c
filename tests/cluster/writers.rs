//! Clients that write all the time and remember what was acknowledged.

use anyhow::{Context, Result, bail, ensure};
use quorate_rpc::{
    Client, ClientError, ClientOptions,
    pb::{
        control::{CreateGroupRequest, SetGroupLabelsRequest},
        types::Member,
    },
};
use quorate_tests::{Cluster, wait_until};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

/// One command in this many creates a group; the others set a label.
const CREATE_EVERY: u64 = 100;
/// How long a writer goes on asking for the answer to one command.
const ANSWER_DEADLINE: Duration = Duration::from_mins(1);

/// A command, which can be sent again and again.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    Labels(SetGroupLabelsRequest),
    Create(CreateGroupRequest),
}

impl Write {
    pub(crate) fn request_id(&self) -> &str {
        match self {
            Self::Labels(request) => &request.request_id,
            Self::Create(request) => &request.request_id,
        }
    }

    /// Sends it once; the revision that it led to.
    pub(crate) async fn send(&self, client: &Client) -> Result<u64, ClientError> {
        match self.clone() {
            Self::Labels(request) => Ok(client.set_group_labels(request).await?.revision),
            Self::Create(request) => Ok(client.create_group(request).await?.revision),
        }
    }

    /// Sends it until there is an answer, always under the same request id.
    pub(crate) async fn send_until_answered(&self, client: &Client) -> Result<u64> {
        let end = Instant::now() + ANSWER_DEADLINE;
        loop {
            match self.send(client).await {
                Ok(revision) => return Ok(revision),
                Err(error) if !is_no_answer(&error) => {
                    return Err(error).with_context(|| format!("{self:?} was refused"));
                }
                Err(error) if Instant::now() >= end => {
                    return Err(error).with_context(|| format!("{self:?} had no answer in time"));
                }
                Err(_) => {}
            }
        }
    }
}

fn is_no_answer(error: &ClientError) -> bool {
    error.is_unavailable() || matches!(error, ClientError::OutcomeUnknown { .. })
}

/// A command that was acknowledged, and with what.
#[derive(Debug, Clone)]
pub(crate) struct Acked {
    pub(crate) write: Write,
    pub(crate) revision: u64,
}

/// Some writers at work on one group. They share a budget, which keeps the history short enough to be read whole.
pub(crate) struct Writers {
    budget: Arc<Semaphore>,
    acked: Arc<Mutex<Vec<Acked>>>,
    tasks: JoinSet<Result<()>>,
}

impl Writers {
    pub(crate) fn start(cluster: &Cluster, group: &str, count: u64) -> Result<Self> {
        let budget = Arc::new(Semaphore::new(0));
        let acked = Arc::<Mutex<Vec<Acked>>>::default();
        let mut tasks = JoinSet::new();
        for writer in 0..count {
            let options = ClientOptions {
                deadline: Duration::from_secs(3),
                per_try_timeout: Duration::from_millis(700),
                ..ClientOptions::default()
            };
            let client = cluster.new_client(options)?;
            let (budget, acked, group) = (Arc::clone(&budget), Arc::clone(&acked), group.to_owned());
            tasks.spawn(async move {
                for number in 1.. {
                    let Ok(permit) = budget.acquire().await else { return Ok(()) };
                    permit.forget();
                    let write = write(&group, writer, number);
                    let revision = write.send_until_answered(&client).await?;
                    acked.lock().unwrap_or_else(PoisonError::into_inner).push(Acked { write, revision });
                }
                bail!("a writer ran out of numbers")
            });
        }
        Ok(Self { budget, acked, tasks })
    }

    /// Lets them write this many more.
    pub(crate) fn allow(&self, more: usize) {
        self.budget.add_permits(more);
    }

    /// How many were acknowledged so far.
    pub(crate) fn acked(&self) -> usize {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until this many were acknowledged.
    pub(crate) async fn wait_for(&mut self, wanted: usize) -> Result<()> {
        wait_until("the writers have their acknowledgements", ANSWER_DEADLINE, async || {
            if let Some(ended) = self.tasks.try_join_next() {
                // A refused command: more waiting does not help, and the test must end with its cause.
                panic!("a writer ended: {ended:?}");
            }
            let acked = self.acked();
            ensure!(acked >= wanted, "{acked} of {wanted} were acknowledged");
            Ok(())
        })
        .await
    }

    /// Ends them; everything that was ever acknowledged.
    pub(crate) async fn finish(mut self) -> Result<Vec<Acked>> {
        self.budget.close();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(acked.clone())
    }
}

fn write(group: &str, writer: u64, number: u64) -> Write {
    let request_id = format!("w{writer}-{number}");
    if number.is_multiple_of(CREATE_EVERY) {
        let member = |host: &str| Member { host: host.to_owned(), disk: String::new() };
        return Write::Create(CreateGroupRequest {
            request_id,
            group: format!("made-{writer}-{number}"),
            primary: Some(member("h1")),
            backups: vec![member("h2")],
            ..Default::default()
        });
    }
    Write::Labels(SetGroupLabelsRequest {
        request_id,
        group: group.to_owned(),
        labels: [(format!("writer-{writer}"), number.to_string())].into(),
    })
}

/// Every acknowledged command stands in a coordinator's history, once, at the revision that was acknowledged; and no
/// other request stands there twice.
pub(crate) async fn expect_each_once(cluster: &Cluster, id: u64, acked: &[Acked]) -> Result<()> {
    let mut revisions: BTreeMap<String, u64> = BTreeMap::new();
    for revision in cluster.history(id).await? {
        if revision.request_id.is_empty() {
            continue;
        }
        let twice = revisions.insert(revision.request_id.clone(), revision.revision);
        assert_eq!(twice, None, "coordinator {id}: {} had two effects", revision.request_id);
    }
    for Acked { write, revision } in acked {
        let found = revisions.get(write.request_id()).copied();
        assert_eq!(found, Some(*revision), "coordinator {id}: {}", write.request_id());
    }
    Ok(())
}
