//! `quorate op`.

use super::{
    Desk, missing, pages,
    pages::{PAGE_SIZE, Page},
};
use crate::{
    args::{ClientArgs, OpVerb},
    exit,
    output::{self, json, table},
};
use quorate_rpc::pb::{
    control::{GetOperationRequest, ListOperationsRequest},
    types::{Operation, OperationStatus},
};
use serde_json::json;
use std::time::Duration;

/// Answers a question about operations.
pub(crate) async fn run(args: ClientArgs, verb: OpVerb) -> anyhow::Result<u8> {
    let desk = Desk::open(&args)?;
    match verb {
        OpVerb::List { running } => list(&desk, running).await,
        OpVerb::Show { op } => show(&desk, op).await,
        OpVerb::Wait { op, timeout } => {
            let (operation, finished) = wait(&desk, &op, timeout).await?;
            desk.show(
                || json!({ "operation": json::operation(&operation), "finished": finished }),
                || table::operation_sheet(&operation, output::time::now_ms(), desk.width),
            )?;
            Ok(ended(&operation, finished, timeout))
        }
    }
}

async fn list(desk: &Desk, running_only: bool) -> anyhow::Result<u8> {
    let consistency = desk.consistency();
    let (operations, view) = pages(async |page_token| {
        let request = ListOperationsRequest { running_only, page_size: PAGE_SIZE, page_token, consistency };
        let answer = desk.client.list_operations(request).await?;
        Ok(Page { items: answer.operations, next_page_token: answer.next_page_token, view: answer.view })
    })
    .await?;
    desk.show_read(
        view.as_ref(),
        || json!({ "operations": json::operations(&operations) }),
        || table::operations(&operations, desk.now_ms, desk.width),
    )
}

async fn show(desk: &Desk, operation: String) -> anyhow::Result<u8> {
    let request = GetOperationRequest { operation, consistency: desk.consistency() };
    let answer = desk.client.get_operation(request).await?;
    let operation = answer.operation.ok_or_else(|| missing("operation"))?;
    desk.show_read(
        answer.view.as_ref(),
        || json!({ "operation": json::operation(&operation) }),
        || table::operation_sheet(&operation, desk.now_ms, desk.width),
    )
}

/// The operation when it was over or the time was, and whether it was.
pub(super) async fn wait(desk: &Desk, op: &str, timeout: Duration) -> anyhow::Result<(Operation, bool)> {
    let answer = desk.client.wait_operation(op, timeout).await?;
    let operation = answer.operation.ok_or_else(|| missing("operation"))?;
    Ok((operation, answer.finished))
}

/// The exit code of a wait; whatever is not success is said on stderr too.
pub(super) fn ended(operation: &Operation, finished: bool, timeout: Duration) -> u8 {
    if !finished {
        let seconds = timeout.as_secs_f64();
        let id = &operation.id;
        output::note(&format!("operation {id} goes on after {seconds} s; see `quorate op show {id}`"));
        return exit::FAILED;
    }
    if operation.status == i32::from(OperationStatus::Succeeded) {
        let Operation { group, target, to, .. } = operation;
        if target.is_empty() || target == to {
            return exit::OK;
        }
        output::note(&format!("group {group} went to {to} and not to {target}, which did not start it"));
        return exit::FAILED;
    }
    output::note(&format!("operation {} failed: {}", operation.id, operation.outcome));
    exit::FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_ends_well_only_where_it_ended_as_it_was_asked_for() {
        let operation = |status: OperationStatus, target: &str, to: &str| Operation {
            status: status.into(),
            target: target.to_owned(),
            to: to.to_owned(),
            ..Operation::default()
        };
        for (status, target, to, finished, code) in [
            (OperationStatus::Succeeded, "", "h2", true, exit::OK),
            (OperationStatus::Succeeded, "h2", "h2", true, exit::OK),
            (OperationStatus::Succeeded, "h2", "h3", true, exit::FAILED),
            (OperationStatus::Failed, "h2", "", true, exit::FAILED),
            (OperationStatus::Running, "h2", "", false, exit::FAILED),
        ] {
            let ended = ended(&operation(status, target, to), finished, Duration::from_secs(1));
            assert_eq!(ended, code, "{status:?} for {target:?}, now {to:?}");
        }
    }
}
