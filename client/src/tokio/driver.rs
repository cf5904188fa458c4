//! Drives a session with a Tokio socket and Tokio's clock.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::net::{TcpStream, lookup_host};
use ::tokio::time::{self, Sleep};

use crate::address::Address;
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::session::driving::{Action, Event};

/// Bytes of input after which the frames in them are handled before more is read.
const READ_BYTES: usize = 256 << 10;

/// A session with its socket.
pub(super) struct Driver {
    pub(super) session: Session,
    socket: Socket,
    /// True if the socket did not take all output.
    write_waits: bool,
    timer: Pin<Box<Sleep>>,
}

enum Socket {
    Closed,
    Connecting(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    Open(TcpStream),
}

impl Driver {
    pub(super) fn new(session: Session) -> Self {
        let timer = Box::pin(time::sleep(Duration::ZERO));
        Self { session, socket: Socket::Closed, write_waits: false, timer }
    }

    /// Reads, handles input and timers, performs the session's actions and writes, until nothing more can be done
    /// without waiting. `cx` is woken when something can. Returns true if it made progress.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut has_moved = self.act();
        has_moved |= self.connect(cx);
        has_moved |= self.read(cx);
        self.session.handle(Event::Progress, now());
        has_moved |= self.act();
        self.write(cx) || has_moved
    }

    /// Wakes `cx` at the deadline or when the session has something to do, if that is earlier. Returns true if it is
    /// time already.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Deadline) -> bool {
        let Some(wake) = deadline.earlier(self.session.wake_at()).0 else { return false };
        if wake <= now() {
            return true;
        }
        let wake = time::Instant::from_std(wake);
        // A timer that rings too early does no harm, and setting it costs more than that.
        if self.timer.is_elapsed() || wake < self.timer.deadline() {
            self.timer.as_mut().reset(wake);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    /// Returns true if bytes wait to be written.
    pub(super) fn has_output(&mut self) -> bool {
        self.session.bytes().is_some_and(|bytes| !bytes.output().is_empty())
    }

    /// Closes the connection.
    pub(super) fn close(&mut self) {
        self.session.close(now());
        self.act();
    }

    /// Connects and closes as the session demands. Returns true if there was any such action.
    fn act(&mut self) -> bool {
        let mut has_acted = false;
        while let Some(action) = self.session.next_action() {
            has_acted = true;
            self.write_waits = false;
            self.socket = match action {
                Action::Close => Socket::Closed,
                // The session ends an attempt that takes too long.
                Action::Connect(address, _) => Socket::Connecting(Box::pin(connect(address))),
            };
        }
        has_acted
    }

    fn connect(&mut self, cx: &mut Context<'_>) -> bool {
        let Socket::Connecting(attempt) = &mut self.socket else { return false };
        let Poll::Ready(connected) = attempt.as_mut().poll(cx) else { return false };
        let (socket, event) = match connected {
            Ok(stream) => (Socket::Open(stream), Event::Connected),
            Err(error) => (Socket::Closed, Event::ConnectFailed(error)),
        };
        self.socket = socket;
        self.session.handle(event, now());
        true
    }

    /// Reads what has arrived. Returns true if anything had, or if the stream has ended.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let (Socket::Open(stream), Some(bytes)) = (&mut self.socket, self.session.bytes()) else { return false };
        let mut total = 0;
        while !bytes.is_ended() && total < READ_BYTES {
            let read = match bytes.room() {
                Ok(room) => {
                    let mut room = ReadBuf::new(room);
                    Pin::new(&mut *stream).poll_read(cx, &mut room).map_ok(|()| room.filled().len())
                }
                Err(error) => Poll::Ready(Err(error)),
            };
            match read {
                Poll::Pending => return total > 0,
                Poll::Ready(Ok(0)) => bytes.on_ended(None),
                Poll::Ready(Ok(count)) => {
                    bytes.on_read(count, now());
                    total += count;
                }
                Poll::Ready(Err(error)) => bytes.on_ended(Some(error)),
            }
        }
        total > 0 || bytes.is_ended()
    }

    /// Writes as much as the socket takes. Returns true if that was anything.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let (Socket::Open(stream), Some(bytes)) = (&mut self.socket, self.session.bytes()) else { return false };
        let mut has_written = false;
        while !bytes.output().is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, bytes.output()) {
                Poll::Pending => {
                    self.write_waits = true;
                    break;
                }
                Poll::Ready(Ok(0)) => bytes.on_write_failed(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    bytes.on_written(count, std::mem::take(&mut self.write_waits), now());
                    has_written = true;
                }
                Poll::Ready(Err(error)) => bytes.on_write_failed(error),
            }
        }
        has_written
    }
}

/// Connects to an address; a name may have several, which are tried in turn.
async fn connect(address: Address) -> io::Result<TcpStream> {
    let mut refused = None;
    for resolved in lookup_host((address.host(), address.port())).await? {
        match TcpStream::connect(resolved).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Returns the current time of the runtime, which a test may have paused.
pub(super) fn now() -> Instant {
    time::Instant::now().into_std()
}
