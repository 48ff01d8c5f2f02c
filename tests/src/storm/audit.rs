//! What must hold whenever the cluster is whole and nobody asks it for anything.

use super::{
    clients::Clients,
    command::{label, send},
    history::{Call, Operation, Told, by_register, check_revisions},
    linearizable,
};
use crate::cluster::Cluster;
use anyhow::{Context, Result, ensure};
use quorate_rpc::{
    ClientError,
    client::new_request_id,
    pb::{control::GetGroupRequest, types::Revision},
};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Commands of each audit that are sent again although they were acknowledged.
const ASKED_AGAIN: usize = 40;

/// Judges the history bit by bit, so that the coordinators need not keep all of it, and remembers what later bits are
/// judged by.
#[derive(Debug)]
pub(super) struct Audit {
    groups: Vec<String>,
    /// The last revision that was judged.
    judged: u64,
    /// The last revision that a client was told.
    told: u64,
    /// Every request that ever had an effect, and where.
    effects: HashMap<String, u64>,
    /// Requests that certainly have none.
    without_effect: HashSet<String>,
    epochs: BTreeMap<String, u64>,
    totals: Totals,
}

/// What all audits have judged.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    /// Histories of one register each.
    pub(super) registers: usize,
    /// Operations on them.
    pub(super) operations: usize,
    /// Acknowledged commands, each found once at its revision on every coordinator.
    pub(super) commands: usize,
    /// Commands that were sent again and answered the same.
    pub(super) asked_again: usize,
    /// Revisions, the same on every coordinator.
    pub(super) revisions: u64,
    /// Switches of a primary, each under the next epoch.
    pub(super) switches: u64,
}

impl Audit {
    /// Begins with a cluster whose groups were just made.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) async fn begin(cluster: &Cluster, groups: &[String]) -> Result<Self> {
        let mut epochs = BTreeMap::new();
        for group in groups {
            epochs.insert(group.clone(), cluster.group(group).await?.epoch);
        }
        let judged = cluster.wait_for_equal_states().await?.revision;
        Ok(Self {
            groups: groups.to_vec(),
            judged,
            told: judged,
            effects: HashMap::new(),
            without_effect: HashSet::new(),
            epochs,
            totals: Totals::default(),
        })
    }

    /// What was judged so far.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Judges everything since the last time. Nobody else may ask the cluster for anything meanwhile.
    ///
    /// # Errors
    /// What does not hold.
    pub(super) async fn judge(&mut self, cluster: &Cluster, clients: &Clients) -> Result<()> {
        let operations = clients.recorder().take();
        self.judge_answers(&operations)?;
        let mut acknowledged = acknowledged(&operations);
        acknowledged.extend(ask_again(cluster, &operations, &mut self.totals).await?);
        clients.next_generation();
        acknowledged.extend(self.remove_old_registers(cluster, clients).await?);
        let upto = cluster.wait_for_equal_states().await?.revision;
        self.judge_events(&self.events(cluster, upto).await?)?;
        self.judge_commands(&operations, &acknowledged)
    }

    /// What clients were told, by itself.
    fn judge_answers(&mut self, operations: &[Operation]) -> Result<()> {
        self.told = check_revisions(operations, self.told).context("revisions against real time")?;
        for ((group, register), history) in by_register(operations) {
            linearizable::check(&history).with_context(|| format!("{register} of group {group}"))?;
            self.totals.registers += 1;
            self.totals.operations += history.len();
        }
        Ok(())
    }

    /// Labels of a group are few; those of earlier registers make room, also if a late command made one again.
    async fn remove_old_registers(&self, cluster: &Cluster, clients: &Clients) -> Result<Vec<(String, u64)>> {
        let mut removed = Vec::new();
        for group in &self.groups {
            let request = GetGroupRequest { group: group.clone(), ..Default::default() };
            let labels = cluster.client().get_group(request).await?.group.context("no group")?.labels;
            for old in labels.keys().filter(|name| clients.is_old_register(name)) {
                let request_id = new_request_id();
                let answer = cluster.client().set_group_labels(label(&request_id, group, old, "")).await?;
                removed.push((request_id, answer.revision));
            }
        }
        Ok(removed)
    }

    /// What was committed since the last time, up to a revision that every coordinator has, as every one has it. The cluster
    /// goes on deciding meanwhile.
    async fn events(&self, cluster: &Cluster, upto: u64) -> Result<Vec<Revision>> {
        let mut first: Option<Vec<Revision>> = None;
        for id in 1..=cluster.plan().coordinators {
            let mut events = cluster.history_from(id, self.judged + 1).await?;
            events.retain(|revision| revision.revision <= upto);
            let known = first.get_or_insert_with(|| events.clone());
            let differs = known.iter().zip(&events).find(|(one, other)| one != other);
            ensure!(differs.is_none(), "coordinators 1 and {id} have other histories: {differs:?}");
            ensure!(
                known.len() == events.len(),
                "coordinator 1 has {} revisions from {} on, coordinator {id} has {}",
                known.len(),
                self.judged + 1,
                events.len()
            );
        }
        first.context("a cluster has coordinators")
    }

    /// Revisions have no gap, no request has two effects, and epochs rise by one.
    fn judge_events(&mut self, revisions: &[Revision]) -> Result<()> {
        for revision in revisions {
            let number = revision.revision;
            ensure!(number == self.judged + 1, "revision {number} follows {}", self.judged);
            self.judged = number;
            self.totals.revisions += 1;
            if !revision.request_id.is_empty() {
                let twice = self.effects.insert(revision.request_id.clone(), number);
                ensure!(twice.is_none(), "{} had effects at {twice:?} and {number}", revision.request_id);
                let failed = self.without_effect.contains(&revision.request_id);
                ensure!(!failed, "{} had certainly failed, and took effect", revision.request_id);
            }
            for event in revision.events.iter().filter(|event| event.r#type == "PrimarySwitched") {
                let epoch = epoch(&event.detail_json).with_context(|| format!("{event:?}"))?;
                let known = self.epochs.entry(event.group.clone()).or_default();
                ensure!(epoch == *known + 1, "the epoch of {} went from {known} to {epoch}", event.group);
                *known = epoch;
                self.totals.switches += 1;
            }
        }
        Ok(())
    }

    /// Every acknowledged command stands where its client was told, and no refused or failed one stands anywhere.
    fn judge_commands(&mut self, operations: &[Operation], acknowledged: &[(String, u64)]) -> Result<()> {
        for (request_id, revision) in acknowledged {
            let found = self.effects.get(request_id);
            ensure!(found == Some(revision), "{request_id} was acknowledged at {revision}; found: {found:?}");
        }
        self.totals.commands += acknowledged.len();
        for one in operations.iter().filter(|one| matches!(one.told, Told::Failed | Told::Refused(_))) {
            let (Call::Write { request_id, .. } | Call::Failover { request_id, .. }) = &one.call else {
                continue;
            };
            let found = self.effects.get(request_id);
            ensure!(found.is_none(), "{one:?} took effect at {found:?}");
            self.without_effect.insert(request_id.clone());
        }
        Ok(())
    }
}

