//! The frames of `good.txt` as values, by operation.

use bytes::Bytes;
use dht_node::types::{Epoch, Offset, ProducerId, TopicId, TopicName};
use dht_node::wire::hello::NO_NODE;
use dht_node::wire::records::{Record, encode_headers};
use dht_node::wire::request::{
    ANY_NODE, Fetch, List, Opening, Publish, Retention, Sequenced, SettingsChange, Start, Topic, TraceTarget,
};
use dht_node::wire::response::{
    CopiesView, CopyView, Description, Detail, Durability, ErrorResponse, Fetched, GroupsView, LinkState, LinkView,
    Listed, NodeAddress, NodePage, OFFSET_FORGOTTEN, OpenedProducer, Page, Payload, Probe, Published, Run, TopicState,
    View,
};
use dht_node::wire::{Flags, Goaway, Hello, Opcode, Request, Response, Role, Status};

use super::good::{Content, Good};
use LinkState::{Distant, Down, Itself, Up};

pub(crate) fn name(name: &'static str) -> TopicName<'static> {
    TopicName::new(name).expect("the names of vectors are good")
}

pub(crate) fn topic(name: &'static str, id: u64) -> Topic<'static> {
    Topic { name: self::name(name), id: TopicId::new(id) }
}

fn known(node: u16, link: LinkState, address: &str) -> NodeAddress {
    NodeAddress { node, link, address: address.to_owned() }
}

fn four_nodes() -> Response {
    let nodes = [(Up, "a:5000"), (Itself, "b:5000"), (Distant, "c:5000"), (Down, "d:5000")];
    let nodes = (0..).zip(nodes).map(|(node, (link, address))| known(node, link, address)).collect();
    Response::Nodes(NodePage { node: 1, dimension: 2, next: 0, nodes })
}

/// A name of the greatest length.
pub(crate) fn longest_name() -> TopicName<'static> {
    name(String::leak("x".repeat(249)))
}

pub(crate) const ORDERS: u64 = 0x1F2E_3D4C_5B6A_7988;
pub(crate) const NOW: u64 = 1_767_225_600_000_000;

/// "hello", and "world" with the key "k1".
pub(crate) fn two_records() -> Vec<u8> {
    let mut payload = vec![];
    let records = [
        Record { value: b"hello", ..Record::default() },
        Record { key: Some(b"k1"), value: b"world", ..Record::default() },
    ];
    records.iter().for_each(|record| record.encode(&mut payload).expect("short"));
    payload
}

fn rich_record() -> Vec<u8> {
    let headers = encode_headers([("trace", b"abc".as_slice())]).expect("short");
    let record = Record { timestamp_us: Some(NOW), value: b"!", ..Record::default() };
    let mut payload = vec![];
    record.with_headers(&headers).expect("made so").encode(&mut payload).expect("short");
    payload
}

pub(crate) fn request(name: &'static str, what: &'static str, id: u64, request: Request<'static>) -> Good {
    let opcode = request.opcode();
    let (flags, content) = (Flags::default(), Content::Request(request, vec![]));
    Good { name, what, id, opcode, flags, route: None, content }
}

pub(crate) fn response(name: &'static str, what: &'static str, id: u64, opcode: Opcode, response: Response) -> Good {
    Good { name, what, id, opcode, flags: Flags::RESPONSE, route: None, content: Content::Response(response) }
}

pub(crate) fn error(name: &'static str, what: &'static str, id: u64, opcode: Opcode, error: ErrorResponse) -> Good {
    response(name, what, id, opcode, Response::Error(Box::new(error)))
}

pub(crate) fn because(status: Status, message: &str, details: &[Detail]) -> ErrorResponse {
    let (message, details) = (message.to_owned(), details.to_vec());
    ErrorResponse { status: status.number(), retry_after_ms: 0, message, details }
}

/// All of them, in the order of the file.
pub(crate) fn all() -> Vec<Good> {
    let groups = [
        hello(),
        hello_between_nodes(),
        goaway(),
        ping(),
        create(),
        delete(),
        alter(),
        trim(),
        producer(),
        list(),
        info(),
        publish(),
        publish_errors(),
        fetch(),
        fetch_errors(),
        super::subscriptions::all(),
        query(),
        trace(),
        nodes(),
        super::feeds::all(),
    ];
    groups.into_iter().flatten().collect()
}

fn client() -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        role: Role::Client,
        dimension: 0,
        node: NO_NODE,
        keepalive_ms: 0,
        max_frame: 1 << 20,
        max_inflight: 0,
        features: 0,
        instance: 0xC11E_4700_0000_0001,
        cluster: String::new(),
        software: "example/1".to_owned(),
        topics: None,
        topics_known: None,
        replicas: None,
    }
}

