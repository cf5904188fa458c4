//! The system calls of a node under load, as recorded by strace: no record is acknowledged before the completion of a
//! sync that began after the record's write had completed. A sync that fails ends the node. And a request is handled at
//! the time after the read that brought it.
//!
//! kill -9 cannot show the former, because the page cache outlives the process.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use dht_node::limits::FRAME_MAX;
use dht_node::wire::{Flags, Header, Opcode, Response, Status};

use super::acked::{self, EVERYTHING, Stopping, Truth};
use super::{IN_TIME, skip};
use crate::cube::Cube;
use crate::raw::{Raw, request_frame};
use crate::requests::{create, publish, published, record};

/// The start of each record's value; the request id follows in sixteen digits.
const MARK: &[u8] = b"marked:";

/// The maximum number of bytes that strace prints per string: more than any write of this load.
const SHOWN: &str = "1000000";

#[test]
fn records_are_synced_before_they_are_acknowledged() {
    const TEST: &str = "records_are_synced_before_they_are_acknowledged";
    const ROUNDS: u64 = 15;
    const EACH: u64 = 8;
    let Some(mut cube) = traceable(TEST) else { return };
    let trace = cube.folder().join("trace");
    let calls = "trace=pwrite64,pwritev,fdatasync,fsync,write,writev,sendto,sendmsg";
    cube.change(&[], &["strace", "-D", "-f", "-y", "-xx", "-s", SHOWN, "-e", calls, "-o", trace.to_str().unwrap()]);
    cube.restart(0);
    let mut clients: Vec<Raw> = (0..4).map(|_| Raw::greet(cube.address(0))).collect();
    clients[0].call(&create("topic"), &[]);
    let mut sent = 0;
    for _ in 0..ROUNDS {
        let mut ids = Vec::new();
        for client in &mut clients {
            let frames = (0..EACH).flat_map(|_| {
                sent += 1;
                // Request ids that no other connection uses, so that they identify requests in the trace.
                let id = 1000 + sent;
                ids.push(id);
                let value = [MARK, format!("{id:016}").as_bytes(), &[b'.'; 200]].concat();
                request_frame(id, &publish("topic", 1), &record(&value))
            });
            client.send(&frames.collect::<Vec<u8>>());
        }
        let each = usize::try_from(EACH).unwrap();
        for (client, ids) in clients.iter_mut().zip(ids.chunks(each)) {
            ids.iter().for_each(|&id| assert!(published(&client.answer(id)) < sent));
        }
    }
    cube.stop(0);
    let text = fs::read_to_string(trace).unwrap();
    let seen = Seen::read(&text);
    let acked = seen.check();
    assert_eq!(acked, sent, "acknowledgements in the trace");
    let syncs = seen.syncs.len() as u64;
    println!("{acked} acknowledgements, {} writes, {syncs} syncs", seen.written.len());
    assert!(syncs >= ROUNDS, "{syncs} syncs");
}

