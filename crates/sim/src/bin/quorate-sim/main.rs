//! `quorate-sim`: runs seeds, and tells all about the first one that breaks an invariant.

mod args;
mod batch;
mod tell;

use args::Args;
use clap::Parser;
use quorate_sim::{Plan, World, expected};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    #[cfg(planted)]
    quorate_domain::planted::plant(args.plant);
    let ran = match args.only_seed() {
        Some(seed) => one(&args, args.plan(seed)),
        None => many(&args),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One seed, in full.
fn one(args: &Args, plan: Plan) -> anyhow::Result<()> {
    print!("{plan}");
    let report = World::run(plan.clone(), false);
    println!("{} events, {} s, digest {:016x}", report.steps, report.lasted, report.digest);
    print!("{}", report.counts);
    if report.violation.is_some() {
        return Err(tell::violation(args, &plan));
    }
    if args.twice {
        let again = World::run(plan, false);
        anyhow::ensure!(
            again.digest == report.digest,
            "the second run went another way: {:016x}",
            again.digest
        );
    }
    println!("every invariant held");
    Ok(())
}

/// Many seeds, in total.
fn many(args: &Args) -> anyhow::Result<()> {
    let total = batch::run(args);
    println!(
        "{} seeds, {} events, {} hours of the simulated cluster in {} s",
        total.seeds,
        total.steps,
        total.simulated_s / 3_600,
        total.took_s
    );
    print!("{}", total.counts);
    if let Some(seed) = total.differed {
        anyhow::bail!("seed {seed} went another way when it was run again");
    }
    if let Some(seed) = total.failed {
        return Err(tell::violation(args, &args.plan(seed)));
    }
    if args.expect_all {
        let missing = total.counts.missing(expected());
        anyhow::ensure!(
            missing.is_empty(),
            "these never happened, so the runs prove less than they should: {missing:?}"
        );
    }
    println!("every invariant held");
    Ok(())
}
