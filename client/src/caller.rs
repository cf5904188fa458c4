//! What the operations need of a client, so that each is written once: the blocking client and the asynchronous one are
//! both a [`Caller`].

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use dht_protocol::types::{Dimension, NodeId};
use dht_protocol::wire::{Opcode, Request, Response};

use crate::error::{Error, Fault};
use crate::session::call::{Outcome, Repeat};
use crate::session::request::OwnedRequest;

/// A client that makes requests, with retries where they may help and are safe.
pub(crate) trait Caller {
    /// Makes a request. `wait` is how long the node may hold back its response, as for a FETCH that waits for records.
    fn call(&mut self, request: OwnedRequest, repeat: Repeat, wait: Duration) -> impl Future<Output = Outcome> + Send;

    /// Makes several requests, [`PIPELINE`] of them at a time. Any response is the result. Returns the results in the
    /// order of the requests.
    fn call_all(&mut self, requests: Vec<OwnedRequest>) -> impl Future<Output = Vec<Outcome>> + Send;

    /// Connects if necessary, and returns the connected node and the dimension of its cube.
    fn place(&mut self) -> impl Future<Output = Result<(NodeId, Dimension), Error>> + Send;

    /// Returns the address of the current or last node, for errors.
    fn last_server(&self) -> String;

    /// Returns the current time.
    fn now(&self) -> Instant;

    /// Returns the error for a response of the wrong kind.
    fn mismatch(&self, opcode: Opcode) -> Error {
        self.fault(Fault::Answer { opcode })
    }

    /// Returns the error for a violation of the protocol by the current or last node.
    fn fault(&self, fault: Fault) -> Error {
        Error::Protocol { server: self.last_server(), fault }
    }
}

/// Maximum number of requests in flight of one operation.
pub(crate) const PIPELINE: usize = 64;

/// Makes a request without payload and returns the response.
pub(crate) async fn ask(client: &mut impl Caller, request: &Request<'_>, repeat: Repeat) -> Result<Response, Error> {
    client.call(OwnedRequest::new(request, &[])?, repeat, Duration::ZERO).await.result
}

/// Runs an operation of a client that blocks.
pub(crate) fn at_once<T>(operation: impl Future<Output = T>) -> T {
    match pin!(operation).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("a blocking client is done when its methods return"),
    }
}
