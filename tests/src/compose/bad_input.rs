//! Compose files that are wrong: each is said where an operator looks, in the log, by `quorate status` and by an exit code,
//! and put right by what was said.

use super::{
    docker::must,
    scene::EFFECT,
    stack::{Node, Stack},
    view,
};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::{fs, time::Instant};

/// What these are chosen by.
pub(super) const NAME: &str = "bad input";

/// The one that is configured wrongly; the others are a majority.
const WRONG: Node = Node::Coordinator(3);
const RIGHT: [Node; 2] = [Node::Coordinator(1), Node::Coordinator(2)];

/// All of them.
///
/// # Errors
/// The first that is not said clearly.
pub(super) async fn run(stack: &Stack, say: &impl Fn(&str)) -> Result<()> {
    if stack.size() == 5 {
        return even(stack, 4, say).await;
    }
    stack.start(&RIGHT).await?;
    for node in RIGHT {
        stack.checked(node, 0).await?;
    }
    let (log, status) = ("in its log", "`quorate status` warns of it");
    let began = Instant::now();
    let words = same_id(stack).await.context("two coordinators of one id")?;
    tell(say, began, "same id", &format!("it ends with 1 and says: {words}; {status}"));
    let began = Instant::now();
    let words = other_cluster(stack).await.context("a coordinator of another cluster")?;
    tell(say, began, "other cluster", &format!("it serves nobody and says {log}: {words}; {status}"));
    let began = Instant::now();
    let words = foreign_volume(stack).await.context("a volume of another user")?;
    tell(say, began, "foreign volume", &format!("it ends with 1 and says: {words}; {status}"));
    let began = Instant::now();
    clear(stack).await?;
    stack.start(&[WRONG]).await?;
    stack.checked(WRONG, 0).await.context("put right")?;
    tell(say, began, "put right", "with its own id, cluster and volume it joins the others");
    stack.remove().await?;
    even(stack, 2, say).await
}

fn tell(say: &impl Fn(&str), began: Instant, what: &str, seen: &str) {
    say(&format!("ok   {:5.1} s  {NAME}, {what}: {seen}", began.elapsed().as_secs_f64()));
}

/// A second node 2, at the address of node 3.
async fn same_id(stack: &Stack) -> Result<String> {
    stack.override_with(&environment("QUORATE_NODE_ID", "2"))?;
    stack.start(&[WRONG]).await?;
    let words = stack.ends_saying(WRONG, "another coordinator uses node.id 2").await?;
    warned(stack, RIGHT[0], "coordinator 3 is not reached").await?;
    Ok(words)
}

/// Node 3 of another cluster.
async fn other_cluster(stack: &Stack) -> Result<String> {
    clear(stack).await?;
    stack.override_with(&environment("QUORATE_CLUSTER_ID", "another"))?;
    stack.start(&[WRONG]).await?;
    let words = stack.says(WRONG, "cluster.id another is not the cluster of this coordinator").await?;
    ensure!(words.contains("correct cluster.id"), "no remedy: {words}");
    let checked = stack.healthcheck(WRONG).await?;
    ensure!(checked.code == Some(1), "its health check says {checked:?}");
    view::says_that_there_is_no_quorum(&address(stack, WRONG).await?).await?;
    warned(stack, RIGHT[0], "coordinator 3 refuses this one").await?;
    Ok(words)
}

/// Node 3 on a volume in which root has written.
async fn foreign_volume(stack: &Stack) -> Result<String> {
    clear(stack).await?;
    // Only an empty volume takes its owner from the image.
    for volume in WRONG.volumes() {
        let folder = stack.make_volume(&volume).await?;
        fs::write(folder.join("lost+found"), "").context("writing into the volume")?;
        must(&["chown", "0:0", &folder.to_string_lossy()]).await?;
        must(&["chmod", "0700", &folder.to_string_lossy()]).await?;
    }
    stack.start(&[WRONG]).await?;
    let words = stack.ends_saying(WRONG, "give it to the user that this process runs as").await?;
    warned(stack, RIGHT[0], "coordinator 3 is not reached").await?;
    Ok(words)
}

/// An even number of coordinators works, and is worth a warning.
async fn even(stack: &Stack, count: u64, say: &impl Fn(&str)) -> Result<()> {
    let began = Instant::now();
    let nodes: Vec<Node> = (1..=count).map(Node::Coordinator).collect();
    let member =
        |node: &Node| format!("{}={node}:7400/{node}:7401", node.to_string().replace("coordinator-", ""));
    let members: Vec<String> = nodes.iter().map(member).collect();
    let services: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let mut words = vec!["up", "--detach", "--no-build"];
    words.extend(services.iter().map(String::as_str));
    stack.compose_with(&words, &[("QUORATE_MEMBERS", members.join(","))]).await?;
    for node in &nodes {
        stack.checked(*node, 0).await.with_context(|| format!("{count} coordinators"))?;
    }
    let warning = format!("{count} coordinators vote");
    stack.says(nodes[0], &warning).await?;
    let line = warned(stack, nodes[0], &warning).await?;
    tell(
        say,
        began,
        &format!("{count} coordinators"),
        &format!("they work, and `quorate status` says: {line}"),
    );
    stack.remove().await
}

fn environment(name: &str, value: &str) -> String {
    format!("services:\n  {WRONG}:\n    environment:\n      {name}: \"{value}\"\n")
}

/// The wrong one goes, with its volume and what made it wrong.
async fn clear(stack: &Stack) -> Result<()> {
    stack.compose(&["rm", "--stop", "--force", &WRONG.to_string()]).await?;
    for volume in WRONG.volumes() {
        must(&["docker", "volume", "rm", &volume]).await?;
    }
    stack.override_with("")
}

async fn address(stack: &Stack, node: Node) -> Result<String> {
    let addresses = stack.addresses().await?;
    let address = addresses.get(&node).with_context(|| format!("{node} has no address"))?;
    Ok(format!("{address}:{}", node.port()))
}

/// `quorate status`, run in the container of a healthy coordinator as an operator would, ends with a warning.
async fn warned(stack: &Stack, at: Node, words: &str) -> Result<String> {
    wait_until(&format!("`quorate status` says {words:?}"), EFFECT, async || {
        let status = stack.exec(at, &["quorate", "status"]).await?;
        let line = status.stdout.lines().find(|line| line.contains(words));
        let line = line.with_context(|| format!("{status:?}"))?;
        ensure!(status.code == Some(1), "a warning, and exit code {:?}", status.code);
        Ok(line.trim().to_owned())
    })
    .await
}
