//! `quorate status`.

use super::Desk;
use crate::{
    args::ClientArgs,
    exit,
    output::{self, json, table, time},
};
use quorate_rpc::{
    client::Survey,
    pb::{
        control::{GetStatusRequest, GetStatusResponse, Health as Said},
        types::Severity,
    },
};
use std::{fmt, time::Duration};

/// How long a leader that can decide is looked for when another coordinator has answered already.
pub(super) const LEADER_WAIT: Duration = Duration::from_secs(2);

/// Shows how the cluster is, by the word of whoever can decide. With `--stale` the first answer is good enough.
pub(crate) async fn run(args: ClientArgs, digest: bool) -> anyhow::Result<u8> {
    let desk = Desk::open(&args)?;
    let request = GetStatusRequest { with_state_digest: digest };
    let survey = if desk.stale {
        Survey { status: desk.client.get_status(request).await?, in_vain: Vec::new() }
    } else {
        desk.client.survey(request, LEADER_WAIT.min(desk.deadline)).await?
    };
    let unreached = survey.leader_unreached();
    if let Some(error) = unreached {
        let GetStatusResponse { leader_id, leader_api_address, .. } = &survey.status;
        output::note(&format!(
            "the leader, coordinator {leader_id} at {leader_api_address}, was asked in vain: {error}"
        ));
    }
    let health = Health::of(&survey.status, unreached.is_some());
    desk.show(
        || json::status(&survey.status),
        || table::status_sheet(&survey.status, &health.to_string(), time::now_ms(), desk.width),
    )?;
    Ok(health.exit_code())
}

/// The first line of the screen, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Healthy,
    /// So many warnings of each kind: a group that is not served, or something else for somebody to look at; and how many
    /// more there are than the list has.
    Wrong {
        critical: usize,
        warnings: usize,
        unlisted: u64,
    },
    /// Whoever answered knows of nothing wrong, and not whether every group is served.
    Unknown,
    /// Somebody names a leader that does not answer here.
    LeaderSilent,
    /// A leader that no quorum has acknowledged lately.
    NoQuorum,
    NoLeader,
}

impl Health {
    fn of(status: &GetStatusResponse, leader_is_silent: bool) -> Self {
        if status.leader_id == 0 || (status.leader_id != status.coordinator_id && !status.reaches_quorum) {
            return Self::NoLeader;
        }
        if leader_is_silent {
            return Self::LeaderSilent;
        }
        if status.leader_id == status.coordinator_id && !status.can_decide {
            return Self::NoQuorum;
        }
        match status.health() {
            Said::Healthy => Self::Healthy,
            Said::Warning | Said::Critical => {
                let count =
                    |severity| status.warnings.iter().filter(|one| one.severity() == severity).count();
                Self::Wrong {
                    critical: count(Severity::Critical),
                    warnings: count(Severity::Warning),
                    unlisted: status.warnings_unlisted,
                }
            }
            Said::Unknown | Said::Unspecified => Self::Unknown,
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Healthy => exit::OK,
            Self::Wrong { .. } | Self::Unknown | Self::LeaderSilent => exit::FAILED,
            Self::NoQuorum | Self::NoLeader => exit::UNREACHABLE,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("HEALTHY: every group is served"),
            Self::Wrong { critical, warnings, unlisted } => {
                let plural = if *warnings == 1 { "" } else { "S" };
                match (critical, warnings) {
                    (0, _) => write!(f, "{warnings} WARNING{plural}")?,
                    (_, 0) => write!(f, "{critical} CRITICAL")?,
                    _ => write!(f, "{critical} CRITICAL, {warnings} WARNING{plural}")?,
                }
                if *unlisted == 0 { Ok(()) } else { write!(f, " AND {unlisted} MORE") }
            }
            Self::Unknown => f.write_str("UNKNOWN: only the leader knows whether every group is served"),
            Self::LeaderSilent => f.write_str("LEADER NOT REACHED: this is what a follower knows"),
            Self::NoQuorum => f.write_str("NO QUORUM: the leader cannot decide anything"),
            Self::NoLeader => f.write_str("NO LEADER: nothing can be decided"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_rpc::pb::types::Warning;

    fn status(leader_id: u64, can_decide: bool, health: Said, severities: &[Severity]) -> GetStatusResponse {
        let warning = |severity: &Severity| Warning { severity: (*severity).into(), ..Warning::default() };
        GetStatusResponse {
            coordinator_id: 1,
            leader_id,
            can_decide,
            reaches_quorum: can_decide || (leader_id > 1),
            health: health.into(),
            warnings: severities.iter().map(warning).collect(),
            ..GetStatusResponse::default()
        }
    }

    #[test]
    fn health_is_read_from_what_the_coordinator_says() {
        use Severity::{Critical, Note, Warning};
        let wrong = |critical, warnings| Health::Wrong { critical, warnings, unlisted: 0 };
        let table = [
            (
                status(1, true, Said::Healthy, &[]),
                false,
                Health::Healthy,
                0,
                "HEALTHY: every group is served",
            ),
            (
                status(1, true, Said::Healthy, &[Note]),
                false,
                Health::Healthy,
                0,
                "HEALTHY: every group is served",
            ),
            (status(1, true, Said::Warning, &[Warning, Note]), false, wrong(0, 1), 1, "1 WARNING"),
            (status(1, true, Said::Critical, &[Critical, Critical]), false, wrong(2, 0), 1, "2 CRITICAL"),
            (
                status(1, true, Said::Critical, &[Critical, Warning, Warning]),
                false,
                wrong(1, 2),
                1,
                "1 CRITICAL, 2 WARNINGS",
            ),
            (
                GetStatusResponse {
                    warnings_unlisted: 9_900,
                    ..status(1, true, Said::Critical, &[Critical])
                },
                false,
                Health::Wrong { critical: 1, warnings: 0, unlisted: 9_900 },
                1,
                "1 CRITICAL AND 9900 MORE",
            ),
            (
                status(2, false, Said::Unknown, &[]),
                false,
                Health::Unknown,
                1,
                "UNKNOWN: only the leader knows whether every group is served",
            ),
            (
                status(2, false, Said::Unknown, &[]),
                true,
                Health::LeaderSilent,
                1,
                "LEADER NOT REACHED: this is what a follower knows",
            ),
            (
                status(1, false, Said::Critical, &[Critical]),
                false,
                Health::NoQuorum,
                3,
                "NO QUORUM: the leader cannot decide anything",
            ),
            (
                status(0, false, Said::Critical, &[Critical]),
                false,
                Health::NoLeader,
                3,
                "NO LEADER: nothing can be decided",
            ),
            (
                GetStatusResponse { reaches_quorum: false, ..status(2, false, Said::Critical, &[Critical]) },
                false,
                Health::NoLeader,
                3,
                "NO LEADER: nothing can be decided",
            ),
        ];
        for (status, leader_is_silent, health, code, line) in table {
            assert_eq!(Health::of(&status, leader_is_silent), health);
            assert_eq!((health.exit_code(), health.to_string().as_str()), (code, line));
        }
    }
}
