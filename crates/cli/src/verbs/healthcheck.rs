//! `quorate healthcheck`: what a container engine or a service manager asks every few seconds. One question, a short
//! deadline, one line.
//!
//! A coordinator is well while it serves by the standard gRPC health service: it knows a leader and, if it leads itself,
//! a quorum acknowledges it; it need not lead. One that waits to be added, or was removed, knows none. An agent is well
//! while it answers local processes, whatever it may do at that moment: one that is cut off and fenced does what it
//! should. It is only looked at, which holds it to nothing.

use crate::{
    args::HealthcheckArgs,
    config::{self, Role, Sources},
    exit,
    output::{self, word},
};
use quorate_domain::text::one_line;
use quorate_rpc::{
    Failure, classify,
    client::LocalAgentClient,
    pb::{
        agent::{ListRolesRequest, ListRolesResponse},
        types,
    },
    transport,
};
use quorate_runtime::address::Address;
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// Says on one line how the process is: on stdout if it is well.
pub(crate) async fn run(args: HealthcheckArgs) -> anyhow::Result<u8> {
    match check(args).await {
        Ok(how) => {
            output::screen(&format!("healthy: {}\n", one_line(&how)))?;
            Ok(exit::OK)
        }
        Err(why) => {
            output::note(&format!("unhealthy: {why}"));
            Ok(exit::FAILED)
        }
    }
}

async fn check(args: HealthcheckArgs) -> Result<String, String> {
    let HealthcheckArgs { role, address, timeout, source } = args;
    let (role, address) = whom(role, address, &source.into())?;
    let name = format!("the {role} at {address}");
    let endpoint = transport::endpoint(&address.to_string()).map_err(|bad| bad.to_string())?;
    let channel = endpoint.connect_lazy();
    match tokio::time::timeout(timeout, ask(role, channel)).await {
        Ok(Ok(answer)) => judge(&answer, &name),
        Ok(Err(status)) => Err(match classify(&status) {
            Failure::Unreachable { message, .. } => format!("{name} does not answer: {message}"),
            Failure::Other { code: Code::Unimplemented, .. } => format!(
                "what answers at {address} is no {role}: it does not know what it was asked; give the address that the {role} listens on"
            ),
            failure => format!("{name} answers: {failure}"),
        }),
        Err(_) => Err(format!("{name} does not answer within {} ms", timeout.as_millis())),
    }
}

/// Who is asked, and where.
fn whom(role: Option<Role>, address: Option<Address>, sources: &Sources) -> Result<(Role, Address), String> {
    let role = role.or_else(|| config::configured_role(sources)).ok_or(
        "neither a coordinator nor an agent is configured here, by environment or file; name the one that is meant: \
         quorate healthcheck coordinator|agent",
    )?;
    let address = address.or_else(|| config::local_address(role, sources)).ok_or_else(|| {
        format!("where the {role} listens is not known; `quorate config check {role}` says why")
    })?;
    Ok((role, address))
}

/// What is said of a process that answers.
enum Answer {
    Coordinator(ServingStatus),
    Agent(ListRolesResponse),
}

async fn ask(role: Role, channel: Channel) -> Result<Answer, Status> {
    Ok(match role {
        Role::Coordinator => {
            // The empty name stands for the server as a whole.
            let request = HealthCheckRequest { service: String::new() };
            Answer::Coordinator(HealthClient::new(channel).check(request).await?.into_inner().status())
        }
        Role::Agent => {
            let request = ListRolesRequest { observe_only: true };
            Answer::Agent(LocalAgentClient::new(channel).list_roles(request).await?.into_inner())
        }
    })
}

