//! Looks at one disk again and again, and is never held up by it.

use super::{
    check::{DiskState, Lack, check},
    io::DiskIo,
};
use crate::config::{DiskOptions, ProbeOptions};
use quorate_domain::{FaultClass, Timestamp, Verdict, VerdictReason};
use quorate_runtime::clock::Clock;
use std::{sync::Arc, thread, time::Duration};
use tokio::{sync::oneshot, time::Instant};

/// What is needed to watch one disk.
pub(crate) struct Watch {
    pub(crate) disk: DiskOptions,
    /// The identity that it had in an earlier start.
    pub(crate) known: Option<String>,
    pub(crate) options: ProbeOptions,
    pub(crate) io: Arc<dyn DiskIo>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The same lack of this process's own is not told of more often than this.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// Checks the disk until `report` says that nobody listens any more.
///
/// A check that hangs keeps its thread; no other is begun before it has ended, so a hung disk costs one thread. A check
/// for which this process lacks something says nothing: the last word stands, and the next check tries again.
pub(crate) async fn watch<F>(mut watch: Watch, mut report: impl FnMut(DiskState) -> F)
where
    F: Future<Output = bool>,
{
    let mut last: Option<DiskState> = None;
    let mut complained: Option<Instant> = None;
    loop {
        let checked = match begin(&watch) {
            Ok(mut running) => match wait(&watch, last.as_ref(), &mut running, &mut report).await {
                Some(checked) => checked,
                None => return,
            },
            // Whatever keeps a thread from starting is a lack of ours.
            Err(error) => Err(Lack(error)),
        };
        let told = match checked {
            Ok(state) => {
                if !state.identity.is_empty() {
                    watch.known = Some(state.identity.clone());
                }
                last = Some(state.clone());
                Some(state)
            }
            Err(Lack(error)) => {
                if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                    complained = Some(Instant::now());
                    tracing::warn!(disk = %watch.disk.name, error = %error, "a disk is not checked: the agent lacks descriptors, memory or threads; raise its limits");
                }
                last.is_none().then(|| silent(&watch, None, Silence::NotChecked(error.to_string())))
            }
        };
        if let Some(state) = told
            && !report(state).await
        {
            return;
        }
        tokio::time::sleep(watch.options.interval).await;
    }
}

/// What a check came to.
type Checked = Result<DiskState, Lack>;

/// Starts one check on a thread of its own.
fn begin(watch: &Watch) -> std::io::Result<oneshot::Receiver<Checked>> {
    let (done, running) = oneshot::channel();
    let (io, clock) = (Arc::clone(&watch.io), Arc::clone(&watch.clock));
    let (disk, known, size_bytes) = (watch.disk.clone(), watch.known.clone(), watch.options.size_bytes);
    thread::Builder::new().name(format!("disk {}", watch.disk.name)).spawn(move || {
        let checked = check(io.as_ref(), &disk, known.as_deref(), size_bytes, Timestamp(clock.unix_ms()));
        // Nobody waits any more when the agent is ending.
        let _ = done.send(checked);
    })?;
    Ok(running)
}

/// Waits for a check, and reports its silence when it passes its limits; none when nobody listens any more.
async fn wait<F>(
    watch: &Watch,
    last: Option<&DiskState>,
    running: &mut oneshot::Receiver<Checked>,
    report: &mut impl FnMut(DiskState) -> F,
) -> Option<Checked>
where
    F: Future<Output = bool>,
{
    let began = Instant::now();
    let limits = [
        (watch.options.time_limit, Silence::Timeout(watch.options.time_limit)),
        (watch.options.unresponsive_after, Silence::Unresponsive(watch.options.unresponsive_after)),
    ];
    for (limit, silence) in limits {
        match tokio::time::timeout_at(began + limit, &mut *running).await {
            Ok(Ok(checked)) => return Some(checked),
            Ok(Err(_)) => return Some(Ok(silent(watch, last, Silence::Broken))),
            Err(_) => {
                tracing::warn!(disk = %watch.disk.name, limit_ms = limit.as_millis(), "the check of a disk hangs");
                if !report(silent(watch, last, silence)).await {
                    return None;
                }
            }
        }
    }
    Some(running.await.unwrap_or_else(|_| Ok(silent(watch, last, Silence::Broken))))
}

