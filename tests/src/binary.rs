//! The `quorate` binary under test.

use anyhow::{Context, Result, bail, ensure};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Names a binary to use instead of the one that is built.
const OVERRIDE: &str = "QUORATE_TEST_BINARY";

/// The binary of the same profile as this test or bench, brought up to date first.
///
/// # Errors
/// When it does not build.
pub fn quorate() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

/// What the binary says to these words, and its exit code.
///
/// # Errors
/// When it does not build or start, or a signal ends it.
pub async fn shown(words: &[&str]) -> Result<(i32, String)> {
    let program = tokio::task::spawn_blocking(quorate).await??;
    let output = tokio::process::Command::new(program).args(words).output().await?;
    let code = output.status.code().context("it was killed")?;
    Ok((code, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// A scratch folder on the disk that the build is on: unlike `/tmp`, which may be memory, it makes syncs real.
///
/// # Errors
/// When it cannot be made.
pub fn scratch() -> Result<PathBuf> {
    let (target, _) = target()?;
    let scratch = target.join("tmp").join("quorate");
    fs::create_dir_all(&scratch).with_context(|| format!("could not make {}", scratch.display()))?;
    Ok(scratch)
}

/// The target folder and the profile's folder in it, from where this executable is.
fn target() -> Result<(PathBuf, String)> {
    let this = env::current_exe().context("this executable has no path")?;
    let mut folder = this.parent().context("this executable is in no folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("deps is in no folder")?;
    }
    let profile = folder.file_name().and_then(|name| name.to_str()).context("the profile has no name")?;
    let target = folder.parent().context("the profile is in no folder")?;
    Ok((target.to_owned(), profile.to_owned()))
}

fn build() -> Result<PathBuf> {
    if let Some(given) = env::var_os(OVERRIDE) {
        let given = PathBuf::from(given);
        ensure!(given.is_file(), "{OVERRIDE} names {}, which is no file", given.display());
        return Ok(given);
    }
    let (target, profile) = target()?;
    // Tests run in processes of their own, several at once: one builds, the others find it built.
    let lock = File::create(target.join("quorate-tests.lock")).context("could not make the build lock")?;
    lock.lock().context("could not take the build lock")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        // With the features of the whole workspace, as the tests themselves are built: nothing is built a second time.
        .args(["build", "--workspace", "--bin", "quorate", "--profile"])
        .arg(if profile == "debug" { "dev" } else { &profile })
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root)
        .output()
        .context("cargo does not start")?;
    if !output.status.success() {
        bail!("`cargo build --workspace --bin quorate` failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let built = target.join(&profile).join("quorate");
    ensure!(built.is_file(), "cargo built quorate, but not as {}", built.display());
    Ok(built)
}
