//! Runs commands as processes, either to their end or interactively.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio};

use crate::common::Node;

/// Starts a cube of one node.
pub(crate) fn lone_node() -> Node {
    Node::start(0, 0, "0 127.0.0.1:0\n")
}

/// The exit code and output of a command.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command line, which is split at spaces.
pub(crate) fn run(server: &str, line: &str, input: &[u8]) -> Outcome {
    let output = run_words(server, &line.split_whitespace().collect::<Vec<_>>(), input);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs a command given as words, and returns its output as bytes.
pub(crate) fn run_words(server: &str, words: &[&str], input: &[u8]) -> Output {
    let mut process = command(server, words).spawn().unwrap();
    // Write in another thread, so that neither side blocks the other. Errors are ignored, because the process may exit
    // without reading its input.
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

/// A running command for interactive use.
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

    /// Returns the next line of standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Reads standard error up to a line that contains `part`, and returns that line.
    pub(crate) fn wait_for_stderr(&mut self, part: &str) -> String {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "standard error ended without {part:?}");
        }
        line
    }

    pub(crate) fn interrupt(&self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    /// Waits for the process to exit. Returns the exit code and the remaining output.
    pub(crate) fn end(mut self) -> Outcome {
        drop(self.stdin);
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        Outcome { code: self.process.wait().unwrap().code().unwrap(), stdout, stderr }
    }
}

/// One case: the command line, its input, the exit code, the expected stdout, and a part of the expected stderr. In
/// both texts, `*` matches anything.
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

/// Returns true if the text matches the pattern, in which `*` matches anything.
pub(crate) fn matches(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((before, rest)) => {
            let Some(text) = text.strip_prefix(before) else { return false };
            (0..=text.len()).any(|at| text.is_char_boundary(at) && matches(&text[at..], rest))
        }
    }
}

/// A proxy in front of a node, whose connection can be cut.
pub(crate) struct Relay {
    pub(crate) address: String,
    connection: std::thread::JoinHandle<TcpStream>,
}

impl Relay {
    /// Starts a relay for one connection.
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

    /// Starts a relay that forwards HELLO, its answer and requests, and cuts the connection when the next answer comes.
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

    /// Waits until it has cut the connection.
    pub(crate) fn end(self) {
        self.connection.join().unwrap();
    }

    pub(crate) fn cut(self) {
        self.connection.join().unwrap().shutdown(Shutdown::Both).unwrap();
    }
}

/// Reads a frame: a length, and as many bytes.
fn frame_from(node: &mut TcpStream) -> Vec<u8> {
    let mut frame = vec![0; 4];
    node.read_exact(&mut frame).unwrap();
    let len = u32::from_be_bytes(frame[..4].try_into().unwrap());
    frame.resize(4 + len as usize, 0);
    node.read_exact(&mut frame[4..]).unwrap();
    frame
}

#[expect(clippy::disallowed_methods, reason = "a relay works concurrently with the test")]
pub(crate) fn thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(work)
}