enum Silence {
    Timeout(Duration),
    Unresponsive(Duration),
    Broken,
    NotChecked(String),
}

/// What is said of a disk that does not answer: who it was when it last did, and nothing of how it is. Who it was in an
/// earlier start says nothing of who it is now.
fn silent(watch: &Watch, last: Option<&DiskState>, silence: Silence) -> DiskState {
    use FaultClass::{Environment, Medium};
    let at = Timestamp(watch.clock.unix_ms());
    let (verdict, class, code, observed, threshold) = match silence {
        Silence::Timeout(limit) => {
            let threshold = format!("{} ms", limit.as_millis());
            (Verdict::Unknown, Environment, "probe_timeout", "no answer".to_owned(), threshold)
        }
        Silence::Unresponsive(limit) => {
            let threshold = format!("{} ms", limit.as_millis());
            (Verdict::Failed, Medium, "unresponsive", "no answer".to_owned(), threshold)
        }
        Silence::Broken => {
            let observed = "the check ended without a result".to_owned();
            (Verdict::Unknown, Environment, "check_broken", observed, String::new())
        }
        Silence::NotChecked(error) => {
            (Verdict::Unknown, Environment, "check_not_started", error, String::new())
        }
    };
    let reason = VerdictReason {
        code: code.to_owned(),
        attribute: watch.disk.path.display().to_string(),
        observed,
        threshold,
        source: "probe".to_owned(),
        at,
        class,
    };
    DiskState {
        name: watch.disk.name.clone(),
        path: watch.disk.path.clone(),
        identity: last.map(|last| last.identity.clone()).unwrap_or_default(),
        capacity_bytes: last.map_or(0, |last| last.capacity_bytes),
        free_bytes: last.map_or(0, |last| last.free_bytes),
        verdict,
        reasons: vec![reason],
        checked_at: at,
    }
}

