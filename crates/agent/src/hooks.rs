//! The operator's executables that start and stop a group's service on this host.

use crate::config::HookOptions;
use quorate_agent_core::{HookKind, HookOutcome};
use quorate_domain::{Epoch, GroupId, HostId};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// The most of a hook's output that is logged, in bytes of each of stdout and stderr.
const OUTPUT_MAX: usize = 4_096;
/// How long the output of a hook that has ended is waited for: something that it left running may hold it open.
const OUTPUT_WAIT: Duration = Duration::from_millis(500);

/// One run of a hook.
#[derive(Debug, Clone)]
pub(crate) struct HookRun {
    pub(crate) host: HostId,
    pub(crate) group: GroupId,
    pub(crate) epoch: Epoch,
    pub(crate) kind: HookKind,
    pub(crate) reason: String,
}

/// Runs a hook to its end, which comes no later than its time limit or `kill`.
pub(crate) async fn run_hook(options: &HookOptions, run: &HookRun, kill: &CancellationToken) -> HookOutcome {
    let path = match run.kind {
        HookKind::Promote => options.on_promote.as_ref(),
        HookKind::Demote => options.on_demote.as_ref(),
    };
    let Some(path) = path else { return HookOutcome::NotConfigured };
    let outcome = execute(path, run, options.time_limit, kill).await;
    if let HookOutcome::Failed(why) = &outcome {
        tracing::warn!(group.id = %run.group, epoch = run.epoch.0, hook = %run.kind, error = why, "hook failed");
    } else {
        tracing::info!(group.id = %run.group, epoch = run.epoch.0, hook = %run.kind, "hook ended well");
    }
    outcome
}

async fn execute(path: &Path, run: &HookRun, limit: Duration, kill: &CancellationToken) -> HookOutcome {
    let mut child = match start(path, run) {
        Ok(child) => child,
        Err(error) => return HookOutcome::Failed(format!("cannot run {}: {error}", path.display())),
    };
    let output = [child.stdout.take().map(gather), child.stderr.take().map(gather)];
    let pid = child.id();
    let ended = tokio::select! {
        ended = timeout(limit, child.wait()) => ended.map_err(|_| format!("killed after {} ms", limit.as_millis())),
        () = kill.cancelled() => Err("killed because the epoch ended".to_owned()),
    };
    let outcome = match ended {
        Ok(Ok(status)) if status.success() => HookOutcome::Succeeded,
        Ok(Ok(status)) => HookOutcome::Failed(format!("{} ended with {status}", path.display())),
        Ok(Err(error)) => HookOutcome::Failed(format!("cannot wait for {}: {error}", path.display())),
        Err(why) => {
            end_by_force(&mut child, pid).await;
            HookOutcome::Failed(format!("{} was {why}", path.display()))
        }
    };
    for (gathered, stream) in output.into_iter().zip(["stdout", "stderr"]) {
        log_output(gathered, stream, path, run).await;
    }
    outcome
}

fn start(path: &Path, run: &HookRun) -> std::io::Result<Child> {
    let role = match run.kind {
        HookKind::Promote => "primary",
        HookKind::Demote => "backup",
    };
    Command::new(path)
        .env("QUORATE_GROUP", run.group.as_str())
        .env("QUORATE_EPOCH", run.epoch.0.to_string())
        .env("QUORATE_ROLE", role)
        .env("QUORATE_HOST", run.host.as_str())
        .env("QUORATE_REASON", &run.reason)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what the hook started is killed with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Kills the hook and what it started, and waits until it is gone: what runs next must not meet it.
async fn end_by_force(child: &mut Child, pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process_group(pid, Signal::KILL)
    {
        tracing::warn!(error = %error, "cannot kill the process group of a hook");
    }
    if let Err(error) = child.kill().await {
        tracing::warn!(error = %error, "cannot kill a hook");
    }
}

/// Reads to the end, so that a hook that writes much is not held up, and keeps the beginning.
fn gather(mut stream: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let mut kept = Vec::new();
        let mut chunk = [0_u8; 1_024];
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            let room = OUTPUT_MAX - kept.len();
            kept.extend_from_slice(&chunk[..count.min(room)]);
        }
        kept
    })
}

