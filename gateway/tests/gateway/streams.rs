//! Server-sent events and WebSockets.

use serde_json::json;

use crate::harness::{Connection, Process, ask};

fn publish(gateway: &Process, payload: &str) {
    assert_eq!(ask(gateway, "POST", "/v1/topics/t/records", &[], payload).status, 201);
}

fn stream(gateway: &Process, query: &str, headers: &[(&str, &str)]) -> Connection {
    let mut stream = Connection::open(gateway);
    stream.send("GET", &format!("/v1/topics/t/stream{query}"), headers, b"");
    let head = stream.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")), "{head:?}");
    stream
}

fn payloads(stream: &mut Connection, count: usize) -> Vec<String> {
    let events = (0..count).map(|_| {
        let (name, _, data) = stream.event();
        assert_eq!(name, "", "{data}");
        data["payload"].as_str().unwrap().to_owned()
    });
    events.collect()
}

#[test]
fn a_stream_has_each_record_once_and_resumes() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    publish(&gateway, "0");
    let mut all = stream(&gateway, "?from=earliest", &[]);
    let mut new = stream(&gateway, "", &[]);
    let (_, first, data) = all.event();
    assert_eq!(data["offset"], 0);
    (1..10).for_each(|number| publish(&gateway, &number.to_string()));
    let expected: Vec<_> = (1..10).map(|number| number.to_string()).collect();
    assert_eq!(payloads(&mut all, 9), expected);
    assert_eq!(payloads(&mut new, 9), expected);
    for last in [first.as_str(), "0"] {
        assert_eq!(payloads(&mut stream(&gateway, "", &[("Last-Event-ID", last)]), 9), expected, "{last}");
    }
    publish(&gateway, "10");
    assert_eq!((payloads(&mut all, 1), payloads(&mut new, 1)), (vec!["10".to_owned()], vec!["10".to_owned()]));
}

#[test]
fn a_stream_says_what_happens_to_its_topic() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    (0..5).for_each(|number| publish(&gateway, &number.to_string()));
    ask(&gateway, "DELETE", "/v1/topics/t/records?before=3", &[], "");
    let mut reader = stream(&gateway, "?from=1", &[]);
    let (name, _, data) = reader.event();
    assert_eq!((name.as_str(), &data["gap"]), ("gap", &json!([1, 3])));
    assert_eq!(payloads(&mut reader, 2), ["3", "4"]);
    publish(&gateway, "5");
    let (_, last, _) = reader.event();
    ask(&gateway, "DELETE", "/v1/topics/t", &[], "");
    let (name, _, data) = reader.event();
    assert_eq!((name.as_str(), &data["code"]), ("deleted", &json!("UNKNOWN_TOPIC")));
    // A reader of the old topic is told that this is another one.
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    publish(&gateway, "new");
    let mut reader = stream(&gateway, "", &[("Last-Event-ID", &last)]);
    assert_eq!(reader.event().0, "recreated");
    assert_eq!(payloads(&mut reader, 1), ["new"]);
}

#[test]
fn a_reader_that_stops_delays_nobody_and_misses_nothing() {
    const RECORDS: usize = 2_000;
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    let mut slow = stream(&gateway, "", &[]);
    let mut quick = stream(&gateway, "", &[]);
    let filler = "x".repeat(4_000);
    let mut publisher = Connection::open(&gateway);
    for number in 0..RECORDS {
        publisher.send("POST", "/v1/topics/t/records", &[], format!("{number} {filler}").as_bytes());
        assert_eq!(publisher.response().status, 201);
        let (_, _, data) = quick.event();
        assert_eq!(data["offset"], number);
    }
    // 8 MB were published meanwhile, more than sockets and feeds hold.
    for number in 0..RECORDS {
        assert_eq!(slow.event().2["offset"], number);
    }
}

#[test]
fn a_thousand_readers_get_each_record_once() {
    const RECORDS: u64 = 20;
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    let mut readers: Vec<_> = (0..1_000).map(|_| stream(&gateway, "", &[])).collect();
    (0..RECORDS).for_each(|number| publish(&gateway, &number.to_string()));
    for reader in &mut readers {
        for offset in 0..RECORDS {
            assert_eq!(reader.event().2["offset"], offset);
        }
    }
}

/// Returns the number of idle readers: `IDLE_READERS`, or 1000 if so many files may be open.
fn idle_readers() -> usize {
    const OTHER_FILES: usize = 200;
    let files = usize::try_from(rlimit::increase_nofile_limit(u64::MAX).unwrap()).unwrap_or(usize::MAX);
    let most = files.saturating_sub(OTHER_FILES);
    let Ok(wanted) = std::env::var("IDLE_READERS") else { return most.min(1_000) };
    let wanted = wanted.parse().unwrap();
    assert!(wanted <= most, "{wanted} readers need {} open files, and the limit is {files}", wanted + OTHER_FILES);
    wanted
}