fn node(id: u16) -> Hello {
    Hello {
        role: Role::Node,
        dimension: 3,
        node: id,
        keepalive_ms: 15_000,
        max_inflight: 1024,
        instance: 0xA5A5_0000_0000_0000 | u64::from(id),
        cluster: "demo".to_owned(),
        software: "dht-node/0.1.0".to_owned(),
        ..client()
    }
}

fn hello() -> Vec<Good> {
    let make = make_hello;
    let (none, response) = (Flags::default(), Flags::RESPONSE);
    let longest = Hello {
        keepalive_ms: 5000,
        max_frame: 65_536,
        features: 0x8001_0000_0000_0000,
        cluster: "é".repeat(100),
        software: "s".repeat(200),
        ..client()
    };
    let welcome = Hello { features: 1 << 53, ..node(5) };
    let refused = Hello { keepalive_ms: 15_000, ..node(5) };
    vec![
        make("hello-request", "A client that takes what the node offers.", none, Status::Ok, client(), None),
        make(
            "hello-response",
            "Node 101 of the cluster demo, with a feature and a TLV that mean nothing.",
            response,
            Status::Ok,
            welcome,
            Some(0x0301),
        ),
        make(
            "hello-request-longest",
            "Both labels of 200 bytes, the least max_frame, features of GREASE.",
            none,
            Status::Ok,
            longest,
            None,
        ),
        make(
            "hello-request-grease",
            "A client's HELLO with a TLV that means nothing.",
            none,
            Status::Ok,
            client(),
            Some(0x0203),
        ),
        make(
            "hello-error",
            "The client asked for another cluster: a fatal status, but the args of HELLO.",
            response,
            Status::ClusterMismatch,
            refused,
            None,
        ),
    ]
}

fn hello_between_nodes() -> Vec<Good> {
    let make = make_hello;
    let (none, response) = (Flags::default(), Flags::RESPONSE);
    let linked = |id| Hello { keepalive_ms: 1000, ..node(id) };
    vec![
        make("hello-request-node", "Node 111 dials its neighbour 101.", none, Status::Ok, linked(7), None),
        make("hello-response-node", "101 takes the link.", response, Status::Ok, linked(5), None),
        make(
            "hello-request-node-topics",
            "Node 111, which holds no topics, dials a neighbour that held 3.",
            none,
            Status::Ok,
            Hello { topics: Some(0), topics_known: Some(3), ..linked(7) },
            None,
        ),
        make(
            "hello-response-node-topics",
            "101 has its 3 topics, and knew 1000 topics of 111; with a TLV that means nothing.",
            response,
            Status::Ok,
            Hello { topics: Some(3), topics_known: Some(1000), ..linked(5) },
            Some(0x0203),
        ),
        make(
            "hello-request-node-replicas",
            "Node 111 of a cube in which three nodes keep each topic.",
            none,
            Status::Ok,
            Hello { topics: Some(0), replicas: Some(3), ..linked(7) },
            None,
        ),
    ]
}

fn make_hello(
    name: &'static str,
    what: &'static str,
    flags: Flags,
    status: Status,
    hello: Hello,
    grease: Option<u64>,
) -> Good {
    let content = Content::Hello { status: status.number(), hello, grease };
    Good { name, what, id: 1, opcode: Opcode::Hello, flags, route: None, content }
}