async fn log_output(gathered: Option<JoinHandle<Vec<u8>>>, stream: &str, path: &Path, run: &HookRun) {
    let Some(mut task) = gathered else { return };
    let Ok(Ok(bytes)) = timeout(OUTPUT_WAIT, &mut task).await else {
        task.abort();
        return;
    };
    for line in String::from_utf8_lossy(&bytes).lines() {
        tracing::info!(group.id = %run.group, epoch = run.epoch.0, hook = %path.display(), stream, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Instant};

    fn script(folder: &Path, body: &str) -> PathBuf {
        let path = folder.join("hook");
        let temporary = folder.join("hook.new");
        fs::write(&temporary, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&temporary, &path).unwrap();
        path
    }

    fn a_run(kind: HookKind) -> HookRun {
        HookRun {
            host: HostId::new("h1").unwrap(),
            group: GroupId::new("g").unwrap(),
            epoch: Epoch(12),
            kind,
            reason: "the lease lapsed".into(),
        }
    }

    fn options(on_promote: Option<PathBuf>, limit_ms: u64) -> HookOptions {
        HookOptions { on_promote, on_demote: None, time_limit: Duration::from_millis(limit_ms) }
    }

    #[tokio::test]
    async fn a_hook_is_told_group_epoch_role_host_and_reason() {
        let dir = tempfile::tempdir().unwrap();
        let seen = dir.path().join("seen");
        let body = format!(
            "echo \"$QUORATE_GROUP|$QUORATE_EPOCH|$QUORATE_ROLE|$QUORATE_HOST|$QUORATE_REASON\" > {}",
            seen.display()
        );
        let hook = script(dir.path(), &body);
        let options = HookOptions { on_demote: Some(hook), ..HookOptions::default() };
        let outcome = run_hook(&options, &a_run(HookKind::Demote), &CancellationToken::new()).await;
        assert_eq!(outcome, HookOutcome::Succeeded);
        assert_eq!(fs::read_to_string(seen).unwrap(), "g|12|backup|h1|the lease lapsed\n");
        let none = run_hook(&options, &a_run(HookKind::Promote), &CancellationToken::new()).await;
        assert_eq!(none, HookOutcome::NotConfigured);
    }

    #[tokio::test]
    async fn a_hook_that_ends_badly_or_is_not_there_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let hook = script(dir.path(), "echo trouble >&2; exit 3");
        let outcome =
            run_hook(&options(Some(hook), 60_000), &a_run(HookKind::Promote), &CancellationToken::new())
                .await;
        assert!(
            matches!(&outcome, HookOutcome::Failed(why) if why.contains("exit status: 3")),
            "{outcome:?}"
        );
        let missing = Some(dir.path().join("missing"));
        let outcome =
            run_hook(&options(missing, 60_000), &a_run(HookKind::Promote), &CancellationToken::new()).await;
        assert!(matches!(&outcome, HookOutcome::Failed(why) if why.contains("cannot run")), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_hook_over_its_time_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let hook = script(dir.path(), &format!("sleep 600 & echo $! > {}; wait", pids.display()));
        let before = Instant::now();
        let outcome =
            run_hook(&options(Some(hook), 700), &a_run(HookKind::Promote), &CancellationToken::new()).await;
        assert!(
            matches!(&outcome, HookOutcome::Failed(why) if why.contains("killed after 700 ms")),
            "{outcome:?}"
        );
        assert!(before.elapsed() < Duration::from_mins(1));
        let child: i32 = fs::read_to_string(pids).unwrap().trim().parse().unwrap();
        let gone = || {
            let stat = fs::read_to_string(format!("/proc/{child}/stat"));
            // Without an init that reaps, a killed orphan stays behind as a zombie.
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !gone() {
            assert!(Instant::now() < deadline, "process {child} outlived its hook");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_hook_whose_epoch_ended_is_killed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let hook = script(dir.path(), "sleep 600");
        let kill = CancellationToken::new();
        kill.cancel();
        let outcome = run_hook(&options(Some(hook), 600_000), &a_run(HookKind::Promote), &kill).await;
        assert!(
            matches!(&outcome, HookOutcome::Failed(why) if why.contains("the epoch ended")),
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn a_hook_that_writes_without_end_is_not_held_up_by_its_output() {
        let dir = tempfile::tempdir().unwrap();
        let hook = script(dir.path(), "head -c 3000000 /dev/zero");
        let outcome =
            run_hook(&options(Some(hook), 60_000), &a_run(HookKind::Promote), &CancellationToken::new())
                .await;
        assert_eq!(outcome, HookOutcome::Succeeded);
    }
}
