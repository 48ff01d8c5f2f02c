//! One way to stop: every task hangs on one token, the first reason is kept, and the process says who did not end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io, process, thread};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level::{self, signal_name},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry;

/// The exit code of a process whose operator would not wait for a graceful stop (128 + SIGINT).
pub const EXIT_IMPATIENT: i32 = 130;
/// What the thread that takes signals needs.
const SIGNALS_STACK_BYTES: usize = 256 << 10;
/// How long the line that says so may take to be written.
const LAST_LINE_DEADLINE: Duration = Duration::from_millis(100);
/// The exit code of a process that ends itself at once.
const EXIT_FAILED: i32 = 1;
/// How long its last word may take to be written.
const LAST_WORD_DEADLINE: Duration = Duration::from_secs(1);

/// Ends the process here and now, with a last word: for one whose threads no longer do what they are told, so that an
/// orderly stop would never come to its end.
pub fn end_at_once(last_word: &str) -> ! {
    telemetry::say(last_word);
    telemetry::flush(LAST_WORD_DEADLINE);
    process::exit(EXIT_FAILED)
}

/// The stop switch of a process and the register of its tasks; clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    token: CancellationToken,
    tracker: TaskTracker,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    reason: Option<String>,
    fatal: Option<String>,
    running: BTreeMap<u64, String>,
    spawned: u64,
}

/// How a process came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why it stopped: the first reason given.
    pub reason: String,
    /// The first fatal error, also when it came while stopping for another reason.
    pub fatal: Option<String>,
    /// Names of the tasks that had not ended by the deadline, in the order they were spawned.
    pub unfinished: Vec<String>,
}

impl Outcome {
    /// 0 after a clean stop; 1 after a fatal error, or when a task did not end.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.fatal.is_some() || !self.unfinished.is_empty())
    }
}

impl Shutdown {
    /// A switch nobody has triggered.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is cancelled when the process stops.
    ///
    /// It is a child: cancelling it stops only whoever holds it. To stop the process, give a reason to
    /// [`Shutdown::trigger`].
    pub fn token(&self) -> CancellationToken {
        self.inner.token.child_token()
    }

    /// Runs `task` as part of this process; [`Shutdown::finish`] waits for it and knows it by `name`.
    ///
    /// A task that panics is a fatal error: a process that silently lost one of its parts must not live on.
    pub fn spawn<F>(&self, name: impl Into<String>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_on(&Handle::current(), name, task);
    }

    /// The same on another runtime than that of the caller.
    pub fn spawn_on<F>(&self, runtime: &Handle, name: impl Into<String>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = self.register(name.into());
        let task = async move {
            let _running = running;
            task.await;
        };
        self.inner.tracker.spawn_on(task, runtime);
    }

    /// Asks every task to stop; only the first reason is kept.
    pub fn trigger(&self, reason: impl Into<String>) {
        self.stop(reason.into(), false);
    }

    /// Stops the process with exit code 1 and this message; the first one is kept.
    pub fn fatal(&self, reason: impl Into<String>) {
        self.stop(reason.into(), true);
    }

    /// Why the process is stopping, or `None` while it is not.
    pub fn reason(&self) -> Option<String> {
        self.ledger().reason.clone()
    }

    /// Waits for SIGTERM, SIGINT or SIGHUP, or for somebody else to trigger the stop.
    ///
    /// The first signal triggers a graceful stop. Any signal after that ends the process at once with exit code
    /// [`EXIT_IMPATIENT`], whatever the tasks are doing: a thread of its own takes signals, which no runtime that stands still
    /// and no disk that hangs holds up.
    ///
    /// # Errors
    /// When the operating system refuses the signal handlers, or the thread.
    pub async fn wait_for_signal(&self) -> io::Result<()> {
        let signals = Signals::new(taken())?;
        let own = self.clone();
        thread::Builder::new()
            .name("signals".into())
            .stack_size(SIGNALS_STACK_BYTES)
            .spawn(move || own.obey(signals))?;
        self.inner.token.cancelled().await;
        Ok(())
    }

    fn obey(&self, mut signals: Signals) {
        for signal in &mut signals {
            let name = signal_name(signal).unwrap_or("a signal");
            if self.reason().is_none() {
                self.trigger(format!("{name} received"));
                continue;
            }
            tracing::warn!(signal = name, "second signal: ending at once, tasks are not waited for");
            telemetry::flush(LAST_LINE_DEADLINE);
            // Without whatever a library has to do at an exit, which may wait for what hangs.
            low_level::exit(EXIT_IMPATIENT);
        }
    }

    /// Stops, waits for every task at most `deadline`, and reports how it went.
    ///
    /// Tasks that did not end are left running: the caller is about to end the process.
    pub async fn finish(&self, deadline: Duration) -> Outcome {
        self.trigger("finished");
        self.inner.tracker.close();
        let all_ended = tokio::time::timeout(deadline, self.inner.tracker.wait()).await.is_ok();
        let ledger = self.ledger();
        let unfinished = if all_ended { Vec::new() } else { ledger.running.values().cloned().collect() };
        Outcome { reason: ledger.reason.clone().unwrap_or_default(), fatal: ledger.fatal.clone(), unfinished }
    }

    fn stop(&self, reason: String, is_fatal: bool) {
        {
            let mut ledger = self.ledger();
            if is_fatal && ledger.fatal.is_none() {
                ledger.fatal = Some(reason.clone());
            }
            if ledger.reason.is_none() {
                ledger.reason = Some(reason);
            }
        }
        self.inner.token.cancel();
    }

