//! Committed commands per second on three nodes, in turns with etcd.

use super::{Measured, Servers, Target, etcd::Etcd, load};
use crate::{
    cluster::{Cluster, Plan},
    process::Process,
    timing::Timing,
};
use anyhow::Result;
use comfy_table::Table;
use quorate_rpc::{
    client::new_request_id,
    pb::control::{SetGroupLabelsRequest, groups_client::GroupsClient},
};
use rand::{RngExt, distr::Alphanumeric};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tonic::transport::Channel;

const GROUPS: u32 = 64;
const VALUE_BYTES: usize = 128;
const CLIENTS: [usize; 3] = [1, 64, 256];
/// Clients share connections as they do in a service; both sides have the same number.
const CONNECTIONS_MAX: usize = 8;

/// 128 random bytes that may stand in a label.
pub fn random_value() -> String {
    rand::rng().sample_iter(Alphanumeric).take(VALUE_BYTES).map(char::from).collect()
}

/// How long and how often to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of one run.
    pub seconds: u64,
    /// Runs of each side for each number of clients.
    pub rounds: u64,
}

/// One number of clients.
struct Row {
    clients: usize,
    connections: usize,
    quorate: Measured,
    etcd: Option<Measured>,
}

/// Runs the bench and prints its table; the object for `--json`.
///
/// # Errors
/// When a cluster does not come up or acknowledges nothing.
pub async fn run(options: &Options) -> Result<Value> {
    let plan = Plan {
        timing: Timing::default_of_the_product(),
        log_level: "warn,openraft=error",
        ..Plan::with_agents(1)
    };
    let cluster = Cluster::start(plan).await?;
    create_groups(&cluster).await?;
    let etcd = Etcd::start().await?;
    let compared = etcd.as_ref().map_or("etcd is not installed (Debian: etcd-server)", |etcd| &etcd.version);
    println!("three coordinators on loopback against: {compared}");
    println!("{} runs of {} s each, in turns; {VALUE_BYTES}-byte values", options.rounds, options.seconds);
    println!("CPU us: processor time of the three servers together, per command");
    let duration = Duration::from_secs(options.seconds);
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let connections = clients.min(CONNECTIONS_MAX);
        let quorate = QuorateTarget::connect(&cluster, connections).await?;
        let other = match &etcd {
            Some(etcd) => Some(etcd.target(connections).await?),
            None => None,
        };
        let mut row = Row {
            clients,
            connections,
            quorate: Measured::default(),
            etcd: other.as_ref().map(|_| Measured::default()),
        };
        for _ in 0..options.rounds {
            row.quorate.add(load::run(&quorate, &cluster, clients, duration).await?);
            if let (Some(etcd), Some(target), Some(measured)) = (&etcd, &other, &mut row.etcd) {
                measured.add(load::run(target, etcd, clients, duration).await?);
            }
        }
        rows.push(row);
    }
    println!("{}", table(&rows));
    cluster.finish().await?;
    Ok(report(options, compared, &rows))
}

async fn create_groups(cluster: &Cluster) -> Result<()> {
    for number in 0..GROUPS {
        cluster.create_group(&group(number), &[1]).await?;
    }
    cluster.wait_for_equal_states().await?;
    Ok(())
}

fn group(number: u32) -> String {
    format!("group-{number:02}")
}

/// Sets a label of a random group to 128 random bytes. Like the other side, by generated clients that speak to the
/// leader and retry nothing: it is the servers that are compared.
#[derive(Debug, Clone)]
struct QuorateTarget {
    connections: Arc<[GroupsClient<Channel>]>,
}

impl QuorateTarget {
    async fn connect(cluster: &Cluster, connections: usize) -> Result<Self> {
        let leader = cluster.api_address(cluster.leader().await?);
        let mut made = Vec::new();
        for _ in 0..connections {
            made.push(GroupsClient::new(super::connect(&format!("http://{leader}")).await?));
        }
        Ok(Self { connections: made.into() })
    }
}

impl Servers for Cluster {
    fn cpu_time(&self) -> Result<Duration> {
        self.coordinators().map(Process::cpu_time).sum()
    }
}

impl Target for QuorateTarget {
    async fn command(&self, connection: usize) -> Result<()> {
        let request = SetGroupLabelsRequest {
            request_id: new_request_id(),
            group: group(rand::random_range(0..GROUPS)),
            labels: [("value".to_owned(), random_value())].into(),
        };
        let mut client = self.connections[connection % self.connections.len()].clone();
        client.set_group_labels(request).await?;
        Ok(())
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.set_header(["clients", "", "commands/s", "p50 ms", "p99 ms", "CPU us", "failed", "times etcd"]);
    for row in rows {
        let ratio =
            row.etcd.as_ref().map_or("-".to_owned(), |etcd| format!("{:.2}", ratio(&row.quorate, etcd)));
        table.add_row(line(row.clients.to_string(), "quorate", &row.quorate, ratio));
        if let Some(etcd) = &row.etcd {
            table.add_row(line(String::new(), "etcd", etcd, String::new()));
        }
    }
    table
}

fn line(clients: String, name: &str, measured: &Measured, ratio: String) -> [String; 8] {
    [
        clients,
        name.to_owned(),
        format!("{:.0}", measured.median_per_second()),
        format!("{:.2}", measured.latency_ms(50)),
        format!("{:.2}", measured.latency_ms(99)),
        format!("{:.0}", measured.cpu_us_per_command()),
        measured.failed.to_string(),
        ratio,
    ]
}

fn ratio(quorate: &Measured, etcd: &Measured) -> f64 {
    quorate.median_per_second() / etcd.median_per_second()
}

fn report(options: &Options, compared: &str, rows: &[Row]) -> Value {
    let side = |measured: &Measured| {
        json!({
            "commands_per_s": measured.median_per_second(),
            "runs": measured.per_second,
            "p50_ms": measured.latency_ms(50),
            "p99_ms": measured.latency_ms(99),
            "server_cpu_us_per_command": measured.cpu_us_per_command(),
            "failed": measured.failed,
        })
    };
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "clients": row.clients,
                "connections": row.connections,
                "quorate": side(&row.quorate),
                "etcd": row.etcd.as_ref().map(side),
                "ratio": row.etcd.as_ref().map(|etcd| ratio(&row.quorate, etcd)),
            })
        })
        .collect();
    json!({
        "bench": "decisions",
        "seconds": options.seconds,
        "rounds": options.rounds,
        "compared_with": compared,
        "rows": rows,
    })
}
