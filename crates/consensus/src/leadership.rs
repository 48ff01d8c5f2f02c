//! Who leads, whether a quorum still says so, and elections that do not stay tied.

use crate::{
    leader_heard::LeaderHeard,
    types::{MemberNode, Raft},
    watched::Watched,
};
use openraft::{RaftMetrics, ServerState, error::Fatal};
use quorate_domain::{
    CoordinatorId, Term,
    election::{Watchdog, rest_after_hand_over},
};
use quorate_runtime::shutdown::Shutdown;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

/// How often staleness is looked at; it does not depend on anything happening.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// A leader that hands over decides nothing for this part of the longest election timeout before it falls silent: what is
/// on its way reaches the others, who could not be elected by it with a shorter log.
const DRAIN_PART: u32 = 4;
/// Then it is silent for so many of the longest election timeouts: its lease with the others ends, and one of them stands.
/// After that it leads on, for a while that becomes longer each time.
const SILENT_FOR: u32 = 4;

/// A leader lets another one take its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandOver {
    /// The term that it led.
    pub term: Term,
    /// It has decided nothing since it was asked, and says nothing from here on.
    pub silent_from: Instant,
    /// When it leads on if nobody took over.
    pub until: Instant,
    /// For how long it leads then before it may hand over again.
    rest: Duration,
    /// How many there were in vain shortly before.
    vain_before: u32,
}

impl HandOver {
    fn begun(term: Term, election_max: Duration, last: Option<Self>) -> Self {
        let silent_from = Instant::now() + election_max / DRAIN_PART;
        let vain_before = last.filter(Self::is_recent).map_or(0, |last| last.vain_before.saturating_add(1));
        let rest = Duration::from_millis(rest_after_hand_over(whole_ms(election_max), vain_before));
        Self { term, silent_from, until: silent_from + election_max * SILENT_FOR, rest, vain_before }
    }

    /// True when another one soon after it shows that it was in vain.
    fn is_recent(&self) -> bool {
        Instant::now() < self.until + 3 * self.rest
    }

    /// Nobody else leads after all: it leads on from now, so its rest begins now.
    fn led_again(self) -> Self {
        if self.is_recent() { Self { until: Instant::now(), ..self } } else { self }
    }

    /// It is over now, if it was not before: its leader has reason to speak.
    fn ended(self) -> Self {
        Self { until: self.until.min(Instant::now()), ..self }
    }
}

/// What this node knows of who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// This node.
    pub node: CoordinatorId,
    /// The present term.
    pub term: Term,
    /// The leader, as far as it is known, and where it is reached.
    pub leader: Option<(CoordinatorId, MemberNode)>,
    /// True when this node leads.
    pub leads: bool,
    /// On a leader: since when this node knows that it leads this term, or has had reason to speak again.
    pub led_since: Option<Instant>,
    /// On a leader: when a quorum last acknowledged it.
    pub quorum_ack: Option<Instant>,
    /// On a follower: when the leader that it follows was last heard.
    pub leader_heard: LeaderHeard,
    /// When this node last let another one take its place, in whichever of its leaderships.
    pub hand_over: Option<HandOver>,
    /// True while a part of this process stands still: then it leads nobody, and does not stand for election.
    pub stands_still: bool,
    /// How lately this was looked at.
    pub watched: Watched,
    /// After this long without an acknowledgement a leader decides nothing; after this long without a word of it a leader
    /// counts as lost.
    pub stale_after: Duration,
}

impl Leadership {
    /// True when this node leads and a quorum acknowledged it lately: only then are writes taken.
    ///
    /// One that stood still as a whole, stopped or suspended, knows nothing before it was acknowledged again: the others
    /// may have another leader by now, and what arrived in the meantime was said before.
    pub fn can_decide(&self) -> bool {
        let acknowledged = self
            .quorum_ack
            .is_some_and(|at| at.elapsed() <= self.stale_after && self.watched.holds_since(at));
        self.leads && acknowledged && !self.hands_over() && !self.stands_still
    }

    /// The leader, while this node follows one that it has heard lately. Its word is good for a quorum: a leader that has
    /// lost its own says nothing.
    pub fn heard_leader(&self) -> Option<&(CoordinatorId, MemberNode)> {
        let fresh = !self.leads && self.leader_heard.within(self.stale_after);
        self.leader.as_ref().filter(|(id, _)| fresh && *id != self.node)
    }

