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
use tonic::Request;

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
    Ok(exit_code(said.service_mode()))
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
            _ => anyhow::Error::new(status).context(unanswered()),
        }),
    }
}

/// As `quorate status`: a host without a quorum is like a cluster without one.
fn exit_code(mode: ServiceMode) -> u8 {
    match mode {
        ServiceMode::Normal => exit::OK,
        ServiceMode::ReadOnly | ServiceMode::Unspecified => exit::FAILED,
        ServiceMode::Safe => exit::UNREACHABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_the_mode() {
        let codes = [ServiceMode::Normal, ServiceMode::ReadOnly, ServiceMode::Safe].map(exit_code);
        assert_eq!(codes, [0, 1, 3]);
    }
}
