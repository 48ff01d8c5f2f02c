//! `quorate`: a coordinator, an agent, and what operators ask them.
//!
//! Architecture invariant: nothing is decided here. Roles turn a checked configuration into options and run them;
//! verbs send one request and show the answer.

mod args;
mod config;
mod dev;
mod exit;
mod guard;
mod output;
mod roles;
mod verbs;

use args::{AgentCommand, Cli, Command, GuardArgs};
use clap::Parser;
use quorate_runtime::telemetry;
use quorate_warden::{WardenError, keeper::KeeperError};
use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};
use tokio::runtime::Builder;

pub use quorate_consensus::{Disk, RealDisk};
pub use quorate_runtime::clock::{Clock, SystemClock};

/// How long the last lines may take to be written before the process ends without them.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// What the long-running roles stand on: this machine's own, but for tests that break one of them.
#[derive(Clone)]
pub struct Machine {
    /// Where a coordinator keeps its data.
    pub disk: Arc<dyn Disk>,
    /// What its clocks say.
    pub clock: Arc<dyn Clock>,
}

impl Machine {
    /// This one.
    pub fn real() -> Self {
        Self { disk: Arc::new(RealDisk), clock: Arc::new(SystemClock) }
    }
}

/// All that the binary does, with its command line, on a machine.
pub fn main(machine: Machine) -> ExitCode {
    if let Some(code) = hidden() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => {
            // Help and version come this way too. Whoever closed the stream does not want to hear of it.
            let _ = refusal.print();
            return ExitCode::from(if refusal.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    let runtime = match runtime(&cli.command).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format!("error: the async runtime does not start: {error}"));
            return ExitCode::from(exit::FAILED);
        }
    };
    let code = runtime.block_on(run(cli, machine)).unwrap_or_else(|error| {
        output::notes(&exit::explain(&error));
        exit::code_of(&error)
    });
    // A check that hangs on a dead disk must not keep the process from ending, nor a log that nobody reads.
    runtime.shutdown_background();
    telemetry::flush(FLUSH_DEADLINE);
    ExitCode::from(code)
}

/// The verbs that agents, guards and their second processes use among themselves. Before everything else: those have no
/// runtime, and what prepares a hook is in a hurry.
fn hidden() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let verb = words.next()?;
    if verb == quorate_warden::EXEC_VERB {
        return Some(quorate_warden::exec(words));
    }
    if verb == quorate_warden::keeper::VERB {
        let kept = quorate_warden::keeper::keep(words).map(guard::kept);
        return Some(ended("guard-keeper", kept, |error| matches!(error, KeeperError::Words)));
    }
    if verb != quorate_warden::VERB {
        return None;
    }
    let served = quorate_warden::serve(words);
    Some(ended("warden", served, |error| matches!(error, WardenError::Words)))
}

fn ended<E: Error + 'static>(
    name: &str,
    outcome: Result<(), E>,
    is_usage: impl FnOnce(&E) -> bool,
) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::from(exit::OK) };
    output::note(&format!("error: {name}: {}", exit::chain(&error)));
    ExitCode::from(if is_usage(&error) { exit::USAGE } else { exit::FAILED })
}

/// A coordinator serves on one thread, next to the one of Raft: what is committed together is answered together, in few
/// packets. One question every few seconds needs no threads at all. The others do more waiting than work.
fn runtime(command: &Command) -> Builder {
    match command {
        Command::Coordinator(_) | Command::Healthcheck(_) | Command::Guard(_) => {
            Builder::new_current_thread()
        }
        _ => Builder::new_multi_thread(),
    }
}

async fn run(cli: Cli, machine: Machine) -> anyhow::Result<u8> {
    match cli.command {
        Command::Coordinator(args) => roles::coordinator::run(args, machine).await,
        Command::Agent(AgentCommand { verb: Some(verb), .. }) => verbs::agent::run(cli.client, verb).await,
        Command::Agent(AgentCommand { run, verb: None }) => roles::agent::run(run, machine).await,
        Command::Guard(args) => guard::run(GuardArgs { cluster: cli.client.cluster, ..args }, machine).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Config(verb) => verbs::config::run(verb),
        Command::Healthcheck(args) => verbs::healthcheck::run(args).await,
        Command::Status { digest } => verbs::status::run(cli.client, digest).await,
        Command::Host(verb) => verbs::host::run(cli.client, verb).await,
        Command::Disk(verb) => verbs::disk::run(cli.client, verb).await,
        Command::Group(verb) => verbs::group::run(cli.client, verb).await,
        Command::Member(verb) => verbs::member::run(cli.client, verb).await,
        Command::Events(args) => verbs::events::run(cli.client, args).await,
        Command::Op(verb) => verbs::op::run(cli.client, verb).await,
    }
}
