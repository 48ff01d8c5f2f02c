//! Everything that a change must pass.

use crate::step::Step;
use anyhow::{Result, ensure};

/// Checks formatting, lints and tests, and ends with each runner's own closing line.
pub(crate) fn run() -> Result<()> {
    Step::new("format", &["fmt", "--all", "--check"]).run()?;
    let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    Step::new("lints", &lint).run()?;
    let mut closing = Vec::new();
    if (Step::new("nextest", &["nextest", "--version"])).succeeds() {
        // Examples in documentation are not nextest's business. First, so that the log ends with the tests that count.
        closing.extend(Step::new("doc tests", &["test", "--workspace", "--doc"]).watched(summary)?);
        closing.extend(Step::new("tests", &["nextest", "run", "--workspace"]).watched(nextest_summary)?);
    } else {
        println!("xtask: cargo-nextest is not installed; cargo test runs the tests");
        closing.extend(Step::new("tests", &["test", "--workspace"]).watched(summary)?);
    }
    ensure!(!closing.is_empty(), "no test runner said how its tests ended");
    println!("xtask: the closing lines of the test runners:");
    for line in closing {
        println!("  {line}");
    }
    println!("xtask: verified");
    Ok(())
}

/// `Summary [ 1.234s] 12 tests run: 12 passed, 0 skipped`.
fn nextest_summary(line: &str) -> Option<String> {
    let plain = without_colour(line);
    plain.starts_with("Summary [").then_some(plain)
}

/// `test result: ok. 12 passed; 0 failed; ...`, unless there was nothing to run.
fn summary(line: &str) -> Option<String> {
    let plain = without_colour(line);
    let counts = plain.strip_prefix("test result: ")?;
    (!counts.contains(" 0 passed; 0 failed; 0 ignored")).then_some(plain)
}

fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_found_with_and_without_colour() {
        let plain = "Summary [   1.2s] 3 tests run: 3 passed, 0 skipped";
        assert_eq!(nextest_summary(plain).as_deref(), Some(plain));
        let coloured = "\u{1b}[32;1mSummary\u{1b}[0m [   1.2s] 3 tests run: 3 passed, 0 skipped";
        assert_eq!(nextest_summary(coloured).as_deref(), Some(plain));
        assert_eq!(nextest_summary("PASS [ 0.1s] quorate summary"), None);
        let ran = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(summary(ran).as_deref(), Some(ran));
        assert_eq!(summary("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured"), None);
    }
}
