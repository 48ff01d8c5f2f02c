//! `quorate-sim`: runs seeds, and tells all about the first one that breaks an invariant.

mod args;
mod batch;
mod tell;

use anyhow::{Result, bail, ensure};
use args::Args;
use clap::Parser;
use quorate_sim::{Plan, World, expected};
use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    let args = Args::parse();
    #[cfg(planted)]
    quorate_domain::planted::plant(args.plant);
    let out = &mut io::stdout().lock();
    let ran = match args.seed {
        Some(seed) => one(&args, args.plan(seed), out),
        None => many(&args, out),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quorate-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// One seed, in full.
fn one(args: &Args, plan: Plan, out: &mut impl Write) -> Result<()> {
    write!(out, "{plan}")?;
    let report = World::run(plan.clone(), false);
    writeln!(out, "{} events, {} s, digest {:016x}", report.steps, report.lasted, report.digest)?;
    write!(out, "{}", report.counts)?;
    if report.violation.is_some() {
        return tell::violation(args, &plan, out);
    }
    if args.twice {
        let again = World::run(plan, false);
        ensure!(again.digest == report.digest, "the second run went another way: {:016x}", again.digest);
    }
    writeln!(out, "every invariant held")?;
    Ok(())
}

/// Many seeds, in total.
fn many(args: &Args, out: &mut impl Write) -> Result<()> {
    let total = batch::run(args);
    writeln!(
        out,
        "{} seeds, {} events, {} hours of the simulated cluster in {} s",
        total.seeds,
        total.steps,
        total.simulated_s / 3_600,
        total.took_s
    )?;
    write!(out, "{}", total.counts)?;
    if let Some(seed) = total.differed {
        bail!("seed {seed} went another way when it was run again");
    }
    if let Some(seed) = total.failed {
        return tell::violation(args, &args.plan(seed), out);
    }
    if args.expect_all {
        let missing = total.counts.missing(expected());
        ensure!(
            missing.is_empty(),
            "these never happened, so the runs prove less than they should: {missing:?}"
        );
    }
    writeln!(out, "every invariant held")?;
    Ok(())
}
