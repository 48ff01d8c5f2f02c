//! Services that never ask, on a release build.

use crate::step::Step;
use anyhow::Result;

/// Builds the binary that is put to the test, then runs the rounds with the words as they were given.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let build = ["build", "--release", "-p", "quorate", "--bin", "quorate"];
    Step::new("build", &build).run()?;
    let service = ["build", "--release", "-p", "quorate-tests", "--bin", "quorate-service"];
    Step::new("build of a service that never asks", &service).run()?;
    let mut run =
        vec!["run", "--release", "--quiet", "-p", "quorate-tests", "--bin", "quorate-overlap", "--"];
    // As cargo takes it: what comes behind `--` is for the rounds.
    run.extend(words.iter().map(String::as_str).skip_while(|word| *word == "--"));
    Step::new("overlap", &run).shown()
}
