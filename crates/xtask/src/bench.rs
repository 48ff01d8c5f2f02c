//! Benches on release builds.

use crate::step::Step;
use anyhow::{Result, bail};

/// Builds the binary that is measured, then runs the bench with the words as they were given.
pub(crate) fn run(words: &[String]) -> Result<()> {
    if words.is_empty() {
        bail!("which bench? try `cargo xtask bench decisions`");
    }
    if words == ["warnings"] {
        let test = "the_warnings_of_a_hundred_thousand_groups";
        let run = ["test", "--release", "-p", "quorate-planner", "--test", "planner", test];
        return Step::new("bench", &[&run[..], &["--", "--ignored", "--nocapture"]].concat()).shown();
    }
    let build = ["build", "--release", "-p", "quorate", "--bin", "quorate"];
    Step::new("build", &build).run()?;
    let mut run = vec!["run", "--release", "--quiet", "-p", "quorate-tests", "--bin", "quorate-bench", "--"];
    run.extend(words.iter().map(String::as_str));
    // Without a word of ours behind it: the bench's JSON object is the last line.
    Step::new("bench", &run).shown()
}