#[cfg(test)]
mod tests {
    use super::super::io::{Space, SystemIo, WriteFault};
    use super::*;
    use quorate_domain::DiskName;
    use quorate_runtime::clock::SystemClock;
    use std::{
        io,
        path::Path,
        sync::{
            Condvar, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };
    use tokio::sync::mpsc;

    const SOON: Duration = Duration::from_secs(20);

    /// A disk whose writes hang until the gate is opened.
    #[derive(Default)]
    struct Gate {
        open: Mutex<bool>,
        opened: Condvar,
        writers: AtomicUsize,
        most: AtomicUsize,
    }

    impl DiskIo for Gate {
        fn space(&self, directory: &Path) -> io::Result<Space> {
            SystemIo.space(directory)
        }
        fn write_durably(&self, file: &Path, bytes: &[u8]) -> Result<(), WriteFault> {
            let writers = self.writers.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(writers, Ordering::SeqCst);
            let open = self.open.lock().unwrap();
            drop(self.opened.wait_while(open, |open| !*open).unwrap());
            self.writers.fetch_sub(1, Ordering::SeqCst);
            SystemIo.write_durably(file, bytes)
        }
        fn read(&self, file: &Path, limit: usize) -> io::Result<Vec<u8>> {
            SystemIo.read(file, limit)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            SystemIo.rename(from, to)
        }
        fn remove(&self, file: &Path) -> io::Result<()> {
            SystemIo.remove(file)
        }
    }

    fn start(
        io: Arc<dyn DiskIo>,
        path: &Path,
        [time_limit, unresponsive_after]: [Duration; 2],
    ) -> mpsc::Receiver<DiskState> {
        let (reports, seen) = mpsc::channel(16);
        let options = ProbeOptions {
            interval: Duration::from_millis(20),
            time_limit,
            unresponsive_after,
            size_bytes: 64,
        };
        let disk = DiskOptions { name: DiskName::new("d").unwrap(), path: path.to_owned() };
        let clock = Arc::new(SystemClock);
        let known = Some("abc".to_owned());
        tokio::spawn(watch(Watch { disk, known, options, io, clock }, move |state| {
            let reports = reports.clone();
            async move { reports.send(state).await.is_ok() }
        }));
        seen
    }

    async fn next(seen: &mut mpsc::Receiver<DiskState>) -> (Verdict, String) {
        let state = tokio::time::timeout(SOON, seen.recv()).await.unwrap().unwrap();
        let unread = matches!(state.verdict, Verdict::Unknown | Verdict::Failed);
        assert_eq!(state.identity, if unread { "" } else { "abc" }, "it was not read in this start yet");
        (state.verdict, state.reasons.first().map(|reason| reason.code.clone()).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_unknown_then_failed_costs_one_thread_and_comes_back() {
        let (hung, good) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&hung, &good] {
            std::fs::write(dir.path().join(".quorate-disk"), "abc").unwrap();
        }
        let gate = Arc::new(Gate::default());
        let mut bad =
            start(Arc::clone(&gate) as Arc<dyn DiskIo>, hung.path(), [80, 400].map(Duration::from_millis));
        let mut well = start(Arc::new(SystemIo), good.path(), [SOON, SOON]);
        assert_eq!(next(&mut bad).await, (Verdict::Unknown, "probe_timeout".into()));
        for _ in 0..3 {
            assert_eq!(next(&mut well).await, (Verdict::Healthy, String::new()), "the other disk goes on");
        }
        assert_eq!(next(&mut bad).await, (Verdict::Failed, "unresponsive".into()));
        assert_eq!(gate.most.load(Ordering::SeqCst), 1, "one thread at most");
        *gate.open.lock().unwrap() = true;
        gate.opened.notify_all();
        assert_eq!(next(&mut bad).await, (Verdict::Healthy, String::new()));
    }

    /// A disk for whose marker this process has no descriptor, as often as it is told.
    struct Lacking(AtomicUsize);

    impl DiskIo for Lacking {
        fn space(&self, directory: &Path) -> io::Result<Space> {
            SystemIo.space(directory)
        }
        fn write_durably(&self, file: &Path, bytes: &[u8]) -> Result<(), WriteFault> {
            SystemIo.write_durably(file, bytes)
        }
        fn read(&self, file: &Path, limit: usize) -> io::Result<Vec<u8>> {
            const EMFILE: i32 = 24;
            let turn = self.0.fetch_add(1, Ordering::SeqCst);
            // Each good check reads twice.
            if (2..10).contains(&turn) {
                return Err(io::Error::from_raw_os_error(EMFILE));
            }
            SystemIo.read(file, limit)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            SystemIo.rename(from, to)
        }
        fn remove(&self, file: &Path) -> io::Result<()> {
            SystemIo.remove(file)
        }
    }

    #[tokio::test]
    async fn a_lack_of_descriptors_leaves_the_last_word_and_the_next_check_tries_again() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".quorate-disk"), "abc").unwrap();
        let io = Arc::new(Lacking(AtomicUsize::new(0)));
        let mut seen = start(Arc::clone(&io) as Arc<dyn DiskIo>, dir.path(), [SOON, SOON]);
        assert_eq!(next(&mut seen).await, (Verdict::Healthy, String::new()));
        assert_eq!(next(&mut seen).await, (Verdict::Healthy, String::new()), "nothing was said in between");
        assert!(io.0.load(Ordering::SeqCst) >= 12, "the checks between the two lacked a descriptor");
    }
}