    fn register(&self, name: String) -> Running {
        let mut ledger = self.ledger();
        let number = ledger.spawned;
        ledger.spawned += 1;
        ledger.running.insert(number, name);
        Running { shutdown: self.clone(), number }
    }

    /// A panic elsewhere must not keep the process from stopping, so a poisoned lock is taken all the same.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.inner.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Strikes a task from the register however it ends.
#[derive(Debug)]
struct Running {
    shutdown: Shutdown,
    number: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let name = self.shutdown.ledger().running.remove(&self.number).unwrap_or_default();
        if thread::panicking() {
            self.shutdown.fatal(format!("task {name} panicked; its message is in the log"));
        }
    }
}

/// The signals that stop the process. Whoever started it with SIGHUP ignored, as `nohup` does, wants it to outlive that.
fn taken() -> Vec<i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut taken = vec![SIGTERM, SIGINT];
    if !ignores(&status, SIGHUP) {
        taken.push(SIGHUP);
    }
    taken
}

/// Whether a signal is ignored, by what `/proc` says of the process.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn every_token_is_cancelled_and_the_first_reason_kept() {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        assert_eq!(shutdown.reason(), None);
        assert!(!token.is_cancelled());
        shutdown.trigger("operator asked");
        shutdown.trigger("too late");
        assert!(token.is_cancelled() && shutdown.token().is_cancelled());
        assert_eq!(shutdown.reason().as_deref(), Some("operator asked"));
    }

    #[tokio::test]
    async fn cancelling_one_token_stops_only_its_holder() {
        let shutdown = Shutdown::new();
        shutdown.token().cancel();
        assert!(!shutdown.token().is_cancelled());
        assert_eq!(shutdown.reason(), None);
    }

    #[tokio::test]
    async fn finish_waits_for_tasks_that_clean_up() {
        let shutdown = Shutdown::new();
        let (cleaned, was_cleaned) = tokio::sync::oneshot::channel();
        let token = shutdown.token();
        shutdown.spawn("log writer", async move {
            token.cancelled().await;
            tokio::task::yield_now().await;
            cleaned.send(()).unwrap();
        });
        shutdown.trigger("operator asked");
        let outcome = shutdown.finish(SOON).await;
        assert_eq!(outcome.reason, "operator asked");
        assert_eq!(outcome.unfinished, Vec::<String>::new());
        assert_eq!(outcome.exit_code(), 0);
        assert_eq!(was_cleaned.await, Ok(()));
    }

    #[tokio::test]
    async fn finish_stops_tasks_nobody_has_told_yet() {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        shutdown.spawn("waiter", async move { token.cancelled().await });
        let outcome = shutdown.finish(SOON).await;
        assert_eq!((outcome.reason.as_str(), outcome.exit_code()), ("finished", 0));
    }

    #[tokio::test(start_paused = true)]
    async fn finish_names_the_tasks_that_did_not_end() {
        let shutdown = Shutdown::new();
        shutdown.spawn("hung disk probe", std::future::pending());
        shutdown.spawn("quick", async {});
        shutdown.spawn("hung stream", std::future::pending());
        let outcome = shutdown.finish(Duration::from_secs(5)).await;
        assert_eq!(outcome.unfinished, ["hung disk probe", "hung stream"]);
        assert_eq!(outcome.exit_code(), 1);
    }

    #[tokio::test]
    async fn a_fatal_error_stops_everything_with_exit_code_one() {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        shutdown.spawn("log", {
            let shutdown = shutdown.clone();
            async move { shutdown.fatal("fdatasync of segment 3 failed") }
        });
        token.cancelled().await;
        shutdown.fatal("a consequence");
        let outcome = shutdown.finish(SOON).await;
        assert_eq!(outcome.reason, "fdatasync of segment 3 failed");
        assert_eq!(outcome.fatal.as_deref(), Some("fdatasync of segment 3 failed"));
        assert_eq!(outcome.exit_code(), 1);
    }

    #[tokio::test]
    async fn a_fatal_error_while_stopping_is_not_hidden_by_the_first_reason() {
        let shutdown = Shutdown::new();
        shutdown.trigger("SIGTERM received");
        shutdown.fatal("the last snapshot could not be written");
        let outcome = shutdown.finish(SOON).await;
        assert_eq!(outcome.reason, "SIGTERM received");
        assert_eq!(outcome.fatal.as_deref(), Some("the last snapshot could not be written"));
        assert_eq!(outcome.exit_code(), 1);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_fatal_and_named() {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        shutdown.spawn("planner", async { panic!("broken on purpose by this test") });
        token.cancelled().await;
        let outcome = shutdown.finish(SOON).await;
        assert!(outcome.fatal.is_some_and(|text| text.contains("planner")));
        assert!(outcome.unfinished.is_empty());
    }

    #[test]
    fn a_signal_that_is_ignored_stays_so() {
        assert!(ignores("Name:\tx\nSigIgn:\t0000000000001001\n", SIGHUP));
        assert!(!ignores("SigIgn:\t0000000000001000\n", SIGHUP));
        assert!(!ignores("", SIGHUP));
    }

    #[tokio::test]
    async fn waiting_for_a_signal_ends_when_somebody_else_triggers() {
        let shutdown = Shutdown::new();
        shutdown.trigger("fatal elsewhere");
        tokio::time::timeout(SOON, shutdown.wait_for_signal()).await.unwrap().unwrap();
        assert_eq!(shutdown.reason().as_deref(), Some("fatal elsewhere"));
    }
}