fn acknowledged(operations: &[Operation]) -> Vec<(String, u64)> {
    let done = operations.iter().filter_map(|one| match (&one.call, &one.told) {
        (Call::Write { request_id, .. } | Call::Failover { request_id, .. }, Told::Done { revision }) => {
            Some((request_id.clone(), *revision))
        }
        _ => None,
    });
    done.collect()
}

/// Sends some acknowledged commands again, which must be answered the same, and all whose outcome is unknown, which are
/// acknowledged or refused now. Gives back what was acknowledged now for the first time.
async fn ask_again(
    cluster: &Cluster,
    operations: &[Operation],
    totals: &mut Totals,
) -> Result<Vec<(String, u64)>> {
    let commands = operations.iter().filter(|one| !matches!(one.call, Call::Read { .. }));
    let (done, rest): (Vec<_>, Vec<_>) = commands.partition(|one| matches!(one.told, Told::Done { .. }));
    let step = (done.len() / ASKED_AGAIN).max(1);
    let unknown = rest.into_iter().filter(|one| one.told == Told::Unknown);
    let mut new = Vec::new();
    for one in done.into_iter().step_by(step).chain(unknown) {
        let again = send(&cluster.client(), &one.call).await;
        totals.asked_again += 1;
        match (&one.told, again) {
            (Told::Done { revision }, Ok(again)) => {
                ensure!(again == *revision, "{one:?} was answered {again} when it was sent again");
            }
            (Told::Unknown, Ok(revision)) => {
                let (Call::Write { request_id, .. } | Call::Failover { request_id, .. }) = &one.call else {
                    continue;
                };
                new.push((request_id.clone(), revision));
            }
            (Told::Unknown, Err(ClientError::Refused { .. })) => {}
            (_, Err(error)) => return Err(error).with_context(|| format!("{one:?}, sent again")),
            (told, Ok(_)) => unreachable!("{told:?} is not sent again"),
        }
    }
    Ok(new)
}

fn epoch(detail: &str) -> Result<u64> {
    fn find(value: &Value) -> Option<u64> {
        let fields = value.as_object()?;
        fields.get("epoch").and_then(Value::as_u64).or_else(|| fields.values().find_map(find))
    }
    let value: Value = serde_json::from_str(detail).context("the detail of an event is not JSON")?;
    find(&value).context("no epoch")
}
