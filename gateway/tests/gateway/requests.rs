//! Topics, records and the cube.

use serde_json::json;

use crate::harness::{Connection, Process, ask};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn a_topic_lives_from_its_creation_to_its_deletion() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    let created = ask(&gateway, "PUT", "/v1/topics/weather", &[], r#"{"retention":{"records":100}}"#);
    assert_eq!(created.status, 201);
    assert_eq!(created.json()["retention"]["records"], 100);
    assert_eq!(ask(&gateway, "PUT", "/v1/topics/weather", &[], r#"{"retention":{"records":100}}"#).status, 200);
    let other = ask(&gateway, "PUT", "/v1/topics/weather", &[], r#"{"retention":{"records":7}}"#);
    assert_eq!(other.problem(), (409, "TOPIC_EXISTS".to_owned()));
    let changed = ask(&gateway, "PATCH", "/v1/topics/weather", &[JSON], r#"{"retention":{"age_ms":60000}}"#);
    assert_eq!((changed.status, &changed.json()["retention"]["age_ms"]), (200, &json!(60000)));
    assert_eq!(ask(&gateway, "PATCH", "/v1/topics/weather", &[], "").problem().1, "NO_CHANGE");
    let list = ask(&gateway, "GET", "/v1/topics?prefix=wea", &[], "").json();
    assert_eq!((&list["topics"][0]["topic"], &list["complete"]), (&json!("weather"), &json!(true)));
    assert_eq!(ask(&gateway, "GET", "/v1/topics?prefix=x", &[], "").json()["topics"], json!([]));
    assert_eq!(ask(&gateway, "DELETE", "/v1/topics/weather", &[], "").status, 204);
    for method in ["DELETE", "GET"] {
        let gone = ask(&gateway, method, "/v1/topics/weather", &[], "");
        assert_eq!(gone.problem(), (404, "UNKNOWN_TOPIC".to_owned()));
        assert!(gone.json()["hint"].as_str().unwrap().contains("PUT /v1/topics"));
    }
    assert_eq!(ask(&gateway, "GET", "/v1/query/weather", &[], "").json()["exists"], json!(false));
    let trace = ask(&gateway, "GET", "/v1/trace/weather", &[], "").json();
    assert_eq!((&trace["reached"], &trace["hops"][0]["node"]), (&json!(true), &json!("0")));
    assert_eq!(ask(&gateway, "GET", "/v1/cluster", &[], "").json()["whole"], json!(true));
    assert!(ask(&gateway, "GET", "/v1/stats", &[], "").json()["nodes"][0]["stats"]["uptime_ms"].is_u64());
}

#[test]
fn names_with_slashes_and_dots_are_written_as_they_are() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    for (path, name) in
        [("logs%2Fweb", "logs/web"), (".", "."), ("..", ".."), ("%2E%2E", ".."), ("%2e%2e%2Fetc", "../etc")]
    {
        let created = ask(&gateway, "PUT", &format!("/v1/topics/{path}"), &[], "");
        // Two of them are the same name.
        assert!([200, 201].contains(&created.status), "{path}: {created:?}");
        assert_eq!(created.json()["topic"], name, "{path}");
        assert_eq!(ask(&gateway, "POST", &format!("/v1/topics/{path}/records"), &[], "x").status, 201, "{path}");
    }
    for path in ["/v1/topics/logs/web", "/v1/topics/"] {
        assert_eq!(ask(&gateway, "GET", path, &[], "").status, 404, "{path}");
    }
    let long = format!("/v1/topics/{}", "x".repeat(250));
    for path in [long.as_str(), "/v1/topics/%FF", "/v1/topics/a%00b", "/v1/topics/a%20b", "/v1/topics/caf%C3%A9"] {
        assert_eq!(ask(&gateway, "PUT", path, &[], "").problem(), (400, "INVALID_NAME".to_owned()), "{path}");
    }
}

#[test]
fn what_is_published_is_read_in_each_form() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    let path = "/v1/topics/t/records";
    let raw = [("Dht-Key", "k"), ("Dht-Timestamp-Us", "17"), ("Dht-Header-Trace", "abc")];
    let published = ask(&gateway, "POST", path, &raw, b"\xff\x00raw").json();
    assert_eq!((&published["offset"], &published["count"]), (&json!(0), &json!(1)));
    let batch = r#"[{"payload":"one"},{"payload_b64":"/wA=","key":"k2","headers":[{"name":"n","value":"v"}]}]"#;
    assert_eq!(ask(&gateway, "POST", path, &[JSON], batch).json()["offset"], 1);
    let lines = "{\"payload\":\"three\"}\n{\"payload\":\"four\"}\n";
    let published = ask(&gateway, "POST", path, &[("Content-Type", "application/x-ndjson; charset=utf-8")], lines);
    assert_eq!((published.status, &published.json()["offset"]), (201, &json!(3)));

    let read = ask(&gateway, "GET", "/v1/topics/t/records?from=1&limit=2", &[], "").json();
    assert_eq!((&read["next"], &read["next_offset"], &read["gap"]), (&json!(3), &json!(5), &json!(null)));
    assert_eq!(read["records"][0]["payload"], "one");
    assert_eq!(read["records"][1]["headers"], json!([{"name": "n", "value": "v"}]));
    let read = ask(&gateway, "GET", path, &[("Accept", "application/x-ndjson")], "");
    assert_eq!(read.header("dht-next"), Some("5"));
    // What was read can be published again.
    let again = ask(&gateway, "POST", path, &[("Content-Type", "application/x-ndjson")], &read.body);
    assert_eq!(again.json()["count"], 5);
    let one = ask(&gateway, "GET", "/v1/topics/t/records?from=0", &[("Accept", "application/octet-stream")], "");
    assert_eq!(one.body, b"\xff\x00raw");
    let headers = ["dht-key", "dht-timestamp-us", "dht-header-trace", "dht-offset"].map(|name| one.header(name));
    assert_eq!(headers, [Some("k"), Some("17"), Some("abc"), Some("0")]);
    let end = "/v1/topics/t/records?from=next";
    assert_eq!(ask(&gateway, "GET", end, &[("Accept", "application/octet-stream")], "").status, 204);
    assert_eq!(ask(&gateway, "GET", end, &[], "").json()["records"], json!([]));
    assert_eq!(ask(&gateway, "DELETE", "/v1/topics/t/records?before=4", &[], "").json()["first_offset"], 4);
    let gap = ask(&gateway, "GET", "/v1/topics/t/records?from=1", &[], "").json();
    assert_eq!(gap["gap"], json!([1, 4]));
}

#[test]
fn a_read_waits_for_a_record() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    ask(&gateway, "PUT", "/v1/topics/t", &[], "");
    let mut reader = Connection::open(&gateway);
    reader.send("GET", "/v1/topics/t/records?from=next&wait=20s", &[], b"");
    // Whether the read or the record comes first, the read has the record or nothing to wait for.
    let mut published = 0;
    loop {
        ask(&gateway, "POST", "/v1/topics/t/records", &[], "x");
        published += 1;
        if reader.has_input() {
            break;
        }
        assert!(published < 10_000);
    }
    assert_eq!(reader.response().json()["records"][0]["payload"], "x");
}

#[test]
fn a_request_with_a_key_is_stored_once() {
    let node = Process::node();
    let gateways = [Process::gateway(&node.address, &[]), Process::gateway(&node.address, &[])];
    ask(&gateways[0], "PUT", "/v1/topics/t", &[], "");
    ask(&gateways[0], "PUT", "/v1/topics/u", &[], "");
    let publish = |gateway: &Process, topic: &str, key: &str, body: &str| {
        ask(gateway, "POST", &format!("/v1/topics/{topic}/records"), &[("Idempotency-Key", key)], body)
    };
    let first = publish(&gateways[0], "t", "k", "a");
    assert_eq!((first.status, &first.json()["duplicate"]), (201, &json!(false)));
    for gateway in &gateways {
        let again = publish(gateway, "t", "k", "a");
        assert_eq!((again.status, &again.json()["duplicate"], &again.json()["offset"]), (200, &json!(true), &json!(0)));
    }
    assert_eq!(publish(&gateways[1], "t", "k", "b").problem(), (422, "SEQUENCE_REUSED".to_owned()));
    assert_eq!(publish(&gateways[1], "t", "l", "a").json()["offset"], 1);
    assert_eq!(publish(&gateways[1], "u", "k", "a").json()["offset"], 0, "a key belongs to a topic");
    assert_eq!(publish(&gateways[1], "t", "", "a").problem().1, "BAD_HEADER");
    assert_eq!(publish(&gateways[1], "t", &"k".repeat(256), "a").problem().1, "BAD_HEADER");
    // Without a key each request is a new record, whatever lanes it takes.
    for offset in 2..10 {
        assert_eq!(ask(&gateways[0], "POST", "/v1/topics/t/records", &[], "a").json()["offset"], offset);
    }
    // A topic that is created again takes records at once, although the gateway's producers knew the old one.
    ask(&gateways[0], "DELETE", "/v1/topics/t", &[], "");
    ask(&gateways[0], "PUT", "/v1/topics/t", &[], "");
    assert_eq!(ask(&gateways[0], "POST", "/v1/topics/t/records", &[], "a").json()["offset"], 0);
}

#[test]
fn many_requests_share_a_connection() {
    let node = Process::node();
    let gateway = Process::gateway(&node.address, &[]);
    let mut connection = Connection::open(&gateway);
    connection.send("PUT", "/v1/topics/t", &[], b"");
    assert_eq!(connection.response().status, 201);
    for _ in 0..100 {
        connection.send("POST", "/v1/topics/t/records", &[], b"x");
    }
    let offsets: Vec<_> = (0..100).map(|_| connection.response().json()["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
}
