//! The simulation: seeds, each run twice, and the proof that planted bugs are caught.

use crate::step::Step;
use anyhow::Result;

/// The seeds of every change. A soak has more: `cargo xtask sim --seeds 1..50001`.
const SEEDS: &str = "1..501";

/// Without words: what every change must pass. With words: the simulation with those.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let mut run = vec!["run", "--release", "--quiet", "-p", "quorate-sim", "--"];
    if !words.is_empty() {
        run.extend(words.iter().map(String::as_str));
        return Step::new("simulation", &run).shown();
    }
    run.extend(["--seeds", SEEDS, "--twice", "--expect-all"]);
    Step::new("simulation", &run).run()?;
    // A folder of its own: other flags would build everything anew each time.
    let planted = ["test", "--release", "--target-dir", "target/planted", "-p", "quorate-sim", "--tests"];
    let planted = [&planted[..], &["--", "--nocapture"]].concat();
    let flags = ("RUSTFLAGS", "--cfg planted");
    Step { variable: Some(flags), ..Step::new("planted bugs", &planted) }.run()
}
