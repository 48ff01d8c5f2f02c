//! What is wrong between this coordinator and each other one, found by asking: whether it is reached where it says that
//! it is, whether it is who it should be, whether its clock agrees, and whether it reaches this one.
//!
//! Nothing is decided by it. It is for whoever looks at a cluster that does not come together.

use crate::{
    memory::Memory,
    peer::{PROMISED_TO, Peers, REASON_NOT_COUNTED, REASON_NOT_TAKEN, WAITS},
};
use quorate_consensus::{Consensus, types::MemberNode};
use quorate_domain::CoordinatorId;
use quorate_leader_core::QuorumSeen;
use quorate_planner::warnings::{self, Finding, LostLines};
use quorate_rpc::{bounded_line, pb::raft::IdentifyResponse};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// How often every other coordinator is asked: connections are looked at every two seconds by default.
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASK_DEADLINE: Duration = Duration::from_secs(1);
/// Wall clocks that differ by more than this are worth a warning. Nothing depends on them but the times that people
/// read; machines that run NTP differ by milliseconds.
const CLOCKS_APART_MAX_MS: u64 = 2_000;

/// Something that is wrong with another coordinator, as seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    /// It does not answer at its address.
    NotReached { message: String },
    /// It answers, and refuses this coordinator.
    Refused { message: String },
    /// It answers, and is not who it should be, or goes on in another place and may count yet.
    NotTaken { message: String, waits: bool },
    /// It does not count this coordinator yet, which goes on in another place, or is back in one that it had left.
    DoesNotCountThis { message: String, left: bool },
    /// Its wall clock differs from that of this machine.
    ClockApart { ahead_ms: i64 },
    /// It does not reach this coordinator.
    DoesNotReachThis { message: String },
    /// It has met another process under the node id of this one.
    RunsTwice { message: String },
    /// A part of it stands still.
    StandsStill,
    /// Lines that it said are not in its log.
    LostLines(LostLines),
}

/// What is known of one other coordinator.
#[derive(Debug, Clone, Default)]
struct Seen {
    address: String,
    /// Each with when a problem of its kind was found first.
    problems: Vec<(Problem, Instant)>,
}

/// What asking another coordinator has shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// True when it answered and is who it should be.
    pub(crate) identified: bool,
    /// What is wrong.
    pub(crate) findings: Vec<Finding>,
}

impl Seen {
    fn describe(&self, id: u64, problem: &Problem) -> String {
        let address = &self.address;
        match problem {
            Problem::NotReached { message } => {
                format!("coordinator {id} is not reached at {address}: {message}")
            }
            Problem::Refused { message } => format!("coordinator {id} at {address} refuses: {message}"),
            Problem::NotTaken { message, .. } => {
                format!("what coordinator {id} answers at {address} is not taken: {message}")
            }
            Problem::DoesNotCountThis { message, .. } => {
                format!("coordinator {id} at {address} does not count this one yet: {message}")
            }
            Problem::ClockApart { ahead_ms } => {
                let (by, direction) =
                    (ahead_ms.unsigned_abs(), if *ahead_ms > 0 { "ahead of" } else { "behind" });
                format!(
                    "the clock of coordinator {id} is {:.1} s {direction} this one's: let both follow NTP; times of \
                     events are those of the leader's clock",
                    Duration::from_millis(by).as_secs_f64()
                )
            }
            Problem::DoesNotReachThis { message } => format!(
                "coordinator {id} does not reach this one at its advertised peer address: {message}; correct the \
                 address in members, or the network between them"
            ),
            Problem::RunsTwice { message } => format!("coordinator {id} says: {message}"),
            Problem::StandsStill => format!("coordinator {id} says that a part of it stands still"),
            Problem::LostLines(lost) => {
                format!("coordinator {id} says that {} lines of its log are lost", lost.count)
            }
        }
    }
}

