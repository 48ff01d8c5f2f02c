//! `quorate host`.

use super::{
    Desk, missing, pages,
    pages::{PAGE_SIZE, Page},
};
use crate::{
    args::{ClientArgs, HostVerb},
    output::{json, table},
};
use quorate_rpc::pb::control::{
    CordonHostRequest, ForgetHostRequest, GetHostRequest, ListHostsRequest, ResetHostRequest,
    UncordonHostRequest,
};
use serde_json::json;

/// Answers a question about hosts, or changes what is on record of one.
pub(crate) async fn run(args: ClientArgs, verb: HostVerb) -> anyhow::Result<u8> {
    let desk = Desk::open(&args)?;
    match verb {
        HostVerb::List => list(&desk).await,
        HostVerb::Show { host } => show(&desk, host).await,
        HostVerb::Forget { host, why, mutation } => {
            let (id, what) = (mutation.id(), format!("host {host} forgotten"));
            let request = ForgetHostRequest { request_id: id.clone(), host, reason: why.reason };
            desk.show_change(&id, desk.client.forget_host(request).await?.revision, &what)
        }
        HostVerb::Reset { host, why, mutation } => {
            let (id, what) = (mutation.id(), format!("host {host} is free for another agent"));
            let request = ResetHostRequest { request_id: id.clone(), host, reason: why.reason };
            desk.show_change(&id, desk.client.reset_host(request).await?.revision, &what)
        }
        HostVerb::Cordon { host, why, mutation } => {
            let (id, what) = (mutation.id(), format!("host {host} cordoned"));
            let request = CordonHostRequest { request_id: id.clone(), host, reason: why.reason };
            desk.show_change(&id, desk.client.cordon_host(request).await?.revision, &what)
        }
        HostVerb::Uncordon { host, mutation } => {
            let (id, what) = (mutation.id(), format!("host {host} uncordoned"));
            let request = UncordonHostRequest { request_id: id.clone(), host };
            desk.show_change(&id, desk.client.uncordon_host(request).await?.revision, &what)
        }
    }
}

async fn list(desk: &Desk) -> anyhow::Result<u8> {
    let consistency = desk.consistency();
    let (hosts, view) = pages(async |page_token| {
        let request = ListHostsRequest { page_size: PAGE_SIZE, page_token, consistency };
        let answer = desk.client.list_hosts(request).await?;
        Ok(Page { items: answer.hosts, next_page_token: answer.next_page_token, view: answer.view })
    })
    .await?;
    desk.show_read(
        view.as_ref(),
        || json!({ "hosts": json::hosts(&hosts) }),
        || table::hosts(&hosts, desk.now_ms, desk.width),
    )
}

async fn show(desk: &Desk, host: String) -> anyhow::Result<u8> {
    let answer = desk.client.get_host(GetHostRequest { host, consistency: desk.consistency() }).await?;
    let host = answer.host.ok_or_else(|| missing("host"))?;
    desk.show_read(
        answer.view.as_ref(),
        || json!({ "host": json::host(&host), "disks": json::disks(&answer.disks) }),
        || table::host_sheet(&host, &answer.disks, desk.now_ms, desk.width),
    )
}
