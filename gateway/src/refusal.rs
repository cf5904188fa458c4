//! Problems for what is not an HTTP request.
//!
//! The HTTP library refuses such bytes before there is a request that the router could answer: with a status, and
//! without a body. This connection gives these refusals the body that all others have.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::BUFFER_BYTES;
use crate::problem::{PROBLEM_TYPE, Problem};

/// A connection whose refusals by the HTTP library are problems.
#[derive(Debug)]
pub(crate) struct Explained<S> {
    stream: S,
    /// What is still to be sent of a problem.
    unsent: Bytes,
}

impl<S> Explained<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, unsent: Bytes::new() }
    }
}

/// Returns the response to send in place of `bytes`, if these are a refusal without a body.
fn explained(bytes: &[u8]) -> Option<Bytes> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4")?.first_chunk::<2>()?;
    let is_bare = bytes.ends_with(b"\r\n\r\n") && bytes.windows(21).any(|part| part == b"\r\ncontent-length: 0\r\n");
    if !is_bare {
        return None;
    }
    let problem = match status {
        b"00" => Problem::bad_request("NO_REQUEST", "this is not a request of HTTP/1.1, or it has a malformed header")
            .hint("send HTTP/1.1 without TLS; a header is a line such as `Name: value`"),
        b"14" => Problem::new(StatusCode::URI_TOO_LONG, "URI_TOO_LONG", "the path has more than 65534 bytes")
            .hint("send a shorter path; the content of records belongs into the body"),
        b"31" => {
            let detail = format!("there are more than 100 headers, or they have more than {BUFFER_BYTES} bytes");
            Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE", detail)
                .hint("send fewer or smaller ones; a record as JSON may have more")
        }
        _ => return None,
    };
    let (status, body) = (problem.status(), problem.json());
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_TYPE}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    Some((head + &body).into())
}

impl<S: AsyncWrite + Unpin> Explained<S> {
    /// Sends the rest of a problem.
    fn poll_unsent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent.has_remaining() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(context))?;
        if let Some(problem) = explained(bytes) {
            self.unsent = problem;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(context))?;
        if let [refusal] = slices
            && let Some(problem) = explained(refusal)
        {
            self.unsent = problem;
            return Poll::Ready(Ok(refusal.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}
