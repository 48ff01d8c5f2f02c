//! The image under test: the product's own Dockerfile around a binary that is built already.

use super::docker::must;
use crate::binary;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Under this name, and no other's.
pub(super) const IMAGE: &str = "quorate-test:latest";

/// The workspace.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds the image, and its base if the engine has none; its size in bytes, and that of the base.
///
/// # Errors
/// When the binary or the image is not built.
pub(super) async fn build() -> Result<(u64, u64)> {
    let program = tokio::task::spawn_blocking(binary::quorate).await??;
    let script = root().join("tests/compose/base-image.sh");
    must(&[&script.to_string_lossy()]).await.context("the base image")?;
    let context = tempfile::Builder::new().prefix("image-").tempdir_in(binary::scratch()?)?;
    fs::copy(root().join("LICENSE"), context.path().join("LICENSE")).context("copying the licence")?;
    copy_stripped(&program, &context.path().join("quorate"))?;
    let file = root().join("deploy/Dockerfile");
    must(&[
        "docker",
        "build",
        "--quiet",
        "--file",
        &file.to_string_lossy(),
        "--build-arg",
        "BUILDER=debian:bookworm-slim",
        "--build-arg",
        "PREBUILT=quorate",
        "--tag",
        IMAGE,
        &context.path().to_string_lossy(),
    ])
    .await
    .context("building the image")?;
    Ok((size(IMAGE).await?, size("debian:bookworm-slim").await?))
}

/// Without what only a debugger reads, when there is a `strip`.
fn copy_stripped(from: &Path, to: &Path) -> Result<()> {
    let stripped = Command::new("strip").args(["--strip-debug", "-o"]).args([to, from]).status();
    if !stripped.is_ok_and(|status| status.success()) {
        fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}

async fn size(image: &str) -> Result<u64> {
    let told = must(&["docker", "image", "inspect", "--format", "{{.Size}}", image]).await?;
    told.trim().parse().with_context(|| format!("the size of {image} is {told:?}"))
}
