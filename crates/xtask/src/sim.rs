//! The simulation: seeds, each run twice, and the proof that planted bugs are caught.

use crate::step::Step;
use anyhow::Result;

/// The seeds of every change. A soak has more: `cargo xtask sim --seeds 1..50001`.
const SEEDS: &str = "1..501";

/// Without words: what every change must pass. With `--no-run` alone: builds that. With other words: the simulation with
/// those.
pub(crate) fn run(words: &[String]) -> Result<()> {
    // A folder of its own: other flags would build everything anew each time.
    let planted = ["test", "--release", "--target-dir", "target/planted", "-p", "quorate-sim", "--tests"];
    let variable = Some(("RUSTFLAGS", "--cfg planted"));
    if words == ["--no-run"] {
        Step::new("simulation", &["build", "--release", "-p", "quorate-sim"]).run()?;
        let words = [&planted[..], &["--no-run"]].concat();
        return Step { variable, ..Step::new("planted bugs", &words) }.run();
    }
    let mut run = vec!["run", "--release", "--quiet", "-p", "quorate-sim", "--"];
    if !words.is_empty() {
        run.extend(words.iter().map(String::as_str));
        return Step::new("simulation", &run).shown();
    }
    run.extend(["--seeds", SEEDS, "--twice", "--expect-all"]);
    Step::new("simulation", &run).run()?;
    let words = [&planted[..], &["--", "--nocapture"]].concat();
    Step { variable, ..Step::new("planted bugs", &words) }.run()
}
