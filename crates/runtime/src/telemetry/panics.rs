//! Panics: said in the log. The usual hook would write to stderr itself, and wait there for whoever does not read it.

use super::backlog::Backlog;
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::{self, PanicHookInfo},
    sync::Arc,
    thread,
    time::Duration,
};
use tracing::Level;

/// A process that panics may end at once, so its last words are waited for, this long.
const FLUSH_DEADLINE: Duration = Duration::from_millis(200);

/// From now on every panic of this process goes the way of its log.
pub(super) fn say_them_in(backlog: Arc<Backlog>) {
    panic::set_hook(Box::new(move |panic| {
        backlog.say(Level::ERROR, &told(panic));
        backlog.flush(FLUSH_DEADLINE);
    }));
}

fn told(panic: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = panic.location().map_or_else(|| "somewhere".to_owned(), ToString::to_string);
    let message = panic.payload_as_str().unwrap_or("it says nothing");
    let backtrace = Backtrace::capture();
    let traced = match backtrace.status() {
        BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    format!("thread {name} panicked at {place}: {message}{traced}")
}
