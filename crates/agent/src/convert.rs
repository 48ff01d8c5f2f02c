//! What the core and the disk checks say, as the session says it.

use crate::disks::DiskState;
use quorate_agent_core::{GroupReport, QuorumWord};
use quorate_domain::DiskIdentity;
use quorate_rpc::{
    Failure, TEXT_MAX_BYTES,
    session::{ParsedDisk, ParsedGroupReport},
    status::Reason,
};

/// The longest reason in a report.
const REASON_MAX_CHARS: usize = 1_000;
// The longest character of UTF-8 takes four bytes.
const _: () = assert!(REASON_MAX_CHARS * 4 <= TEXT_MAX_BYTES);

pub(crate) fn group_report(report: GroupReport) -> ParsedGroupReport {
    ParsedGroupReport {
        group: report.group,
        epoch: report.epoch,
        state: report.state,
        reason: bounded(&report.reason),
    }
}

pub(crate) fn disk_report(disk: &DiskState) -> ParsedDisk {
    let mut reasons = disk.reasons.clone();
    for reason in &mut reasons {
        reason.observed = bounded(&reason.observed);
        reason.attribute = bounded(&reason.attribute);
    }
    ParsedDisk {
        name: disk.name.clone(),
        path: bounded(&disk.path.display().to_string()),
        identity: DiskIdentity(disk.identity.clone()),
        capacity_bytes: disk.capacity_bytes,
        free_bytes: disk.free_bytes,
        verdict: disk.verdict,
        reasons,
        checked_at: disk.checked_at,
    }
}

/// True for what comes of asking a coordinator of another cluster, or of another forming of one of this name.
pub(crate) fn is_stranger(failure: Option<&Failure>) -> bool {
    match failure {
        Some(Failure::Refused { code, .. }) => {
            code == Reason::OtherCluster.as_str() || code == Reason::OtherFormation.as_str()
        }
        // As coordinators said it once.
        Some(Failure::Invalid { field, .. }) => field == "cluster_id",
        _ => false,
    }
}

/// What the end of a session, or of a try to open one, says of the coordinators' quorum.
pub(crate) fn quorum_word(failure: Option<&Failure>) -> QuorumWord {
    match failure {
        // It speaks of the quorum of other coordinators than this host's.
        _ if is_stranger(failure) => QuorumWord::Nothing,
        Some(Failure::NoQuorum { .. } | Failure::NotLeader { hint: None, .. }) => QuorumWord::Lacks,
        // A hint names a leader that is heard; a refusal comes from the committed state.
        Some(
            Failure::NotLeader { hint: Some(_), .. } | Failure::Refused { .. } | Failure::StaleStart { .. },
        ) => QuorumWord::Has,
        _ => QuorumWord::Nothing,
    }
}

pub(crate) fn bounded(text: &str) -> String {
    text.chars().take(REASON_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_domain::{CoordinatorId, Incarnation};
    use quorate_rpc::{ApiError, classify, status::LeaderAddress};

    #[test]
    fn only_those_who_say_that_they_lack_a_quorum_count_as_lacking_one() {
        let message = || "m".to_owned();
        let leader = LeaderAddress { id: CoordinatorId(2), api_address: "a:1".into() };
        let table = [
            (Failure::NoQuorum { message: message() }, QuorumWord::Lacks),
            (Failure::NotLeader { hint: None, message: message() }, QuorumWord::Lacks),
            (Failure::NotLeader { hint: Some(leader), message: message() }, QuorumWord::Has),
            (Failure::Refused { code: "HOST_ID_IN_USE".into(), message: message() }, QuorumWord::Has),
            (Failure::StaleStart { recorded: Incarnation(7), message: message() }, QuorumWord::Has),
            (Failure::Unreachable { sent: true, message: message() }, QuorumWord::Nothing),
            (Failure::Overloaded { retry_after: None, message: message() }, QuorumWord::Nothing),
        ];
        let refused = |code: &str| Failure::Refused { code: code.into(), message: message() };
        let strangers = [
            refused("OTHER_CLUSTER"),
            refused("OTHER_FORMATION"),
            Failure::Invalid { field: "cluster_id".into(), message: message() },
        ]
        .map(|failure| (failure, QuorumWord::Nothing));
        for (failure, word) in table.into_iter().chain(strangers) {
            assert_eq!(quorum_word(Some(&failure)), word, "{failure:?}");
        }
        assert_eq!(quorum_word(None), QuorumWord::Nothing, "it ended the session in order");
        let stopping = ApiError::Stopping { who: "this coordinator", remedy: "ask another" };
        let word = quorum_word(Some(&classify(&stopping.into())));
        assert_eq!(word, QuorumWord::Nothing, "a coordinator that stops says nothing of the others");
    }
}
