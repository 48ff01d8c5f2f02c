//! All about a run that broke an invariant: what, the last events of every node in one line of time, and how to see it
//! again.

use crate::args::Args;
use quorate_sim::{Plan, World, shrink};
use std::fmt::Write as _;

/// Runs the plan again with everything written down, makes it smaller if that is asked for, and prints it.
pub(crate) fn violation(args: &Args, plan: &Plan) -> anyhow::Error {
    let report = World::run(plan.clone(), true);
    let Some(violation) = report.violation else {
        return anyhow::anyhow!(
            "seed {} failed, and does not when it is run again: it depends on more than its seed",
            plan.seed
        );
    };
    println!("--- the last events of seed {}", plan.seed);
    for line in report.timeline {
        println!("{line}");
    }
    println!("--- {} does not hold at {} s:", violation.invariant, violation.at);
    println!("{}", violation.what);
    println!("--- to see it again:\n{}", replay(args, plan));
    if args.shrink {
        let (smaller, runs) = shrink(plan, violation.invariant);
        println!("--- with fewer faults and clients, after {runs} runs:\n{}", replay(args, &smaller));
        print!("{smaller}");
    }
    anyhow::anyhow!("seed {}: {} does not hold", plan.seed, violation.invariant)
}

/// The command that runs this very plan.
fn replay(
    #[cfg_attr(not(planted), expect(unused_variables, reason = "it names what was planted"))] args: &Args,
    plan: &Plan,
) -> String {
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
