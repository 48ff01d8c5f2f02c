//! `quorate agent status`.

use super::Desk;
use crate::{
    args::{AgentVerb, ClientArgs},
    exit,
    output::{json, table},
};
use anyhow::Context;
use quorate_domain::ClusterId;
use quorate_rpc::{
    ClientError, Failure, classify,
    client::{LocalAgentClient, mean_cluster},
    pb::{
        agent::{ListRolesRequest, ListRolesResponse},
        types::ServiceMode,
    },
    transport,
};
use tokio::time::timeout;
use tonic::{Code, Request};

/// Answers a question to an agent.
pub(crate) async fn run(args: ClientArgs, verb: AgentVerb) -> anyhow::Result<u8> {
    let desk = Desk::open(&args)?;
    let AgentVerb::Status { agent } = verb;
    let said = match ask(&desk, &agent, args.cluster.as_ref()).await {
        Ok(said) => said,
        // The command line is at fault, or it was refused.
        Err(error) if exit::code_of(&error) != exit::FAILED => return Err(error),
        Err(error) => {
            crate::output::notes(&exit::explain(&error));
            return Ok(exit::UNREACHABLE);
        }
    };
    desk.show(|| json::roles(&said), || table::roles_sheet(&said, desk.width))?;
    Ok(exit_code(&said))
}

async fn ask(desk: &Desk, agent: &str, cluster: Option<&ClusterId>) -> anyhow::Result<ListRolesResponse> {
    let endpoint =
        transport::endpoint(agent).map_err(|bad| exit::Usage(format!("--agent {agent}: {}", bad.problem)))?;
    let mut client = LocalAgentClient::new(endpoint.connect_lazy());
    let mut request = Request::new(ListRolesRequest { observe_only: true });
    mean_cluster(request.metadata_mut(), cluster);
    let answer = timeout(desk.deadline, client.list_roles(request)).await;
    let unanswered =
        || format!("the agent at {agent} does not answer; does it run, and is this its `listen` address?");
    match answer.with_context(unanswered)? {
        Ok(said) => Ok(said.into_inner()),
        Err(status) => Err(match classify(&status) {
            Failure::Refused { code, message } => ClientError::Refused { code, message }.into(),
            Failure::Other { code: Code::Unimplemented, .. } => anyhow::anyhow!(no_agent(agent)),
            _ => anyhow::Error::new(status).context(unanswered()),
        }),
    }
}

/// What is said of something that answers and knows no question to an agent.
pub(crate) fn no_agent(address: &str) -> String {
    format!(
        "what answers at {address} is no agent, or one of an earlier version: it does not know what it was asked, as a \
         coordinator does not; give the `listen` address of the agent on this host (127.0.0.1:7402 unless it is set)"
    )
}

/// As `quorate status`: a host without a quorum is like a cluster without one, and a group that is not served needs a hand.
fn exit_code(said: &ListRolesResponse) -> u8 {
    match said.service_mode() {
        ServiceMode::Normal if table::unserved(said).next().is_some() => exit::FAILED,
        ServiceMode::Normal => exit::OK,
        ServiceMode::ReadOnly | ServiceMode::Unspecified => exit::FAILED,
        ServiceMode::Safe => exit::UNREACHABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_rpc::pb::{agent::GroupRole, types::Role};

    #[test]
    fn the_exit_code_tells_the_mode() {
        let said = |mode: ServiceMode| ListRolesResponse { service_mode: mode.into(), ..Default::default() };
        let codes = [ServiceMode::Normal, ServiceMode::ReadOnly, ServiceMode::Safe].map(said);
        assert_eq!(codes.map(|said| exit_code(&said)), [0, 1, 3]);
    }

    #[test]
    fn a_group_that_is_held_here_and_not_served_is_a_failure() {
        for (role, code) in [(Role::Primary, 0), (Role::Backup, 0), (Role::Fenced, 1)] {
            let role = GroupRole { group: "g".into(), role: role.into(), ..GroupRole::default() };
            let service_mode = ServiceMode::Normal.into();
            let said = ListRolesResponse { roles: vec![role], service_mode, ..Default::default() };
            assert_eq!(exit_code(&said), code, "{said:?}");
        }
    }
}
