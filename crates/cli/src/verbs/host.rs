//! `quorate host`.

use super::{
    Desk, missing, pages,
    pages::{PAGE_SIZE, Page},
};
use crate::{
    args::{ClientArgs, HostVerb},
    output::{json, table},
};
use quorate_rpc::pb::control::{GetHostRequest, ListHostsRequest};
use serde_json::json;

/// Answers a question about hosts.
pub(crate) async fn run(args: ClientArgs, verb: HostVerb) -> anyhow::Result<u8> {
    let desk = Desk::open(&args)?;
    match verb {
        HostVerb::List => list(&desk).await,
        HostVerb::Show { host } => show(&desk, host).await,
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
