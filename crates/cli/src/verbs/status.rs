//! `quorate status`.

use super::Desk;
use crate::{
    args::ClientArgs,
    exit,
    output::{self, json, table, time},
};
use quorate_rpc::{
    ClientError,
    pb::control::{GetStatusRequest, GetStatusResponse},
};
use std::time::Duration;
use tokio::task::JoinSet;

/// How long the leader is waited for when another coordinator has answered already.
const LEADER_WAIT: Duration = Duration::from_secs(2);

/// Shows how the cluster is. Any coordinator will do; its leader knows more and is asked next.
pub(crate) async fn run(args: ClientArgs, digest: bool) -> anyhow::Result<u8> {
    let desk = Desk::open(&args)?;
    let request = GetStatusRequest { with_state_digest: digest };
    let first = desk.client.get_status(request).await?;
    let (status, leader_is_silent) = match ask_leader(&desk, request, &first, &args.endpoints).await {
        None => (first, false),
        Some(Ok(status)) => (status, false),
        Some(Err(error)) => {
            let (leader, address) = (first.leader_id, &first.leader_api_address);
            output::note(&format!(
                "the leader, coordinator {leader} at {address}, was asked in vain: {error}"
            ));
            (first, true)
        }
    };
    let health = Health::of(&status, leader_is_silent);
    desk.show(
        || json::status(&status),
        || table::status_sheet(&status, &health.to_string(), time::now_ms(), desk.width),
    )?;
    Ok(health.exit_code())
}

/// What the leader says, if it is known and has not just answered. With `--stale` the first answer is good enough.
///
/// The address that the coordinators know of each other may mean nothing here, as with published ports of containers; one
/// of the given endpoints may be the leader's all the same.
async fn ask_leader(
    desk: &Desk,
    request: GetStatusRequest,
    first: &GetStatusResponse,
    given: &[String],
) -> Option<Result<GetStatusResponse, ClientError>> {
    if desk.stale || first.leader_id == first.coordinator_id || first.leader_api_address.is_empty() {
        return None;
    }
    let known = &first.leader_api_address;
    let mut asked = JoinSet::new();
    for endpoint in given.iter().filter(|endpoint| *endpoint != known).chain([known]) {
        let one = match desk.client.with_deadline(LEADER_WAIT.min(desk.deadline)).only(endpoint) {
            Ok(one) => one,
            Err(error) => return Some(Err(error)),
        };
        let is_known = endpoint == known;
        asked.spawn(async move { (is_known, one.get_status(request).await) });
    }
    let mut in_vain = None;
    while let Some(Ok((is_known, answer))) = asked.join_next().await {
        match answer {
            // Whoever answers at the leader's own address may have ceased to lead: that is news, too.
            Ok(status) if is_known || status.coordinator_id == first.leader_id => return Some(Ok(status)),
            Err(error) if is_known => in_vain = Some(Err(error)),
            Ok(_) | Err(_) => {}
        }
    }
    in_vain
}

/// The first line of the screen, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Healthy,
    Warnings(usize),
    /// Somebody names a leader that does not answer here.
    LeaderSilent,
    /// A leader that no quorum has acknowledged lately.
    NoQuorum,
    NoLeader,
}

impl Health {
    fn of(status: &GetStatusResponse, leader_is_silent: bool) -> Self {
        if status.leader_id == 0 || (status.leader_id != status.coordinator_id && !status.reaches_quorum) {
            Self::NoLeader
        } else if leader_is_silent {
            Self::LeaderSilent
        } else if status.leader_id == status.coordinator_id && !status.can_decide {
            Self::NoQuorum
        } else if status.warnings.is_empty() {
            Self::Healthy
        } else {
            Self::Warnings(status.warnings.len())
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Healthy => exit::OK,
            Self::Warnings(_) | Self::LeaderSilent => exit::FAILED,
            Self::NoQuorum | Self::NoLeader => exit::UNREACHABLE,
        }
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Healthy => f.write_str("HEALTHY"),
            Self::Warnings(1) => f.write_str("1 WARNING"),
            Self::Warnings(count) => write!(f, "{count} WARNINGS"),
            Self::LeaderSilent => f.write_str("LEADER NOT REACHED: this is what a follower knows"),
            Self::NoQuorum => f.write_str("NO QUORUM: the leader cannot decide anything"),
            Self::NoLeader => f.write_str("NO LEADER: nothing can be decided"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(leader_id: u64, can_decide: bool, warnings: &[&str]) -> GetStatusResponse {
        let warnings = warnings.iter().map(ToString::to_string).collect();
        GetStatusResponse {
            coordinator_id: 1,
            leader_id,
            can_decide,
            reaches_quorum: can_decide || (leader_id > 1),
            warnings,
            ..GetStatusResponse::default()
        }
    }

    #[test]
    fn health_is_read_from_what_the_coordinator_says() {
        let table = [
            (status(1, true, &[]), false, Health::Healthy, 0),
            (status(2, false, &[]), false, Health::Healthy, 0),
            (status(2, false, &[]), true, Health::LeaderSilent, 1),
            (status(1, true, &["disk a/d is failed"]), false, Health::Warnings(1), 1),
            (status(1, false, &["no quorum"]), false, Health::NoQuorum, 3),
            (status(0, false, &["no quorum"]), false, Health::NoLeader, 3),
            (
                GetStatusResponse { reaches_quorum: false, ..status(2, false, &["no quorum"]) },
                false,
                Health::NoLeader,
                3,
            ),
        ];
        for (status, leader_is_silent, health, code) in table {
            assert_eq!(Health::of(&status, leader_is_silent), health);
            assert_eq!(health.exit_code(), code);
        }
    }
}
