//! `cargo xtask verify | fix | bench | sim | storm | overlap | compose`: the chores of this workspace, the same by hand and in CI.
//!
//! Architecture invariant: `verify` changes no file of the working tree, and no workspace crate is used here, so that
//! this builds when nothing else does.

mod bench;
mod compose;
mod fix;
mod overlap;
mod sim;
mod step;
mod storm;
mod verify;

use anyhow::{Result, bail};
use std::{env, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  verify                                     formatting, lints and all tests; changes nothing
  fix                                        formats, and applies what clippy knows how to
  bench NAME [--json] [--seconds N] [...]    builds `quorate` for release and runs a bench:
                                             decisions, failover-time
  sim [--seed N] [--seeds FROM..TO] [...]    the simulation; without words what every change must pass: 500 seeds twice,
                                             and every planted bug caught; --no-run alone only builds that
  storm [--seed N] [--faults N] [...]        builds `quorate` for release and soaks it in faults; --help says more
  overlap [--rounds N] [--mode NAME] [...]   services that never ask, 20 rounds of each thing that happens to a primary, at
                                             the product's own times, on a release build
  compose [--only WORDS]                     docker-compose.yml under faults, three and five coordinators; needs a Docker
                                             engine and root";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    match words.split_first() {
        Some((command, [])) if command == "verify" => verify::run(),
        Some((command, [])) if command == "fix" => fix::run(),
        Some((command, rest)) if command == "bench" => bench::run(rest),
        Some((command, rest)) if command == "sim" => sim::run(rest),
        Some((command, rest)) if command == "storm" => storm::run(rest),
        Some((command, rest)) if command == "overlap" => overlap::run(rest),
        Some((command, rest)) if command == "compose" => compose::run(rest),
        Some((command, _)) if ["help", "--help", "-h"].contains(&command.as_str()) => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("not understood: {:?}\n{USAGE}", words.join(" ")),
    }
}