#[test]
fn a_sync_that_fails_ends_the_node_and_nothing_acknowledged_is_lost() {
    const TEST: &str = "a_sync_that_fails_ends_the_node_and_nothing_acknowledged_is_lost";
    let Some(mut cube) = traceable(TEST) else { return };
    let mut truths = Vec::new();
    for (number, when) in [8, 31, 57].into_iter().enumerate() {
        let topic = format!("topic-{number}");
        // strace counts the syncs of each thread separately. A start makes fewer than the smallest of these numbers.
        let inject = format!("inject=fdatasync:error=EIO:when={when}");
        cube.change(&[], &["strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject]);
        cube.restart(0);
        cube.client(0).create(&topic, EVERYTHING).unwrap();
        let (sender, reports) = mpsc::channel();
        let (stop, end) = (AtomicBool::new(false), AtomicU64::new(0));
        let truth = Truth::new(topic.clone(), reports);
        thread::scope(|scope| {
            let stopping = Stopping(&stop, &end);
            for writer in 0..2 {
                let (topic, mut client, stop, sender) = (&topic, cube.client(0), &stop, sender.clone());
                scope.spawn(move || acked::write(writer, topic, &mut client, stop, &sender));
            }
            let mut daemon = cube.take(0);
            let status = daemon.wait(IN_TIME).expect("the node exits");
            drop(stopping);
            assert_eq!(status.code(), Some(3), "{status}: {}", daemon.stderr());
            let said = daemon.stderr();
            let last = said.lines().last().unwrap();
            assert!(last.contains("cannot sync the journal: ") && last.contains("ending at once"), "{said}");
            cube.change(&[], &[]);
            cube.restart(0);
        });
        let mut client = cube.client(0);
        truths.push(truth);
        truths.iter_mut().for_each(|truth| assert!(truth.check(&mut client).acked > 0));
        cube.stop(0);
    }
}

#[test]
fn a_request_is_of_the_time_when_it_was_read_not_of_the_poll_before() {
    const TEST: &str = "a_request_is_of_the_time_when_it_was_read_not_of_the_poll_before";
    const DELAY_US: u64 = 300_000;
    let Some(mut cube) = traceable(TEST) else { return };
    // As if the process were stopped between the poll and each read.
    let inject = format!("inject=read,recvfrom:delay_enter={DELAY_US}");
    cube.change(&[], &["strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=read,recvfrom", "-e", &inject]);
    cube.restart(0);
    let mut client = Raw::greet(cube.address(0));
    client.call(&create("topic"), &[]);
    for _ in 0..3 {
        let sent_us = wall_us();
        let Response::Published(published) = client.call(&publish("topic", 1), &record(b"")) else { panic!() };
        let late_us = published.append_us.saturating_sub(sent_us);
        assert!(late_us >= DELAY_US / 2, "appended {late_us} us after it was sent");
    }
    cube.stop(0);
}

#[expect(clippy::disallowed_methods, reason = "compared with the clock of a process")]
fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// Returns a node that is not running, or `None` if strace cannot be used.
fn traceable(test: &str) -> Option<Cube> {
    let arguments = ["-f", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=9", "true"];
    let tried = Command::new("strace").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match tried {
        Ok(status) if status.success() => {
            let mut cube = Cube::start(0);
            cube.stop(0);
            return Some(cube);
        }
        Ok(_) => skip(test, "strace is not permitted to trace processes here"),
        Err(error) => skip(test, &format!("there is no strace: {error}")),
    }
    None
}

/// A system call: the lines of the trace in which it began and completed.
#[derive(Clone, Copy, Debug)]
struct Call {
    began: usize,
    completed: usize,
}

/// The bytes sent over a socket.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    /// For each call: the line in which it began, and the position of its first byte in `bytes`.
    calls: Vec<(usize, usize)>,
}

/// The content of a trace.
#[derive(Debug, Default)]
struct Seen {
    /// The write of each request's record, and its file, by request id.
    written: BTreeMap<u64, (String, Call)>,
    /// The successful syncs, with their files.
    syncs: Vec<(String, Call)>,
    /// The bytes sent over each socket.
    sockets: BTreeMap<String, Output>,
}

impl Seen {
    fn read(trace: &str) -> Self {
        let mut seen = Self::default();
        let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
        for (line, text) in trace.lines().enumerate() {
            let (thread, text) = text.split_once(' ').unwrap();
            let text = text.trim_start();
            if let Some(begin) = text.strip_suffix(" <unfinished ...>") {
                unfinished.insert(thread, (line, begin));
            } else if let Some((_, rest)) = text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>")) {
                let (began, begin) = unfinished.remove(thread).unwrap();
                seen.take(&format!("{begin}{rest}"), Call { began, completed: line });
            } else {
                seen.take(text, Call { began: line, completed: line });
            }
        }
        seen
    }

    /// Parses a call of the form `name(7</path>, "\x..."..., 80, 0) = 80`.
    fn take(&mut self, text: &str, call: Call) {
        let Some((name, rest)) = text.split_once('(') else { return };
        let Some((descriptor, rest)) = rest.split_once('>') else { return };
        let result = text.rsplit_once("= ").map_or("", |(_, result)| result);
        let file = unescaped(descriptor.split_once('<').unwrap().1);
        match name {
            "fdatasync" | "fsync" if result == "0" => self.syncs.push((file, call)),
            "pwrite64" | "pwritev" => {
                let bytes = bytes_of(rest);
                for at in 0..bytes.len().saturating_sub(MARK.len() + 16) {
                    if let Some(digits) = bytes[at..].strip_prefix(MARK) {
                        let id = std::str::from_utf8(&digits[..16]).unwrap().parse().unwrap();
                        self.written.insert(id, (file.clone(), call));
                    }
                }
            }
            "write" | "writev" | "sendto" | "sendmsg"
                if file.starts_with("socket:") && !descriptor.starts_with("1<") =>
            {
                let Ok(count) = result.parse::<usize>() else { return };
                let output = self.sockets.entry(file).or_default();
                output.calls.push((call.began, output.bytes.len()));
                output.bytes.extend_from_slice(&bytes_of(rest)[..count]);
            }
            _ => {}
        }
    }

    /// Checks that before each acknowledgement a sync was completed that began after its record was written. Returns
    /// the number of acknowledgements.
    fn check(&self) -> u64 {
        let mut acked = 0;
        for Output { bytes, calls } in self.sockets.values() {
            let mut at = 0;
            while let Some(header) = Header::parse(&bytes[at..], FRAME_MAX).unwrap() {
                let is_ack = header.opcode == Opcode::Publish.number() && header.status == Status::Ok.number();
                if header.flags.has(Flags::RESPONSE) && is_ack {
                    let (sent, _) = *calls.iter().rev().find(|(_, start)| *start <= at).unwrap();
                    let id = header.request_id.0;
                    let (file, write) = self.written.get(&id).unwrap_or_else(|| panic!("{id} was never written"));
                    let covers = |(synced, call): &(String, Call)| {
                        synced == file && call.began > write.completed && call.completed < sent
                    };
                    assert!(
                        self.syncs.iter().any(covers),
                        "{id}: written in {write:?}, sent in {sent}, no sync between"
                    );
                    acked += 1;
                }
                at += header.frame_len();
            }
        }
        acked
    }
}

/// Returns the bytes of all strings in a call's arguments, concatenated.
fn bytes_of(arguments: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for string in arguments.split('"').skip(1).step_by(2) {
        bytes.extend(string.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}

/// Returns the path of a descriptor. Some versions of strace escape it in hexadecimal like other strings.
fn unescaped(path: &str) -> String {
    if path.starts_with("\\x") { String::from_utf8(bytes_of(&format!("\"{path}\""))).unwrap() } else { path.to_owned() }
}
