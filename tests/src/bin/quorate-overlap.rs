//! `cargo xtask overlap`: services that never ask, under the product's own times.

use anyhow::{Context, Result, bail};
use clap::Parser;
use quorate_tests::{
    Timing,
    services::{Mode, Options, Rounds, run},
};
use std::{env, process::ExitCode, time::Duration};

/// Meets a primary whose service never asks whether it may write, again and again, and fails when a write of an older epoch
/// comes after the first of a newer one. Run it by `cargo xtask overlap`.
#[derive(Debug, Parser)]
#[command(name = "quorate-overlap", version)]
struct Args {
    /// Rounds of each mode.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Only these modes.
    #[arg(long)]
    mode: Vec<Mode>,
    /// The short times of tests in place of the product's own.
    #[arg(long)]
    short: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match overlap(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overlap: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn overlap(args: &Args) -> Result<()> {
    let program = env::current_exe().context("this program has no path")?.with_file_name("quorate-service");
    let modes = if args.mode.is_empty() { Mode::ALL.to_vec() } else { args.mode.clone() };
    let mut failed = Vec::new();
    for mode in modes {
        let timing = if args.short { Timing::short() } else { Timing::default_of_the_product() };
        let options = Options { mode, rounds: args.rounds, timing, program: program.clone() };
        match run(&options).await {
            Ok(rounds) => println!("{}", line(mode, &rounds)),
            Err(error) => {
                println!("{mode:<16} FAILED: {error:#}");
                failed.push(mode.name());
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{} failed", failed.join(", ")) }
}

fn line(mode: Mode, rounds: &Rounds) -> String {
    let mut gaps = rounds.gaps.clone();
    gaps.sort();
    let seconds = |gap: Option<&Duration>| gap.map_or(0.0, Duration::as_secs_f64);
    format!(
        "{mode:<16} {} rounds, {} writes, none too late; next service after {:.1} s (median), {:.1} s (longest)",
        gaps.len(),
        rounds.writes,
        seconds(gaps.get(gaps.len() / 2)),
        seconds(gaps.last())
    )
}