/// What was found lately. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerWatch {
    seen: Arc<Mutex<BTreeMap<u64, Seen>>>,
}

impl PeerWatch {
    /// What asking another coordinator has shown lately.
    pub(crate) fn asked(&self, id: CoordinatorId) -> Asked {
        let all = self.lock();
        let Some(seen) = all.get(&id.0) else { return Asked::default() };
        let finding = |(problem, since): &(Problem, Instant)| Finding {
            problem: problem.clone().into(),
            address: seen.address.clone(),
            for_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let unanswered = |(problem, _): &(Problem, Instant)| {
            matches!(
                problem,
                Problem::NotReached { .. }
                    | Problem::Refused { .. }
                    | Problem::NotTaken { .. }
                    | Problem::DoesNotCountThis { .. }
            )
        };
        Asked {
            identified: !seen.problems.iter().any(unanswered),
            findings: seen.problems.iter().map(finding).collect(),
        }
    }

    /// The others that are asked.
    pub(crate) fn asks(&self) -> Vec<CoordinatorId> {
        self.lock().keys().copied().map(CoordinatorId).collect()
    }

    /// Why this coordinator does not reach another one, if it does not.
    pub(crate) fn not_reached(&self, id: CoordinatorId) -> Option<String> {
        let seen = self.lock();
        let problems = &seen.get(&id.0)?.problems;
        problems.iter().find_map(|(problem, _)| match problem {
            Problem::NotReached { message }
            | Problem::Refused { message }
            | Problem::NotTaken { message, waits: false } => {
                Some(format!("at {}: {message}", seen[&id.0].address))
            }
            _ => None,
        })
    }

    /// Asks all others for ever. `initial` are the members before there is a log.
    pub(crate) async fn run(
        self,
        consensus: Consensus,
        initial: BTreeMap<CoordinatorId, MemberNode>,
        peers: Peers,
        memory: Memory,
    ) {
        let mut ticks = tokio::time::interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let this = consensus.folder().node().0;
        let mut metrics = consensus.raft().metrics();
        let mut known = BTreeSet::from([this]);
        loop {
            // A new member is met at once: until it was, nobody would notice that it lost its data.
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(_) = metrics.wait_for(|now| now.membership_config.nodes().any(|(id, _)| !known.contains(id))),
                    if peers.takes_part() => {}
            }
            // Until then this node's own questions, by which it may be refused, are those that count.
            if !peers.takes_part() {
                continue;
            }
            let others = others(&consensus, &initial);
            known.extend(others.keys().map(|id| id.0));
            let mut asked = JoinSet::new();
            for (id, node) in others.clone() {
                let (peers, memory) = (peers.clone(), memory.clone());
                asked.spawn(async move { (id, ask(&peers, id, &node, &memory).await) });
            }
            let answers: BTreeMap<_, _> = asked.join_all().await.into_iter().collect();
            self.take(&others, answers);
        }
    }

