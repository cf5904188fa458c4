//! The protocol spoken to a server: this project's, or that of Redis, which durable publishes are compared with.
//! Apart from the protocol, the load is the same for both.

use std::net::{SocketAddr, TcpStream};

use dht_protocol::types::ProducerId;
use dht_protocol::wire::{Header, Opcode};

use crate::error::Error;
use crate::load::{Operation, Plan};
use crate::resp;
use crate::session::{self, FRAME_MAX, Session};

/// The protocol spoken to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// This project's protocol, spoken to the daemon and to bare servers.
    Frames,
    /// The Redis protocol, in which a publish is an XADD.
    Resp,
    /// The same with a WAIT behind each XADD: it is answered when one of the replicas has the entry.
    RespWait,
}

impl Protocol {
    /// Connects and, if the protocol has a handshake, completes it.
    pub(crate) fn connect(self, addr: SocketAddr) -> Result<TcpStream, Error> {
        match self {
            Self::Frames => Ok(Session::open(addr)?.into_stream()),
            Self::Resp | Self::RespWait => {
                let stream = TcpStream::connect(addr)?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }
        }
    }

    /// Encodes a request of the plan for `topic`. `producer` is that of the connection.
    pub(crate) fn request(self, topic: &str, id: u64, plan: &Plan, producer: ProducerId) -> Result<Vec<u8>, Error> {
        let publish_by = |producer| session::publish_by(producer, topic, id, plan.count, &plan.batch()?);
        match (self, plan.operation) {
            (Self::Frames, Operation::Publish) => publish_by(None),
            (Self::Frames, Operation::Sequenced) => publish_by(Some(producer)),
            (Self::Frames, Operation::Fetch) => session::fetch_first(topic, id),
            (Self::Frames, Operation::Query) => session::query(topic, id),
            (Self::Resp, _) => Ok(resp::xadd(topic, &plan.value())),
            (Self::RespWait, _) => Ok([resp::xadd(topic, &plan.value()), resp::wait(1, 0)].concat()),
        }
    }

    /// Returns the number of complete answers at the start of `input` and the bytes consumed. A PING of the server is
    /// consumed but not counted.
    ///
    /// # Errors
    ///
    /// If one of the answers reports an error or cannot be parsed.
    pub(crate) fn count_answers(self, input: &[u8]) -> Result<(usize, usize), Error> {
        match self {
            Self::Frames => count_frames(input),
            Self::Resp => resp::count_answers(input),
            Self::RespWait => resp::count_waits(input),
        }
    }
}

fn count_frames(input: &[u8]) -> Result<(usize, usize), Error> {
    let (mut answers, mut at) = (0, 0);
    while let Some(header) = Header::parse(&input[at..], FRAME_MAX)? {
        if at + header.frame_len() > input.len() {
            break;
        }
        session::refuse_error(&header)?;
        at += header.frame_len();
        answers += usize::from(header.opcode != Opcode::Ping.number());
    }
    Ok((answers, at))
}
