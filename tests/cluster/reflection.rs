//! What servers say of themselves to whoever has no protos of ours.

use anyhow::{Context, Result, bail};
use quorate_rpc::transport;
use quorate_tests::{Cluster, Plan};
use std::collections::BTreeSet;
use tonic::transport::Channel;

/// What every server lists: both versions of the service itself.
const ITSELF: [&str; 2] = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
const COORDINATOR: [&str; 8] = [
    "grpc.health.v1.Health",
    "quorate.agent.v1.AgentGateway",
    "quorate.control.v1.Cluster",
    "quorate.control.v1.Disks",
    "quorate.control.v1.Events",
    "quorate.control.v1.Groups",
    "quorate.control.v1.Hosts",
    "quorate.control.v1.Operations",
];
const AGENT: [&str; 1] = ["quorate.agent.v1.LocalAgent"];
/// Messages that clients meet without asking a service for them.
const DETAILS: [&str; 4] =
    ["google.rpc.Status", "google.rpc.ErrorInfo", "google.rpc.RetryInfo", "quorate.types.v1.LeaderHint"];

/// Asks in one version of the service, which differ by their names only.
macro_rules! versions {
    ($($version:ident),+) => { $(
        mod $version {
            use super::{Channel, Context, Result};
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };

            async fn ask(channel: Channel, question: MessageRequest) -> Result<MessageResponse> {
                let request =
                    ServerReflectionRequest { host: String::new(), message_request: Some(question) };
                let answers =
                    ServerReflectionClient::new(channel).server_reflection_info(tokio_stream_of(request)).await?;
                let answer = answers.into_inner().message().await?.context("no answer")?;
                answer.message_response.context("an empty answer")
            }

            fn tokio_stream_of(
                request: ServerReflectionRequest,
            ) -> impl tonic::codegen::tokio_stream::Stream<Item = ServerReflectionRequest> {
                tonic::codegen::tokio_stream::once(request)
            }

            /// The services that a server lists.
            pub(super) async fn listed(channel: Channel) -> Result<Vec<String>> {
                match ask(channel, MessageRequest::ListServices(String::new())).await? {
                    MessageResponse::ListServicesResponse(list) => {
                        Ok(list.service.into_iter().map(|service| service.name).collect())
                    }
                    other => anyhow::bail!("no list but {other:?}"),
                }
            }

            /// The files that describe a message or service.
            pub(super) async fn described(channel: Channel, symbol: &str) -> Result<Vec<Vec<u8>>> {
                match ask(channel, MessageRequest::FileContainingSymbol(symbol.to_owned())).await? {
                    MessageResponse::FileDescriptorResponse(files) => Ok(files.file_descriptor_proto),
                    other => anyhow::bail!("{symbol} is not described: {other:?}"),
                }
            }
        }
    )+ };
}

versions! { v1, v1alpha }

async fn expect(address: &str, services: &[&str]) -> Result<()> {
    let channel = || Ok::<_, anyhow::Error>(transport::endpoint(address)?.connect_lazy());
    let wanted: BTreeSet<&str> = services.iter().chain(&ITSELF).copied().collect();
    for listed in [v1::listed(channel()?).await?, v1alpha::listed(channel()?).await?] {
        let found: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        if found != wanted {
            bail!("{address} lists {found:?} and serves {wanted:?}");
        }
    }
    for symbol in services.iter().chain(&DETAILS) {
        for files in [v1::described(channel()?, symbol).await?, v1alpha::described(channel()?, symbol).await?]
        {
            let name = symbol.rsplit('.').next().unwrap_or_default();
            let described =
                files.iter().any(|file| file.windows(name.len()).any(|part| part == name.as_bytes()));
            if !described {
                bail!("{address} describes {symbol} by a file without {name}");
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_and_agents_describe_what_they_serve_in_both_versions() -> Result<()> {
    let cluster = Cluster::start(Plan::with_agents(1)).await?;
    for id in 1..=3 {
        expect(&cluster.api_address(id), &COORDINATOR).await.with_context(|| format!("coordinator {id}"))?;
    }
    expect(&cluster.agent_address(1), &AGENT).await.context("the agent")?;
    cluster.finish().await
}
