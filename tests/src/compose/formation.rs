//! One cluster is formed, whoever starts first and whatever comes late.

use super::{
    scene::EFFECT,
    stack::{Node, Stack},
};
use crate::{
    statuses::{statuses, told, wait_for_equal_states},
    wait::wait_until,
};
use anyhow::{Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// What this is chosen by.
pub(super) const NAME: &str = "formation";

/// What one says after each round in which too few others answered, and what one says that forms the cluster.
const WAITS: &str = "waiting for a majority of the initial members";
const FORMS: &str = "forming the cluster";
/// As many rounds as take seconds: whoever forms a cluster alone does so in one of the first.
const ROUNDS: usize = 5;

/// The last of the list comes first and waits, as nobody but it is there; with the next they are a majority; whoever
/// comes after that joins.
///
/// # Errors
/// When one coordinator alone forms a cluster, or there is not one cluster in the end.
pub(super) async fn run(stack: &Stack, say: &impl Fn(&str)) -> Result<()> {
    let began = Instant::now();
    let mut order = stack.coordinators();
    order.reverse();
    let majority = order.len() / 2 + 1;
    for (count, node) in (1..).zip(&order) {
        stack.start(&[*node]).await?;
        if count < majority {
            waits(stack, *node, count).await?;
        } else {
            one_leader(stack, count).await?;
        }
    }
    let forming = formed(stack, &order).await?;
    say(&format!(
        "ok   {:5.1} s  {NAME} ({}): started one by one from the last, {} waited, {forming} formed the cluster, all follow \
         one leader with equal states",
        began.elapsed().as_secs_f64(),
        stack.size(),
        majority - 1
    ));
    stack.remove().await
}

/// The last that was started has asked the others in vain, time and again, and none of those that run has formed anything.
async fn waits(stack: &Stack, node: Node, count: usize) -> Result<()> {
    wait_until(&format!("{node} has asked the others {ROUNDS} times"), EFFECT, async || {
        let rounds = stack.log(node).await?.matches(WAITS).count();
        ensure!(rounds >= ROUNDS, "{rounds} times");
        Ok(())
    })
    .await?;
    let alone = statuses(&addresses(stack).await?).await;
    ensure!(alone.len() == count, "{} of {count} answer", alone.len());
    let formed = alone.values().any(|status| status.leader_id != 0 || status.revision != 0);
    ensure!(!formed, "{count} formed a cluster: {:?}", told(&alone));
    let log = stack.log(node).await?;
    ensure!(!log.contains(FORMS), "{node} says that it forms a cluster:\n{log}");
    Ok(())
}

/// Where the coordinators that run are asked.
async fn addresses(stack: &Stack) -> Result<BTreeMap<u64, String>> {
    let coordinator = |(node, address): (Node, String)| match node {
        Node::Coordinator(id) => Some((id, format!("{address}:{}", node.port()))),
        Node::Agent(_) => None,
    };
    Ok(stack.addresses().await?.into_iter().filter_map(coordinator).collect())
}

/// So many coordinators follow one leader, which can decide, and have applied the same.
async fn one_leader(stack: &Stack, count: usize) -> Result<()> {
    let addresses = addresses(stack).await?;
    ensure!(addresses.len() == count, "{} of {count} run: {addresses:?}", addresses.len());
    wait_until(&format!("{count} coordinators are one cluster"), EFFECT, async || {
        let statuses = statuses(&addresses).await;
        ensure!(statuses.len() == count, "{} answer", statuses.len());
        let leading = statuses.values().filter(|status| status.can_decide).count();
        let leaders: BTreeSet<u64> = statuses.values().map(|status| status.leader_id).collect();
        let formed = statuses.values().all(|status| status.revision > 0);
        ensure!(leading == 1 && leaders.len() == 1 && formed, "{:?}", told(&statuses));
        Ok(())
    })
    .await?;
    wait_for_equal_states(&addresses, EFFECT).await?;
    Ok(())
}

/// Who says that it forms the cluster: only of the majority, as all others found one.
async fn formed(stack: &Stack, order: &[Node]) -> Result<String> {
    let mut forming = Vec::new();
    for (place, node) in order.iter().enumerate() {
        if stack.log(*node).await?.contains(FORMS) {
            ensure!(place <= order.len() / 2, "{node} came late and formed a cluster");
            forming.push(node.to_string());
        }
    }
    ensure!(!forming.is_empty(), "nobody says that it formed the cluster");
    Ok(forming.join(" and "))
}
