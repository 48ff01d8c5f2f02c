//! What a process lacks for a moment, such as a descriptor, is no word about the file that it wanted to open.

use rustix::io::Errno;
use std::{io, thread, time::Duration};

/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(50);
/// So many tries take three seconds: a thread that waits for longer would be taken for one that stands still.
const TRIES: u32 = 60;

/// True for an error that says only that this process or machine is short of descriptors or memory.
pub fn is_own_lack(error: &io::Error) -> bool {
    is_lack_of_descriptors(error) || Errno::from_io_error(error) == Some(Errno::NOMEM)
}

/// True when this process has as many files open as it may, or the machine has.
pub fn is_lack_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Opens something, and waits up to three seconds for what this process lacks to do so. Blocks the thread; `open` must have
/// done nothing when it fails so.
///
/// # Errors
/// Those of `open`; a lack only after that time.
pub fn opened<T>(open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    opened_with(open, thread::sleep)
}

fn opened_with<T>(mut open: impl FnMut() -> io::Result<T>, mut pause: impl FnMut(Duration)) -> io::Result<T> {
    for tried in 1..TRIES {
        match open() {
            Err(error) if is_own_lack(&error) => {
                if tried == 1 {
                    tracing::warn!(error = %error, "nothing can be opened; waiting for what is lacking");
                }
                pause(PAUSE);
            }
            result => return result,
        }
    }
    open()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of opening after these errors, how often it was tried, and how long was waited.
    fn after(errors: &[Errno]) -> (Result<(), Errno>, u32, Duration) {
        let (mut tries, mut waited) = (0, Duration::ZERO);
        let open = || {
            let error = errors.get(tries as usize);
            tries += 1;
            error.map_or(Ok(()), |error| Err(io::Error::from(*error)))
        };
        let result = opened_with(open, |pause| waited += pause);
        (result.map_err(|error| Errno::from_io_error(&error).unwrap()), tries, waited)
    }

    #[test]
    fn a_lack_is_waited_for_up_to_three_seconds_and_nothing_else_is() {
        assert_eq!(after(&[]), (Ok(()), 1, Duration::ZERO));
        assert_eq!(after(&[Errno::MFILE, Errno::NFILE, Errno::NOMEM]), (Ok(()), 4, PAUSE * 3));
        assert_eq!(after(&[Errno::MFILE; 100]), (Err(Errno::MFILE), TRIES, PAUSE * (TRIES - 1)));
        for other in [Errno::IO, Errno::ACCESS, Errno::NOSPC, Errno::EXIST] {
            assert_eq!(after(&[other]), (Err(other), 1, Duration::ZERO));
            assert_eq!(after(&[Errno::MFILE, other]), (Err(other), 2, PAUSE));
        }
    }
}
