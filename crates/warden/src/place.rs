//! Where agent and warden meet: a socket in the agent's state folder. The path of a socket has at most 108 bytes, so the
//! folder is opened first and the socket is named below its descriptor: no path is too long.

use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsRawFd, OwnedFd},
    fs::{Mode, OFlags, open},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
        sockopt::socket_peercred,
    },
    process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    time::Timespec,
};
use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

const SOCKET: &str = "warden.sock";
const LOCK: &str = "warden.lock";
/// The most connections that wait to be taken.
const BACKLOG: i32 = 8;

/// The one place of a warden in a state folder, held by this process alone.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) listener: UnixListener,
    /// Tells this folder from a copy of it.
    pub(crate) number: u64,
    socket: PathBuf,
    _folder: OwnedFd,
    _lock: File,
}

impl Place {
    /// Takes it; `None` when another warden has it.
    pub(crate) fn take(state_dir: &Path) -> io::Result<Option<Self>> {
        let path = state_dir.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let (folder, socket) = socket_below(state_dir)?;
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&fd, &SocketAddrUnix::new(&socket)?)?;
        // Before it listens: until then nobody can connect.
        fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        listen(&fd, BACKLOG)?;
        let number = lock.metadata()?.ino();
        Ok(Some(Self { listener: fd.into(), number, socket, _folder: folder, _lock: lock }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A socket that nobody listens at refuses whoever comes, just as one that is missing.
        let _ = fs::remove_file(&self.socket);
    }
}

fn socket_below(state_dir: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let folder = open(state_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let socket = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(SOCKET);
    Ok((folder, socket))
}

/// Connects to the warden of a state folder.
///
/// # Errors
/// When there is none.
pub fn connect(state_dir: &Path) -> io::Result<UnixStream> {
    let (_folder, socket) = socket_below(state_dir)?;
    UnixStream::connect(socket)
}

/// The very process at the other end of a connection.
#[derive(Debug)]
pub struct Holder(OwnedFd);

impl Holder {
    /// Whoever listened when the connection was made. It must be alive still, or another process may have its number:
    /// to be called before it is given up.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        Ok(Self(pidfd_open(socket_peercred(stream)?.pid, PidfdFlags::empty())?))
    }

    /// Kills it and waits until it is gone, or for as long as `limit`.
    ///
    /// # Errors
    /// When the operating system refuses, or it does not go.
    pub fn kill(&self, limit: Duration) -> io::Result<()> {
        match pidfd_send_signal(&self.0, Signal::KILL) {
            Err(Errno::SRCH) => return Ok(()),
            killed => killed?,
        }
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit))? {
            0 => Err(io::Error::other("it was killed and is not gone: it hangs in the kernel")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_long_path_has_room_for_one_warden_that_nobody_else_may_talk_to() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("x".repeat(120));
        fs::create_dir(&folder).unwrap();
        assert!(connect(&folder).is_err());
        let place = Place::take(&folder).unwrap().unwrap();
        connect(&folder).unwrap();
        let mode = fs::metadata(folder.join(SOCKET)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Place::take(&folder).unwrap().is_none(), "there is one already");
        drop(place);
        assert!(connect(&folder).is_err());
        assert!(Place::take(&folder).unwrap().is_some());
    }
}
