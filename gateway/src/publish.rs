//! Publishing: a body becomes one batch, which is stored once whatever happens on the way.
//!
//! A batch is sent with a producer and a sequence, so that the cube recognises it when it is sent again after a lost
//! connection. With `Idempotency-Key` the producer follows from the key, so that the client may send the request
//! again, too. Without it the gateway uses producers of its own: lanes, each with one batch at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use dht_client::tokio::Client;
use dht_client::{Batch, Error, Published, TopicId};
use dht_protocol::types::{ProducerId, Sequenced};
use dht_protocol::wire::Status;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::api::App;
use crate::bodies::{self, Form};
use crate::input::{NoParams, Params, Topic, TopicPath, check_encoding, media_type, read_body, single};
use crate::limits::{JSON_BYTES_MAX, LANE_TOPICS, LANES_PER_TOPIC};
use crate::problem::{Invalid, Problem, Retry};
use crate::views::PublishedView;

/// Maximum size of an `Idempotency-Key` in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Publishes the records of the body: all of them, or none.
///
/// `application/json` is a record or an array of records, `application/x-ndjson` a record per line; each is an object
/// such as `{"payload":"text","key":"k"}`, with `payload_b64` for bytes that are not UTF-8. Any other body is the
/// payload of one record, with `Dht-Key` (or `Dht-Key-B64`), `Dht-Timestamp-Us` and `Dht-Header-NAME`.
///
/// A request with an `Idempotency-Key` may be sent again: it is stored once. A topic remembers the last 16384 keys; a
/// request that comes again after that many others is stored again.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/records", tag = "records",
    params(
        TopicPath,
        (
            "Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "New for each request",
        ),
        ("Dht-Key" = Option<String>, Header, description = "The record's key"),
    ),
    request_body(content(
        (Vec<u8> = "application/octet-stream"), (Vec<RecordForm> = "application/json"), (String = "application/x-ndjson"),
    )),
    responses(
        (status = 201, description = "The records are stored", body = PublishedView),
        (status = 200, description = "They were stored before", body = PublishedView),
        (status = 404, description = "There is no such topic", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is compressed", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "More than one batch", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The key was used for another body", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "Stored or not", body = Problem, content_type = "application/problem+json"),
        Invalid, Retry,
    ),
)]
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    Topic(topic): Topic,
    Params(NoParams {}): Params<NoParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<PublishedView>), Problem> {
    let key = idempotency_key(&headers)?;
    check_encoding(&headers)?;
    let form = Form::of(&media_type(&headers)?);
    let bytes_max = if form == Form::Raw { Batch::BYTES_MAX } else { JSON_BYTES_MAX };
    let body = read_body(body, bytes_max).await?;
    let batch = bodies::batch(form, &headers, &body)?;
    let client = app.pool.client().await?;
    let published = match key {
        Some(key) => client.publish_as(&topic, producer_of(&topic, key), &batch).await?,
        None => app.lanes.publish(&client, &topic, &batch).await?,
    };
    let status = if published.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(PublishedView::new(&topic, &published))))
}

/// A record as JSON. An object alone stands for an array of one.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it is only described; dht_client::json decodes it")]
struct RecordForm {
    /// The payload. Bytes that are not UTF-8 are in base64 in `payload_b64` instead.
    payload: String,
    /// The key, or `key_b64`.
    key: Option<String>,
    /// The publisher's timestamp, in microseconds since 1970.
    timestamp_us: Option<u64>,
    headers: Option<Vec<HeaderForm>>,
}

#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it is only described; dht_client::json decodes it")]
struct HeaderForm {
    name: String,
    /// The value, or `value_b64`.
    value: String,
}

/// Returns the key of a request, if it has one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let Some(value) = single(headers, "idempotency-key")? else { return Ok(None) };
    match value.as_bytes() {
        key if (1..=KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key)),
        key => {
            let detail = format!("Idempotency-Key: {} bytes; there must be 1 to {KEY_BYTES_MAX}", key.len());
            Err(Problem::bad_request("BAD_HEADER", detail).hint("a UUID makes a good key"))
        }
    }
}