    /// Takes in a round of answers, and logs what has changed.
    fn take(
        &self,
        others: &BTreeMap<CoordinatorId, MemberNode>,
        mut answers: BTreeMap<CoordinatorId, Vec<Problem>>,
    ) {
        let mut seen = self.lock();
        seen.retain(|id, _| others.contains_key(&CoordinatorId(*id)));
        for (id, node) in others {
            let known = seen.entry(id.0).or_default();
            let problems = answers.remove(id).unwrap_or_default().into_iter().map(|problem| {
                let since = known.since(&problem).unwrap_or_else(Instant::now);
                (problem, since)
            });
            let now = Seen { address: node.peer_address.clone(), problems: problems.collect() };
            for (problem, _) in now.problems.iter().filter(|(problem, _)| known.since(problem).is_none()) {
                tracing::warn!(member = id.0, "{}", now.describe(id.0, problem));
            }
            if now.problems.is_empty() && !known.problems.is_empty() {
                tracing::info!(member = id.0, address = %now.address, "nothing is wrong with this coordinator any more");
            }
            *known = now;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Since when there is one of the same kind: a clock drifts, and messages differ in a port.
    fn since(&self, problem: &Problem) -> Option<Instant> {
        let kind = std::mem::discriminant(problem);
        self.problems.iter().find(|(known, _)| std::mem::discriminant(known) == kind).map(|(_, since)| *since)
    }
}

impl From<Problem> for warnings::Problem {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::NotReached { message } => Self::NotReached(message),
            Problem::Refused { message } => Self::Refuses(message),
            Problem::NotTaken { message, waits } => Self::NotTaken { why: message, waits },
            Problem::DoesNotCountThis { message, left } => Self::DoesNotCountThis { why: message, left },
            Problem::ClockApart { ahead_ms } => Self::ClockApart(ahead_ms),
            Problem::DoesNotReachThis { message } => Self::DoesNotReachThis(message),
            Problem::RunsTwice { message } => Self::MetACopyOfThis(message),
            Problem::StandsStill => Self::StandsStill,
            Problem::LostLines(lost) => Self::LostLines(lost),
        }
    }
}

/// Whom Raft knows, or the initial members while there is no log.
fn others(
    consensus: &Consensus,
    initial: &BTreeMap<CoordinatorId, MemberNode>,
) -> BTreeMap<CoordinatorId, MemberNode> {
    let this = consensus.folder().node();
    let metrics = consensus.raft().metrics();
    let known: BTreeMap<_, _> = metrics
        .borrow()
        .membership_config
        .nodes()
        .map(|(id, node)| (CoordinatorId(*id), node.clone()))
        .collect();
    let mut others = if known.is_empty() { initial.clone() } else { known };
    others.remove(&this);
    others
}

async fn ask(peers: &Peers, id: CoordinatorId, node: &MemberNode, memory: &Memory) -> Vec<Problem> {
    let (asked, sent_ms) = (memory.now(), memory.clock().unix_ms());
    let answer = peers.identify(id, node, ASK_DEADLINE).await;
    match &answer {
        Ok(IdentifyResponse { quorum_seen: Some(seen), .. }) => {
            let seen = QuorumSeen { for_ms: seen.for_ms, before_ms: seen.before_ms };
            memory.tell(|leader, now| leader.peer_saw(id, seen, asked, now));
        }
        Ok(_) => {}
        // One that follows a leader asks for no votes, and would go on beside the start that counts elsewhere.
        Err(refused) => peers.end_if_refused(id, refused),
    }
    judge(answer, sent_ms, Duration::from_millis(memory.now().since_ms(asked)))
}

/// What an answer says, to a question that was sent at a time of the wall clock and took a while.
fn judge(answer: Result<IdentifyResponse, Status>, sent_ms: u64, took: Duration) -> Vec<Problem> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(status) => return vec![unanswered(&status)],
    };
    let mut problems = Vec::new();
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    // A version before this question tells no time.
    if answer.unix_ms != 0 {
        // It was read at some time between question and answer.
        let ahead_ms = signed(answer.unix_ms) - signed(sent_ms.saturating_add(took_ms / 2));
        if ahead_ms.unsigned_abs() > CLOCKS_APART_MAX_MS + took_ms / 2 {
            problems.push(Problem::ClockApart { ahead_ms });
        }
    }
    if !answer.asker_not_reached.is_empty() {
        problems.push(Problem::DoesNotReachThis { message: bounded_line(answer.asker_not_reached) });
    }
    if !answer.asker_runs_twice.is_empty() {
        problems.push(Problem::RunsTwice { message: bounded_line(answer.asker_runs_twice) });
    }
    if answer.stands_still {
        problems.push(Problem::StandsStill);
    }
    if answer.log_lines_lost > 0 {
        let (count, lately_ms) = (answer.log_lines_lost, answer.log_lines_lost_ms_ago);
        problems.push(Problem::LostLines(LostLines { count, lately_ms }));
    }
    problems
}

