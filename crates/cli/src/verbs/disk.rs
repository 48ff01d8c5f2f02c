//! `quorate disk`.

use super::{
    Desk, missing, pages,
    pages::{PAGE_SIZE, Page},
    show_as,
};
use crate::{
    args::{ClientArgs, DiskSpec, DiskVerb, Format},
    output::{json, table},
};
use quorate_rpc::pb::control::{ClearDiskRequest, ForgetDiskRequest, GetDiskRequest, ListDisksRequest};
use serde_json::json;
use std::path::Path;

/// Answers a question about disks, or changes what is on record of one.
pub(crate) async fn run(args: ClientArgs, verb: DiskVerb) -> anyhow::Result<u8> {
    match verb {
        DiskVerb::List { host } => list(&Desk::open(&args)?, &host.unwrap_or_default()).await,
        DiskVerb::Show { disk } => show(&Desk::open(&args)?, disk).await,
        DiskVerb::Clear { disk, why, mutation } => {
            clear(&Desk::open(&args)?, disk, why.reason, mutation.id()).await
        }
        DiskVerb::Forget { disk, why, mutation } => {
            forget(&Desk::open(&args)?, disk, why.reason, mutation.id()).await
        }
        DiskVerb::Prepare { directory } => prepare(args.output, &directory),
    }
}

async fn forget(desk: &Desk, named: DiskSpec, reason: String, request_id: String) -> anyhow::Result<u8> {
    let DiskSpec { host, name } = named;
    let what = format!("disk {host}/{name} forgotten");
    let request = ForgetDiskRequest { request_id: request_id.clone(), host, name, reason };
    let revision = desk.client.forget_disk(request).await?.revision;
    desk.show_change(&request_id, revision, &what)
}

async fn clear(desk: &Desk, named: DiskSpec, reason: String, request_id: String) -> anyhow::Result<u8> {
    let DiskSpec { host, name } = named;
    let what = format!("disk {host}/{name} cleared");
    let request = ClearDiskRequest { request_id: request_id.clone(), host, name, reason };
    let revision = desk.client.clear_disk(request).await?.revision;
    desk.show_change(&request_id, revision, &what)
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

/// Asks nobody: the directory is this machine's.
fn prepare(format: Format, directory: &Path) -> anyhow::Result<u8> {
    let identity = quorate_agent::prepare(directory)?;
    show_as(
        format,
        || json!({ "directory": directory, "identity": identity }),
        || format!("{} is disk {identity} from now on\n", directory.display()),
    )
}
