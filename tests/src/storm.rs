//! A storm: one fault after the other on a cluster of real processes, with clients at work all the time, and a verdict.
//!
//! `schedule` draws faults from a seed; `inject` carries each out and proves that it took effect and that it ended;
//! `clients` write, read and switch primaries and keep a `history`; `audit` judges it whenever the cluster is whole:
//! linearizable registers, every acknowledged command once at its revision on every coordinator, the same answer to the
//! same request, epochs that rise by one, equal states. The probe watches all agents for two primaries at once, and the
//! journals of services that never ask show whether one of them outlived its lease.

mod audit;
mod clients;
mod command;
pub mod fault;
mod groups;
mod history;
mod inject;
mod linearizable;
mod proof;
mod recovery;
mod report;
mod scene;
pub mod schedule;
mod small_disk;
mod storage_errors;

pub use report::Report;

use crate::{
    cluster::{Cluster, Plan},
    services::Services,
    timing::Timing,
};
use anyhow::{Context, Result, ensure};
use audit::Audit;
use clients::Clients;
use fault::Kind;
use quorate_domain::HookTimes;
use quorate_rpc::pb::control::ListHostsRequest;
use scene::Scene;
use schedule::{Fault, Schedule};
use small_disk::SmallDisk;
use std::{path::PathBuf, sync::Arc, time::Instant};
use storage_errors::StorageErrors;

/// Faults between two audits.
const FAULTS_PER_AUDIT: usize = 8;
/// A snapshot every few seconds. It needs room, whatever log and state store still have of their own: a disk that is full
/// is noticed soon, and nodes that were away catch up with snapshots taken meanwhile.
const SNAPSHOT_EVERY: u64 = 500;
const GROUPS: u64 = 4;
/// Hosts of each group.
const MEMBERS: u64 = 3;
/// The first hosts have hooks, and so the members of the first group: its services never ask. Those that follow have none, and
/// whoever is told something by their agents relies on it.
const HOOKED: u64 = 3;
/// How long agents allow their promote and demote hooks: a multiple of what a shell needs on a busy machine, and short
/// enough for one that hangs. What that makes of D, agents say themselves.
const PROMOTION_MS: u64 = 3_000;
const DEMOTION_MS: u64 = 2_000;

/// What a storm is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the schedule comes from.
    pub seed: u64,
    /// How many faults there are at least.
    pub faults: usize,
    /// How many operations are acknowledged at least; the storm goes on until they are.
    pub operations: u64,
    /// 3 or 5.
    pub coordinators: u64,
    /// How many hosts there are: at least 4, so that a group can lose one and find another.
    pub agents: u64,
    /// What may happen.
    pub kinds: Vec<Kind>,
    /// What hooks start: `quorate-service`.
    pub service_program: PathBuf,
    /// What runs in the coordinators' stead so that their storage can fail.
    pub faulty_program: Option<PathBuf>,
    /// Whether the folder with all logs stays when something is wrong.
    pub keep_on_failure: bool,
}

/// Runs a storm to its end. `say` hears what happens, line by line.
///
/// # Errors
/// The first thing that is not as it must be, with the seed and the schedule so far.
pub async fn run(options: &Options, say: impl Fn(&str)) -> Result<Report> {
    let mut happened = Vec::new();
    let outcome = storm(options, &mut happened, &say).await;
    outcome.with_context(|| {
        let schedule: Vec<String> = happened.iter().map(ToString::to_string).collect();
        format!("seed {}, and this had happened:\n{}", options.seed, schedule.join("\n"))
    })
}

async fn storm(options: &Options, happened: &mut Vec<Fault>, say: &impl Fn(&str)) -> Result<Report> {
    let mut report = Report::new(options);
    let (mut scene, mut audit) = set_up(options, &mut report).await?;
    let started = Instant::now();
    say(&format!("seed {}, folder {}", options.seed, scene.cluster.root().display()));
    let outcome = weather_all(options, &mut scene, &mut audit, &mut report, happened, say).await;
    if let (Err(_), true, Some((id, disk))) = (&outcome, options.keep_on_failure, &scene.disk) {
        // Before it is unmounted, and beside where it was.
        let copied = disk.copy_to(&scene.cluster.data_dir(*id).with_extension("kept"));
        copied.unwrap_or_else(|error| say(&format!("{error:#}")));
    }
    outcome?;
    let wrote = scene.wrote()?;
    report.finish(&audit, scene.clients.recorder(), wrote, started.elapsed());
    let Scene { mut cluster, probe, clients, disk, .. } = scene;
    drop((probe, clients));
    cluster.stop_all().await?;
    // A folder on which something is mounted cannot be removed.
    drop(disk);
    cluster.finish().await?;
    Ok(report)
}

/// Fault after fault, until there were enough of them and enough operations.
async fn weather_all(
    options: &Options,
    scene: &mut Scene,
    audit: &mut Audit,
    report: &mut Report,
    happened: &mut Vec<Fault>,
    say: &impl Fn(&str),
) -> Result<()> {
    let available: Vec<Kind> =
        options.kinds.iter().copied().filter(|kind| !report.is_unavailable(*kind)).collect();
    let mut schedule = Schedule::new(options.seed, &available);
    while happened.len() < options.faults || scene.clients.recorder().acknowledged() < options.operations {
        let fault = schedule.next().context("there is nothing that may happen")?;
        happened.push(fault.clone());
        weather(scene, &fault, report, say).await.with_context(|| fault.to_string())?;
        if happened.len().is_multiple_of(FAULTS_PER_AUDIT) {
            pause(scene, audit, say).await?;
        }
    }
    // What came after the last one, and what that one itself has changed.
    pause(scene, audit, say).await
}

