//! How commands exit: every exit code in `--help`, and the end of commands that wait.

use std::io::{Read, Write};
use std::net::TcpListener;

use dht_client::{Dimension, TopicName};
use dht_protocol::cube::home;

use crate::common::Node;
use crate::harness::{Running, check, lone_node, matches, run, thread};

/// Returns a topic whose home is this node of a cube of two.
fn topic_at(node: u16) -> String {
    let line = Dimension::new(1).unwrap();
    let names = (0..).map(|number| format!("t{number}"));
    let mut at_node = names.filter(|name| home(TopicName::new(name).unwrap(), line).index() == node);
    at_node.next().unwrap()
}

/// Starts a server that is not a node: it sends these bytes on each connection and closes it. Returns its address.
fn other_program(says: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut asked = [0; 1024];
            let _ = connection.read(&mut asked).and_then(|_| connection.write_all(says));
        }
    });
    address
}

#[test]
fn every_exit_code_is_as_documented_in_help() {
    let node = lone_node();
    let half = Node::start(0, 1, "0 127.0.0.1:0\n1 127.0.0.1:1\n"); // nobody listens on port 1
    let (here, there) = (topic_at(0), topic_at(1));
    run(&node.address, "create t -q", b"");
    let http = other_program(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nno\n");
    let mute = other_program(b"");
    let help = run("", "--help", b"").stdout;
    let to_there = format!("publish {there} x --create");
    let cases: [(&str, &str, u8, &str); 18] = [
        (&node.address, "list", 0, ""),
        (&node.address, "fetch nope", 1, "UNKNOWN_TOPIC"),
        (&node.address, "fetch t --from 9", 1, "OFFSET_OUT_OF_RANGE"),
        (&node.address, "create t --retain-records 5", 1, "TOPIC_EXISTS"),
        (&node.address, "fetch t --count", 2, "USAGE"),
        (&node.address, "create a*b", 2, "INVALID_NAME"),
        (&node.address, "delete t", 2, "USAGE"),
        ("127.0.0.1:1", "list", 3, "CONNECT"),
        (&mute, "list", 3, "CONNECT"),
        (&node.address, "subscribe t -w 50ms", 4, ""),
        (&node.address, "fetch t --wait 50ms", 4, ""),
        (&half.address, "list", 5, ""),
        (&half.address, "cluster --wait 50ms", 5, ""),
        (&half.address, &to_there, 6, "UNREACHABLE"),
        (&half.address, "trace 1", 6, "UNREACHABLE"),
        (&http, "list", 7, "PROTOCOL"),
        (&node.address, "bench run -t query -k 1 -c 1 -d 10ms --warmup 0 --out OUT --require p50<1ns", 99, ""),
        (&half.address, "nc", 0, ""),
    ];
    let out = tempfile::tempdir().unwrap();
    for (server, line, code, name) in cases {
        let line = line.replace("OUT", out.path().to_str().unwrap());
        let outcome = run(server, &line, b"");
        assert_eq!(outcome.code, i32::from(code), "{line}: {}{}", outcome.stdout, outcome.stderr);
        assert!(help.lines().any(|of| of.trim_start().starts_with(&format!("{code} "))), "{code} is not in {help}");
        if !name.is_empty() {
            let json = run(server, &format!("{line} --json"), b"").stderr;
            let expected = format!("{{\"error\":{{\"code\":*,\"name\":\"{name}\",*\"exit\":{code}}}}}\n");
            assert!(matches(&json, &format!("*{expected}")), "{line}: {json}");
        }
    }
    // If another program listens on the port, the error says so.
    for (server, what) in [
        (&http, "does not speak the protocol of dht-node\n  a program other than dht-node listens there"),
        (&mute, "it closed the connection without saying HELLO\n  a program other than dht-node listens there"),
    ] {
        check(server, &[("list", "", if server == &http { 7 } else { 3 }, "", what)]);
    }
    // An error that passes is marked as retryable.
    let json = run(&half.address, &format!("{to_there} --json"), b"").stderr;
    assert!(json.contains("\"retryable\":true"), "{json}");
    check(&half.address, &[("publish HERE x --create -q".replace("HERE", &here).leak(), "", 0, "", "")]);
}

#[test]
fn ctrl_c_exits_with_130_if_the_command_was_not_complete() {
    let node = lone_node();
    run(&node.address, "create t", b"");
    run(&node.address, "publish -l t", b"1\n2\n3\n");
    // Each case: the command, the number of lines after which it is interrupted, and its exit code.
    for (line, lines, code) in [
        ("subscribe t -n 50 --from earliest", 3, 130),
        ("subscribe t -n 50 -w 1m --from earliest --json", 3, 130),
        ("subscribe t --from earliest", 3, 0),
        ("stats -i 10ms -n 100000", 2, 130),
        ("stats -i 10ms", 2, 0),
    ] {
        let mut process = Running::start(&node.address, line);
        for _ in 0..lines {
            process.line();
        }
        process.interrupt();
        let outcome = process.end();
        assert_eq!(outcome.code, code, "{line}: {}", outcome.stderr);
    }
}

#[test]
fn a_waiting_command_exits_when_its_output_is_closed() {
    let node = lone_node();
    run(&node.address, "create t quiet", b"");
    run(&node.address, "publish t first", b"");
    // Each command would wait for an hour, because no more records come.
    for (line, lines) in [
        ("subscribe quiet -w 1h", 0),
        ("subscribe t --from earliest -w 1h", 1),
        ("subscribe t --from earliest -w 1h --json", 1),
        ("fetch quiet --wait 1h", 0),
        ("stats -i 1h", 1),
    ] {
        let mut process = Running::start(&node.address, line);
        for _ in 0..lines {
            process.line();
        }
        let Running { mut process, stdout, mut stderr, stdin } = process;
        drop(stdout);
        let mut printed = String::new();
        stderr.read_to_string(&mut printed).unwrap();
        assert_eq!((process.wait().unwrap().code(), printed.as_str()), (Some(0), ""), "{line}");
        drop(stdin);
    }
}

#[test]
fn nothing_is_deleted_without_a_terminal_to_ask_for_confirmation() {
    let node = lone_node();
    run(&node.address, "create t empty", b"");
    run(&node.address, "publish t kept", b"");
    check(
        &node.address,
        &[
            ("delete t", "n\n", 2, "", "there is no terminal to ask whether to delete; nothing was done"),
            ("delete t", "y\n", 2, "", "to delete without being asked: dht-cli delete -y t\n"),
            ("rm t empty", "", 2, "", "dht-cli delete -y t empty\n"),
            ("delete t --if-exists", "", 2, "", "no terminal"),
            ("nc", "delete t\n", 2, "", "no terminal"),
            ("delete", "", 2, "", "no topic given"),
            ("fetch t", "", 0, "kept\n", ""),
            ("nc", "delete -y empty -q\n", 0, "", ""),
            ("rm -y t", "", 0, "deleted t with 1 record\n", ""),
            ("list", "", 0, "", ""),
        ],
    );
}
