//! How a service behaves that a guard runs in the foreground.

use std::path::Path;

/// Once it is there, every [`Guarded::Leaves`] ends.
pub(super) const LEAVE: &str = "leave";

/// How a service behaves that a guard runs in the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// It ends when it is asked to.
    Obeys,
    /// It is deaf to every signal that can be caught, and what writes is a child of it in a session of its own.
    Deaf,
    /// It ends by itself with exit code 7 once it is let go, and leaves running what writes.
    Leaves,
}

impl Guarded {
    /// The body of what is run.
    pub(super) fn shell(self, folder: &Path, program: &Path) -> String {
        let (folder, program) = (folder.display(), program.display());
        let writer = format!(
            "'{program}' \"$QUORATE_GROUP.journal\" \"$QUORATE_GROUP.$QUORATE_HOST.pid\" \"$QUORATE_EPOCH\" \"$QUORATE_HOST\""
        );
        let body = match self {
            Self::Obeys => format!("exec {writer}\n"),
            Self::Deaf => format!("trap '' TERM INT HUP\nsetsid {writer} &\nwait\nsleep 600\n"),
            Self::Leaves => format!("{writer} &\nwhile [ ! -e {LEAVE} ]; do sleep 0.05; done\nexit 7\n"),
        };
        format!("cd '{folder}' || exit 1\n{body}")
    }
}
