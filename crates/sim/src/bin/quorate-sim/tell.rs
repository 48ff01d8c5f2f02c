//! All about a run that broke an invariant: what, the last events of every node in one line of time, and how to see it
//! again.

use crate::args::Args;
use anyhow::{Result, bail};
use quorate_sim::{Plan, World, shrink};
use std::{fmt::Write as _, io::Write};

/// Runs the plan again with everything written down, makes it smaller if that is asked for, and tells it.
///
/// # Errors
/// Always: what does not hold.
pub(crate) fn violation(args: &Args, plan: &Plan, out: &mut impl Write) -> Result<()> {
    let report = World::run(plan.clone(), true);
    let Some(violation) = report.violation else {
        bail!(
            "seed {} failed, and does not when it is run again: it depends on more than its seed",
            plan.seed
        );
    };
    writeln!(out, "--- the last events of seed {}", plan.seed)?;
    for line in report.timeline {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "--- {} does not hold at {} s:", violation.invariant, violation.at)?;
    writeln!(out, "{}", violation.what)?;
    writeln!(out, "--- to see it again:\n{}", replay(args, plan))?;
    if args.shrink {
        let (smaller, runs) = shrink(plan, violation.invariant);
        writeln!(out, "--- with fewer faults and clients, after {runs} runs:\n{}", replay(args, &smaller))?;
        write!(out, "{smaller}")?;
    }
    bail!("seed {}: {} does not hold", plan.seed, violation.invariant)
}

/// The command that runs this very plan.
#[cfg_attr(not(planted), expect(unused_variables, reason = "`args` names what was planted"))]
fn replay(args: &Args, plan: &Plan) -> String {
    let mut command =
        format!("cargo run -p quorate-sim --release -- --seed {} --steps {}", plan.seed, plan.steps);
    let whole = Plan::of(plan.seed, plan.steps);
    if plan.faults.len() < whole.faults.len() {
        let numbers: Vec<String> = plan.faults.iter().map(|fault| fault.number.to_string()).collect();
        let _ = write!(command, " --only-faults {}", numbers.join(","));
    }
    if plan.clients < whole.clients {
        let _ = write!(command, " --clients {}", plan.clients);
    }
    #[cfg(planted)]
    if let Some(bug) = args.plant {
        command = format!("RUSTFLAGS='--cfg planted' {command} --plant {bug}");
    }
    command
}