#[test]
fn idle_readers_of_many_topics_cost_little_and_get_what_is_published() {
    const BYTES_PER_READER_MAX: u64 = 64 << 10;
    let readers = idle_readers();
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    // With 10 000 readers these are more topics than one connection to the cube can subscribe to.
    let topics: Vec<_> = (0..readers.div_ceil(2)).map(|number| format!("/v1/topics/t{number}")).collect();
    let mut requests = Connection::open(&gateway);
    let mut all = |method: &str, path: &str, body: &str| {
        for some in topics.chunks(100) {
            some.iter().for_each(|topic| requests.send(method, &format!("{topic}{path}"), &[], body.as_bytes()));
            some.iter().for_each(|_| assert_eq!(requests.response().status, 201));
        }
    };
    all("PUT", "", "");
    let before = gateway.resident_bytes();
    let mut streams = Vec::with_capacity(readers);
    for topic in topics.iter().cycle().take(readers) {
        let mut stream = Connection::open(&gateway);
        stream.send("GET", &format!("{topic}/stream"), &[], b"");
        assert_eq!(stream.head().status, 200);
        streams.push(stream);
    }
    let each = gateway.resident_bytes().saturating_sub(before) / readers as u64;
    assert!(each < BYTES_PER_READER_MAX, "{each} bytes per reader");
    for payload in ["first", "second"] {
        all("POST", "/records", payload);
        for stream in &mut streams {
            assert_eq!(payloads(stream, 1), [payload]);
        }
    }
}

#[test]
fn records_that_a_feed_does_not_keep_are_read_by_each_reader() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    let mut readers = [stream(&gateway, "", &[]), stream(&gateway, "", &[])];
    let large = "x".repeat(100_000);
    for payload in ["small", &large, "small", &large, &large] {
        publish(&gateway, payload);
        for reader in &mut readers {
            assert_eq!(payloads(reader, 1), [payload]);
        }
    }
}

#[test]
fn a_stream_outlives_its_node() {
    let node = Process::node();
    let address = node.address.clone();
    let gateway = Process::gateway(&address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    let mut reader = stream(&gateway, "", &[]);
    publish(&gateway, "before");
    assert_eq!(payloads(&mut reader, 1), ["before"]);
    drop(node);
    let _node = Process::node_at(&address);
    // The node kept nothing, so the topic is gone; the reader learns it once the cube is back.
    let (name, _, data) = reader.event();
    assert!(name == "deleted" || name == "recreated", "{name} {data}");
}

#[test]
fn a_gateway_that_was_given_one_node_outlives_it() {
    let [listed, other] = Process::cube();
    let gateway = Process::gateway(&listed.address, &["--connections", "64"]);
    // A topic that lives at the other node.
    let is_there =
        |topic: &str| ask(&gateway, "GET", &format!("/v1/query/{topic}"), &[], "").json()["home"] == json!("1");
    let topic = (0..).map(|number| format!("t{number}")).find(|topic| is_there(topic)).unwrap();
    let path = format!("/v1/topics/{topic}");
    let publish = |payload: &str| ask(&gateway, "POST", &format!("{path}/records"), &[], payload);
    assert_eq!(ask(&gateway, "PUT", &path, &[], "").status, 201);
    let open = || {
        let mut reader = Connection::open(&gateway);
        reader.send("GET", &format!("{path}/stream?from=earliest"), &[], b"");
        assert_eq!(reader.head().status, 200);
        reader
    };
    let mut before = open();
    assert_eq!(publish("a").status, 201);
    assert_eq!(payloads(&mut before, 1), ["a"]);
    drop(listed);
    let mut after = open();
    assert_eq!(payloads(&mut after, 1), ["a"]);
    // As many requests as the pool has connections. Most of them are made only now, when the listed node is gone.
    for number in 0..64 {
        let payload = number.to_string();
        assert_eq!(publish(&payload).status, 201);
        for reader in [&mut before, &mut after] {
            assert_eq!(payloads(reader, 1), [payload.as_str()]);
        }
    }
    drop(other);
}

#[test]
fn a_web_socket_gets_what_its_credit_allows() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    (0..5).for_each(|number| publish(&gateway, &number.to_string()));
    let mut socket = Connection::upgrade(&gateway, "/v1/topics/t/stream?from=earliest&credit=2");
    let offsets = |socket: &mut Connection, count: usize| -> Vec<u64> {
        (0..count).map(|_| socket.message()["offset"].as_u64().unwrap()).collect()
    };
    assert_eq!(offsets(&mut socket, 2), [0, 1]);
    socket.grant(r#"{"credit":3}"#);
    assert_eq!(offsets(&mut socket, 3), [2, 3, 4]);
    socket.grant("hello");
    assert_eq!(socket.message()["code"], "BAD_MESSAGE");
}
