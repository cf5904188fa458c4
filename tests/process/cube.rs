//! A cube of real nodes on free ports.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dht_client::{Address, Client, Connection, Deadline, Introduction};
use dht_node::cube;
use dht_node::types::{Dimension, NodeId, TopicName};
use tempfile::TempDir;

use crate::daemon::{Daemon, PATIENCE, wait_for};

/// The processes of a cube, by id; `None` for a node that was killed.
pub(crate) struct Cube {
    pub(crate) dimension: Dimension,
    nodes: Vec<Option<Daemon>>,
    addresses: Vec<SocketAddr>,
    options: Vec<String>,
    /// The program that starts the nodes, if it is not the system itself.
    starter: Vec<String>,
    folder: TempDir,
}

impl Cube {
    /// Starts all nodes and waits until all links are up.
    pub(crate) fn start(bits: u8) -> Self {
        Self::start_with(bits, &[])
    }

    /// Does the same with options for each node.
    pub(crate) fn start_with(bits: u8, options: &[&str]) -> Self {
        // A node dials the nodes with smaller ids at once if it knows their addresses, so this order is the fastest.
        let order: Vec<u16> = (0..1 << bits).collect();
        let cube = Self::start_in(bits, &order, options);
        cube.wait_linked();
        cube
    }

    /// Starts nodes one after the other. None knows the addresses of later ones until the peers file has them.
    pub(crate) fn start_in(bits: u8, order: &[u16], options: &[&str]) -> Self {
        let dimension = Dimension::new(bits).unwrap();
        let nodes = usize::from(dimension.nodes());
        let mut cube = Self {
            dimension,
            nodes: (0..nodes).map(|_| None).collect(),
            addresses: vec!["127.0.0.1:0".parse().unwrap(); nodes],
            options: owned(options),
            starter: Vec::new(),
            folder: TempDir::new().unwrap(),
        };
        order.iter().for_each(|&node| cube.start_node(node));
        cube
    }

    /// Kills a node, as in a crash.
    pub(crate) fn kill(&mut self, node: u16) {
        self.take(node).kill();
    }

    /// Removes a node that is going to end.
    pub(crate) fn take(&mut self, node: u16) -> Daemon {
        self.nodes[usize::from(node)].take().unwrap()
    }

    /// Restarts a node that was killed, at its old address.
    pub(crate) fn restart(&mut self, node: u16) {
        self.start_node(node);
    }

    /// Sets the options and the starting program of nodes for later starts.
    pub(crate) fn change(&mut self, options: &[&str], starter: &[&str]) {
        (self.options, self.starter) = (owned(options), owned(starter));
    }

    /// Starts a node that was killed, and returns it: it may never report that it is listening.
    pub(crate) fn try_start(&self, node: u16) -> Daemon {
        self.write_peers();
        let words = self.arguments(node);
        let [starter, arguments] =
            [&self.starter, &words].map(|words| words.iter().map(String::as_str).collect::<Vec<_>>());
        Daemon::spawn_under(&starter, &arguments, &self.log(node))
    }

    /// Returns where a node keeps its journal, unless its options override that.
    pub(crate) fn data(&self, node: u16) -> PathBuf {
        self.folder.path().join(self.id(node).binary(self.dimension))
    }

    /// Returns the folder of the files that all nodes share.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until exactly the links between live nodes are up.
    pub(crate) fn wait_linked(&self) {
        let lives = |node: NodeId| self.nodes[usize::from(node.index())].is_some();
        let mut client = self.client(self.living()[0]);
        wait_for("all links between living nodes are up, and no others", || {
            let cluster = client.cluster().ok()?;
            let links = cluster.links.iter().all(|edge| edge.up == (lives(edge.a) && lives(edge.b)));
            let nodes = cluster.nodes.iter().all(|member| member.view.is_ok() == lives(member.node));
            (links && nodes).then_some(())
        });
    }

    /// Returns the nodes that were not killed.
    pub(crate) fn living(&self) -> Vec<u16> {
        (0..).zip(&self.nodes).filter(|(_, daemon)| daemon.is_some()).map(|(node, _)| node).collect()
    }

