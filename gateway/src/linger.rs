//! Bodies that no handler reads to their end.
//!
//! Many HTTP libraries read a response only when they have sent the whole request. If the connection ended while they
//! send, their users would see a broken pipe instead of the refusal. So what is left of a body is received and dropped,
//! for a while.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::{Request, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::limits::{LINGER_BYTES, LINGER_TIME};

/// A body of which the rest is received when it is dropped.
#[derive(Debug)]
struct Lingering {
    body: Body,
    has_ended: bool,
}

/// Returns the request with a body of which the rest is received when it is dropped.
pub(crate) fn linger(request: Request<Incoming>) -> Request<Body> {
    // A client that waits for 100 Continue may send the body after a refusal, or another request instead.
    let waits = request.headers().contains_key(header::EXPECT);
    request.map(|body| {
        let body = Body::new(body);
        if waits || body.is_end_stream() { body } else { Body::new(Lingering { body, has_ended: false }) }
    })
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.has_ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if !self.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(timeout(LINGER_TIME, discard(std::mem::take(&mut self.body))));
        }
    }
}

/// Receives a body up to its end, or to the bound.
async fn discard(mut body: Body) {
    let mut bytes = 0;
    while bytes < LINGER_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}
