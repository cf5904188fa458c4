//! What is refused, and a cube that is down.

use std::io::{Read, Write};

use dht_gateway::limits::DESCRIPTORS_KEPT;

use crate::harness::{Connection, Process, ask};

#[test]
fn bad_requests_get_a_problem_that_says_what_is_wrong() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    let records = "/v1/topics/t/records";
    let json = [("Content-Type", "application/json")];
    for (method, path, headers, body, status, code) in [
        ("GET", "/v2/topics", &[][..], "", 404, "NO_ROUTE"),
        ("POST", "/v1/topics/t", &[], "", 405, "METHOD_NOT_ALLOWED"),
        ("PUT", "/v1/topics/u", &[], "{", 400, "BAD_JSON"),
        ("PUT", "/v1/topics/u", &[], r#"{"retentoin":{}}"#, 400, "BAD_JSON"),
        ("PUT", "/v1/topics/u", &[], r#"{"retention":{"records":-1}}"#, 400, "BAD_JSON"),
        ("PUT", "/v1/topics/u", &[], "[]", 400, "BAD_JSON"),
        ("PATCH", "/v1/topics/t", &[], r#"{"retention":[1,2,3]}"#, 400, "BAD_JSON"),
        ("POST", records, &json, "{}", 400, "BAD_JSON"),
        ("POST", "/v1/topics/none/records", &[], "x", 404, "UNKNOWN_TOPIC"),
        ("GET", "/v1/topics/t/records?form=1", &[], "", 400, "BAD_QUERY"),
        ("GET", "/v1/topics/t/records?from=soon", &[], "", 400, "BAD_QUERY"),
        ("GET", "/v1/topics/t/records?limit=0", &[], "", 400, "BAD_QUERY"),
        ("GET", "/v1/topics/t/records?limit=x", &[], "", 400, "BAD_QUERY"),
        ("GET", "/v1/topics/t/records?wait=1h", &[], "", 400, "BAD_QUERY"),
        ("GET", "/v1/topics?limit=0", &[], "", 400, "BAD_QUERY"),
        ("GET", "/v1/topics?prefix=a%20b", &[], "", 400, "INVALID_NAME"),
        ("POST", "/v1/topics/t/records?key=k", &[], "x", 400, "BAD_QUERY"),
        ("PUT", "/v1/topics/u?records=5", &[], "", 400, "BAD_QUERY"),
        ("DELETE", "/v1/topics/t?before=5", &[], "", 400, "BAD_QUERY"),
        ("POST", records, &[("Idempotency-Key", "a"), ("Idempotency-Key", "b")], "x", 400, "BAD_HEADER"),
        ("POST", records, &[("Content-Encoding", "gzip")], "x", 415, "CONTENT_ENCODING"),
        ("GET", "/v1/topics/t/stream", &[("Upgrade", "websocket")], "", 400, "BAD_UPGRADE"),
        ("GET", "/v1/docs/none", &[], "", 404, "NO_ROUTE"),
        ("POST", "/v1/openapi.json", &[], "", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/topics/t/records?from=1", &[], "", 416, "OFFSET_OUT_OF_RANGE"),
        ("GET", records, &[("Accept", "image/png")], "", 406, "NOT_ACCEPTABLE"),
        ("DELETE", records, &[], "", 400, "BAD_QUERY"),
        ("DELETE", "/v1/topics/t/records?before=5", &[], "", 416, "OFFSET_OUT_OF_RANGE"),
        ("GET", "/v1/topics/t/stream?credit=5", &[], "", 400, "BAD_QUERY"),
        ("GET", "/v1/topics/none/stream", &[], "", 404, "UNKNOWN_TOPIC"),
        ("GET", "/v1/topics/t/stream", &[("Last-Event-ID", "x")], "", 400, "BAD_HEADER"),
        ("GET", "/v1/topics/t", &[("Host", "evil.example")], "", 421, "WRONG_HOST"),
        ("POST", records, &[("Origin", "https://evil.example")], "x", 403, "FOREIGN_ORIGIN"),
        ("POST", records, &[("Sec-Fetch-Site", "cross-site")], "x", 403, "FOREIGN_ORIGIN"),
    ] {
        let response = ask(&gateway, method, path, headers, body);
        assert_eq!(response.problem(), (status, code.to_owned()), "{method} {path} {body}: {response:?}");
    }
    assert_eq!(ask(&gateway, "GET", "/v1/topics/t", &[], "").json()["next_offset"], 0, "nothing was stored");
}

#[test]
fn a_body_has_a_limit() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    let largest = vec![b'x'; 1_044_480 - 16];
    let published = ask(&gateway, "POST", "/v1/topics/t/records", &[], &largest);
    assert_eq!(published.status, 201, "{published:?}");
    let read = ask(&gateway, "GET", "/v1/topics/t/records?from=0", &[("Accept", "application/octet-stream")], "");
    assert_eq!(read.body, largest);
    let larger = vec![b'x'; 1_044_481];
    assert_eq!(ask(&gateway, "POST", "/v1/topics/t/records", &[], &larger).problem().0, 413);
    // A length that is announced is refused before the bytes come.
    let mut connection = Connection::open(&gateway);
    connection.send("POST", "/v1/topics/t/records", &[("Content-Length", "99999999999")], b"");
    assert_eq!(connection.response().problem().0, 413);
}

#[test]
fn pages_of_an_allowed_site_may_use_the_gateway() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &["--allow-origin", "https://app.example", "--host", "dht.example"]);
    let origin = ("Origin", "https://app.example");
    let allowed = ask(&gateway, "PUT", "/v1/topics/t", &[origin], "");
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (201, Some("https://app.example")));
    let asked = ask(&gateway, "OPTIONS", "/v1/topics/t", &[origin, ("Access-Control-Request-Method", "DELETE")], "");
    assert!(asked.header("access-control-allow-methods").unwrap().contains("DELETE"), "{asked:?}");
    assert_eq!(ask(&gateway, "GET", "/v1/topics/t", &[("Host", "dht.example:80")], "").status, 200);
    let closed = Process::gateway(&node.address, &[]);
    assert_eq!(ask(&closed, "GET", "/v1/topics/t", &[origin], "").header("access-control-allow-origin"), None);
}

