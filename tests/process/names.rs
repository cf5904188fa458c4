//! Nodes that find each other by host name, as in containers; and the addresses that are reported to clients.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dht_client::Client;
use tempfile::TempDir;

use crate::daemon::{Daemon, PATIENCE, wait_for};
use crate::durable::skip;

/// Two nodes with one link: node 1 dials node 0.
struct Pair {
    folder: TempDir,
    /// The command that starts node 1, if it is not started directly.
    starter: Vec<String>,
}

impl Pair {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), starter: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the peers file; the arguments are the lines of nodes 0 and 1 without the ids.
    fn write_peers(&self, zero: &str, one: &str) {
        // Replace it atomically, because a node may read it at any time.
        fs::write(self.path("next"), format!("0 {zero}\n1 {one}\n")).unwrap();
        fs::rename(self.path("next"), self.path("peers")).unwrap();
    }

    /// Starts a node, and returns it with the address that it listens on.
    fn start(&self, id: &str, listen: &str, more: &[&str]) -> (Daemon, SocketAddr) {
        let peers = self.path("peers");
        let base = ["--id", id, "--dimension", "1", "--in-memory", "--peers", peers.to_str().unwrap()];
        let arguments = [&base, ["--listen", listen].as_slice(), more].concat();
        let starter: Vec<&str> = self.starter.iter().map(String::as_str).filter(|_| id == "1").collect();
        let mut daemon = Daemon::spawn_under(&starter, &arguments, &self.path(&format!("log-{id}")));
        let address = daemon.listening().unwrap();
        (daemon, address)
    }
}

fn wait_linked(client: &mut Client) {
    wait_for("the link is up", || client.cluster().unwrap().links[0].up.then_some(()));
}

/// Returns the addresses in the response to NODES, and those in the responses of all nodes to CLUSTER.
fn reported(client: &mut Client) -> [Vec<String>; 2] {
    let nodes = client.nodes().unwrap().into_iter().map(|node| node.address).collect();
    [nodes, client.cluster().unwrap().nodes.into_iter().map(|node| node.address).collect()]
}

fn end(mut daemon: Daemon) {
    daemon.signal("TERM");
    let status = daemon.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(0), "{status}: {}", daemon.stderr());
}

#[test]
fn nodes_link_by_name_survive_sighup_and_report_advertised_addresses_to_clients() {
    let pair = Pair::new();
    pair.write_peers("localhost:0 outside.example:7000", "localhost:0");
    let (zero, at_zero) = pair.start("0", "127.0.0.1", &[]);
    pair.write_peers(&format!("localhost:{} outside.example:7000", at_zero.port()), "localhost:0");
    let (one, at_one) = pair.start("1", "127.0.0.1", &["--advertise", "other.example:7001"]);
    for daemon in [&zero, &one] {
        daemon.signal("HUP");
    }
    let mut client = Client::connect(&at_one.to_string()).unwrap();
    wait_linked(&mut client);
    let all = ["outside.example:7000", "other.example:7001"].map(str::to_owned).to_vec();
    assert_eq!(reported(&mut client), [all.clone(), all.clone()]);
    let mut client = Client::connect(&at_zero.to_string()).unwrap();
    // Node 0 knows addresses from the peers file only, which has none of node 1 that clients could use.
    assert_eq!(reported(&mut client), [vec![all[0].clone(), String::new()], all]);
    end(zero);
    end(one);
}

#[test]
fn clients_get_the_addresses_of_the_peers_file_if_nothing_is_advertised() {
    let pair = Pair::new();
    pair.write_peers("127.0.0.1:0", "localhost:0");
    let (zero, at_zero) = pair.start("0", "127.0.0.1", &[]);
    pair.write_peers(&format!("127.0.0.1:{}", at_zero.port()), "localhost:0");
    let (one, at_one) = pair.start("1", "0.0.0.0", &["--insecure-network"]);
    let mut client = Client::connect(&format!("127.0.0.1:{}", at_one.port())).unwrap();
    wait_linked(&mut client);
    let all = vec![at_zero.to_string(), format!("localhost:{}", at_one.port())];
    assert_eq!(reported(&mut client), [all.clone(), all], "the name, not 0.0.0.0");
    end(zero);
    end(one);
}

#[test]
fn a_cube_works_on_ipv6() {
    const TEST: &str = "a_cube_works_on_ipv6";
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip(TEST, "this machine has no ::1");
    }
    let pair = Pair::new();
    pair.write_peers("[::1]:0", "[::1]:0");
    let (zero, at_zero) = pair.start("0", "[::1]", &[]);
    pair.write_peers(&at_zero.to_string(), "[::1]:0");
    let (one, at_one) = pair.start("1", "::1", &[]);
    let mut client = Client::connect(&at_one.to_string()).unwrap();
    wait_linked(&mut client);
    let all = vec![at_zero.to_string(), at_one.to_string()];
    assert!(all[0].starts_with("[::1]:"), "{all:?}");
    assert_eq!(reported(&mut client), [all.clone(), all]);
    end(zero);
    end(one);
}