fn goaway() -> Vec<Good> {
    let make = |name, what, status, last_request_id, message: &str| {
        let content = Content::Goaway(Goaway { status, last_request_id, message: message.to_owned() });
        Good { name, what, id: 0, opcode: Opcode::Goaway, flags: Flags::ONEWAY, route: None, content }
    };
    vec![
        make("goaway", "The node ends; it took requests up to 41.", Status::Closing, 41, "node 101 is shutting down"),
        make("goaway-client", "A client ends: it has nothing more to ask.", Status::Closing, 0, ""),
        make("goaway-before-hello", "The first frame was no HELLO.", Status::HelloRequired, 0, ""),
        make(
            "goaway-bad-header",
            "Something on the way damaged a header.",
            Status::BadHeader,
            7,
            "the header does not match its checksum",
        ),
    ]
}

fn ping() -> Vec<Good> {
    let pinged = |node, token| Response::Ping { node, token, wall_us: None, topics: None };
    let details = [Detail::Node(5)];
    vec![
        request("ping-request", "Is node 110 there?", 2, Request::Ping { node: 6, token: 0x0102_0304_0506_0708 }),
        response("ping-response", "It is.", 2, Opcode::Ping, pinged(6, 0x0102_0304_0506_0708)),
        response(
            "ping-response-between-nodes",
            "A neighbour is there, and tells its clock.",
            3,
            Opcode::Ping,
            Response::Ping { node: 6, token: 1_000_000, wall_us: Some(NOW), topics: None },
        ),
        response(
            "ping-response-between-nodes-topics",
            "It also tells how many topics it holds.",
            3,
            Opcode::Ping,
            Response::Ping { node: 6, token: 1_000_000, wall_us: Some(NOW), topics: Some(1000) },
        ),
        error(
            "ping-error",
            "Node 9 of a cube of 3 dimensions.",
            2,
            Opcode::Ping,
            because(Status::UnknownNode, "there is no node 9 in a cube of 3 dimensions", &details),
        ),
        request("ping-from-node", "The node asks a silent client.", 77, Request::Ping { node: ANY_NODE, token: 1 }),
        response("ping-by-client", "The client answers with the same args.", 77, Opcode::Ping, pinged(ANY_NODE, 1)),
    ]
}

pub(crate) fn state() -> TopicState {
    TopicState {
        id: TopicId::new(ORDERS).expect("not 0"),
        epoch: Epoch(1),
        first: Offset(1000),
        next: Offset(1234),
        bytes: 56_789,
        subscribers: 3,
        feeds: 2,
        lag: 17,
        created_us: NOW,
        retention: Retention { records: 100_000, bytes: 67_108_864, age_ms: 86_400_000 },
        durability: Durability::Memory,
    }
}

fn described(topic: Option<TopicState>, path: &[u16]) -> Box<Description> {
    Box::new(Description { home: 6, topic, path: path.to_vec(), copies: None })
}

fn create() -> Vec<Good> {
    let retention = Retention { records: 100_000, bytes: 0, age_ms: 86_400_000 };
    let fresh = TopicState { first: Offset(0), next: Offset(0), bytes: 0, subscribers: 0, feeds: 0, lag: 0, ..state() };
    let created =
        |existed, topic, path: &[u16]| Response::Created { existed, description: described(Some(topic), path) };
    let make = |topic, retention| Request::Create { topic, retention };
    let details = [Detail::TopicId(state().id)];
    vec![
        request(
            "create-request",
            "At most 100000 records of at most a day, the node's bound on bytes.",
            3,
            make(name("orders"), retention),
        ),
        response(
            "create-response",
            "It was made, on node 110, asked by way of 000 and 100.",
            3,
            Opcode::Create,
            created(false, fresh, &[0, 4, 6]),
        ),
        response(
            "create-response-exists",
            "It was there with the same retention.",
            3,
            Opcode::Create,
            created(true, state(), &[6]),
        ),
        error(
            "create-error",
            "It was there with another retention.",
            3,
            Opcode::Create,
            because(Status::TopicExists, "orders is there with another retention", &details),
        ),
        request(
            "create-request-shortest",
            "A name of one byte, all defaults.",
            u64::MAX,
            make(name("x"), Retention::default()),
        ),
        request(
            "create-request-longest",
            "A name of 249 bytes, every bound at its greatest.",
            4,
            make(longest_name(), Retention { records: u64::MAX, bytes: u64::MAX, age_ms: u64::MAX }),
        ),
        error(
            "create-error-quota",
            "No room by configuration.",
            3,
            Opcode::Create,
            because(Status::Quota, "", &[Detail::Limit(1 << 30)]),
        ),
    ]
}

