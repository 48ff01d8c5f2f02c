//! What falls to an agent when its warden dies: the next warden kills it, and somebody has to take note of that.

use crate::processes::Snapshot;
use rustix::process::{Pid, WaitOptions, waitpid};

/// Takes note of every child that has ended, other than the one given, as far as they can be looked at.
pub fn reap_orphans(except: Option<u32>) {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let except = except.and_then(|pid| i32::try_from(pid).ok());
    let Ok(snapshot) = Snapshot::take() else { return };
    let children = snapshot.iter().filter(|process| process.parent == own && Some(process.pid) != except);
    for pid in children.filter(|child| child.dead).filter_map(|child| Pid::from_raw(child.pid)) {
        // Somebody else may have waited for it.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// Makes this process the one to which falls what a dead warden leaves.
///
/// # Errors
/// When the operating system refuses.
pub fn adopt_orphans() -> std::io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}
