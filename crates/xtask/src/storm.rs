//! A storm by hand, on a release build.

use crate::step::Step;
use anyhow::Result;

/// Builds the binary that is put through it, then runs the storm with the words as they were given.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let build = ["build", "--release", "-p", "quorate", "--bin", "quorate"];
    Step::new("build", &build).run()?;
    let around =
        ["build", "--release", "-p", "quorate-tests", "--bin", "quorate-faulty", "--bin", "quorate-service"];
    Step::new("build of a faulty disk and of a service that never asks", &around).run()?;
    let mut run = vec!["run", "--release", "--quiet", "-p", "quorate-tests", "--bin", "quorate-storm", "--"];
    // As cargo takes it: what comes behind `--` is for the storm.
    run.extend(words.iter().map(String::as_str).skip_while(|word| *word == "--"));
    Step::new("storm", &run).shown()
}