#[test]
fn while_the_cube_is_down_requests_are_refused_at_once() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    assert_eq!(ask(&gateway, "PUT", "/v1/topics/t", &[], "").status, 201);
    assert_eq!(ask(&gateway, "GET", "/readyz", &[], "").status, 200);
    let address = node.address.clone();
    drop(node);
    for path in ["/v1/topics/t", "/v1/topics/t/records", "/v1/cluster", "/readyz", "/v1/topics/t/stream"] {
        let refused = ask(&gateway, "GET", path, &[], "");
        assert_eq!(refused.status, 503, "{path}: {refused:?}");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    assert_eq!(ask(&gateway, "GET", "/healthz", &[], "").status, 200);
    // It is used again as soon as it is back.
    let _node = Process::node_at(&address);
    loop {
        let response = ask(&gateway, "PUT", "/v1/topics/t", &[], "");
        if response.status == 201 {
            break;
        }
        assert_eq!(response.status, 503, "{response:?}");
    }
}

#[test]
fn a_gateway_starts_before_the_cube() {
    let gateway = Process::gateway("127.0.0.1:1", &[]);
    assert_eq!(ask(&gateway, "GET", "/v1/topics", &[], "").problem(), (503, "CONNECT".to_owned()));
}

#[test]
fn the_document_describes_all_paths_and_there_is_a_page() {
    let gateway = Process::gateway("127.0.0.1:1", &[]);
    let document = ask(&gateway, "GET", "/v1/openapi.json", &[], "").json();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths.len(), 10, "{paths:?}");
    let read = &document["paths"]["/v1/topics/{topic}/records"]["get"]["parameters"];
    let places: Vec<_> = read.as_array().unwrap().iter().map(|it| (it["name"].as_str(), it["in"].as_str())).collect();
    assert_eq!(places[..2], [(Some("topic"), Some("path")), (Some("from"), Some("query"))]);
    let page = ask(&gateway, "GET", "/v1/docs/", &[], "");
    assert!(page.status == 200 && String::from_utf8_lossy(&page.body).contains("swagger"), "{page:?}");
    assert_eq!(ask(&gateway, "GET", "/", &[], "").header("location"), Some("/v1/docs/"));
}

#[test]
fn connections_beyond_the_limit_wait_for_others_to_end() {
    let node = Process::node();
    let gateway = Process::gateway_with_files(&node.address, DESCRIPTORS_KEPT + 4);
    assert_eq!(ask(&gateway, "PUT", "/v1/topics/t", &[], "").status, 201);
    let mut stream = Connection::open(&gateway);
    stream.send("GET", "/v1/topics/t/stream", &[], b"");
    assert_eq!(stream.head().status, 200);
    let sockets = ["", "?credit=0"].map(|query| Connection::upgrade(&gateway, &format!("/v1/topics/t/stream{query}")));
    let mut last = Connection::open(&gateway);
    let mut waiting = Connection::open(&gateway);
    waiting.send("GET", "/healthz", &[], b"");
    for _ in 0..100 {
        last.send("GET", "/healthz", &[], b"");
        assert_eq!(last.response().status, 200);
        assert!(!waiting.has_input(), "all places are taken");
    }
    drop(sockets);
    assert_eq!(waiting.response().status, 200);
}

#[test]
fn rubbish_is_no_request() {
    let gateway = Process::gateway("127.0.0.1:1", &[]);
    for bytes in [&b"\x00\x01\x02\x03\r\n\r\n"[..], b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"DHT1\r\n\r\n"] {
        let mut connection = Connection::open(&gateway);
        connection.stream.get_mut().write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = connection.stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("NO_REQUEST"), "{answer}");
    }
    assert_eq!(ask(&gateway, "GET", "/healthz", &[], "").status, 200);
}

#[test]
fn a_request_that_was_taken_is_answered_before_the_end() {
    let node = Process::node();
    let mut gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    let mut waiting = Connection::open(&gateway);
    waiting.send("GET", "/v1/topics/t/records?from=next&wait=50s", &[], b"");
    let mut stream = Connection::open(&gateway);
    stream.send("GET", "/v1/topics/t/stream", &[], b"");
    assert_eq!(stream.head().status, 200);
    let mut sockets =
        ["", "?credit=0"].map(|query| Connection::upgrade(&gateway, &format!("/v1/topics/t/stream{query}")));
    gateway.terminate();
    assert_eq!(waiting.response().problem(), (503, "ENDING".to_owned()));
    sockets.iter_mut().for_each(Connection::expect_close);
    assert_eq!(gateway.wait(), Some(0));
}
