//! The coordinators, as the one that is asked sees them.

use super::{
    Code, Elsewhere, Severity, Since, Subject, WAITS_IN_SILENCE_MS,
    list::{Drafts, Words, seconds},
};
use crate::coordinators::CAUGHT_UP_ENTRIES;
use quorate_domain::{CoordinatorId, coordinator::quorum_of};

/// A coordinator that has not answered for this long is not reached: twenty heartbeats of Raft of the usual length.
pub const SILENT_MS: u64 = 2_000;
const LEAVE_THE_COPY: &str = "leave the copy stopped and remove its data folder; to move a coordinator, stop it before its folder is copied";
const CORRECT_WHAT_IT_NAMES: &str = "correct what it names; a coordinator of another cluster, or without its data, must not come back under this id";
const BRING_A_QUORUM: &str =
    "bring a majority of the coordinators up and connect them; what is shown here may be out of date";

/// What one coordinator knows of itself and the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any of them may hold")]
pub struct Coordinators {
    /// The one that is asked.
    pub this: CoordinatorId,
    /// True when it leads.
    pub leads: bool,
    /// True when it votes.
    pub votes: bool,
    /// True when it leads and a quorum acknowledged it lately, or follows a leader that it hears.
    pub reaches_quorum: bool,
    /// On a leader without a quorum: for how long none has acknowledged it; none when none ever did.
    pub unacknowledged_ms: Option<u64>,
    /// The others.
    pub others: Vec<Contact>,
    /// What a change of the coordinators under way waits for.
    pub change_waits: Vec<String>,
    /// Why this one's elections are too long for the lease on record, if they are.
    pub election_too_long: Option<String>,
    /// What is configured here otherwise than it is on record, if anything is.
    pub configured_otherwise: Option<String>,
    /// What is to be said of an even number of voters, if it is one.
    pub even_voters: Option<String>,
    /// Copies of others that were refused here lately, each in words.
    pub copies: Vec<String>,
    /// What is known of coordinators that go on in another place and do not count yet.
    pub elsewhere: Vec<Elsewhere>,
    /// True while a part of it stands still.
    pub stands_still: bool,
    /// Lines that it said and that are not in its log.
    pub lost_lines: LostLines,
}

/// Lines that a process said and that are not in its log, since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LostLines {
    /// How many.
    pub count: u64,
    /// How long ago it was seen that there were more, if that was in the last ten minutes.
    pub lately_ms: Option<u64>,
}

/// What one coordinator knows of another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contact {
    /// The other one.
    pub id: CoordinatorId,
    /// True when it votes.
    pub votes: bool,
    /// On a leader: how many entries of the log it lacks.
    pub lag: Option<u64>,
    /// On a leader: for how long it has answered nothing while it was asked.
    pub silent_ms: Option<u64>,
    /// True once it was asked who it is and answered well.
    pub identified: bool,
    /// What was found by asking it who it is.
    pub findings: Vec<Finding>,
}

/// Something that was found by asking another coordinator who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub problem: Problem,
    /// Where it was asked.
    pub address: String,
    /// For how long it has been found.
    pub for_ms: u64,
}

/// What is wrong with another coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It does not answer at its address.
    NotReached(String),
    /// It answers, and refuses this coordinator: as one of another cluster, for example.
    Refuses(String),
    /// It answers, and this coordinator does not take what it answers.
    NotTaken {
        /// Why.
        why: String,
        /// It goes on in another place, and may count yet.
        waits: bool,
    },
    /// It does not count this coordinator yet, which goes on in another place.
    DoesNotCountThis {
        /// What it says.
        why: String,
        /// This coordinator was started again in a place that it had left, and a start in another place was promised since.
        left: bool,
    },
    /// Its wall clock is ahead of that of this machine by so many milliseconds, or behind.
    ClockApart(i64),
    /// It does not reach this coordinator.
    DoesNotReachThis(String),
    /// It has met another process under the id of this coordinator.
    MetACopyOfThis(String),
    /// A part of it stands still.
    StandsStill,
    /// Lines that it said are not in its log.
    LostLines(LostLines),
}