fn delete() -> Vec<Good> {
    let details = [Detail::TopicId(state().id)];
    vec![
        request(
            "delete-request",
            "That very topic, not a later one of the name.",
            5,
            Request::Delete(topic("orders", ORDERS)),
        ),
        response("delete-response", "It is gone.", 5, Opcode::Delete, Response::Deleted { topic_id: state().id }),
        error(
            "delete-error",
            "The name has another topic now.",
            5,
            Opcode::Delete,
            because(Status::Recreated, "orders was made again", &details),
        ),
        request("delete-request-any", "Whatever has that name.", 5, Request::Delete(topic("orders", 0))),
    ]
}

fn alter() -> Vec<Good> {
    let alter = |change| Request::Alter { topic: topic("orders", ORDERS), change };
    let all = SettingsChange { retention_records: Some(1), retention_bytes: Some(0), retention_age_ms: Some(u64::MAX) };
    let topic = TopicState {
        first: Offset(1000),
        next: Offset(1234),
        bytes: 56_789,
        retention: Retention { records: 100_000, bytes: 64 << 20, age_ms: 3_600_000 },
        ..state()
    };
    let description = Description { home: 6, topic: Some(topic), path: vec![0, 4, 6], copies: None };
    vec![
        request(
            "alter-request",
            "Records of \"orders\" are kept for an hour; its other bounds stay.",
            43,
            alter(SettingsChange { retention_age_ms: Some(3_600_000), ..SettingsChange::default() }),
        ),
        response(
            "alter-response",
            "So it is, with what was removed gone.",
            43,
            Opcode::Alter,
            Response::Described(Box::new(description)),
        ),
        error(
            "alter-error",
            "A setting of a later version: nothing was changed.",
            43,
            Opcode::Alter,
            because(Status::Unsupported, "setting 4 is unknown to this version", &[]),
        ),
        request("alter-request-all", "All settings; bytes as the home's default is.", 43, alter(all)),
        request(
            "alter-request-none",
            "No settings: the answer is a description.",
            43,
            alter(SettingsChange::default()),
        ),
    ]
}

fn trim() -> Vec<Good> {
    let trim = |first, id| Request::Trim { topic: topic("orders", id), first: Offset(first) };
    let (id, first, next) = (state().id, Offset(1200), Offset(1234));
    vec![
        request("trim-request", "Offset 1200 is the first that stays.", 44, trim(1200, ORDERS)),
        response("trim-response", "It is.", 44, Opcode::Trim, Response::Trimmed { topic_id: id, first, next }),
        error(
            "trim-error",
            "The topic ends before that, and all of it is kept.",
            44,
            Opcode::Trim,
            because(
                Status::OffsetOutOfRange,
                "the topic ends before offset 1234",
                &[Detail::Earliest(Offset(1000)), Detail::Next(next)],
            ),
        ),
        request("trim-request-any", "Whatever has that name.", 44, trim(0, 0)),
    ]
}

fn producer() -> Vec<Good> {
    let opening = |resume| Opening { producer: ProducerId::of_name("day.csv"), token: 0x0102_0304_0506_0708, resume };
    let producer = |resume| Request::Producer { topic: topic("orders", 0), opening: opening(resume) };
    let opened = |records, forgotten| {
        Response::Opened(OpenedProducer { topic_id: state().id, epoch: 2, sequence: 1, records, forgotten })
    };
    vec![
        request("producer-request", "The producer of the name \"day.csv\" goes on.", 45, producer(true)),
        response(
            "producer-response",
            "281 records are stored, in its first epoch.",
            45,
            Opcode::Producer,
            opened(281, 0),
        ),
        error(
            "producer-error",
            "The topic does not know it, and has forgotten some.",
            45,
            Opcode::Producer,
            because(Status::UnknownProducer, "the topic does not remember this producer", &[]),
        ),
        request("producer-request-new", "It has never been there.", 45, producer(false)),
        response(
            "producer-response-forgotten",
            "It is new, unless it is one of the 12 that were forgotten.",
            45,
            Opcode::Producer,
            opened(0, 12),
        ),
        error(
            "producer-error-exists",
            "It was to be new, and is there.",
            45,
            Opcode::Producer,
            because(Status::ProducerExists, "the producer was opened before and has stored 281 records here", &[]),
        ),
    ]
}