/// What a question without a good answer shows.
fn unanswered(status: &Status) -> Problem {
    let message = in_full(status);
    if let Some(info) = status.get_details_error_info() {
        match info.reason.as_str() {
            REASON_NOT_TAKEN => {
                return Problem::NotTaken { message, waits: info.metadata.contains_key(WAITS) };
            }
            REASON_NOT_COUNTED => {
                return Problem::DoesNotCountThis { message, left: info.metadata.contains_key(PROMISED_TO) };
            }
            _ => {}
        }
    }
    match status.code() {
        Code::FailedPrecondition | Code::PermissionDenied => Problem::Refused { message },
        _ => Problem::NotReached { message },
    }
}

/// With what it comes from: the message alone is often no more than "transport error".
fn in_full(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    bounded_line(text)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_rpc::TEXT_MAX_BYTES;
    use std::collections::HashMap;
    use tonic_types::ErrorDetails;

    const SENT: u64 = 1_000_000;

    type Answer = Result<IdentifyResponse, Status>;

    fn answered(unix_ms: u64, asker_not_reached: &str) -> IdentifyResponse {
        IdentifyResponse { unix_ms, asker_not_reached: asker_not_reached.into(), ..Default::default() }
    }

    #[test]
    fn tells_what_an_answer_shows() {
        let message = |text: &str| text.to_owned();
        let table: [(Answer, Vec<Problem>); 8] = [
            (Ok(answered(SENT + 50, "")), vec![]),
            (Ok(answered(0, "")), vec![]),
            (Ok(answered(SENT + CLOCKS_APART_MAX_MS, "")), vec![]),
            (Ok(answered(SENT + 120_050, "")), vec![Problem::ClockApart { ahead_ms: 120_000 }]),
            (Ok(answered(SENT - 119_950, "")), vec![Problem::ClockApart { ahead_ms: -120_000 }]),
            (
                Ok(answered(SENT + 50, "at a:1: refused")),
                vec![Problem::DoesNotReachThis { message: message("at a:1: refused") }],
            ),
            (
                Err(Status::unavailable("tcp connect error")),
                vec![Problem::NotReached { message: message("tcp connect error") }],
            ),
            (
                Err(Status::failed_precondition("another cluster")),
                vec![Problem::Refused { message: message("another cluster") }],
            ),
        ];
        for (answer, problems) in table {
            assert_eq!(judge(answer.clone(), SENT, Duration::from_millis(100)), problems, "{answer:?}");
        }
    }

    #[test]
    fn who_refuses_whom_is_told_apart_by_the_reason() {
        let refusal = |code, reason: &str, key: Option<&str>| {
            let metadata: HashMap<_, _> =
                key.map(|key| (key.to_owned(), String::new())).into_iter().collect();
            let details = ErrorDetails::with_error_info(reason, "quorate", metadata);
            judge(Err(Status::with_error_details(code, "why", details)), SENT, Duration::ZERO)
        };
        let message = || "why".to_owned();
        let (unavailable, failed) = (Code::Unavailable, Code::FailedPrecondition);
        let table = [
            (
                unavailable,
                REASON_NOT_COUNTED,
                None,
                Problem::DoesNotCountThis { message: message(), left: false },
            ),
            (
                unavailable,
                REASON_NOT_COUNTED,
                Some(PROMISED_TO),
                Problem::DoesNotCountThis { message: message(), left: true },
            ),
            (failed, REASON_NOT_TAKEN, None, Problem::NotTaken { message: message(), waits: false }),
            (failed, REASON_NOT_TAKEN, Some(WAITS), Problem::NotTaken { message: message(), waits: true }),
            (Code::PermissionDenied, "PEER_REMOVED", None, Problem::Refused { message: message() }),
            (unavailable, "OF_A_LATER_VERSION", None, Problem::NotReached { message: message() }),
        ];
        for (code, reason, key, problem) in table {
            assert_eq!(refusal(code, reason, key), [problem], "{reason} {key:?}");
        }
    }

    #[test]
    fn what_another_one_says_is_one_line_of_bounded_length() {
        let bad = || format!("no\n\x1b[2J{}", "\x07".repeat(2 * TEXT_MAX_BYTES));
        let answer = IdentifyResponse { asker_runs_twice: bad(), ..answered(SENT, &bad()) };
        let answers = [Ok(answer), Err(Status::unavailable(bad())), Err(Status::failed_precondition(bad()))];
        let found = answers.map(|answer| judge(answer, SENT, Duration::ZERO)).concat();
        assert_eq!(found.len(), 4);
        for problem in found {
            let (Problem::DoesNotReachThis { message }
            | Problem::RunsTwice { message }
            | Problem::NotReached { message }
            | Problem::Refused { message }) = problem
            else {
                panic!("{problem:?}")
            };
            assert!(message.starts_with("no\\n\\u{1b}[2J\\u{7}"), "{message}");
            assert!(message.len() <= TEXT_MAX_BYTES && !message.contains(char::is_control), "{message}");
        }
    }

    #[test]
    fn what_another_one_says_of_itself_is_told() {
        let answer = IdentifyResponse {
            stands_still: true,
            log_lines_lost: 7,
            log_lines_lost_ms_ago: Some(40),
            ..answered(SENT, "")
        };
        let lost = LostLines { count: 7, lately_ms: Some(40) };
        assert_eq!(judge(Ok(answer), SENT, Duration::ZERO), [Problem::StandsStill, Problem::LostLines(lost)]);
    }

    #[test]
    fn a_slow_answer_leaves_the_clock_in_doubt() {
        let late: Answer = Ok(answered(SENT + 2_800, ""));
        assert_eq!(judge(late.clone(), SENT, Duration::from_secs(1)), []);
        assert_eq!(judge(late, SENT, Duration::ZERO), [Problem::ClockApart { ahead_ms: 2_800 }]);
    }

    #[test]
    fn a_problem_stands_until_an_answer_without_it_or_until_its_member_is_gone() {
        let watch = PeerWatch::default();
        let node = MemberNode { peer_address: "b:1".into(), api_address: "b:2".into() };
        let others = BTreeMap::from([(CoordinatorId(2), node)]);
        let lost = || vec![Problem::NotReached { message: "refused".into() }];
        watch.take(&others, BTreeMap::from([(CoordinatorId(2), lost())]));
        let found = |watch: &PeerWatch| {
            let findings = watch.asked(CoordinatorId(2)).findings;
            findings.into_iter().map(|finding| (finding.problem, finding.address)).collect::<Vec<_>>()
        };
        assert_eq!(found(&watch), [(warnings::Problem::NotReached("refused".into()), "b:1".into())]);
        assert!(!watch.asked(CoordinatorId(2)).identified && !watch.asked(CoordinatorId(3)).identified);
        let since = watch.lock()[&2].problems[0].1;
        watch.take(&others, BTreeMap::from([(CoordinatorId(2), lost())]));
        assert_eq!(watch.lock()[&2].problems[0].1, since, "it lasts from when it was found first");
        assert_eq!(watch.not_reached(CoordinatorId(2)).as_deref(), Some("at b:1: refused"));
        assert_eq!(watch.not_reached(CoordinatorId(3)), None);
        watch.take(&others, BTreeMap::from([(CoordinatorId(2), vec![])]));
        assert!(found(&watch).is_empty() && watch.asked(CoordinatorId(2)).identified);
        watch.take(&others, BTreeMap::from([(CoordinatorId(2), lost())]));
        watch.take(&BTreeMap::new(), BTreeMap::new());
        assert!(found(&watch).is_empty());
    }
}
