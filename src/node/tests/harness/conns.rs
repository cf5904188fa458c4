//! The beginning and the end of connections: clients and neighbours that connect, say HELLO, and leave.

use super::{Harness, frame};
use crate::limits::LINK_SILENCE_US;
use crate::node::Event;
use crate::node::tests::sent::Sent;
use crate::types::{ConnId, NodeId, RequestId, Source};
use crate::wire::{Flags, Goaway, Head, Hello, Opcode, Role, Status};

impl Harness {
    /// Opens a connection that sends nothing.
    pub(in crate::node::tests) fn accept(&mut self) -> ConnId {
        self.accept_from(Source::Ipv4([127, 0, 0, 1]))
    }

    /// Opens a connection from this source that sends nothing.
    pub(in crate::node::tests) fn accept_from(&mut self, source: Source) -> ConnId {
        let conn = ConnId { slot: self.next_slot, generation: 1 };
        self.next_slot += 1;
        self.conns.insert(conn, true);
        self.handle(Event::Accepted { conn, source });
        conn
    }

    pub(in crate::node::tests) fn say_hello(&mut self, conn: ConnId, hello: &Hello) -> Vec<Sent> {
        let head =
            Head { opcode: Opcode::Hello.number(), flags: Flags::default(), status: 0, request_id: RequestId(1) };
        let frame = self.parse(frame(head, None, &[], |args| hello.encode(args, None)));
        self.handle(Event::Frame { conn, frame: &frame })
    }

    /// Connects a client.
    pub(in crate::node::tests) fn client(&mut self) -> ConnId {
        self.client_with(0)
    }

    /// Connects a client with these features, which are agreed on.
    pub(in crate::node::tests) fn client_with(&mut self, features: u64) -> ConnId {
        let conn = self.accept();
        let sent = self.say_hello(conn, &Hello { features, ..Hello::of_client(1, "test") });
        assert_eq!(sent.iter().map(Sent::status).collect::<Vec<_>>(), [Status::Ok]);
        let agreed = Hello::decode(sent[0].frame.args().unwrap()).unwrap().features;
        assert_eq!(agreed & u64::from(u32::MAX), features, "but for GREASE");
        conn
    }

    /// Connects a client with this keepalive time.
    pub(in crate::node::tests) fn client_with_keepalive(&mut self, keepalive_us: u64) -> ConnId {
        let conn = self.accept();
        let keepalive_ms = u32::try_from(keepalive_us / 1000).unwrap();
        let sent = self.say_hello(conn, &Hello { keepalive_ms, ..Hello::of_client(1, "test") });
        assert_eq!(sent.iter().map(Sent::status).collect::<Vec<_>>(), [Status::Ok]);
        conn
    }

    /// Connects an instance of the neighbour across dimension 0: of number 1 to number 0.
    pub(in crate::node::tests) fn neighbour(&mut self, instance: u64) -> (ConnId, Vec<Sent>) {
        let conn = self.accept();
        let dimension = self.node.settings.dimension.bits();
        let node = self.node.settings.id.across(0).index();
        let replicas = Some(self.node.settings.copies.number());
        let hello = Hello { role: Role::Node, dimension, node, replicas, ..Hello::of_client(instance, "test") };
        let sent = self.say_hello(conn, &hello);
        (conn, sent)
    }

    /// Connects an instance of number 1 with this HELLO, which replaces the link if there is one.
    pub(in crate::node::tests) fn link_as(&mut self, hello: &Hello) -> Vec<Sent> {
        if let Some(link) = self.link.take() {
            self.lose(link);
        }
        let conn = self.accept();
        self.link = Some(conn);
        self.say_hello(conn, hello)
    }

    /// Establishes a connection that this node has dialled, and answers with this HELLO.
    pub(in crate::node::tests) fn answer_dialed(&mut self, hello: &Hello) -> Vec<Sent> {
        let conn = ConnId { slot: self.next_slot, generation: 1 };
        self.next_slot += 1;
        self.conns.insert(conn, true);
        let node = NodeId::new(hello.node, self.node.settings.dimension).unwrap();
        let sent = self.handle(Event::Dialed { conn, node });
        let asked = Hello::decode(sent[0].frame.args().unwrap()).unwrap();
        assert_eq!(u64::from(asked.keepalive_ms) * 1000, LINK_SILENCE_US);
        let request_id = sent[0].frame.header.request_id;
        let head = Head { opcode: Opcode::Hello.number(), flags: Flags::RESPONSE, status: 0, request_id };
        let frame = self.parse(frame(head, None, &[], |args| hello.encode(args, None)));
        self.handle(Event::Frame { conn, frame: &frame })
    }

    /// Connects number 1.
    pub(in crate::node::tests) fn link_up(&mut self) -> ConnId {
        let (conn, sent) = self.neighbour(1);
        assert_eq!(sent.iter().map(Sent::status).collect::<Vec<_>>(), [Status::Ok]);
        self.link = Some(conn);
        conn
    }

    /// Announces the end of a connection from its other end.
    pub(in crate::node::tests) fn send_goaway(&mut self, conn: ConnId, status: Status) -> Vec<Sent> {
        let goaway = Goaway { status, last_request_id: 0, message: "bye".to_owned() };
        let (opcode, flags) = (Opcode::Goaway.number(), Flags::ONEWAY);
        let head = Head { opcode, flags, status: status.number(), request_id: RequestId(0) };
        let frame = self.parse(frame(head, None, &[], |args| goaway.encode(args)));
        self.handle(Event::Frame { conn, frame: &frame })
    }
}
