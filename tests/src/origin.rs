//! Which of our processes a connection on loopback comes from.
//!
//! All connections on loopback have the same source address, and an agent goes wherever coordinators are advertised; so
//! a link that serves one agent and not another must find out who has called. The system knows: the socket's inode
//! stands in `/proc/net/tcp`, and the process that holds it has a descriptor that leads to it.

use std::{fs, net::SocketAddrV4, path::PathBuf, thread, time::Duration};

/// The tables may change while they are read, and a connection be missed.
const LOOKS_MAX: usize = 10;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// The process that holds the calling end of a connection; the likely ones are looked at first. None when the connection
/// is gone, or its process is.
pub fn caller(from: SocketAddrV4, to: SocketAddrV4, likely: &[u32]) -> Option<u32> {
    (0..LOOKS_MAX).find_map(|look| {
        if look > 0 {
            thread::sleep(PAUSE);
        }
        let wanted = PathBuf::from(format!("socket:[{}]", inode(from, to)?));
        likely.iter().copied().chain(all_processes()).find(|pid| holds(*pid, &wanted))
    })
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The inode of the socket with these addresses.
fn inode(local: SocketAddrV4, remote: SocketAddrV4) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (as_in_table(local), as_in_table(remote));
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let same = fields.next() == Some(&local) && fields.next() == Some(&remote);
        if same { fields.nth(6)?.parse().ok() } else { None }
    })
}

/// `0100007F:1CEA`: the bytes of the address as one number of the machine, then the port.
fn as_in_table(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

fn holds(pid: u32, socket: &PathBuf) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == *socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    #[test]
    fn a_connection_is_known_by_the_process_that_made_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(to) = listener.local_addr().unwrap() else { panic!("an IPv4 address") };
        let held = TcpStream::connect(to).unwrap();
        let SocketAddr::V4(from) = held.local_addr().unwrap() else { panic!("an IPv4 address") };
        let this = std::process::id();
        assert_eq!(caller(from, to, &[1, this]), Some(this));
        assert_eq!(caller(from, to, &[]), Some(this), "found among all");
        drop(held);
        assert_eq!(caller(from, to, &[this]), None);
    }
}