    /// Whom to ask instead, and where it hears clients.
    pub fn leader_hint(&self) -> Option<(CoordinatorId, String)> {
        self.heard_leader().map(|(id, node)| (*id, node.api_address.clone()))
    }

    /// True while this node belongs to a side that can decide, as far as it can tell: it leads and a quorum acknowledged
    /// it lately, or it hears a leader.
    pub fn reaches_quorum(&self) -> bool {
        if self.leads { self.can_decide() } else { self.heard_leader().is_some() }
    }

    /// True while this node leads and lets another one take its place.
    pub fn hands_over(&self) -> bool {
        self.handed_over().is_some_and(|hand_over| Instant::now() < hand_over.until)
    }

    /// The hand-over of this leadership, over or not.
    fn handed_over(&self) -> Option<&HandOver> {
        self.hand_over.as_ref().filter(|hand_over| self.leads && hand_over.term == self.term)
    }

    /// True when this node leads and has not handed over in vain just before, in this term or in an earlier one.
    pub fn may_hand_over(&self) -> bool {
        self.leads && self.hand_over.is_none_or(|last| Instant::now() >= last.until + last.rest)
    }

    /// Takes over whether a part of this process stands still. A leader that goes on again has reason to speak: nobody
    /// could acknowledge what it did not say.
    fn follow_standstill(&mut self, stands_still: bool, raft: &Raft) {
        if stands_still == self.stands_still {
            return;
        }
        self.stands_still = stands_still;
        raft.runtime_config().elect(!stands_still);
        if !stands_still {
            self.led_since = self.led_since.map(|_| Instant::now());
        }
    }

    fn is_silent(&self) -> bool {
        self.hands_over()
            && self.handed_over().is_some_and(|hand_over| Instant::now() >= hand_over.silent_from)
    }

    /// True when this node leads and has waited too long for an acknowledgement of a quorum, be it the next or the
    /// first; in the silence in which it hands over, which is the same to everybody; and while a part of it stands still.
    /// When that is over it waits anew: nobody could acknowledge what it did not say.
    pub fn has_lost_quorum(&self) -> bool {
        let spoke_again =
            self.handed_over().map(|hand_over| hand_over.until).filter(|until| Instant::now() >= *until);
        let last = self.quorum_ack.max(self.led_since).max(spoke_again);
        let waited_too_long = last.is_some_and(|at| at.elapsed() > self.stale_after);
        self.is_silent() || (self.leads && (self.stands_still || waited_too_long))
    }
}

fn read(
    metrics: &RaftMetrics<u64, MemberNode>,
    leader_heard: &LeaderHeard,
    watched: &Watched,
    stale_after: Duration,
) -> Leadership {
    let leads = metrics.state == ServerState::Leader;
    let members = metrics.membership_config.membership();
    let leader = metrics
        .current_leader
        .map(|id| (CoordinatorId(id), members.get_node(&id).cloned().unwrap_or_default()));
    let quorum_ack = metrics
        .millis_since_quorum_ack
        .filter(|_| leads)
        .and_then(|ms| Instant::now().checked_sub(Duration::from_millis(ms)));
    Leadership {
        node: CoordinatorId(metrics.id),
        term: Term(metrics.current_term),
        leader,
        leads,
        led_since: leads.then(Instant::now),
        quorum_ack,
        leader_heard: leader_heard.clone(),
        hand_over: None,
        stands_still: false,
        watched: watched.clone(),
        stale_after,
    }
}

/// Why the process ends when the core is gone; none when it was asked to stop. A core that ends because of an error
/// reports it last; one that panicked has no last word, and a node without its core must not live on.
fn last_words(reported: Option<Fatal<u64>>, stopping: bool) -> Option<String> {
    match reported {
        Some(Fatal::Stopped) | None if stopping => None,
        Some(error) => Some(format!("consensus stopped: {error}")),
        None => {
            Some("consensus stopped: raft's core is gone; its last words are in the log above".to_owned())
        }
    }
}

/// What was read anew of the same leadership began when it began.
fn renewed(known: &Leadership, mut read: Leadership) -> Leadership {
    let goes_on = read.leads && known.leads && read.term == known.term;
    if goes_on {
        read.led_since = known.led_since;
    }
    let led_again = read.leads && !goes_on;
    read.stands_still = known.stands_still;
    read.hand_over = if led_again { known.hand_over.map(HandOver::led_again) } else { known.hand_over };
    read
}