fn list() -> Vec<Good> {
    let listed = |id, first, next, bytes, name: &str| Listed {
        id: TopicId::new(id).expect("not 0"),
        first: Offset(first),
        next: Offset(next),
        bytes,
        name: name.to_owned(),
    };
    let topics = vec![listed(ORDERS, 1000, 1234, 56_789, "orders"), listed(1, 0, 2, 28, "orders/eu-1")];
    vec![
        request(
            "list-request",
            "The topics of node 110 that begin with \"orders\", two a page.",
            6,
            Request::List(List { node: 6, max: 2, cursor: 0, prefix: "orders" }),
        ),
        response(
            "list-response",
            "Two, and there is more.",
            6,
            Opcode::List,
            Response::Listed(Page { node: 6, cursor: 4097, topics }),
        ),
        error("list-error", "Node 110 cannot be reached.", 6, Opcode::List, unreachable()),
        request(
            "list-request-next",
            "The next page.",
            7,
            Request::List(List { node: 6, max: 2, cursor: 4097, prefix: "orders" }),
        ),
        response(
            "list-response-empty",
            "Nothing on this page, but there may be more behind it.",
            7,
            Opcode::List,
            Response::Listed(Page { node: 6, cursor: 8193, topics: vec![] }),
        ),
        request(
            "list-request-all",
            "Everything of the ingress.",
            8,
            Request::List(List { node: ANY_NODE, max: 0, cursor: 0, prefix: "" }),
        ),
    ]
}

fn unreachable() -> ErrorResponse {
    let links = vec![(0, 1), (0, 2), (0, 4)];
    let details = [Detail::Node(0), Detail::Hops(0), Detail::Links(links)];
    let message = "no path to node 110 is left";
    ErrorResponse { retry_after_ms: 100, ..because(Status::Unreachable, message, &details) }
}

fn info() -> Vec<Good> {
    vec![
        request("info-request", "The topic that has the name.", 9, Request::Info(topic("orders", 0))),
        response(
            "info-response",
            "Records 1000 to 1233 are kept; node 110 was asked itself.",
            9,
            Opcode::Info,
            Response::Described(described(Some(state()), &[6])),
        ),
        error(
            "info-error",
            "No topic of that name.",
            9,
            Opcode::Info,
            because(Status::UnknownTopic, "no topic is called orders", &[Detail::Node(6)]),
        ),
    ]
}

fn sequenced(sequence: u64) -> Option<Sequenced> {
    let producer = ProducerId::new(0x1122_3344_5566_7788).expect("not 0");
    Some(Sequenced { producer, epoch: 1, sequence })
}

fn publishing(name: &'static str, what: &'static str, id: u64, publish: Publish<'static>, payload: Vec<u8>) -> Good {
    Good {
        content: Content::Request(Request::Publish(publish), payload),
        ..request(name, what, id, Request::Publish(publish))
    }
}

