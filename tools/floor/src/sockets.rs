//! The kernel's byte counters of other processes' sockets, read with `ss`.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::error::Error;

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// The process that owns the sockets.
    pub(crate) pid: u32,
    /// The address that it listens on.
    pub(crate) listens: SocketAddr,
}

/// Returns the bytes that `source` has sent over its link to `target`, or `None` if `ss` is missing or does not report
/// them.
pub(crate) fn link_bytes(source: End, target: End) -> Result<Option<u64>, Error> {
    let mut command = Command::new("ss");
    command.args(["-t", "-i", "-n", "-p", "-H", "state", "established"]).stdin(Stdio::null()).stderr(Stdio::null());
    let Ok(output) = command.output() else { return Ok(None) };
    let text = String::from_utf8(output.stdout).map_err(|_| Error::Unreadable { what: "the output of ss" })?;
    Ok(find(&text, source, target))
}

/// Finds the counter in the output of `ss`, which has two lines per socket: addresses and process, then counters. It is
/// read from the socket of the end that dialled, because only that one shows the other's listening port as its peer.
fn find(text: &str, source: End, target: End) -> Option<u64> {
    let mut lines = text.lines();
    while let (Some(addresses), Some(figures)) = (lines.next(), lines.next()) {
        let peer = addresses.split_ascii_whitespace().nth(3).and_then(|peer| peer.parse::<SocketAddr>().ok());
        let is_of = |end: End| addresses.contains(&format!("pid={},", end.pid));
        let figure = if is_of(source) && peer == Some(target.listens) {
            "bytes_sent:"
        } else if is_of(target) && peer == Some(source.listens) {
            "bytes_received:"
        } else {
            continue;
        };
        return figures.split_ascii_whitespace().find_map(|word| word.strip_prefix(figure)?.parse().ok());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_from_the_socket_of_the_end_that_dialled() {
        let text = "\
0      0      127.0.0.1:6302   127.0.0.1:50000 users:((\"dht-node\",pid=12,fd=9))
\t cubic wscale:7,7 rto:201 bytes_sent:100 bytes_acked:100 bytes_received:200 segs_out:3
0      0      127.0.0.1:50000  127.0.0.1:6302  users:((\"dht-node\",pid=11,fd=8))
\t cubic wscale:7,7 rto:201 bytes_sent:200 bytes_acked:200 bytes_received:100 segs_out:3
0      0      127.0.0.1:50001  127.0.0.1:6302  users:((\"floor\",pid=1,fd=8))
\t cubic wscale:7,7 rto:201 bytes_sent:5 bytes_acked:5 bytes_received:6 segs_out:3
";
        let end = |pid, listens: &str| End { pid, listens: listens.parse().unwrap() };
        let (dialler, listener) = (end(11, "127.0.0.1:6301"), end(12, "127.0.0.1:6302"));
        assert_eq!(find(text, dialler, listener), Some(200));
        assert_eq!(find(text, listener, dialler), Some(100));
        assert_eq!(find(text, end(13, "127.0.0.1:6303"), listener), None);
    }
}
