//! `quorate disk`.

use super::{
    Desk, missing, pages,
    pages::{PAGE_SIZE, Page},
};
use crate::{
    args::{ClientArgs, DiskSpec, DiskVerb},
    output::{json, table},
};
use quorate_rpc::pb::control::{GetDiskRequest, ListDisksRequest};
use serde_json::json;

/// Answers a question about disks.
pub(crate) async fn run(args: ClientArgs, verb: DiskVerb) -> anyhow::Result<u8> {
    let desk = Desk::open(&args)?;
    match verb {
        DiskVerb::List { host } => list(&desk, &host.unwrap_or_default()).await,
        DiskVerb::Show { disk } => show(&desk, disk).await,
    }
}

async fn list(desk: &Desk, host: &str) -> anyhow::Result<u8> {
    let consistency = desk.consistency();
    let (disks, view) = pages(async |page_token| {
        let request =
            ListDisksRequest { host: host.to_owned(), page_size: PAGE_SIZE, page_token, consistency };
        let answer = desk.client.list_disks(request).await?;
        Ok(Page { items: answer.disks, next_page_token: answer.next_page_token, view: answer.view })
    })
    .await?;
    desk.show_read(
        view.as_ref(),
        || json!({ "disks": json::disks(&disks) }),
        || table::disks(&disks, desk.now_ms, desk.width),
    )
}

async fn show(desk: &Desk, wanted: DiskSpec) -> anyhow::Result<u8> {
    let request = GetDiskRequest { host: wanted.host, name: wanted.name, consistency: desk.consistency() };
    let answer = desk.client.get_disk(request).await?;
    let found = answer.disk.ok_or_else(|| missing("disk"))?;
    desk.show_read(
        answer.view.as_ref(),
        || json!({ "disk": json::disk(&found) }),
        || table::disk_sheet(&found, desk.now_ms, desk.width),
    )
}