fn publish() -> Vec<Good> {
    let sequence = Publish { topic: topic("orders", 0), producer: sequenced(40), count: 2 };
    let plain = Publish { topic: topic("orders", ORDERS), producer: None, count: 1 };
    let oneway = publishing(
        "publish-oneway",
        "Fire and forget: an empty record, no answer.",
        12,
        Publish { topic: topic("x", 0), ..plain },
        vec![0, 0, 0, 1, 0],
    );
    let stored = Published {
        duplicate: false,
        topic_id: state().id,
        epoch: Epoch(1),
        base: Offset(1234),
        count: 2,
        append_us: NOW,
        durability: Durability::Memory,
    };
    let published = |published| Response::Published(published);
    vec![
        publishing(
            "publish-request",
            "\"hello\", and \"world\" with the key \"k1\", as batch 40 of a producer.",
            10,
            sequence,
            two_records(),
        ),
        response("publish-response", "Stored at 1234 and 1235, in memory.", 10, Opcode::Publish, published(stored)),
        response(
            "publish-response-duplicate",
            "The batch was stored before, at 1100.",
            10,
            Opcode::Publish,
            published(Published { duplicate: true, base: Offset(1100), ..stored }),
        ),
        response(
            "publish-response-forgotten",
            "The batch was stored before; where is not remembered.",
            10,
            Opcode::Publish,
            published(Published {
                duplicate: true,
                base: OFFSET_FORGOTTEN,
                append_us: 0,
                durability: Durability::Synced,
                ..stored
            }),
        ),
        publishing(
            "publish-request-plain",
            "One record with timestamp and header, without a producer, to one topic id.",
            11,
            plain,
            rich_record(),
        ),
        Good { flags: Flags::ONEWAY, ..oneway },
    ]
}

fn publish_errors() -> Vec<Good> {
    let error = |name, what, status, message, details: &[Detail]| {
        error(name, what, 10, Opcode::Publish, because(status, message, details))
    };
    let (gap, limit) = ([Detail::ExpectedSequence(38)], [Detail::Limit(1_044_480)]);
    let (dropped, damaged) = ("args announce 2 records, the payload has 1", "the payload does not match its checksum");
    use Status::{
        CorruptFrame, MalformedRecords, NoQuorum, NotLeader, OutcomeUnknown, ProducerFenced, SequenceGap,
        SequenceReused, TooLarge, UnknownProducer,
    };
    let leader = [Detail::Node(7), Detail::Term(3)];
    let few = "too few of the nodes that keep the topic can be reached";
    vec![
        error("publish-error-gap", "Batch 40 came before 38.", SequenceGap, "sequence 38 is expected", &gap),
        error("publish-error-reused", "Batch 40 was another one.", SequenceReused, "40 was another batch", &[]),
        error("publish-error-fenced", "A higher epoch has published.", ProducerFenced, "epoch 2 has published", &[]),
        error("publish-error-forgotten", "The producer is unknown.", UnknownProducer, "it is not remembered", &[]),
        error("publish-error-too-large", "More records than one frame may hold.", TooLarge, "", &limit),
        error("publish-error-records", "The payload is not two records.", MalformedRecords, dropped, &[]),
        error("publish-error-unknown", "Stored or not.", OutcomeUnknown, "no answer within 4 s", &[]),
        error("publish-error-not-leader", "111 leads in term 3.", NotLeader, "node 110 does not lead", &leader),
        error("publish-error-no-quorum", "Certainly not stored.", NoQuorum, few, &[]),
        error("publish-error-corrupt", "The payload was damaged.", CorruptFrame, damaged, &[]),
        overloaded(),
    ]
}

fn overloaded() -> Good {
    let details = [Detail::Node(0), Detail::Hops(0), Detail::Links(vec![])];
    let error = because(Status::Overloaded, "the link to 100 is full", &details);
    let error = ErrorResponse { retry_after_ms: 20, ..error };
    self::error("publish-error-overloaded", "A link is full: again in 20 ms.", 10, Opcode::Publish, error)
}