/// How another coordinator stands, in one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It answers.
    Answering,
    /// It answers, and lacks so many entries of the log.
    Behind(u64),
    /// It does not answer, for so many milliseconds, and what is found by asking it who it is, if that fails as well.
    NotReached(u64, Option<String>),
    /// It answers, and refuses this coordinator.
    Refuses(u64, String),
    /// It answers, and is not who it should be: what it answers is not taken.
    NotTaken(u64, String),
    /// One of the two goes on in another place, and the other one does not count it yet.
    NotCounted(u64, String),
    /// Nobody has asked it from here yet.
    Unknown,
}

impl Contact {
    fn found(&self, wanted: impl Fn(&Problem) -> Option<&String>) -> Option<(&Finding, &String)> {
        self.findings.iter().find_map(|finding| Some((finding, wanted(&finding.problem)?)))
    }

    /// How it stands: by what its leader hears of it, and by asking it who it is.
    pub fn standing(&self) -> Standing {
        let refuses = self.found(|problem| match problem {
            Problem::Refuses(why) => Some(why),
            _ => None,
        });
        if let Some((finding, why)) = refuses {
            return Standing::Refuses(finding.for_ms, format!("at {}: {why}", finding.address));
        }
        let not_taken = self.found(|problem| match problem {
            Problem::NotTaken { why, .. } => Some(why),
            _ => None,
        });
        if let Some((finding, why)) = not_taken {
            let why = format!("at {}: {why}", finding.address);
            return match finding.problem {
                Problem::NotTaken { waits: true, .. } => Standing::NotCounted(finding.for_ms, why),
                _ => Standing::NotTaken(finding.for_ms, why),
            };
        }
        let does_not_count = self.found(|problem| match problem {
            Problem::DoesNotCountThis { why, .. } => Some(why),
            _ => None,
        });
        if let Some((finding, why)) = does_not_count {
            return Standing::NotCounted(finding.for_ms, format!("at {}: {why}", finding.address));
        }
        let silent_ms = self.silent_ms.filter(|ms| *ms > SILENT_MS);
        let unreached = self.found(|problem| match problem {
            Problem::NotReached(why) => Some(why),
            _ => None,
        });
        match (silent_ms, unreached) {
            (ms, Some((finding, why))) => {
                let why = format!("at {}: {why}", finding.address);
                return Standing::NotReached(finding.for_ms.max(ms.unwrap_or(0)), Some(why));
            }
            (Some(ms), None) => return Standing::NotReached(ms, None),
            (None, None) => {}
        }
        match self.lag {
            Some(lag) if lag > CAUGHT_UP_ENTRIES => Standing::Behind(lag),
            Some(_) => Standing::Answering,
            None if self.identified => Standing::Answering,
            None => Standing::Unknown,
        }
    }
}

pub(super) fn add<'a>(found: &mut Drafts<'a>, all: &'a Coordinators) {
    quorum(found, all);
    // How many voters could be lost without losing the quorum.
    let voters = all.others.iter().filter(|contact| contact.votes);
    let count = voters.clone().count() + usize::from(all.votes);
    let lost = voters.filter(|contact| {
        !matches!(contact.standing(), Standing::Answering | Standing::Behind(_) | Standing::Unknown)
    });
    let spare = (count - lost.count()).saturating_sub(quorum_of(count));
    for contact in &all.others {
        standing(found, contact, spare);
        for finding in &contact.findings {
            between(found, all, contact.id, finding);
        }
    }
    own(found, all);
}

