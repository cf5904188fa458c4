//! The CPU time of the nodes' processes, if these run on this machine.
//!
//! A process is found by its listening port: `/proc/net/tcp` has the socket, and `/proc/PID/fd` shows which process
//! holds it. This works on Linux, in the same network namespace, for processes of the same user.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// The processes of nodes.
#[derive(Debug)]
pub(super) struct Servers {
    pids: Vec<u32>,
}

impl Servers {
    /// Returns the processes that listen on these ports; `None` unless one is visible for each port.
    pub(super) fn find(ports: &[u16]) -> Option<Self> {
        let mut tables = fs::read_to_string("/proc/net/tcp").ok()?;
        tables += &fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
        let sockets = ports.iter().map(|port| listening(&tables, *port)).collect::<Option<BTreeSet<_>>>()?;
        let mut pids = BTreeSet::new();
        let mut found = BTreeSet::new();
        for process in fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
            for target in files.flatten().filter_map(|file| fs::read_link(file.path()).ok()) {
                let socket = target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']'));
                if let Some(inode) = socket.and_then(|inode| inode.parse().ok()).filter(|inode| sockets.contains(inode))
                {
                    found.insert(inode);
                    pids.insert(pid);
                }
            }
        }
        let pids: Vec<_> = pids.into_iter().collect();
        (found == sockets && !pids.is_empty()).then_some(Self { pids })
    }

    /// Returns the CPU time of all their threads so far; `None` if one has ended.
    pub(super) fn time(&self) -> Option<Duration> {
        self.pids.iter().map(|pid| time_of(*pid)).sum()
    }
}

/// Returns the inode of the socket that listens on this port, from the contents of `/proc/net/tcp`:
///
/// ```text
///   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
///    0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 27471 1 …
/// ```
fn listening(tables: &str, port: u16) -> Option<u64> {
    let inode = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().take(10).collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == "0A";
        is_it.then(|| fields.get(9)?.parse().ok())?
    };
    tables.lines().find_map(inode)
}

/// Returns the CPU time of a process to the nanosecond; `/proc/PID/stat` has a resolution of only 10 ms.
fn time_of(pid: u32) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        sum += Duration::from_nanos(schedstat.split_whitespace().next()?.parse().ok()?);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listening_port_names_its_socket() {
        let tables = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1388 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 11 1 0\n\
            \x20  1: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0\n\
            \x20  2: 00000000000000000000000000000000:1389 0:0 0A 0:0 0:0 0 0 0 33 1\n\
            \x20  3: cut off";
        for (port, inode) in [(5000, Some(22)), (5001, Some(33)), (5002, None)] {
            assert_eq!(listening(tables, port), inode, "{port}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let servers = Servers::find(&[port]).unwrap();
        assert_eq!(servers.pids, [std::process::id()]);
        assert!(servers.time().unwrap() > Duration::ZERO);
        drop(listener);
        assert!(Servers::find(&[port]).is_none());
    }
}
