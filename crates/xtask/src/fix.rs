//! What a machine can put right.

use crate::step::Step;
use anyhow::Result;

/// Applies clippy's own corrections, then formats what came out of it.
pub(crate) fn run() -> Result<()> {
    let lint = ["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"];
    Step::new("lints", &lint).run()?;
    Step::new("format", &["fmt", "--all"]).run()
}
