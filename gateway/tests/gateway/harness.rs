//! Processes of dht-node and dht-gateway, and requests over plain sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::programs::{free_ports, program};

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process that is killed when this is dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    _output: BufReader<ChildStdout>,
    /// The last word of the first line that it printed: the address that it listens on.
    pub(crate) address: String,
    _folder: Option<tempfile::TempDir>,
}

impl Process {
    fn start(command: &mut Command, folder: Option<tempfile::TempDir>) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the process ended without printing its address");
        let address = line.trim().rsplit(' ').next().unwrap().trim_start_matches("http://").to_owned();
        Self { child, _output: output, address, _folder: folder }
    }

    /// Starts a single node, which chooses its port.
    pub(crate) fn node() -> Self {
        Self::node_at("127.0.0.1:0")
    }

    /// Starts a single node at an address.
    pub(crate) fn node_at(address: &str) -> Self {
        Self::node_of("0", "0", &format!("0 {address}\n"))
    }

    /// Starts two linked nodes.
    pub(crate) fn cube() -> [Self; 2] {
        let port = free_ports(2);
        let peers = format!("0 127.0.0.1:{port}\n1 127.0.0.1:{}\n", port + 1);
        ["0", "1"].map(|id| Self::node_of(id, "1", &peers))
    }

    fn node_of(id: &str, dimension: &str, peers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("peers");
        std::fs::write(&file, peers).unwrap();
        let mut command = Command::new(program("dht-node", env!("CARGO_BIN_EXE_dht-gateway")));
        command.args(["--in-memory", "--id", id, "--dimension", dimension, "--peers"]).arg(&file);
        Self::start(&mut command, Some(folder))
    }

    /// Starts a gateway of the node at that address.
    pub(crate) fn gateway(node: &str, options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dht-gateway"));
        command.args(["--listen", "127.0.0.1:0", "--servers", node]).args(options);
        Self::start(&mut command, None)
    }

    /// Starts a gateway that may have this many open files.
    pub(crate) fn gateway_with_files(node: &str, files: u32) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {files}; exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_dht-gateway"));
        command.args(["--listen", "127.0.0.1:0", "--servers", node]);
        Self::start(&mut command, None)
    }

    /// Returns the memory that the process uses, or 0 where the system does not say it.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.map_or(0, |kilobytes| kilobytes << 10)
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Returns a header; its name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        found.last()
    }

    /// Returns the body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns the status, and the code of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
        (self.status, problem["code"].as_str().unwrap().to_owned())
    }
}

/// A connection to a gateway.
pub(crate) struct Connection {
    pub(crate) stream: BufReader<TcpStream>,
    address: String,
}

impl Connection {
    pub(crate) fn open(gateway: &Process) -> Self {
        let stream = TcpStream::connect(&gateway.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream), address: gateway.address.clone() }
    }

    /// Sends a request without waiting for its response. `Host` and `Content-Length` are added unless they are there.
    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if !has("host") {
            head += &format!("Host: {}\r\n", self.address);
        }
        if !has("content-length") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let bytes = [head.as_bytes(), b"\r\n", body].concat();
        self.stream.get_mut().write_all(&bytes).unwrap();
    }

    /// Reads the head of a response.
    pub(crate) fn head(&mut self) -> Response {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.stream.read_line(&mut head).unwrap(), 0, "the connection ended after {head:?}");
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Response { status, head, body: Vec::new() }
    }

    /// Reads a response with a length.
    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.head();
        let len = response.header("content-length").map_or(0, |len| len.parse().unwrap());
        response.body = vec![0; len];
        self.stream.read_exact(&mut response.body).unwrap();
        response
    }

    /// Returns true if something has arrived that was not read.
    pub(crate) fn has_input(&self) -> bool {
        let socket = self.stream.get_ref();
        socket.set_nonblocking(true).unwrap();
        let has_come = socket.peek(&mut [0]).is_ok();
        socket.set_nonblocking(false).unwrap();
        has_come
    }

    /// Reads a line of a stream of events, without the line end. Lines with the lengths of chunks are left out.
    pub(crate) fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stream.read_line(&mut line).unwrap(), 0, "the stream ended");
            let line = line.trim_end();
            let is_length = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_length && !line.is_empty() {
                return line.to_owned();
            }
        }
    }

    /// Reads the next event of a stream: its name, id and data.
    pub(crate) fn event(&mut self) -> (String, String, Value) {
        let (mut name, mut id) = (String::new(), String::new());
        loop {
            let line = self.line();
            let Some((field, value)) = line.split_once(": ") else { continue };
            match field {
                "event" => value.clone_into(&mut name),
                "id" => value.clone_into(&mut id),
                "data" => {
                    let data = serde_json::from_str(value).unwrap();
                    // The order of the fields is data, event, id.
                    for _ in 0..2 {
                        let buffered = self.stream.buffer();
                        if buffered.starts_with(b"event: ") || buffered.starts_with(b"id: ") {
                            let line = self.line();
                            match line.split_once(": ") {
                                Some(("event", value)) => value.clone_into(&mut name),
                                Some((_, value)) => value.clone_into(&mut id),
                                None => {}
                            }
                        }
                    }
                    return (name, id, data);
                }
                _ => {}
            }
        }
    }
}

/// Messages of a WebSocket.
impl Connection {
    /// Opens a WebSocket.
    pub(crate) fn upgrade(gateway: &Process, path: &str) -> Self {
        let mut socket = Self::open(gateway);
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        socket.send("GET", path, &headers, b"");
        let head = socket.head();
        assert_eq!((head.status, head.header("sec-websocket-accept")), (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
        socket
    }

    /// Reads the end of a WebSocket whose gateway is ending.
    pub(crate) fn expect_close(&mut self) {
        let mut close = [0; 4];
        self.stream.read_exact(&mut close).unwrap();
        assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 1001));
    }

    /// Reads a message of text with fewer than 65536 bytes.
    pub(crate) fn message(&mut self) -> Value {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 0x81, "a whole message of text");
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len).unwrap();
                u16::from_be_bytes(len).into()
            }
            len => usize::from(len),
        };
        let mut text = vec![0; len];
        self.stream.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Sends a message of text with fewer than 126 bytes, under a mask of zeros.
    pub(crate) fn grant(&mut self, text: &str) {
        let head = [0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        self.stream.get_mut().write_all(&[&head[..], text.as_bytes()].concat()).unwrap();
    }
}

/// Makes one request on a connection of its own.
pub(crate) fn ask(
    gateway: &Process,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Response {
    let mut connection = Connection::open(gateway);
    connection.send(method, path, headers, body.as_ref());
    connection.response()
}
