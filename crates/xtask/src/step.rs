//! One command of cargo's, run in the workspace root.

use anyhow::{Context, Result, bail};
use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

/// What is done, for people, and the words after `cargo`.
pub(crate) struct Step<'a> {
    pub(crate) name: &'a str,
    pub(crate) words: &'a [&'a str],
    /// Set for it, in place of what the caller had.
    pub(crate) variable: Option<(&'a str, &'a str)>,
}

impl<'a> Step<'a> {
    /// One in the environment of the caller.
    pub(crate) fn new(name: &'a str, words: &'a [&'a str]) -> Self {
        Self { name, words, variable: None }
    }

    /// Runs it with its output passed through.
    pub(crate) fn run(&self) -> Result<()> {
        self.watched(|_| None).map(|_| ())
    }

    /// Runs it with its output passed through, and gives back every line that `keep` makes something of.
    pub(crate) fn watched(&self, keep: fn(&str) -> Option<String>) -> Result<Vec<String>> {
        let shown = format!("cargo {}", self.words.join(" "));
        println!("xtask: {}: {shown}", self.name);
        let started = Instant::now();
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start `{shown}`"))?;
        let errors = child.stderr.take().context("stderr was piped")?;
        let output = child.stdout.take().context("stdout was piped")?;
        let errors = thread::spawn(move || pass_on(errors, std::io::stderr(), keep));
        let mut kept = pass_on(output, std::io::stdout(), keep)?;
        kept.extend(errors.join().expect("passing lines on does not panic")?);
        let status = child.wait().with_context(|| format!("could not wait for `{shown}`"))?;
        if !status.success() {
            bail!("{} failed: `{shown}` ended with {status}", self.name);
        }
        println!("xtask: {}: ok after {:.1} s", self.name, started.elapsed().as_secs_f64());
        Ok(kept)
    }

    /// Runs it as if it had been called by hand: its output is the last that is seen.
    pub(crate) fn shown(&self) -> Result<()> {
        let status = self.command().status().with_context(|| format!("could not start the {}", self.name))?;
        if !status.success() {
            bail!("{} failed: it ended with {status}", self.name);
        }
        Ok(())
    }

    /// Whether it ends well; what it says is not shown.
    pub(crate) fn succeeds(&self) -> bool {
        let status = self.command().stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.args(self.words).current_dir(workspace_root()).stdin(Stdio::null());
        command.envs(self.variable);
        command
    }
}

/// Where the workspace's Cargo.toml is.
fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn pass_on(
    from: impl std::io::Read,
    mut to: impl Write,
    keep: fn(&str) -> Option<String>,
) -> Result<Vec<String>> {
    let mut kept = Vec::new();
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).context("reading what cargo says")? > 0 {
        to.write_all(&line).and_then(|()| to.flush()).context("passing on what cargo says")?;
        kept.extend(keep(String::from_utf8_lossy(&line).trim()));
        line.clear();
    }
    Ok(kept)
}