/// Prepares what some kinds of faults need, and says of each that cannot be why. Then starts everything.
async fn set_up(options: &Options, report: &mut Report) -> Result<(Scene, Audit)> {
    let plan = Plan {
        coordinators: options.coordinators,
        linked: true,
        keep_on_failure: options.keep_on_failure,
        timing: Timing::steady(),
        snapshot_every: Some(SNAPSHOT_EVERY),
        alone: true,
        ..Plan::with_agents(options.agents)
    };
    let mut cluster = Cluster::prepare(plan).await?;
    let small = options.coordinators;
    let disk = match SmallDisk::mount(&cluster.data_dir(small)) {
        Ok(disk) => Some((small, Arc::new(disk))),
        Err(error) => {
            report.unavailable(Kind::FullDisk, &error);
            None
        }
    };
    let storage_errors = match StorageErrors::new(options.faulty_program.as_deref(), &cluster.root()) {
        Ok(errors) => Some(errors),
        Err(error) => {
            report.unavailable(Kind::StorageError, &error);
            report.unavailable(Kind::HungDisk, &error);
            None
        }
    };
    if let Some(errors) = &storage_errors {
        for id in 1..=options.coordinators {
            cluster.coordinator(id).set_program(errors.program(), errors.environment(id));
        }
    }
    let services = prepare_agents(&mut cluster, options)?;
    cluster.start_all().await?;
    let groups: Vec<String> = (1..=GROUPS).map(|number| format!("g{number}")).collect();
    for (first, group) in (0..).zip(&groups) {
        let hosts: Vec<u64> = (0..MEMBERS).map(|next| (first + next) % options.agents + 1).collect();
        cluster.create_group(group, &hosts).await?;
    }
    let probe = cluster.probe()?;
    for group in &groups {
        cluster.wait_for_active(group, scene::EFFECT).await?;
    }
    let audit = Audit::begin(&cluster, &groups).await?;
    let clients = Clients::start(&cluster, &groups)?;
    let journals = groups.iter().map(|group| (group.clone(), services.journal(group))).collect();
    let hook_times = longest_hook_times(&cluster).await?;
    Ok((
        Scene { cluster, probe, clients, groups, disk, storage_errors, services, journals, hook_times },
        audit,
    ))
}

/// The longest that any host says that it allows its hooks.
async fn longest_hook_times(cluster: &Cluster) -> Result<HookTimes> {
    let hosts = cluster.client().list_hosts(ListHostsRequest::default()).await?.hosts;
    let longest = hosts.iter().fold(HookTimes::default(), |longest, host| HookTimes {
        promotion_ms: longest.promotion_ms.max(host.promotion_ms),
        demotion_ms: longest.demotion_ms.max(host.demotion_ms),
    });
    ensure!(longest.promotion_ms >= PROMOTION_MS && longest.demotion_ms >= DEMOTION_MS, "{hosts:?}");
    Ok(longest)
}

/// Some have hooks that run services; the logs of all, and of coordinators, can be left unread.
fn prepare_agents(cluster: &mut Cluster, options: &Options) -> Result<Services> {
    let services = Services::new(&cluster.root().join("services"), &options.service_program)?;
    let limits =
        format!("hooks.promote_timeout_ms = {PROMOTION_MS}\nhooks.demote_timeout_ms = {DEMOTION_MS}\n");
    for number in 1..=HOOKED {
        cluster.configure(&format!("h{number}"), &(services.config() + &limits))?;
    }
    (1..=options.agents).for_each(|number| cluster.agent(number).say_through_a_pipe());
    (1..=options.coordinators).for_each(|id| cluster.coordinator(id).say_through_a_pipe());
    Ok(services)
}

/// One fault, and the recovery from it.
async fn weather(scene: &mut Scene, fault: &Fault, report: &mut Report, say: &impl Fn(&str)) -> Result<()> {
    tokio::time::sleep(fault.rest).await;
    let began = Instant::now();
    let mut proof = scene.inject(fault).await?;
    let healed = proof.take_healed().context("nobody said when the fault was over")?;
    let recovery = scene.recovers(healed).await?;
    scene.clients.expect_well()?;
    scene.probe.assert_no_two_primaries()?;
    scene.probe.assert_no_broken_promise_but_of(scene::is_hooked)?;
    scene.expect_no_service_outlived()?;
    report.proven(fault.kind, recovery);
    say(&format!("{fault}: {:.1} s: {proof}", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Nobody asks for anything while everything is judged.
async fn pause(scene: &mut Scene, audit: &mut Audit, say: &impl Fn(&str)) -> Result<()> {
    let calm = scene.clients.calm().await;
    audit.judge(&scene.cluster, &scene.clients).await.context("the audit")?;
    drop(calm);
    scene.probe.fold();
    scene.expect_no_service_outlived()?;
    let totals = audit.totals();
    say(&format!(
        "    audited: {} revisions, {} commands, {} operations on {} registers, {} switches; {} acknowledged",
        totals.revisions,
        totals.commands,
        totals.operations,
        totals.registers,
        totals.switches,
        scene.clients.recorder().acknowledged()
    ));
    Ok(())
}