#[test]
fn a_name_that_does_not_exist_is_logged_once_and_found_when_the_peers_file_is_corrected() {
    let mut pair = Pair::new();
    pair.starter = vec!["env".to_owned(), "RUST_LOG=debug".to_owned()];
    pair.write_peers("localhost:0", "localhost:0");
    let (zero, at_zero) = pair.start("0", "127.0.0.1", &[]);
    // RFC 6761 reserves `.invalid`: names in it never exist.
    pair.write_peers("node-0.invalid:5000", "localhost:0");
    let (one, at_one) = pair.start("1", "127.0.0.1", &[]);
    let warning = "cannot dial node 0: cannot look up node-0.invalid: ";
    let lookups = || one.stderr().matches("looking up node-0.invalid").count();
    wait_for("the name is looked up repeatedly", || (lookups() >= 3).then_some(()));
    assert!(one.stderr().contains(warning), "{}", one.stderr());
    let mut client = Client::connect(&at_one.to_string()).unwrap();
    pair.write_peers(&format!("localhost:{}", at_zero.port()), "localhost:0");
    wait_linked(&mut client);
    assert_eq!(one.stderr().matches("cannot dial node").count(), 1, "{}", one.stderr());
    end(zero);
    end(one);
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    const TEST: &str = "all_addresses_of_a_name_are_tried";
    let mut pair = Pair::new();
    let hosts = pair.path("hosts");
    fs::write(&hosts, "127.0.0.1 node-0.test\n127.0.0.2 node-0.test\n127.0.0.1 localhost\n").unwrap();
    let Some(starter) = with_hosts(&hosts, TEST) else { return };
    pair.starter = starter;
    // The order in which the resolver returns the addresses is unknown, so try with a listener on each of them.
    for listen in ["127.0.0.1", "127.0.0.2"] {
        pair.write_peers("127.0.0.1:0", "127.0.0.1:0");
        let (zero, at_zero) = pair.start("0", listen, &[]);
        pair.write_peers(&format!("node-0.test:{}", at_zero.port()), "127.0.0.1:0");
        let (one, at_one) = pair.start("1", "127.0.0.1", &[]);
        wait_linked(&mut Client::connect(&at_one.to_string()).unwrap());
        end(zero);
        end(one);
    }
}

#[test]
fn a_resolver_that_hangs_does_not_stop_the_node() {
    const TEST: &str = "a_resolver_that_hangs_does_not_stop_the_node";
    let mut pair = Pair::new();
    // Each lookup opens this FIFO, and blocks until somebody writes to it.
    let hosts = pair.path("hosts");
    assert!(is_possible(&["mkfifo", hosts.to_str().unwrap()]));
    let Some(starter) = with_hosts(&hosts, TEST) else { return };
    pair.starter = starter;
    pair.write_peers("localhost:0", "localhost:0");
    let (zero, at_zero) = pair.start("0", "127.0.0.1", &[]);
    pair.write_peers(&format!("node-0.test:{}", at_zero.port()), "localhost:0");
    let (one, at_one) = pair.start("1", "127.0.0.1", &[]);
    let lookups = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", one.pid())).unwrap();
        let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
        names.filter(|name| name.trim() == "resolve").count()
    };
    let is_said = || one.stderr().contains("cannot dial node 0: the lookup of node-0.test is not answered");
    wait_for("the lookup times out", || is_said().then_some(()));
    let mut client = Client::connect(&at_one.to_string()).unwrap();
    assert!(!client.cluster().unwrap().links[0].up, "the address of node 0 is unknown");
    assert_eq!(lookups(), 1, "one lookup at a time");
    // An IP address is dialled at once, although the lookup of the name still hangs.
    pair.write_peers(&at_zero.to_string(), "localhost:0");
    wait_linked(&mut client);
    assert_eq!((lookups(), one.stderr().matches("cannot dial").count()), (1, 1), "{}", one.stderr());
    // Let the lookup end when the link is already up. Its result is that the name does not exist, because the resolver
    // cannot seek in a FIFO and closes it as soon as it is open.
    drop(fs::File::options().write(true).open(&hosts).unwrap());
    wait_for("the lookup ends", || (lookups() == 0).then_some(()));
    client.cluster().unwrap();
    assert_eq!(one.stderr().matches("cannot dial").count(), 1, "{}", one.stderr());
    let log = zero.stderr();
    assert_eq!((log.matches("is up").count(), log.matches("is down").count()), (1, 0), "{log}");
    end(zero);
    end(one);
}

/// Returns the command that starts a program with this file as /etc/hosts, or `None` without the permission for that.
fn with_hosts(hosts: &Path, test: &str) -> Option<Vec<String>> {
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let starter = ["unshare", "-m", "sh", "-c", script, hosts.to_str().unwrap()];
    if is_possible(&[&starter, ["true"].as_slice()].concat()) {
        return Some(starter.iter().map(|word| (*word).to_owned()).collect());
    }
    skip(test, "unshare and mount are not permitted here");
    None
}

fn is_possible(words: &[&str]) -> bool {
    let tried = Command::new(words[0]).args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}
