//! Containers under faults.

use crate::step::Step;
use anyhow::{Context, Result, ensure};
use std::{env, process::Command};

/// Builds the binary that goes into the image, then runs the scenarios with the words as they were given. A debug build:
/// what is tested is the network between containers, and the cluster tests have built it already, with the features of the
/// whole workspace.
pub(crate) fn run(words: &[String]) -> Result<()> {
    Step::new("build", &["build", "--workspace", "--bin", "quorate", "--bin", "quorate-compose"]).run()?;
    // Cargo has put it where this program is.
    let program =
        env::current_exe().context("this executable has no path")?.with_file_name("quorate-compose");
    // As cargo takes it: what comes behind `--` is for the scenarios.
    let words = words.iter().skip_while(|word| *word == "--");
    let status = Command::new(&program).args(words).status();
    let status = status.with_context(|| format!("{} does not start", program.display()))?;
    ensure!(status.success(), "containers failed: {status}");
    Ok(())
}
