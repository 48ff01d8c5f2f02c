//! How long the coordinators decide nothing after their leader is killed.

use crate::{
    cluster::{Cluster, Plan},
    timing::Timing,
};
use anyhow::{Context, Result};
use comfy_table::Table;
use quorate_rpc::{Client, ClientOptions, client::new_request_id, pb::control::SetGroupLabelsRequest};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

const GROUP: &str = "g";
/// Clients that try all the time, each by itself, so that the pause of one between two tries is not what is measured.
const CLIENTS: usize = 4;
const TRY: Duration = Duration::from_millis(200);
const GIVE_UP: Duration = Duration::from_mins(1);
/// The kill comes at a random moment of a heartbeat interval.
const JITTER_MS: u64 = 100;

/// Runs the bench and prints its table; the object for `--json`.
///
/// # Errors
/// When a cluster does not come up, or never decides again.
pub async fn run(runs: u64) -> Result<Value> {
    let timing = Timing::default_of_the_product();
    let shown = format!(
        "raft heartbeat {} ms, election {}-{} ms",
        timing.raft_heartbeat_ms, timing.election_min_ms, timing.election_max_ms
    );
    println!("three coordinators on loopback, {shown}; kill -9 of the leader, {runs} runs");
    let plan = Plan { timing, log_level: "warn,openraft=error", ..Plan::with_agents(1) };
    let mut cluster = Cluster::start(plan).await?;
    cluster.create_group(GROUP, &[1]).await?;
    let mut times = Vec::new();
    for run in 1..=runs {
        let took = once(&mut cluster).await.with_context(|| format!("run {run}"))?;
        println!("run {run:>2}: {:>5} ms", took.as_millis());
        times.push(took.as_millis());
    }
    cluster.finish().await?;
    times.sort_unstable();
    let (median, least, most) = (times[times.len() / 2], times[0], times[times.len() - 1]);
    let mut table = Table::new();
    table.set_header(["leader killed to next committed command", "median ms", "min ms", "max ms"]);
    table.add_row([shown, median.to_string(), least.to_string(), most.to_string()]);
    println!("{table}");
    let times: Vec<u64> = times.into_iter().map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)).collect();
    Ok(json!({
        "bench": "failover-time",
        "runs": runs,
        "median_ms": times[times.len() / 2],
        "min_ms": times[0],
        "max_ms": times[times.len() - 1],
        "times_ms": times,
    }))
}

async fn once(cluster: &mut Cluster) -> Result<Duration> {
    let leader = cluster.leader().await?;
    cluster.wait_for_equal_states().await?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let options = ClientOptions { deadline: TRY * 2, per_try_timeout: TRY, ..ClientOptions::default() };
        let client = cluster.new_client(options)?;
        write(&client).await.context("a write before the kill")?;
        clients.push(client);
    }
    sleep_until(Instant::now() + Duration::from_millis(rand::random_range(0..JITTER_MS))).await;
    let killed = Instant::now();
    cluster.coordinator(leader).kill()?;
    let mut tries = JoinSet::new();
    for client in clients {
        tries.spawn(async move {
            while write(&client).await.is_err() {}
            killed.elapsed()
        });
    }
    let first = timeout(GIVE_UP, tries.join_next()).await.context("nothing was decided any more")?;
    let took = first.context("there are clients")??;
    drop(tries);
    cluster.coordinator(leader).start()?;
    cluster.wait_for_equal_states().await?;
    Ok(took)
}

async fn write(client: &Client) -> Result<()> {
    let request = SetGroupLabelsRequest {
        request_id: new_request_id(),
        group: GROUP.to_owned(),
        labels: [("value".to_owned(), super::decisions::random_value())].into(),
    };
    client.set_group_labels(request).await?;
    Ok(())
}