fn judge(answer: &Answer, name: &str) -> Result<String, String> {
    match answer {
        Answer::Coordinator(ServingStatus::Serving) => Ok(format!("{name} serves")),
        Answer::Coordinator(status) => Err(format!(
            "{name} is {}: it knows no leader, or it leads and no quorum acknowledges it; \
             see `quorate status` and that a majority of the coordinators is up and connected; \
             one that is not among the configured members waits for `quorate member add`",
            status.as_str_name()
        )),
        Answer::Agent(said) => {
            let mode = word::<types::ServiceMode>(said.service_mode).unwrap_or_else(|| "no mode".to_owned());
            let count = said.roles.iter().filter(|role| role.role() == types::Role::Primary).count();
            Ok(format!("{name} answers: host {}, {mode}, primary of {count} groups", said.host))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn sources(variables: &[(&str, &str)]) -> Sources {
        let environment =
            variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        Sources { environment, ..Sources::default() }
    }

    const COORDINATOR: [(&str, &str); 4] = [
        ("QUORATE_CLUSTER_ID", "c"),
        ("QUORATE_NODE_ID", "1"),
        ("QUORATE_DATA_DIR", "/d"),
        ("QUORATE_MEMBERS", "1=a:7400/a:7401"),
    ];
    const AGENT: [(&str, &str); 5] = [
        ("QUORATE_HOST_ID", "h1"),
        ("QUORATE_HOST_ZONE", "z"),
        ("QUORATE_STATE_DIR", "/s"),
        ("QUORATE_COORDINATORS", "a:7401"),
        ("QUORATE_DISKS", "d1=/d"),
    ];

    #[test]
    fn the_configured_role_is_asked_where_it_listens() {
        let asked = |variables: &[(&str, &str)]| {
            let (role, address) = whom(None, None, &sources(variables)).unwrap();
            (role, address.to_string())
        };
        assert_eq!(asked(&COORDINATOR), (Role::Coordinator, "127.0.0.1:7401".to_owned()));
        assert_eq!(asked(&AGENT), (Role::Agent, "127.0.0.1:7402".to_owned()));
        let everywhere = [&COORDINATOR[..], &[("QUORATE_LISTEN_API", "0.0.0.0:81")]].concat();
        assert_eq!(asked(&everywhere), (Role::Coordinator, "127.0.0.1:81".to_owned()));
        let one = [&AGENT[..], &[("QUORATE_LISTEN", "10.0.0.7:82")]].concat();
        assert_eq!(asked(&one), (Role::Agent, "10.0.0.7:82".to_owned()));
    }

    #[test]
    fn a_named_role_and_address_need_no_configuration() {
        let none = Sources::default();
        let (role, address) = whom(Some(Role::Agent), None, &none).unwrap();
        assert_eq!((role, address.to_string().as_str()), (Role::Agent, "127.0.0.1:7402"));
        let (_, address) = whom(Some(Role::Agent), "a:1".parse().ok(), &none).unwrap();
        assert_eq!(address.to_string(), "a:1");
    }

    #[test]
    fn who_is_meant_must_be_known() {
        assert!(whom(None, None, &Sources::default()).unwrap_err().contains("name the one"));
        let bad = sources(&[("QUORATE_LISTEN_API", "nowhere")]);
        let why = whom(Some(Role::Coordinator), None, &bad).unwrap_err();
        assert!(why.contains("quorate config check coordinator"), "{why}");
    }

    #[test]
    fn only_a_coordinator_that_serves_is_well_and_an_agent_that_answers_always_is() {
        let said = |status| judge(&Answer::Coordinator(status), "c");
        assert_eq!(said(ServingStatus::Serving), Ok("c serves".to_owned()));
        for status in [ServingStatus::NotServing, ServingStatus::Unknown, ServingStatus::ServiceUnknown] {
            assert!(said(status).unwrap_err().starts_with(&format!("c is {}", status.as_str_name())));
        }
        let fenced = ListRolesResponse {
            host: "h1".to_owned(),
            service_mode: types::ServiceMode::ReadOnly.into(),
            ..ListRolesResponse::default()
        };
        let line = judge(&Answer::Agent(fenced), "a").unwrap();
        assert_eq!(line, "a answers: host h1, read_only, primary of 0 groups");
    }
}
