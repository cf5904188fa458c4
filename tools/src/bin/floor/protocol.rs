//! What is spoken to a server: this project's protocol, or Redis' for the peer that durable publishes are held against.
//! Everything else of a load is the same for both.

use std::net::{SocketAddr, TcpStream};

use dht_node::wire::{Header, Opcode};

use crate::error::Error;
use crate::load::Plan;
use crate::resp;
use crate::session::{self, FRAME_MAX, Session};

/// What is spoken to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// This project's: to the daemon and to bare servers.
    Frames,
    /// Redis': a publish is an XADD.
    Resp,
}

impl Protocol {
    /// A connection that is ready for requests.
    pub(crate) fn connect(self, addr: SocketAddr) -> Result<TcpStream, Error> {
        match self {
            Self::Frames => Ok(Session::open(addr)?.into_stream()),
            Self::Resp => {
                let stream = TcpStream::connect(addr)?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }
        }
    }

    /// The request that publishes a batch of the plan to that topic.
    pub(crate) fn publish(self, topic: &str, id: u64, plan: &Plan) -> Result<Vec<u8>, Error> {
        match self {
            Self::Frames => session::publish(topic, id, plan.count, &plan.batch()?),
            Self::Resp => Ok(resp::xadd(topic, &plan.value())),
        }
    }

    /// The whole answers at the start of `input` and their bytes. Each is a success; a PING of the server is none.
    pub(crate) fn count_answers(self, input: &[u8]) -> Result<(usize, usize), Error> {
        match self {
            Self::Frames => count_frames(input),
            Self::Resp => resp::count_answers(input),
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
        answers += usize::from(header.opcode == Opcode::Publish.number());
    }
    Ok((answers, at))
}
