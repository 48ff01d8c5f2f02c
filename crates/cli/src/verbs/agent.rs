//! `quorate agent status`.

use super::Desk;
use crate::{
    args::{AgentVerb, ClientArgs},
    exit,
    output::{json, table},
};
use anyhow::Context;
use quorate_rpc::{
    client::LocalAgentClient,
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
    let said = match ask(&desk, &agent).await {
        Ok(said) => said,
        Err(error) if error.downcast_ref::<exit::Usage>().is_some() => return Err(error),
        Err(error) => {
            crate::output::notes(&exit::explain(&error));
            return Ok(exit::UNREACHABLE);
        }
    };
    desk.show(|| json::roles(&said), || table::roles_sheet(&said, desk.width))?;
    Ok(exit_code(said.service_mode()))
}

async fn ask(desk: &Desk, agent: &str) -> anyhow::Result<ListRolesResponse> {
    let endpoint =
        transport::endpoint(agent).map_err(|bad| exit::Usage(format!("--agent {agent}: {}", bad.problem)))?;
    let mut client = LocalAgentClient::new(endpoint.connect_lazy());
    let request = ListRolesRequest { observe_only: true };
    let answer = timeout(desk.deadline, client.list_roles(Request::new(request))).await;
    let unanswered =
        || format!("the agent at {agent} does not answer; does it run, and is this its `listen` address?");
    Ok(answer.with_context(unanswered)?.with_context(unanswered)?.into_inner())
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
