//! What was said and is not written yet: bounded in lines and in bytes, between everybody who logs and the one thread that
//! writes. Whoever logs never waits for whoever reads: what finds no room is dropped, counted, and said later.
//!
//! Not tracing-appender: its queue is bounded in lines alone, and neither what it drops nor a write that fails is ever said.

use super::{repeats::Repeats, style::Style};
use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tracing::{Level, Metadata};

/// Lines that wait at most.
pub(super) const LINES_MAX: usize = 8_192;
/// Bytes that wait at most.
pub(super) const BYTES_MAX: usize = 1 << 20;
/// Bytes that are written at once at most, unless a single line is longer; they wait no more.
const WRITE_BYTES_MAX: usize = 64 << 10;
/// How long a writer waits whose stderr takes nothing just now and would not let it wait there.
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// Lines on their way to stderr.
pub(super) struct Backlog {
    style: Style,
    repeats: Repeats,
    inner: Mutex<Inner>,
    /// Signalled when the writer has a reason to look.
    filled: Condvar,
    /// Signalled when everything is written.
    drained: Condvar,
    dropped: AtomicU64,
    unwritten: AtomicU64,
}

#[derive(Default)]
struct Inner {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Dropped since a line last found room.
    dropped: u64,
    is_writing: bool,
}

/// Lines that could not be written, since the last one that was.
struct Failing {
    lines: u64,
    why: io::Error,
    /// The last line that went out is not whole.
    is_torn: bool,
}

