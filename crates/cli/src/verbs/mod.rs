//! What operators ask: one verb sends its request and shows the answer. What it means, the coordinators decide.

pub(crate) mod agent;
pub(crate) mod config;
pub(crate) mod disk;
pub(crate) mod events;
pub(crate) mod group;
pub(crate) mod healthcheck;
pub(crate) mod host;
pub(crate) mod member;
pub(crate) mod op;
mod pages;
pub(crate) mod status;

use crate::{
    args::{ClientArgs, Format},
    exit,
    output::{self, json, table::Width, time},
};
use pages::pages;
use quorate_rpc::{
    Client, ClientOptions,
    pb::types::{Consistency, View},
};
use quorate_runtime::telemetry::{self, LogFormat};
use serde_json::{Value, json};
use std::time::Duration;

/// The client's own log lines, to stderr; `QUORATE_LOG=debug` shows whom it asks.
const LOG_VARIABLE: &str = "QUORATE_LOG";
const LOG_DEFAULT: &str = "warn";

/// What a verb works with.
struct Desk {
    client: Client,
    format: Format,
    stale: bool,
    deadline: Duration,
    now_ms: u64,
    width: Width,
}

impl Desk {
    /// Nothing is sent yet.
    fn open(args: &ClientArgs) -> anyhow::Result<Self> {
        let filter = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| LOG_DEFAULT.to_owned());
        telemetry::init(&filter, LogFormat::Human)
            .map_err(|error| exit::Usage(format!("{LOG_VARIABLE}: {error}")))?;
        let usual = ClientOptions::default();
        let options = ClientOptions {
            deadline: args.deadline,
            per_try_timeout: usual.per_try_timeout.min(args.deadline),
            cluster: args.cluster.clone(),
            ..usual
        };
        let client = Client::connect(&args.endpoints, options)?;
        Ok(Self {
            client,
            format: args.output,
            stale: args.stale,
            deadline: args.deadline,
            now_ms: time::now_ms(),
            width: Width::of_stdout(),
        })
    }

    fn consistency(&self) -> i32 {
        if self.stale { Consistency::Stale.into() } else { Consistency::Linearizable.into() }
    }

    /// Shows an answer in the wanted form.
    fn show(&self, document: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> anyhow::Result<u8> {
        show_as(self.format, document, text)
    }

    /// Shows what a change led to.
    fn show_change(&self, request_id: &str, revision: u64, what: &str) -> anyhow::Result<u8> {
        self.show(
            || json!({ "request_id": request_id, "revision": revision }),
            || format!("{what} (revision {revision}, request {request_id})\n"),
        )
    }

    /// Shows what was read, and says so when it may be old.
    fn show_read(
        &self,
        view: Option<&View>,
        document: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<u8> {
        let with_view = || {
            let mut document = document();
            document["view"] = json::view(view);
            document
        };
        let code = self.show(with_view, text)?;
        if let (Format::Table, Some(view)) = (self.format, view.filter(|view| view.stale)) {
            output::note(&format!(
                "as coordinator {} has it at revision {}, not confirmed by a quorum",
                view.coordinator_id, view.revision
            ));
        }
        Ok(code)
    }
}

/// Shows an answer in the wanted form. Somebody who stopped reading has got what they wanted.
fn show_as(
    format: Format,
    document: impl FnOnce() -> Value,
    text: impl FnOnce() -> String,
) -> anyhow::Result<u8> {
    match format {
        Format::Json => output::data(&json::document(&document()))?,
        Format::Table => output::screen(&text())?,
    };
    Ok(exit::OK)
}

/// An answer without the thing that was asked for, which no coordinator of ours gives.
fn missing(what: &str) -> anyhow::Error {
    anyhow::anyhow!("the coordinator answered without the {what}; its version may differ from this program's")
}