/// What the leadership of a node is told from outside.
#[derive(Clone, Default)]
pub(crate) struct Wishes {
    /// A silent leader refused a vote.
    pub(crate) heard_voter: Arc<Notify>,
    /// Another node should lead.
    pub(crate) hand_over: Arc<Notify>,
    /// A part of this process stands still.
    pub(crate) stands_still: Arc<AtomicBool>,
}

/// Follows openraft's metrics: publishes leadership, ends the process on a fatal error, stops the heartbeats of a leader
/// that has lost its quorum (they would keep followers behind a bridge from electing another), and starts an
/// election when there has been no leader for a freshly drawn while.
pub(crate) fn follow(
    raft: Raft,
    (election_min, election_max): (Duration, Duration),
    leader_heard: LeaderHeard,
    wishes: Wishes,
    shutdown: &Shutdown,
    lane: &Handle,
) -> watch::Receiver<Leadership> {
    let mut metrics = raft.metrics();
    let (mut reports, mut server) = (metrics.clone(), raft.server_metrics());
    let stale_after = election_max * 2;
    let watched = Watched::by_elections(election_min, election_max);
    let first = read(&metrics.borrow_and_update(), &leader_heard, &watched, stale_after);
    let (publish, subscribe) = watch::channel(first);
    let (token, fatal) = (shutdown.token(), shutdown.clone());
    shutdown.spawn_on(lane, "leadership", async move {
        let started = Instant::now();
        let mut watchdog = Watchdog::new(whole_ms(election_max));
        let mut heartbeats = true;
        let mut latest = metrics.borrow_and_update().clone();
        let mut leadership = read(&latest, &leader_heard, &watched, stale_after);
        loop {
            // A leader that may decide hears of the next acknowledgement soon enough by the clock; openraft reports
            // several times for every entry. One that may not yet is waited for.
            let waited_for = leadership.leads && !leadership.can_decide();
            let changed = tokio::select! {
                () = token.cancelled() => return,
                changed = server.changed() => changed,
                changed = reports.changed(), if waited_for => changed,
                () = wishes.heard_voter.notified() => {
                    tracing::info!(term = leadership.term.0, "a leader without its quorum hears of a voter: it speaks again");
                    leadership.led_since = leadership.led_since.map(|_| Instant::now());
                    leadership.hand_over = leadership.hand_over.map(HandOver::ended);
                    Ok(())
                }
                () = wishes.hand_over.notified() => {
                    if leadership.may_hand_over() {
                        let begun = HandOver::begun(leadership.term, election_max, leadership.hand_over);
                        leadership.hand_over = Some(begun);
                    }
                    Ok(())
                }
                () = tokio::time::sleep(CHECK_EVERY) => Ok(()),
            };
            if changed.is_err() {
                let reported = metrics.borrow().running_state.clone().err();
                if let Some(why) = last_words(reported, token.is_cancelled()) {
                    fatal.fatal(why);
                }
                return;
            }
            // What was not reported again is not fresher than it was.
            if metrics.has_changed().unwrap_or(true) {
                latest = metrics.borrow_and_update().clone();
                leadership =
                    renewed(&leadership, read(&latest, &leader_heard, &watched, stale_after));
            }
            // Behind what was read: that was reported before.
            if let Some(gap) = watched.look() {
                tracing::warn!(gap_ms = whole_ms(gap), term = leadership.term.0, "this coordinator stood still");
            }
            leadership.follow_standstill(wishes.stands_still.load(Ordering::Acquire), &raft);
            if let Err(error) = &latest.running_state {
                if let Some(why) = last_words(Some(error.clone()), token.is_cancelled()) {
                    fatal.fatal(why);
                }
                return;
            }
            let wanted = !leadership.has_lost_quorum();
            if wanted != heartbeats {
                heartbeats = wanted;
                raft.runtime_config().heartbeat(wanted);
                tracing::warn!(
                    heartbeats,
                    term = leadership.term.0,
                    "a leader's heartbeats follow its quorum"
                );
            }
            let voter = latest.membership_config.voter_ids().any(|id| id == latest.id);
            let content = leadership.leader.is_some() || !voter;
            let content = content || leadership.stands_still;
            if watchdog.is_due(content, whole_ms(started.elapsed()), rand::random_range) {
                tracing::info!(term = leadership.term.0, "no leader for a while: starting an election");
                if raft.trigger().elect().await.is_err() {
                    return;
                }
            }
            publish.send_if_modified(|known| {
                let changed = *known != leadership;
                known.clone_from(&leadership);
                changed
            });
        }
    });
    subscribe
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::StorageIOError;

    fn leading(led_ms: u64, acknowledged_ms: Option<u64>) -> Leadership {
        let ago = |ms| Instant::now().checked_sub(Duration::from_millis(ms)).unwrap();
        Leadership {
            node: CoordinatorId(1),
            term: Term(1),
            leader: None,
            leads: true,
            led_since: Some(ago(led_ms)),
            quorum_ack: acknowledged_ms.map(ago),
            leader_heard: LeaderHeard::default(),
            hand_over: None,
            stands_still: false,
            watched: Watched::by_elections(Duration::from_mins(1), Duration::from_mins(1)),
            stale_after: Duration::from_secs(10),
        }
    }

    fn following(leader: u64, heard_ms: Option<u64>) -> Leadership {
        let heard = LeaderHeard::default();
        if let Some(at) = heard_ms.map(|ms| Instant::now().checked_sub(Duration::from_millis(ms)).unwrap()) {
            heard.note(at);
        }
        Leadership {
            leader: Some((CoordinatorId(leader), MemberNode::default())),
            leads: false,
            led_since: None,
            leader_heard: heard,
            ..leading(0, None)
        }
    }

    #[test]
    fn a_quorum_is_reached_by_its_acknowledgement_or_by_hearing_its_leader_and_by_nothing_else() {
        let table = [
            ("a leader, acknowledged lately", leading(90_000, Some(1_000)), true),
            ("a leader, acknowledged long ago", leading(90_000, Some(11_000)), false),
            ("a leader, not acknowledged yet", leading(1_000, None), false),
            ("a follower that hears its leader", following(2, Some(1_000)), true),
            ("a follower that heard it long ago", following(2, Some(11_000)), false),
            ("a follower that was told of it and has not heard it", following(2, None), false),
            ("one that led and does not know its successor", following(1, Some(1_000)), false),
            ("a candidate", Leadership { leader: None, ..following(2, Some(1_000)) }, false),
        ];
        for (who, leadership, reaches) in table {
            assert_eq!(leadership.reaches_quorum(), reaches, "{who}");
            let named = leadership.heard_leader().map(|(id, _)| *id);
            assert_eq!(named, (reaches && !leadership.leads).then_some(CoordinatorId(2)), "{who}");
        }
    }

    #[test]
    fn a_leader_loses_its_quorum_when_the_next_or_the_first_acknowledgement_does_not_come() {
        assert!(!leading(1_000, None).has_lost_quorum(), "it may still come");
        assert!(leading(11_000, None).has_lost_quorum());
        assert!(!leading(90_000, Some(1_000)).has_lost_quorum());
        assert!(leading(90_000, Some(11_000)).has_lost_quorum());
        assert!(!Leadership { leads: false, ..leading(90_000, None) }.has_lost_quorum());
    }

    #[test]
    fn a_leader_that_hands_over_decides_nothing_and_is_silent_until_its_time_is_over() {
        let (now, minute) = (Instant::now(), Duration::from_mins(1));
        let begun = HandOver::begun(Term(1), Duration::from_millis(800), None);
        let handing_over = |silent_from, until| Leadership {
            hand_over: Some(HandOver { silent_from, until, ..begun }),
            ..leading(90_000, Some(1_000))
        };
        let draining = handing_over(now + minute, now + 2 * minute);
        assert!(!draining.can_decide() && !draining.has_lost_quorum(), "what is on its way still arrives");
        let silent = handing_over(now, now + minute);
        assert!(silent.hands_over() && silent.has_lost_quorum());
        assert!(!silent.can_decide() && !silent.reaches_quorum());
        assert!(renewed(&silent, leading(0, Some(0))).hands_over(), "also when it is reported again");
        let next = Leadership { term: Term(2), ..leading(0, Some(0)) };
        let next = renewed(&silent, next);
        assert!(!next.hands_over() && !next.has_lost_quorum(), "a later leadership has nothing to hand over");
        assert!(!next.may_hand_over(), "and does not begin with it either");
    }

    /// With the times of the defaults: the silence is longer than an acknowledgement is good for.
    #[test]
    fn a_leader_after_whom_nobody_came_speaks_again_and_leads_on_for_a_while() {
        let (longest, now) = (Duration::from_millis(800), Instant::now());
        let ago = |ms| now.checked_sub(Duration::from_millis(ms)).unwrap();
        let over_for = |ms: u64| Leadership {
            hand_over: Some(HandOver {
                silent_from: ago(ms + 3_200),
                until: ago(ms),
                ..HandOver::begun(Term(1), longest, None)
            }),
            stale_after: longest * 2,
            ..leading(90_000, Some(ms + 3_250))
        };
        let speaks = over_for(10);
        assert!(!speaks.has_lost_quorum() && !speaks.hands_over(), "it must speak to be acknowledged");
        assert!(!speaks.can_decide(), "nobody has acknowledged it yet");
        let acknowledged = Leadership { quorum_ack: Some(now), ..speaks };
        assert!(acknowledged.can_decide() && !acknowledged.may_hand_over(), "the cluster works first");
        assert!(over_for(1_700).has_lost_quorum(), "no acknowledgement came all the same");
        assert!(over_for(3_300).may_hand_over());
        let again = HandOver::begun(Term(2), longest, over_for(3_300).hand_over);
        assert_eq!(again.rest, longest * 8, "the next one is in vain as well: it rests longer");
        let later = HandOver::begun(Term(2), longest, over_for(60_000).hand_over);
        assert_eq!(later.rest, longest * 4, "another occasion");
        let deposed = Leadership { leads: false, ..over_for(3_300) };
        let elected = renewed(&deposed, Leadership { term: Term(3), ..leading(0, Some(0)) });
        assert!(!elected.may_hand_over(), "it was elected again: its rest counts from there");
        let deposed = Leadership { leads: false, ..over_for(60_000) };
        let elected = renewed(&deposed, Leadership { term: Term(3), ..leading(0, Some(0)) });
        assert!(elected.may_hand_over(), "long ago");
        let cut_short = speaks_early(longest);
        assert!(!cut_short.hands_over() && !cut_short.may_hand_over());
    }

    /// A leader that heard of a voter in the middle of its silence.
    fn speaks_early(longest: Duration) -> Leadership {
        let under_way = HandOver::begun(Term(1), longest, None);
        Leadership { hand_over: Some(under_way.ended()), ..leading(90_000, Some(1_000)) }
    }

    #[test]
    fn a_leader_of_which_a_part_stands_still_is_silent_and_decides_nothing() {
        let leader = leading(90_000, Some(1_000));
        assert!(leader.can_decide() && !leader.has_lost_quorum());
        let standing = Leadership { stands_still: true, ..leader };
        assert!(!standing.can_decide() && !standing.reaches_quorum() && standing.has_lost_quorum());
        let again = renewed(&standing, leading(0, Some(0)));
        assert!(!again.can_decide(), "also when it is reported again");
        let follower = Leadership { stands_still: true, ..following(2, Some(1_000)) };
        assert!(!follower.has_lost_quorum() && follower.reaches_quorum(), "others decide for it");
    }

    #[test]
    fn a_leader_that_was_stopped_decides_nothing_by_what_it_heard_before() {
        // Everything is a gap.
        let watched = Watched::by_elections(Duration::ZERO, Duration::ZERO);
        let stopped = Leadership { watched: watched.clone(), ..leading(90_000, Some(0)) };
        std::thread::sleep(Duration::from_millis(2));
        assert!(watched.look().is_some(), "a gap");
        assert!(!stopped.can_decide(), "though what it heard is as fresh as ever");
        assert!(!stopped.has_lost_quorum(), "it must speak to be acknowledged");
    }

    #[test]
    fn a_leadership_that_is_reported_again_began_when_it_began() {
        let known = leading(11_000, None);
        assert!(renewed(&known, leading(0, None)).has_lost_quorum());
        let next = Leadership { term: Term(2), ..leading(0, None) };
        assert!(!renewed(&known, next).has_lost_quorum());
    }

    #[test]
    fn the_error_that_the_core_ended_by_is_told_also_when_the_end_is_noticed_first() {
        let told = |reported| last_words(reported, false).unwrap();
        assert!(told(Some(Fatal::Panicked)).contains("panicked"));
        assert!(told(None).contains("core is gone"));
        let failed = StorageIOError::write_logs(&std::io::Error::other("could not sync FILE"));
        let why = told(Some(Fatal::StorageError(failed.into())));
        assert!(why.ends_with("could not sync FILE"), "{why}");
        assert!(last_words(Some(Fatal::Panicked), true).is_some(), "also while stopping");
        assert_eq!(last_words(Some(Fatal::Stopped), true), None);
        assert_eq!(last_words(None, true), None);
    }
}
