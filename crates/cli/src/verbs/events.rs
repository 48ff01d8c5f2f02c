//! `quorate events`.

use super::{
    Desk, pages,
    pages::{PAGE_SIZE, Page},
};
use crate::{
    args::{ClientArgs, EventsArgs, Format},
    exit::{self, Usage},
    output::{self, Reader, json, table},
};
use quorate_rpc::{
    ClientError,
    pb::{control::ListEventsRequest, types::Revision},
};
use serde_json::json;

/// How many of the latest revisions are shown unless more are asked for.
const LATEST_DEFAULT: u64 = 20;
/// The most of the latest that a coordinator gives in one answer.
const LATEST_MAX: u32 = 1_000;

/// Shows what happened, and what happens if wanted.
pub(crate) async fn run(args: ClientArgs, which: EventsArgs) -> anyhow::Result<u8> {
    let desk = Desk::open(&args)?;
    if which.follow {
        return follow(&desk, &which).await;
    }
    let revisions = list(&desk, &which).await?;
    desk.show(
        || json!({ "revisions": json::revisions(&revisions) }),
        || revisions.iter().map(table::event_lines).collect(),
    )
}

async fn list(desk: &Desk, which: &EventsArgs) -> anyhow::Result<Vec<Revision>> {
    match which.since {
        Some(since) => Ok(list_since(desk, since, which.limit.unwrap_or(u64::MAX)).await?),
        None => list_latest(desk, which.limit.unwrap_or(LATEST_DEFAULT)).await,
    }
}

async fn list_latest(desk: &Desk, limit: u64) -> anyhow::Result<Vec<Revision>> {
    let Some(page_size) = u32::try_from(limit).ok().filter(|size| *size <= LATEST_MAX) else {
        let text =
            format!("--limit {limit}: at most the latest {LATEST_MAX} can be shown; give --since for more");
        return Err(Usage(text).into());
    };
    if page_size == 0 {
        // Zero would mean the coordinator's default.
        return Ok(Vec::new());
    }
    let request = ListEventsRequest { latest: true, page_size, ..ListEventsRequest::default() };
    Ok(desk.client.list_events(request).await?.revisions)
}

async fn list_since(desk: &Desk, start_revision: u64, limit: u64) -> Result<Vec<Revision>, ClientError> {
    let mut left = limit;
    let (revisions, _) = pages(async |page_token| {
        let page_size = u32::try_from(left).unwrap_or(u32::MAX).min(PAGE_SIZE);
        if page_size == 0 {
            return Ok(Page { items: Vec::new(), next_page_token: String::new(), view: None });
        }
        let request = ListEventsRequest { start_revision, page_size, page_token, latest: false };
        let answer = desk.client.list_events(request).await?;
        left = left.saturating_sub(answer.revisions.len() as u64);
        Ok(Page { items: answer.revisions, next_page_token: answer.next_page_token, view: None })
    })
    .await?;
    Ok(revisions)
}

/// Shows what is there first, so that a wrong revision or silent coordinators are told at once, and then goes on from
/// there without a gap.
async fn follow(desk: &Desk, which: &EventsArgs) -> anyhow::Result<u8> {
    let shown = list(desk, which).await?;
    if emit(desk, &shown)? == Reader::Gone {
        return Ok(exit::OK);
    }
    let next = shown.last().map_or(which.since.unwrap_or(0), |last| last.revision + 1);
    let mut watch = desk.client.watch_events(next);
    while let Some(arrived) = watch.next().await {
        match arrived {
            Ok(revision) => {
                if emit(desk, &[revision])? == Reader::Gone {
                    return Ok(exit::OK);
                }
            }
            Err(error) if error.is_unavailable() => output::note(&format!("still trying: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exit::OK)
}

fn emit(desk: &Desk, revisions: &[Revision]) -> anyhow::Result<Reader> {
    Ok(match desk.format {
        Format::Json => {
            let lines = revisions.iter().map(|revision| json::line(&json::revision(revision)));
            output::data(&lines.collect::<String>())?
        }
        Format::Table => output::screen(&revisions.iter().map(table::event_lines).collect::<String>())?,
    })
}