fn quorum<'a>(found: &mut Drafts<'a>, all: &'a Coordinators) {
    if all.reaches_quorum {
        return;
    }
    let this = || Subject::Coordinator(all.this);
    if all.leads {
        let since = all.unacknowledged_ms.map(|ms| Since { ms, at_least: false });
        return found.add((Severity::Critical, Code::LeaderWithoutQuorum), this(), since, move || {
            let how = if since.is_some() {
                "no quorum acknowledges it any more"
            } else {
                "no quorum has acknowledged it yet"
            };
            Words::new(
                format!("no quorum: coordinator {} leads and {how}, so it decides nothing", all.this),
                BRING_A_QUORUM,
            )
        });
    }
    found.add((Severity::Critical, Code::NoLeader), this(), None, move || {
        Words::new(
            format!(
                "no quorum: coordinator {} hears no leader, and nothing can be decided from here",
                all.this
            ),
            BRING_A_QUORUM,
        )
    });
}

fn standing<'a>(found: &mut Drafts<'a>, contact: &'a Contact, spare: usize) {
    let id = contact.id;
    let subject = || Subject::Coordinator(id);
    let lasts = |ms| Some(Since { ms, at_least: false });
    match contact.standing() {
        // What is to be said of one that is not counted is said of the one that goes on in another place.
        Standing::Answering | Standing::Unknown | Standing::NotCounted(..) => {}
        Standing::Behind(entries) => {
            found.add((Severity::Note, Code::CoordinatorBehind), subject(), None, move || {
                Words::new(
                    format!("coordinator {id} lacks {entries} entries of the log"),
                    "none while the number falls; otherwise look at its disk and its network",
                )
            });
        }
        Standing::NotReached(ms, why) => {
            let code = (Severity::Warning, Code::CoordinatorNotReached);
            found.add(code, subject(), lasts(ms), move || {
                let margin = match (contact.votes, spare) {
                    (false, _) => "",
                    (true, 0) => "; if one more is lost, nothing can be decided any more",
                    (true, _) => "; the others go on",
                };
                let how = match &why {
                    Some(why) => format!("is not reached {why}"),
                    None => "takes nothing from its leader".to_owned(),
                };
                Words::new(
                    format!("coordinator {id} {how}{margin}"),
                    format!(
                        "start it, or mend its machine or network; if its data is lost for good, replace it \
                         (`quorate member replace {id} NEW`)"
                    ),
                )
            });
        }
        Standing::Refuses(ms, why) => {
            found.add((Severity::Warning, Code::CoordinatorRefuses), subject(), lasts(ms), move || {
                Words::new(format!("coordinator {id} refuses this one {why}"), CORRECT_WHAT_IT_NAMES)
            });
        }
        Standing::NotTaken(ms, why) => not_taken(found, id, ms, why),
    }
}

fn not_taken(found: &mut Drafts<'_>, id: CoordinatorId, ms: u64, why: String) {
    let (code, since) = ((Severity::Warning, Code::CoordinatorRefuses), Some(Since { ms, at_least: false }));
    found.add(code, Subject::Coordinator(id), since, move || {
        Words::new(
            format!("what coordinator {id} answers is not taken by this one, {why}"),
            CORRECT_WHAT_IT_NAMES,
        )
    });
}

