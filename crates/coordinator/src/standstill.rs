//! A leader that does not serve does not lead. Raft has a thread of its own, so a leader whose other parts stand still
//! (the thread that serves agents and clients, the driver, the disk under the log or the state store) would be followed
//! for ever by coordinators that hear its heartbeats, while nobody is served.
//!
//! It is judged from a thread of the operating system that waits for none of them and takes no lock that they hold while
//! they work.

use quorate_consensus::Consensus;
use quorate_runtime::{
    clock::{BootInstant, Clock},
    shutdown::{Shutdown, end_at_once},
    standstill::{Judge, Pulse},
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How often a part that always runs shows that it does.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// How often all are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// From here on a part counts as standing still.
const STANDS_FROM: Duration = Duration::from_secs(1);
/// A leader of which a part has stood still for so long is silent, so that another one leads.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// After this long it ends: what hangs so long may never go on, and whoever started it can start it anew.
const END_AFTER: Duration = Duration::from_secs(15);
/// A process that was told to stop and did not in this time hangs somewhere; its own deadlines are shorter.
const STOP_MAX: Duration = Duration::from_secs(30);

/// One part of the coordinator.
#[derive(Debug, Clone)]
struct Part {
    name: &'static str,
    /// What to do when it stands still.
    remedy: String,
    pulse: Pulse,
}

/// The parts that are watched.
#[derive(Debug)]
pub(crate) struct Parts(Vec<Part>);

/// Watches for as long as it is not dropped.
#[derive(Debug)]
pub(crate) struct Watch(Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What follows from a look, and from which part, by its place.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Serves,
    /// It must not lead.
    Silent(usize, Duration),
    /// It led, and is of no use any more.
    Ends(usize, Duration),
}

/// Turns looks at the parts into verdicts.
#[derive(Debug)]
struct Bench {
    judge: Judge,
    /// It has led at some time since a part began to stand still.
    led: bool,
}

impl Bench {
    fn new() -> Self {
        Self { judge: Judge::new(2 * LOOK_EVERY), led: false }
    }

    fn look(&mut self, now: BootInstant, numbers: &[u64], leads: bool) -> Verdict {
        let stood = self.judge.look(now, numbers);
        let longest = stood.iter().max().copied().unwrap_or_default();
        // Of those that stopped together, the first is what the others wait for: that is the order in which they are added.
        let part = stood.iter().position(|stood| *stood + STANDS_FROM >= longest).unwrap_or_default();
        let stood = longest;
        self.led = leads || (self.led && stood >= STANDS_FROM);
        match stood {
            stood if stood >= END_AFTER && self.led => Verdict::Ends(part, stood),
            stood if stood >= SILENT_AFTER => Verdict::Silent(part, stood),
            _ => Verdict::Serves,
        }
    }
}

impl Parts {
    /// The disks under the log and the state store.
    pub(crate) fn of(consensus: &Consensus) -> Self {
        let on_disk = |name, folder: &str, pulse| {
            let folder = consensus.folder().path(folder);
            Part { name, remedy: format!("check the disk under {}", folder.display()), pulse }
        };
        Self(vec![
            on_disk("the log on disk", "log", consensus.log_pulse()),
            on_disk("the state store", "state", consensus.state_store_pulse()),
        ])
    }

    /// Another part, by the pulse that it is given.
    pub(crate) fn add(&mut self, name: &'static str) -> Pulse {
        let pulse = Pulse::default();
        let remedy = "start it again, and look at the load of this machine and at the log above".to_owned();
        self.0.push(Part { name, remedy, pulse: pulse.clone() });
        pulse
    }

    /// Starts to watch, from a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn watch(
        self,
        consensus: Consensus,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> io::Result<Watch> {
        let over = Arc::new(AtomicBool::new(false));
        let watch = Watch(Arc::clone(&over));
        thread::Builder::new()
            .name("standstill".into())
            .spawn(move || self.run(&consensus, clock.as_ref(), &shutdown, &over))?;
        Ok(watch)
    }

    fn run(self, consensus: &Consensus, clock: &dyn Clock, shutdown: &Shutdown, over: &AtomicBool) {
        let (leadership, mut bench) = (consensus.leadership(), Bench::new());
        let mut is_silent = false;
        while !over.load(Ordering::Acquire) {
            thread::sleep(LOOK_EVERY);
            if let Some(reason) = shutdown.reason() {
                return see_it_stop(&reason, clock, over);
            }
            let numbers: Vec<_> = self.0.iter().map(|part| part.pulse.read()).collect();
            let leads = leadership.borrow().leads;
            let silent = match bench.look(clock.boottime(), &numbers, leads) {
                Verdict::Serves => None,
                Verdict::Silent(part, stood) => Some((&self.0[part], stood)),
                Verdict::Ends(part, stood) => end_at_once(&self.0[part].last_word(stood)),
            };
            if let Some((part, stood)) = silent.filter(|_| !is_silent) {
                let (part, remedy, stood_ms) = (part.name, &part.remedy, stood.as_millis());
                tracing::error!(
                    part,
                    stood_ms,
                    remedy,
                    "a part stands still: this coordinator does not lead"
                );
            }
            if silent.is_none() && is_silent {
                tracing::warn!("all parts go on again");
            }
            is_silent = silent.is_some();
            consensus.set_standstill(is_silent);
        }
    }
}

impl Part {
    fn last_word(&self, stood: Duration) -> String {
        let (name, remedy, seconds) = (self.name, &self.remedy, stood.as_secs());
        format!(
            "error: coordinator: {name} has stood still for {seconds} s while this coordinator led: it ends itself; {remedy}"
        )
    }
}

/// Parts end in their order now. That they come to an end is left to those who stop them, unless they hang.
fn see_it_stop(reason: &str, clock: &dyn Clock, over: &AtomicBool) {
    let mut stop = Judge::new(2 * LOOK_EVERY);
    while !over.load(Ordering::Acquire) {
        let stops_for = stop.look(clock.boottime(), &[1]).first().copied().unwrap_or_default();
        if stops_for >= STOP_MAX {
            let seconds = stops_for.as_secs();
            end_at_once(&format!("error: coordinator: {reason}; it did not stop in {seconds} s"));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Shows that the runtime that it is spawned on runs its tasks; never returns.
pub(crate) async fn beat(pulse: Pulse) {
    loop {
        pulse.beat();
        tokio::time::sleep(BEAT_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at two parts for so long; the first goes on, the second stands still all the time.
    fn watched(bench: &mut Bench, from_ms: u64, to_ms: u64, leads: bool) -> Verdict {
        let every = u64::try_from(LOOK_EVERY.as_millis()).unwrap();
        let mut last = Verdict::Serves;
        for ms in (from_ms..=to_ms).step_by(usize::try_from(every).unwrap()) {
            last = bench.look(BootInstant::from_ms(ms), &[2 * ms + 1, 1], leads);
        }
        last
    }

    #[test]
    fn a_leader_is_silent_after_five_seconds_and_ends_after_fifteen() {
        let mut bench = Bench::new();
        assert_eq!(watched(&mut bench, 0, 4_750, true), Verdict::Serves);
        assert_eq!(watched(&mut bench, 5_000, 5_000, true), Verdict::Silent(1, SILENT_AFTER));
        assert!(matches!(watched(&mut bench, 5_250, 14_750, true), Verdict::Silent(1, _)));
        assert_eq!(watched(&mut bench, 15_000, 15_000, true), Verdict::Ends(1, END_AFTER));
    }

    #[test]
    fn a_part_that_goes_on_ends_the_silence() {
        let mut bench = Bench::new();
        assert!(matches!(watched(&mut bench, 0, 9_000, true), Verdict::Silent(1, _)));
        assert_eq!(bench.look(BootInstant::from_ms(9_250), &[1, 3], true), Verdict::Serves);
        assert_eq!(bench.look(BootInstant::from_ms(9_500), &[1, 4], true), Verdict::Serves);
    }

    #[test]
    fn of_parts_that_stopped_together_the_one_that_the_others_wait_for_is_named() {
        let mut bench = Bench::new();
        bench.look(BootInstant::from_ms(0), &[1, 1], true);
        bench.look(BootInstant::from_ms(250), &[3, 1], true);
        let mut last = Verdict::Serves;
        for ms in (500..=6_000).step_by(250) {
            last = bench.look(BootInstant::from_ms(ms), &[3, 1], true);
        }
        assert!(matches!(last, Verdict::Silent(0, _)), "{last:?}");
    }

    #[test]
    fn one_that_was_deposed_meanwhile_ends_too_and_one_that_never_led_does_not() {
        let mut deposed = Bench::new();
        watched(&mut deposed, 0, 6_000, true);
        assert_eq!(watched(&mut deposed, 6_250, 15_000, false), Verdict::Ends(1, END_AFTER));
        let mut follower = Bench::new();
        assert!(matches!(watched(&mut follower, 0, 60_000, false), Verdict::Silent(1, _)));
        let mut before = Bench::new();
        assert_eq!(before.look(BootInstant::from_ms(0), &[1, 1], true), Verdict::Serves);
        assert!(matches!(watched(&mut before, 250, 60_000, false), Verdict::Silent(1, _)), "it led before");
    }

    #[test]
    fn a_process_that_was_stopped_as_a_whole_leads_on_as_far_as_its_parts_go() {
        let mut bench = Bench::new();
        watched(&mut bench, 0, 500, true);
        assert_eq!(watched(&mut bench, 3_600_000, 3_600_250, true), Verdict::Serves);
    }

    #[test]
    fn the_last_word_names_the_part_and_what_to_do() {
        let mut parts = Parts(Vec::new());
        parts.add("the serving thread");
        let word = parts.0[0].last_word(Duration::from_secs(15));
        assert!(
            word.contains("the serving thread has stood still for 15 s") && word.contains("start it again")
        );
    }
}
