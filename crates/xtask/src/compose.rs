//! Containers under faults.

use crate::step::Step;
use anyhow::Result;

/// Builds the binary that goes into the image, then runs the scenarios with the words as they were given. A debug build:
/// what is tested is the network between containers, and the cluster tests have built it already.
pub(crate) fn run(words: &[String]) -> Result<()> {
    Step::new("build", &["build", "-p", "quorate", "--bin", "quorate"]).run()?;
    let mut run = vec!["run", "--quiet", "-p", "quorate-tests", "--bin", "quorate-compose", "--"];
    // As cargo takes it: what comes behind `--` is for the scenarios.
    run.extend(words.iter().map(String::as_str).skip_while(|word| *word == "--"));
    Step::new("containers", &run).shown()
}