impl Failing {
    /// What is said of them.
    fn word(&self, style: Style) -> Vec<u8> {
        let end = if self.is_torn { "\n" } else { "" };
        let text = format!("{} lines before this one could not be written: {}", self.lines, self.why);
        [end.as_bytes(), &style.line(Level::WARN, &text)].concat()
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').count().saturating_sub(1) as u64
}

impl Backlog {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            repeats: Repeats::default(),
            inner: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            dropped: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
        }
    }

    /// Starts the thread that writes all that is pushed, for as long as the process lives.
    pub(super) fn start(style: Style, sink: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let backlog = Arc::new(Self::new(style));
        let writer = Arc::clone(&backlog);
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_all_to(sink))?;
        Ok(backlog)
    }

    /// Adds a line with its end, or counts it.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut inner = self.lock();
        self.add(&mut inner, line);
        drop(inner);
        self.filled.notify_one();
    }

    /// Adds a line of our own.
    pub(super) fn say(&self, level: Level, text: &str) {
        self.push(self.style.line(level, text));
    }

    /// True when an event is to be logged; false when enough like it were.
    pub(super) fn admits(&self, event: &'static Metadata<'static>, message: impl FnOnce() -> String) -> bool {
        let verdict = self.repeats.judge(event, Instant::now(), message);
        if let Some(ended) = verdict.ended {
            self.say(Level::WARN, &ended);
        }
        if verdict.is_first_suppressed {
            // Under the lock, so that the writer either knows already or is waiting.
            drop(self.lock());
            self.filled.notify_one();
        }
        verdict.admitted
    }

    /// Says what was suppressed so far.
    pub(super) fn end_repeats(&self) {
        for ended in self.repeats.over(None) {
            self.say(Level::WARN, &ended);
        }
    }

    /// Returns when everything that was pushed is written, or given up, or after `deadline`. True when it is.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        self.end_repeats();
        let end = Instant::now() + deadline;
        let mut inner = self.lock();
        while inner.is_writing || !inner.lines.is_empty() || inner.dropped > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = self.drained.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lines that found no room, since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Lines that the system did not take, since the start.
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Lines that were like too many others, since the start.
    pub(super) fn suppressed(&self) -> u64 {
        self.repeats.suppressed()
    }

    fn add(&self, inner: &mut Inner, line: Vec<u8>) {
        if inner.lines.len() >= LINES_MAX || inner.bytes.saturating_add(line.len()) > BYTES_MAX {
            inner.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(gap) = self.gap(inner) {
            inner.bytes += gap.len();
            inner.lines.push_back(gap);
        }
        inner.bytes += line.len();
        inner.lines.push_back(line);
    }

    /// What is said where lines are missing.
    fn gap(&self, inner: &mut Inner) -> Option<Vec<u8>> {
        let dropped = mem::take(&mut inner.dropped);
        (dropped > 0).then(|| {
            let text = format!("dropped {dropped} lines: the log was not read or written fast enough");
            self.style.line(Level::WARN, &text)
        })
    }

    /// What is written next; waits until there is something.
    fn next(&self) -> Vec<u8> {
        let mut inner = self.lock();
        inner.is_writing = false;
        loop {
            for ended in self.repeats.over(Some(Instant::now())) {
                self.add(&mut inner, self.style.line(Level::WARN, &ended));
            }
            if !inner.lines.is_empty() || inner.dropped > 0 {
                break;
            }
            self.drained.notify_all();
            inner = match self.repeats.next_over(Instant::now()) {
                None => self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        let mut next = Vec::new();
        while let Some(line) = inner.lines.front()
            && (next.is_empty() || next.len() + line.len() <= WRITE_BYTES_MAX)
            && let Some(line) = inner.lines.pop_front()
        {
            inner.bytes -= line.len();
            next.extend(line);
        }
        if inner.lines.is_empty()
            && let Some(gap) = self.gap(&mut inner)
        {
            next.extend(gap);
        }
        inner.is_writing = true;
        next
    }

    fn write_all_to(&self, mut sink: impl Write) {
        let mut failing: Option<Failing> = None;
        loop {
            let lines = self.next();
            // In front of them, so that the lines that are missing are missed where they were.
            let head = failing.as_ref().map_or_else(Vec::new, |failing| failing.word(self.style));
            let bytes = [&head[..], &lines].concat();
            failing = match write_all(&mut sink, &bytes) {
                Ok(()) => None,
                Err((why, written)) => {
                    let lost = count_lines(&bytes[written.max(head.len())..]);
                    self.unwritten.fetch_add(lost, Ordering::Relaxed);
                    // The word about earlier ones did not get out either.
                    let before = failing.filter(|_| written < head.len());
                    let was_torn = before.as_ref().is_some_and(|before| before.is_torn);
                    let is_torn = bytes[..written].last().map_or(was_torn, |byte| *byte != b'\n');
                    Some(Failing { lines: lost + before.map_or(0, |before| before.lines), why, is_torn })
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Logging goes on after a panic elsewhere.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of it; else tells how much went out before the error.
fn write_all(sink: &mut impl Write, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut written = 0;
    while written < bytes.len() {
        match sink.write(&bytes[written..]) {
            Ok(0) => return Err((io::ErrorKind::WriteZero.into(), written)),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever shares the pipe may have asked for this.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_EVERY),
            Err(error) => return Err((error, written)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const SOON: Duration = Duration::from_secs(10);

    /// Takes bytes only after it was allowed to, each time.
    struct Gate {
        allowed: Receiver<io::Result<()>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Nobody to allow it any more: the test is over.
            self.allowed.recv().unwrap_or(Ok(()))?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Arc<Backlog>, Sender<io::Result<()>>, Receiver<Vec<u8>>) {
        let ((allow, allowed), (written, read)) = (channel(), channel());
        let backlog = Backlog::start(Style::human(), Gate { allowed, written }).unwrap();
        (backlog, allow, read)
    }

    fn line(number: usize) -> Vec<u8> {
        format!("line {number}\n").into_bytes()
    }

    /// Waits until the writer stands still in its first write.
    fn until_it_writes(backlog: &Backlog) {
        let end = Instant::now() + SOON;
        while !backlog.lock().is_writing {
            assert!(Instant::now() < end, "nothing is written");
            thread::yield_now();
        }
    }

    /// Lets everything be written from now on, and gives back what was.
    fn let_go(backlog: &Backlog, allow: Sender<io::Result<()>>, read: &Receiver<Vec<u8>>) -> String {
        drop(allow);
        assert!(backlog.flush(SOON));
        String::from_utf8(read.try_iter().flatten().collect()).unwrap()
    }

    #[test]
    fn a_log_that_nobody_reads_costs_lines_and_no_caller_its_time() {
        let (backlog, allow, read) = gated();
        let pushed = LINES_MAX * 3;
        let started = Instant::now();
        backlog.push(line(0));
        until_it_writes(&backlog);
        for number in 1..pushed {
            backlog.push(line(number));
        }
        assert!(started.elapsed() < SOON);
        assert!(
            !backlog.flush(Duration::from_millis(20)),
            "an end that waits for nobody's reading is bounded"
        );
        let dropped = usize::try_from(backlog.dropped()).unwrap();
        assert_eq!(dropped, pushed - 1 - LINES_MAX, "all but the one on its way and those that wait");
        let written = let_go(&backlog, allow, &read);
        let (lines, words): (Vec<_>, Vec<_>) = written.lines().partition(|text| text.starts_with("line "));
        assert_eq!(lines.len() + dropped, pushed);
        assert!(
            lines.iter().enumerate().all(|(at, text)| *text == format!("line {at}")),
            "in order, none within"
        );
        assert_eq!(words.len(), 1, "{words:?}");
        assert!(words[0].contains(&format!("dropped {dropped} lines")), "{words:?}");
        assert!(written.trim_end().ends_with(words[0]), "where they are missing");
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_the_gap_is_said_before_what_comes_after_it() {
        let (backlog, allow, read) = gated();
        let long = vec![b'x'; BYTES_MAX / 4 - 1].into_iter().chain(*b"\n").collect::<Vec<_>>();
        backlog.push(long.clone());
        until_it_writes(&backlog);
        for _ in 0..7 {
            backlog.push(long.clone());
        }
        let dropped = backlog.dropped();
        assert_eq!(dropped, 3, "four fit beside the one on its way");
        allow.send(Ok(())).unwrap();
        read.recv_timeout(SOON).unwrap();
        allow.send(Ok(())).unwrap();
        read.recv_timeout(SOON).unwrap();
        backlog.push(line(1));
        let written = let_go(&backlog, allow, &read);
        let tail: Vec<_> = written.lines().rev().take(2).collect();
        assert_eq!(tail[0], "line 1");
        assert!(tail[1].contains(&format!("dropped {dropped} lines")), "{}", tail[1]);
    }

    #[test]
    fn a_write_that_fails_ends_nothing_is_counted_and_is_said_once_writing_works_again() {
        let (backlog, allow, read) = gated();
        for number in 0..3 {
            allow.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
            backlog.push(line(number));
            assert!(backlog.flush(SOON));
        }
        assert_eq!(backlog.unwritten(), 3);
        backlog.push(line(7));
        let written = let_go(&backlog, allow, &read);
        let lines: Vec<_> = written.lines().collect();
        assert_eq!(lines.len(), 2, "{written}");
        assert!(
            lines[0].contains("3 lines before this one could not be written: no storage space"),
            "{written}"
        );
        assert_eq!(lines[1], "line 7");
        backlog.push(line(8));
        assert!(backlog.flush(SOON));
        assert_eq!(read.try_iter().flatten().collect::<Vec<_>>(), line(8), "it is said once");
    }
}