fn fetch() -> Vec<Good> {
    let fetch = Fetch {
        topic: topic("orders", ORDERS),
        epoch: Some(Epoch(1)),
        start: Start::Offset(Offset(1234)),
        max_bytes: 65_536,
        max_records: 100,
        max_wait_ms: 0,
    };
    let start = Start::Earliest;
    let anything =
        Fetch { topic: topic("orders", 0), epoch: None, start, max_bytes: 0, max_records: 0, max_wait_ms: 0 };
    let records = Bytes::from(two_records());
    let parts = vec![records.slice(..10), records.slice(10..)];
    let fetched = Fetched {
        topic_id: state().id,
        epoch: Epoch(1),
        from: Offset(1234),
        base: Offset(1234),
        count: 2,
        first: Offset(1000),
        next: Offset(1236),
        runs: vec![Run { count: 1, append_us: NOW }, Run { count: 1, append_us: NOW + 1500 }],
        payload: Payload { parts, crc: None },
    };
    let at_end = Fetched {
        from: Offset(1236),
        base: Offset(1236),
        count: 0,
        runs: vec![],
        payload: Payload::default(),
        ..fetched
    };
    let gap = Fetched { from: Offset(7), base: Offset(1234), first: Offset(1234), ..fetched.clone() };
    let hole = Fetched { from: Offset(1100), base: Offset(1200), next: Offset(1202), ..fetched.clone() };
    let response = |name, what, fetched| response(name, what, 20, Opcode::Fetch, Response::Fetched(Box::new(fetched)));
    vec![
        request(
            "fetch-request",
            "From 1234, of that very topic and epoch, at most 64 KiB or 100 records.",
            20,
            Request::Fetch(fetch),
        ),
        response("fetch-response", "Two records, appended 1.5 ms apart.", fetched),
        response("fetch-response-empty", "Nothing yet behind 1235.", at_end),
        response("fetch-response-gap", "Retention removed 7 to 1233.", gap),
        response("fetch-response-hole", "1100 to 1199 are not there any more, though 1000 is.", hole),
        request("fetch-request-earliest", "From the first record that is kept.", 21, Request::Fetch(anything)),
        request("fetch-request-next", "From the end.", 22, Request::Fetch(Fetch { start: Start::Next, ..anything })),
        request(
            "fetch-request-time",
            "From the first record of 2026 on.",
            23,
            Request::Fetch(Fetch { start: Start::Time(NOW), ..anything }),
        ),
        request(
            "fetch-request-wait",
            "From 1236, as soon as there is a record, or without one after 30 s.",
            24,
            Request::Fetch(Fetch { start: Start::Offset(Offset(1236)), max_wait_ms: 30_000, ..fetch }),
        ),
    ]
}

fn fetch_errors() -> Vec<Good> {
    let error = |name, what, status, message, details: &[Detail]| {
        error(name, what, 20, Opcode::Fetch, because(status, message, details))
    };
    let kept = [Detail::Earliest(Offset(1000)), Detail::Next(Offset(1236))];
    vec![
        error("fetch-error-range", "Behind the end.", Status::OffsetOutOfRange, "1300 is behind the end, 1236", &kept),
        error(
            "fetch-error-truncated",
            "The log lost records at its end.",
            Status::Truncated,
            "epoch 1 has ended",
            &[Detail::Next(Offset(1200)), Detail::Epoch(Epoch(2))],
        ),
        error(
            "fetch-error-recreated",
            "The topic was made again.",
            Status::Recreated,
            "orders was made again",
            &[Detail::TopicId(TopicId::new(2).expect("not 0"))],
        ),
        error(
            "fetch-error-too-large",
            "The next record needs a frame of 70000 bytes.",
            Status::TooLarge,
            "",
            &[Detail::Limit(70_000)],
        ),
    ]
}

fn query() -> Vec<Good> {
    let copy = |node, answers, behind| CopyView { node, answers, behind };
    let members = vec![copy(6, false, 117), copy(7, true, 0), copy(4, true, 2)];
    let copies = CopiesView { leader: 7, term: 4, members };
    vec![
        request("query-request", "Where would \"orders\" live?", 30, Request::Query { topic: name("orders") }),
        response(
            "query-response",
            "On node 110, and it is there.",
            30,
            Opcode::Query,
            Response::Described(described(Some(state()), &[0, 4, 6])),
        ),
        response(
            "query-response-absent",
            "On node 110, but there is no such topic.",
            30,
            Opcode::Query,
            Response::Described(described(None, &[0, 4, 6])),
        ),
        response(
            "query-response-copies",
            "Node 111 leads in term 4; 110, the home, does not answer, and 100 lacks two bodies.",
            30,
            Opcode::Query,
            Response::Described(Box::new(Description {
                copies: Some(copies),
                ..*described(Some(state()), &[0, 4, 5, 7])
            })),
        ),
        error("query-error", "Node 000 has no way to 110 left.", 30, Opcode::Query, unreachable()),
    ]
}