    /// Returns the process of a node.
    pub(crate) fn daemon(&mut self, node: u16) -> &mut Daemon {
        self.nodes[usize::from(node)].as_mut().unwrap()
    }

    /// Returns the address of a node.
    pub(crate) fn address(&self, node: u16) -> SocketAddr {
        self.addresses[usize::from(node)]
    }

    /// Returns a client that knows only this node.
    pub(crate) fn client(&self, node: u16) -> Client {
        self.client_of(&[node])
    }

    /// Returns a client that knows only these nodes.
    pub(crate) fn client_of(&self, nodes: &[u16]) -> Client {
        let addresses = nodes.iter().map(|&node| self.server(node));
        Client::builder().servers(addresses).only_listed().timeout(PATIENCE).connect().unwrap()
    }

    /// Returns a client that is given this node, and learns the addresses of the others.
    pub(crate) fn client_from(&self, node: u16) -> Client {
        Client::builder().server(self.server(node)).timeout(PATIENCE).connect().unwrap()
    }

    /// Returns a connection to a node, which retries nothing.
    pub(crate) fn connection(&self, node: u16) -> Connection {
        Connection::open(&self.server(node), &Introduction::default(), Deadline::after(PATIENCE)).unwrap()
    }

    /// Returns the id of a node.
    pub(crate) fn id(&self, node: u16) -> NodeId {
        NodeId::new(node, self.dimension).unwrap()
    }

    /// Returns a name with the given prefix whose home is that node.
    pub(crate) fn topic_at(&self, home: u16, stem: &str) -> String {
        let mut names = (0..).map(|number| format!("{stem}-{number}"));
        let is_there = |name: &String| cube::home(TopicName::new(name).unwrap(), self.dimension).index() == home;
        names.find(is_there).unwrap()
    }

    /// Returns a node's counter or gauge, as reported by the node itself.
    pub(crate) fn counter(&self, node: u16, name: &str) -> u64 {
        let answers = self.client(node).stats(&[self.id(node)]).unwrap();
        let text = answers[0].answer.as_ref().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Returns true if any link has gone down since it came up. Without a crash this happens only on a machine that
    /// stalls for a second.
    pub(crate) fn has_lost_links(&self) -> bool {
        self.living().into_iter().any(|node| self.counter(node, "links_down") > 0)
    }

    fn start_node(&mut self, node: u16) {
        let index = usize::from(node);
        let mut daemon = self.try_start(node);
        self.addresses[index] = daemon.listening().unwrap_or_else(|| panic!("node {node} did not start"));
        self.nodes[index] = Some(daemon);
        self.write_peers();
    }

    fn arguments(&self, node: u16) -> Vec<String> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let (id, dimension) = (self.id(node).binary(self.dimension), self.dimension.bits().to_string());
        let mut arguments = owned(&["--id", &id, "--dimension", &dimension]);
        arguments.extend(["--peers".to_owned(), text(self.folder.path().join("peers"))]);
        if !self.options.iter().any(|option| option == "--in-memory" || option == "--data") {
            arguments.extend(["--data".to_owned(), text(self.data(node))]);
        }
        // Tests that are not about replication do not depend on the default number of copies.
        if !self.options.iter().any(|option| option == "--replicas") {
            arguments.extend(owned(&["--replicas", "1"]));
        }
        arguments.extend(self.options.iter().cloned());
        arguments
    }

    fn log(&self, node: u16) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.id(node).binary(self.dimension)))
    }

    /// Replaces the peers file atomically, because the nodes may read it at any time.
    fn write_peers(&self) {
        let lines = self.dimension.all().zip(&self.addresses);
        let text: String =
            lines.map(|(node, address)| format!("{} {address}\n", node.binary(self.dimension))).collect();
        let new = self.folder.path().join("peers.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.path().join("peers")).unwrap();
    }

    fn server(&self, node: u16) -> Address {
        self.address(node).to_string().parse().unwrap()
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