/// Returns the producer id of a key: 64 bits of the SHA-256 of user, topic and key.
fn producer_of(topic: &str, key: &[u8]) -> ProducerId {
    // Nobody is identified yet, so all requests have the same user.
    let user = b"";
    let mut hash = Sha256::new();
    for part in [user.as_slice(), topic.as_bytes(), key] {
        // Lengths, so that no two different triples have the same bytes.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let (first, _) = digest.split_first_chunk().expect("SHA-256 has 32 bytes");
    ProducerId::new(u64::from_be_bytes(*first)).unwrap_or(ProducerId::new(1).expect("1 is not 0"))
}

/// A producer of this gateway in one topic, with the sequence of its next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lane {
    producer: ProducerId,
    sequence: u64,
    /// The topic that it has published to, so that a re-created topic does not take its next sequence for a gap.
    topic: Option<TopicId>,
}

impl Lane {
    fn new() -> Self {
        let producer = ProducerId::new(fastrand::u64(1..)).expect("the range begins with 1");
        Self { producer, sequence: 0, topic: None }
    }

    const fn sequenced(self) -> Sequenced {
        Sequenced { producer: self.producer, epoch: 0, sequence: self.sequence }
    }
}

/// The idle lanes of each topic.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    idle: Mutex<HashMap<String, Vec<Lane>>>,
}

impl Lanes {
    /// Publishes a batch with a producer that has no other batch in flight.
    ///
    /// # Errors
    /// Returns a problem. If it is `maybe_done`, the records may be stored.
    async fn publish(&self, client: &Client, topic: &str, batch: &Batch) -> Result<Published, Problem> {
        let lane = self.take(topic).unwrap_or_else(Lane::new);
        match self.publish_on(lane, client, topic, batch).await {
            // The topic that the lane knows is gone, and nothing was stored in the new one.
            Err(error) if error.status() == Some(Status::Recreated) => {
                Ok(self.publish_on(Lane::new(), client, topic, batch).await?)
            }
            result => Ok(result?),
        }
    }

    async fn publish_on(&self, lane: Lane, client: &Client, topic: &str, batch: &Batch) -> Result<Published, Error> {
        let result = client.publish_sequenced(topic, lane.topic, lane.sequenced(), batch).await;
        match &result {
            Ok(published) => {
                let next = Lane { sequence: lane.sequence + 1, topic: Some(published.topic_id), ..lane };
                self.give_back(topic, next);
            }
            // The sequence is unused, so the next batch gets it.
            Err(error) if !error.may_be_done() && error.status() != Some(Status::Recreated) => {
                self.give_back(topic, lane);
            }
            // The sequence may be used or not, so the lane cannot be used again: neither this sequence nor the next one
            // would be safe.
            Err(_) => {}
        }
        result
    }

    fn take(&self, topic: &str) -> Option<Lane> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(topic)?.pop()
    }

    fn give_back(&self, topic: &str, lane: Lane) {
        // A lane that has published nothing is as good as a new one.
        if lane.sequence == 0 {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !idle.contains_key(topic) {
            if idle.len() >= LANE_TOPICS {
                idle.clear();
            }
            idle.insert(topic.to_owned(), Vec::new());
        }
        if let Some(lanes) = idle.get_mut(topic).filter(|lanes| lanes.len() < LANES_PER_TOPIC) {
            lanes.push(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_one_producer_in_each_topic() {
        let ids = [("t", "k"), ("t", "l"), ("u", "k"), ("tk", ""), ("", "tk")]
            .map(|(topic, key)| producer_of(topic, key.as_bytes()).number());
        let mut distinct = ids.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(producer_of("t", b"k").number(), ids[0], "the same on each gateway");
    }

    #[test]
    fn lanes_are_bounded_and_each_is_used_by_one_request() {
        let lanes = Lanes::default();
        assert_eq!(lanes.take("t"), None);
        let used = Lane { sequence: 1, ..Lane::new() };
        lanes.give_back("t", Lane { sequence: 0, ..used });
        assert_eq!(lanes.take("t"), None, "an unused one is not kept");
        lanes.give_back("t", used);
        assert_eq!((lanes.take("u"), lanes.take("t"), lanes.take("t")), (None, Some(used), None));
        for _ in 0..2 * LANES_PER_TOPIC {
            lanes.give_back("t", used);
        }
        assert_eq!(std::iter::from_fn(|| lanes.take("t")).count(), LANES_PER_TOPIC);
        for topic in 0..2 * LANE_TOPICS {
            lanes.give_back(&topic.to_string(), used);
        }
        assert!(lanes.idle.lock().unwrap().len() <= LANE_TOPICS);
    }
}