fn trace() -> Vec<Good> {
    let probe = |ttl, target| Request::Trace { ttl, target };
    let expired = [Detail::Node(4), Detail::Hops(1), Detail::Links(vec![])];
    vec![
        request(
            "trace-request",
            "The second probe towards the home of \"orders\".",
            31,
            probe(2, TraceTarget::Topic(name("orders"))),
        ),
        response(
            "trace-response",
            "The home answers, after a detour around the link 000-100.",
            31,
            Opcode::Trace,
            Response::Traced(Probe { node: 6, hops: 2, down: vec![(0, 4)] }),
        ),
        error(
            "trace-error",
            "The first probe ends at node 100.",
            32,
            Opcode::Trace,
            because(Status::TtlExpired, "", &expired),
        ),
        request("trace-request-node", "To node 011, as far as it goes.", 33, probe(u16::MAX, TraceTarget::Node(3))),
        response(
            "trace-response-direct",
            "It answers; no link was met down.",
            33,
            Opcode::Trace,
            Response::Traced(Probe { node: 3, hops: 2, down: vec![] }),
        ),
    ]
}

fn nodes() -> Vec<Good> {
    let link = |node, up, address: &str| LinkView { node, up, address: address.to_owned() };
    let view = View {
        node: 5,
        dimension: 3,
        instance: 0xA5A5_0000_0000_0005,
        uptime_ms: 61_000,
        durability: Durability::Synced,
        cluster: "demo".to_owned(),
        software: "dht-node/0.1.0".to_owned(),
        address: "127.0.0.1:5005".to_owned(),
        links: vec![link(4, true, "127.0.0.1:5004"), link(7, false, "127.0.0.1:5007"), link(1, true, "127.0.0.1:5001")],
        groups: None,
    };
    let sharing = View { groups: Some(GroupsView { replicas: 3, led: 1, kept: 3 }), ..view.clone() };
    let text = "topics 2\nrecords 1236\n".to_owned();
    vec![
        request("cluster-request", "The ingress.", 40, Request::Cluster { node: ANY_NODE }),
        response(
            "cluster-response",
            "Node 101 misses its neighbour 111.",
            40,
            Opcode::Cluster,
            Response::Cluster(Box::new(view)),
        ),
        response(
            "cluster-response-groups",
            "The same in a cube in which three nodes keep each topic: 101 leads one group of three.",
            40,
            Opcode::Cluster,
            Response::Cluster(Box::new(sharing)),
        ),
        error(
            "cluster-error",
            "The node asked is ending.",
            40,
            Opcode::Cluster,
            because(Status::ShuttingDown, "node 101 is shutting down", &[Detail::Node(5)]),
        ),
        request("stats-request", "Node 101.", 41, Request::Stats { node: 5 }),
        response("stats-response", "Two lines.", 41, Opcode::Stats, Response::Stats { node: 5, text }),
        error("stats-error", "A fault of the server.", 41, Opcode::Stats, because(Status::Internal, "", &[])),
        request("nodes-request", "All that the ingress knows.", 42, Request::Nodes { node: ANY_NODE, from: 0 }),
        response("nodes-response", "Node 01 of four; the link to 11 is down.", 42, Opcode::Nodes, four_nodes()),
        request(
            "nodes-request-next",
            "The second page in a cube of ten dimensions.",
            43,
            Request::Nodes { node: 5, from: 256 },
        ),
        response(
            "nodes-response-page",
            "A page that is not the last; the address is not known.",
            43,
            Opcode::Nodes,
            Response::Nodes(NodePage { node: 5, dimension: 10, next: 512, nodes: vec![known(511, Distant, "")] }),
        ),
        error(
            "nodes-error",
            "There is no such node.",
            42,
            Opcode::Nodes,
            because(Status::UnknownNode, "this cube has the nodes 0 to 7, not 8", &[]),
        ),
    ]
}
