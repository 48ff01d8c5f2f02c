//! `cargo xtask storm`: a storm by hand, as long as it is asked for.

use anyhow::{Context, Result};
use clap::{
    Parser,
    builder::{PossibleValuesParser, TypedValueParser},
};
use quorate_tests::storm::{self, Options, fault::KINDS};
use std::{env, path::PathBuf, process::ExitCode};

/// A soak: faults on a cluster of real processes under load, until both counts are reached. Run it by `cargo xtask
/// storm`. It ends with a table, or with what is wrong, the seed and the schedule so far; then all logs are kept.
#[derive(Debug, Parser)]
#[command(name = "quorate-storm", version)]
struct Args {
    /// Which schedule of faults; drawn when it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// How many faults must take effect.
    #[arg(long, default_value_t = 300)]
    faults: usize,
    /// How many operations of clients must be acknowledged.
    #[arg(long, default_value_t = 100_000)]
    operations: u64,
    /// How many coordinators there are: 3 or 5.
    #[arg(long, default_value = "3", value_parser = PossibleValuesParser::new(["3", "5"]).try_map(|text| text.parse::<u64>()))]
    coordinators: u64,
    /// How many agents there are.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(4..=20))]
    agents: u64,
    /// A program that is `quorate` on a disk that fails as a file says; `quorate-faulty` beside this one when it is not
    /// given, and without any no storage errors happen.
    #[arg(long)]
    faulty: Option<PathBuf>,
    /// Only faults whose names contain one of these words.
    #[arg(long)]
    only: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match soak(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("storm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A program that the same build makes.
fn beside(name: &str) -> Option<PathBuf> {
    let beside = env::current_exe().ok()?.with_file_name(name);
    beside.exists().then_some(beside)
}

async fn soak(args: Args) -> Result<()> {
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|word| name.contains(word));
    let options = Options {
        seed: args.seed.unwrap_or_else(|| rand::random_range(0..1_000_000)),
        faults: args.faults,
        operations: args.operations,
        coordinators: args.coordinators,
        agents: args.agents,
        kinds: KINDS.into_iter().filter(|kind| wanted(kind.name())).collect(),
        service_program: beside("quorate-service").context("no quorate-service beside this program")?,
        faulty_program: args.faulty.or_else(|| beside("quorate-faulty")),
        keep_on_failure: true,
    };
    let report = storm::run(&options, |line| println!("{line}")).await?;
    println!("{report}");
    Ok(())
}
