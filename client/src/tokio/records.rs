//! A stream of the records that a topic has.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

use crate::error::Error;
use crate::fetch::Reading;
use crate::item::Item;
use crate::tokio::handle::Handle;

/// A [`Stream`] of the records of a topic; see [`Client::records`](crate::tokio::Client::records).
///
/// It remembers the topic id and epoch of the first response. If the topic is re-created or loses records at its end
/// meanwhile, the next item is an error that says so, and the stream ends.
pub struct Records {
    handle: Handle,
    state: State,
}

type Fetching = dyn Future<Output = (Reading, Result<(), Error>)> + Send;

enum State {
    /// Items are taken.
    Taking(Reading),
    /// More of them are requested.
    Fetching(Pin<Box<Fetching>>),
    /// Nothing is left.
    Ended,
}

impl Records {
    pub(super) const fn new(handle: Handle, reading: Reading) -> Self {
        Self { handle, state: State::Taking(reading) }
    }

    /// Ends the stream after `records` records.
    #[must_use]
    pub fn limit(mut self, records: u64) -> Self {
        if let State::Taking(reading) = &mut self.state {
            reading.limit(records);
        }
        self
    }

    /// Waits up to `wait` for a first record if there is none.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        if let State::Taking(reading) = &mut self.state {
            reading.wait(wait);
        }
        self
    }

    /// Returns the next item of the stream, or `None` at its end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Item, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Records {
    type Item = Result<Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Taking(mut reading) => {
                    if let Some(item) = reading.take() {
                        self.state = State::Taking(reading);
                        return Poll::Ready(Some(Ok(item)));
                    }
                    if reading.has_ended() {
                        return Poll::Ready(None);
                    }
                    let handle = self.handle.clone();
                    self.state = State::Fetching(Box::pin(async move {
                        let result = reading.read_on(&mut &handle).await;
                        (reading, result)
                    }));
                }
                State::Fetching(mut fetching) => {
                    let polled = fetching.as_mut().poll(cx);
                    if polled.is_pending() {
                        self.state = State::Fetching(fetching);
                    }
                    let (reading, result) = ready!(polled);
                    self.state = State::Taking(reading);
                    if let Err(error) = result {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}
