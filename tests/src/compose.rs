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
mod formation;
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
use std::{collections::BTreeSet, env, sync::Arc, time::Instant};
use tokio::signal::unix::{SignalKind, signal};

/// When this is set, the folder with the logs of all containers stays also when nothing is wrong.
const KEEP: &str = "QUORATE_TEST_KEEP";

/// How a scenario begins what it says when this machine cannot run it.
const SKIPPED: &str = "SKIPPED";

/// Runs every scenario whose name contains one of these words, or all; `say` hears what happens, line by line.
///
/// # Errors
/// The first thing that is not as it must be, with the folder in which all logs are.
pub async fn run(only: &[String], say: impl Fn(&str)) -> Result<()> {
    let (chosen, apart) = choose(only)?;
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
        if of_size.is_empty() && !apart.any() {
            continue;
        }
        let stack = Arc::new(Stack::prepare(size, folder.path()).await?);
        let outcome = tokio::select! {
            outcome = all_of(&stack, &of_size, apart, &say) => outcome,
            interrupted = interrupt() => Err(interrupted),
        };
        if let Err(error) = outcome {
            // Not removed when this returns.
            drop(folder.keep());
            return Err(give_up(&stack, error).await);
        }
        stack.remove().await?;
    }
    if env::var_os(KEEP).is_some() {
        say(&format!("logs of all containers: {}", folder.keep().display()));
    }
    let judged = chosen.len() + usize::from(apart.formation) + usize::from(apart.bad_input);
    say(&format!("{judged} scenarios passed in {:.0} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Everything whose name contains one of the words, or all.
fn choose(only: &[String]) -> Result<(Vec<&'static Scenario>, Apart)> {
    let named = |name: &str| only.is_empty() || only.iter().any(|word| name.contains(word.as_str()));
    let chosen: Vec<&Scenario> = SCENARIOS.iter().filter(|one| named(one.name)).collect();
    let apart = Apart { formation: named(formation::NAME), bad_input: named(bad_input::NAME) };
    if chosen.is_empty() && !apart.any() {
        let all = SCENARIOS.iter().map(|one| one.name).chain([formation::NAME, bad_input::NAME]);
        let all: Vec<&str> = all.collect::<BTreeSet<_>>().into_iter().collect();
        bail!("no scenario has {only:?} in its name; there are:\n  {}", all.join("\n  "));
    }
    Ok((chosen, apart))
}

/// What begins with no container at all, and is asked for.
#[derive(Debug, Clone, Copy)]
struct Apart {
    formation: bool,
    bad_input: bool,
}

impl Apart {
    fn any(self) -> bool {
        self.formation || self.bad_input
    }
}

/// Every scenario of one size on one stack, and then those that begin with none.
async fn all_of(
    stack: &Arc<Stack>,
    scenarios: &[&Scenario],
    apart: Apart,
    say: &impl Fn(&str),
) -> Result<()> {
    if !scenarios.is_empty() {
        one_by_one(stack, scenarios, say).await?;
        if env::var_os(KEEP).is_some() {
            stack.keep_logs().await?;
        }
        stack.remove().await?;
    }
    if apart.formation {
        formation::run(stack, say).await.context(formation::NAME)?;
    }
    if apart.bad_input {
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
        // What was left out is no success.
        let outcome = if seen.iter().any(|line| line.starts_with(SKIPPED)) { "skip" } else { "ok  " };
        say(&format!(
            "{outcome} {:5.1} s  {} ({}): {}",
            began.elapsed().as_secs_f64(),
            one.name,
            one.coordinators,
            seen.join("; ")
        ));
    }
    Ok(())
}

/// Keeps what tells why it failed, and removes everything else.
async fn give_up(stack: &Stack, error: anyhow::Error) -> anyhow::Error {
    let logs = match stack.keep_logs().await {
        Ok(()) => format!("logs of all containers: {}", stack.logs().display()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_words_of_their_names_and_a_word_of_none_is_refused() {
        let (all, apart) = choose(&[]).unwrap();
        assert!(all.len() == SCENARIOS.len() && apart.formation && apart.bad_input);
        let (some, apart) = choose(&["bridge".to_owned(), "paused".to_owned()]).unwrap();
        assert!(some.len() == 3 && !apart.any(), "{} scenarios", some.len());
        let (none, apart) = choose(&["bad".to_owned()]).unwrap();
        assert!(none.is_empty() && apart.bad_input && !apart.formation);
        let refused = choose(&["nowhere".to_owned()]).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("leader cut off") && refused.contains("bad input"), "{refused}");
    }
}