/// What is wrong between this coordinator and another one that does answer.
fn between<'a>(found: &mut Drafts<'a>, all: &Coordinators, id: CoordinatorId, finding: &'a Finding) {
    let since = Some(Since { ms: finding.for_ms, at_least: false });
    match &finding.problem {
        Problem::NotReached(_) | Problem::Refuses(_) | Problem::DoesNotCountThis { .. } => {}
        Problem::NotTaken { why, waits } => {
            // Whoever looks into it says what it waits for, unless that fails.
            let is_told =
                finding.for_ms < WAITS_IN_SILENCE_MS || all.elsewhere.iter().any(|moved| moved.id == id);
            if *waits && !is_told {
                not_taken(found, id, finding.for_ms, format!("at {}: {why}", finding.address));
            }
        }
        Problem::ClockApart(ahead_ms) => {
            found.add((Severity::Warning, Code::ClockOff), Subject::Coordinator(id), since, move || {
                let direction = if *ahead_ms > 0 { "ahead of" } else { "behind" };
                let apart = ahead_ms.unsigned_abs();
                Words::new(
                    format!("the clock of coordinator {id} is {}.{} s {direction} this one's", apart / 1_000, apart / 100 % 10),
                    "let both follow NTP; times of events are those of the leader's clock, and nothing is decided by them",
                )
            });
        }
        Problem::StandsStill => stands_still(found, id, since),
        Problem::LostLines(lost) => lost_lines(found, id, *lost),
        Problem::MetACopyOfThis(why) => {
            let code = (Severity::Warning, Code::CoordinatorRunsTwice);
            found.add(code, Subject::Coordinator(id), since, move || {
                Words::new(format!("coordinator {id} says: {why}"), LEAVE_THE_COPY)
            });
        }
        Problem::DoesNotReachThis(why) => {
            let code = (Severity::Warning, Code::NotReachedByCoordinator);
            found.add(code, Subject::Coordinator(id), since, move || {
                Words::new(
                    format!("coordinator {id} does not reach this one at its advertised peer address: {why}"),
                    "correct the address in members, or the network between them",
                )
            });
        }
    }
}

fn stands_still(found: &mut Drafts<'_>, id: CoordinatorId, since: Option<Since>) {
    found.add((Severity::Warning, Code::PartStandsStill), Subject::Coordinator(id), since, move || {
        Words::new(
            format!("a part of coordinator {id} stands still: it leads nobody until that goes on"),
            "its log names the part and what to do: look at its disk, and at the load of its machine",
        )
    });
}

fn lost_lines(found: &mut Drafts<'_>, id: CoordinatorId, lost: LostLines) {
    let LostLines { count, lately_ms } = lost;
    let severity = if lately_ms.is_some() { Severity::Warning } else { Severity::Note };
    found.add((severity, Code::LogLinesLost), Subject::Coordinator(id), None, move || {
        let ago = lately_ms.map_or_else(String::new, |ms| format!(", the last {} ago", seconds(ms)));
        Words::new(
            format!("{count} lines of the log of coordinator {id} are lost since it started{ago}"),
            "let whoever reads its stderr read on, or make room on the disk that it goes to",
        )
    });
}

/// What is to be said of this coordinator's configuration and of a change under way.
fn own<'a>(found: &mut Drafts<'a>, all: &'a Coordinators) {
    let this = || Subject::Coordinator(all.this);
    if let Some(text) = &all.election_too_long {
        found.add((Severity::Critical, Code::ElectionTooLong), this(), None, move || {
            Words::new(text.clone(), "correct the configuration of this coordinator and start it again")
        });
    }
    if let Some(text) = &all.configured_otherwise {
        found.add((Severity::Warning, Code::LeaseConfiguredOtherwise), this(), None, move || {
            Words::new(text.clone(), "set the configuration to what is on record, which is what counts")
        });
    }
    if all.stands_still {
        stands_still(found, all.this, None);
    }
    if all.lost_lines.count > 0 {
        lost_lines(found, all.this, all.lost_lines);
    }
    for reason in &all.change_waits {
        found.add((Severity::Warning, Code::MemberChangeWaits), Subject::Cluster, None, move || {
            Words::new(
                reason.clone(),
                "bring about what it waits for, or take the change back (`quorate member cancel`)",
            )
        });
    }
    for text in &all.copies {
        found.add((Severity::Warning, Code::CoordinatorRunsTwice), Subject::Cluster, None, move || {
            Words::new(text.clone(), LEAVE_THE_COPY)
        });
    }
    if let Some(text) = &all.even_voters {
        found.add((Severity::Warning, Code::EvenVoters), Subject::Cluster, None, move || {
            Words::new(text.clone(), "add one, or remove one")
        });
    }
}
