//! Commands as processes: run to their end, or talked with.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio};

use crate::common::Node;

/// A cube of one node.
pub(crate) fn lone_node() -> Node {
    Node::start(0, 0, "0 127.0.0.1:0\n")
}

/// What came of a command.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command line without quotes.
pub(crate) fn run(server: &str, line: &str, input: &[u8]) -> Outcome {
    let output = run_words(server, &line.split_whitespace().collect::<Vec<_>>(), input);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs a command; what it says is bytes.
pub(crate) fn run_words(server: &str, words: &[&str], input: &[u8]) -> Output {
    let mut process = command(server, words).spawn().unwrap();
    // Beside reading what it says, so that neither waits for the other; and one that does not read may have ended.
    let (mut stdin, input) = (process.stdin.take().unwrap(), input.to_vec());
    let writer = thread(move || drop(stdin.write_all(&input)));
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn command(server: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dht-cli"));
    command.args(words).env("DHT_SERVER", server).env_remove("DHT_TIMEOUT");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A command at work, to be talked with.
pub(crate) struct Running {
    pub(crate) process: Child,
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: BufReader<ChildStdout>,
    pub(crate) stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(server: &str, line: &str) -> Self {
        let mut process = command(server, &line.split_whitespace().collect::<Vec<_>>()).spawn().unwrap();
        let stdin = process.stdin.take().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let stderr = BufReader::new(process.stderr.take().unwrap());
        Self { process, stdin, stdout, stderr }
    }

    /// Writes to its standard input.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stdin.write_all(bytes).unwrap();
    }

    /// The next line of standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Reads standard error up to a line that contains this, and gives that.
    pub(crate) fn told(&mut self, part: &str) -> String {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "{part:?} is said on standard error");
        }
        line
    }

    pub(crate) fn interrupt(&self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    /// Waits for the end: exit code and what was not read.
    pub(crate) fn end(mut self) -> Outcome {
        drop(self.stdin);
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        Outcome { code: self.process.wait().unwrap().code().unwrap(), stdout, stderr }
    }
}

/// One case: the line, its input, the exit code, what stdout is and what stderr contains. In what stdout is, a `*`
/// stands for anything.
pub(crate) type Case<'c> = (&'c str, &'c str, i32, &'c str, &'c str);

pub(crate) fn check(server: &str, cases: &[Case<'_>]) {
    for (line, input, code, stdout, stderr) in cases {
        let outcome = run(server, line, input.as_bytes());
        let seen = format!("dht-cli {line}\n{}{}-> {}", outcome.stdout, outcome.stderr, outcome.code);
        assert_eq!(outcome.code, *code, "{seen}");
        assert!(matches(&outcome.stdout, stdout), "{seen}\nstdout should be {stdout:?}");
        assert!(contains(&outcome.stderr, stderr), "{seen}\nstderr should contain {stderr:?}");
        assert!(!stderr.is_empty() || outcome.stderr.is_empty(), "{seen}\nstderr should be empty");
    }
}

fn contains(text: &str, pattern: &str) -> bool {
    text.contains(pattern) || pattern.contains('*') && matches(text, &format!("*{pattern}*"))
}

/// Is it the pattern, with something for each `*`?
pub(crate) fn matches(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((before, rest)) => {
            let Some(text) = text.strip_prefix(before) else { return false };
            (0..=text.len()).any(|at| text.is_char_boundary(at) && matches(&text[at..], rest))
        }
    }
}

/// Stands before a node, and can be cut.
pub(crate) struct Relay {
    pub(crate) address: String,
    connection: std::thread::JoinHandle<TcpStream>,
}

impl Relay {
    /// For one connection.
    pub(crate) fn start(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let node = node.to_owned();
        let relay = move || {
            let client = listener.accept().unwrap().0;
            let node = TcpStream::connect(node).unwrap();
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), node.try_clone().unwrap()), (node, client.try_clone().unwrap())]
            {
                thread(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
            client
        };
        Self { address, connection: thread(relay) }
    }

    /// Hands on HELLO and its answer, then requests, and cuts the connection when the next answer comes.
    pub(crate) fn losing_an_answer(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let node = node.to_owned();
        let relay = move || {
            let mut client = listener.accept().unwrap().0;
            let mut node = TcpStream::connect(node).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), node.try_clone().unwrap());
            thread(move || io::copy(&mut from, &mut to));
            client.write_all(&frame_from(&mut node)).unwrap();
            frame_from(&mut node);
            client.shutdown(Shutdown::Both).unwrap();
            client
        };
        Self { address, connection: thread(relay) }
    }

    /// Waits until it has done what it was to do.
    pub(crate) fn end(self) {
        self.connection.join().unwrap();
    }

    pub(crate) fn cut(self) {
        self.connection.join().unwrap().shutdown(Shutdown::Both).unwrap();
    }
}

/// A frame: a length and what follows it.
fn frame_from(node: &mut TcpStream) -> Vec<u8> {
    let mut frame = vec![0; 4];
    node.read_exact(&mut frame).unwrap();
    let len = u32::from_be_bytes(frame[..4].try_into().unwrap());
    frame.resize(4 + len as usize, 0);
    node.read_exact(&mut frame[4..]).unwrap();
    frame
}

#[expect(clippy::disallowed_methods, reason = "what stands between two programs works beside the test")]
pub(crate) fn thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(work)
}
