//! The product's own compose file under faults: containers that are cut off, paused, killed, made anew and wiped.
//!
//! `stack` brings the containers up under a project of their own, `cut` drops packets between them by nftables rules in
//! their network namespaces, a `side` is the clients that know one side of a cut, and `scene` holds what is seen of all
//! of it. One file in `scenarios/` stands for one kind of fault. Each scenario proves that its fault was real, that the
//! majority went on deciding meanwhile, that the minority decided nothing and its agents were fenced, and that
//! everything is well afterwards.

mod bad_input;
mod cut;
mod docker;
mod figures;
mod image;
mod scenarios;
mod scene;
mod side;
mod stack;
mod view;

use crate::{binary, machine::Machine};
use anyhow::{Context, Result, bail, ensure};
use scenarios::{SCENARIOS, Scenario};
use scene::Scene;
use stack::Stack;
use std::{collections::BTreeSet, env, path::Path, sync::Arc, time::Instant};
use tokio::signal::unix::{SignalKind, signal};

/// When this is set, the folder with the logs of all containers stays also when nothing is wrong.
const KEEP: &str = "QUORATE_TEST_KEEP";

/// Runs every scenario whose name contains one of these words, or all; `say` hears what happens, line by line.
///
/// # Errors
/// The first thing that is not as it must be, with the folder in which all logs are.
pub async fn run(only: &[String], say: impl Fn(&str)) -> Result<()> {
    let wanted =
        |one: &&Scenario| only.is_empty() || only.iter().any(|word| one.name.contains(word.as_str()));
    let chosen: Vec<&Scenario> = SCENARIOS.iter().filter(wanted).collect();
    let bad_input = only.is_empty() || only.iter().any(|word| bad_input::NAME.contains(word.as_str()));
    if chosen.is_empty() && !bad_input {
        let names = SCENARIOS.iter().map(|one| one.name).chain([bad_input::NAME]);
        let names: BTreeSet<&str> = names.collect();
        let names: Vec<&str> = names.into_iter().collect();
        bail!("no scenario has {only:?} in its name; there are:\n  {}", names.join("\n  "));
    }
    docker::compose_command().await?;
    let _machine = Machine::take(true).await?;
    let folder = tempfile::Builder::new().prefix("compose-").tempdir_in(binary::scratch()?)?;
    let started = Instant::now();
    let (image, base) = image::build().await?;
    say(&format!(
        "image: {} MB, {} MB of them its base; made in {:.1} s",
        image / 1_000_000,
        base / 1_000_000,
        started.elapsed().as_secs_f64()
    ));
    for size in [3, 5] {
        let of_size: Vec<&Scenario> = chosen.iter().copied().filter(|one| one.coordinators == size).collect();
        if of_size.is_empty() && !bad_input {
            continue;
        }
        let stack = Arc::new(Stack::prepare(size, folder.path()).await?);
        let outcome = tokio::select! {
            outcome = all_of(&stack, &of_size, bad_input, &say) => outcome,
            interrupted = interrupt() => Err(interrupted),
        };
        if let Err(error) = outcome {
            let kept = folder.keep();
            return Err(give_up(&stack, error, &kept).await);
        }
        stack.remove().await?;
    }
    if env::var_os(KEEP).is_some() {
        say(&format!("logs of all containers: {}", folder.keep().display()));
    }
    let judged = chosen.len() + usize::from(bad_input);
    say(&format!("{judged} scenarios passed in {:.0} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Every scenario of one size on one stack, and then what is wrong from the beginning.
async fn all_of(
    stack: &Arc<Stack>,
    scenarios: &[&Scenario],
    bad_input: bool,
    say: &impl Fn(&str),
) -> Result<()> {
    if !scenarios.is_empty() {
        one_by_one(stack, scenarios, say).await?;
        if env::var_os(KEEP).is_some() {
            stack.keep_logs().await?;
        }
        stack.remove().await?;
    }
    if bad_input {
        bad_input::run(stack, say).await.context(bad_input::NAME)?;
    }
    Ok(())
}

async fn one_by_one(stack: &Arc<Stack>, scenarios: &[&Scenario], say: &impl Fn(&str)) -> Result<()> {
    let mut scene = Scene::begin(Arc::clone(stack), say).await?;
    for one in scenarios {
        let began = Instant::now();
        let failed = || format!("{} ({} coordinators)", one.name, one.coordinators);
        let mut seen = (one.run)(&mut scene).await.with_context(failed)?;
        ensure!(!seen.is_empty(), "{}: nothing was seen of the fault", failed());
        seen.push(scene.ends_well().await.with_context(failed)?);
        say(&format!(
            "ok   {:5.1} s  {} ({}): {}",
            began.elapsed().as_secs_f64(),
            one.name,
            one.coordinators,
            seen.join("; ")
        ));
    }
    Ok(())
}

/// Keeps what tells why it failed, and removes everything else.
async fn give_up(stack: &Stack, error: anyhow::Error, folder: &Path) -> anyhow::Error {
    let logs = match stack.keep_logs().await {
        Ok(()) => format!("logs of all containers: {}", folder.display()),
        Err(problem) => format!("the logs could not be kept: {problem:#}"),
    };
    match stack.remove().await {
        Ok(()) => error.context(logs),
        Err(left) => error.context(format!("{logs}; not everything was removed: {left:#}")),
    }
}

/// Whoever ends the test by hand wants no containers left behind.
async fn interrupt() -> anyhow::Error {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
    anyhow::anyhow!("interrupted")
}
