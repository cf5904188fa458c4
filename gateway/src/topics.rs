//! Topics: create, describe, change, delete and list them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dht_client::{Offset, SettingsChange};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::App;
use crate::input::{self, NoParams, Params, Topic, TopicPath};
use crate::limits::{JSON_BYTES_MAX, TOPICS_MAX};
use crate::problem::{Invalid, Missing, Problem, Retry};
use crate::views::{Bounds, ListedView, TopicView, TopicsView};

/// The settings of a topic.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default, expecting = r#"an object such as {"retention":{"records":100}}"#)]
pub(crate) struct Settings {
    retention: Bounds,
}

/// Creates a topic.
///
/// Without a body, or without a bound, the topic gets the defaults of its node.
#[utoipa::path(
    put, path = "/v1/topics/{topic}", tag = "topics",
    params(TopicPath),
    request_body(content = Option<Settings>, description = "What the topic keeps"),
    responses(
        (status = 201, description = "The topic was created", body = TopicView),
        (status = 200, description = "It existed, with the same retention", body = TopicView),
        (status = 409, description = "It exists with another retention", body = Problem, content_type = "application/problem+json"),
        Invalid, Retry,
    ),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Topic(topic): Topic,
    Params(NoParams {}): Params<NoParams>,
    body: Body,
) -> Result<(StatusCode, Json<TopicView>), Problem> {
    let settings: Option<Settings> = input::json(&input::read_body(body, JSON_BYTES_MAX).await?)?;
    let client = app.pool.client().await?;
    let retention = settings.unwrap_or_default().retention.retention();
    let (description, existed) = client.create(&topic, retention).await?;
    let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(TopicView::new(&topic, &description, client.dimension().await?))))
}

/// Describes a topic.
#[utoipa::path(
    get, path = "/v1/topics/{topic}", tag = "topics",
    params(TopicPath),
    responses(
        (status = 200, body = TopicView),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        Invalid, Retry,
    ),
)]
pub(crate) async fn describe(
    State(app): State<Arc<App>>,
    Topic(topic): Topic,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<TopicView>, Problem> {
    let client = app.pool.client().await?;
    let description = client.info(&topic).await?;
    Ok(Json(TopicView::new(&topic, &description, client.dimension().await?)))
}

/// Changes what a topic keeps, and leaves the bounds that are not given.
#[utoipa::path(
    patch, path = "/v1/topics/{topic}", tag = "topics",
    params(TopicPath),
    request_body(content = Settings),
    responses(
        (status = 200, body = TopicView),
        Invalid, Missing, Retry,
    ),
)]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Topic(topic): Topic,
    Params(NoParams {}): Params<NoParams>,
    body: Body,
) -> Result<Json<TopicView>, Problem> {
    let settings: Settings = input::json(&input::read_body(body, JSON_BYTES_MAX).await?)?;
    let Bounds { records, bytes, age_ms } = settings.retention;
    let change = SettingsChange { retention_records: records, retention_bytes: bytes, retention_age_ms: age_ms };
    if change == SettingsChange::default() {
        return Err(Problem::bad_request("NO_CHANGE", "the body changes nothing")
            .hint(r#"send a bound, such as {"retention":{"age_ms":86400000}}"#));
    }
    let client = app.pool.client().await?;
    let description = client.alter(&topic, change).await?;
    Ok(Json(TopicView::new(&topic, &description, client.dimension().await?)))
}

/// Deletes a topic with all its records.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}", tag = "topics",
    params(TopicPath),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        Invalid, Retry,
    ),
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Topic(topic): Topic,
    Params(NoParams {}): Params<NoParams>,
) -> Result<StatusCode, Problem> {
    app.pool.client().await?.delete(&topic).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The parameters of [`trim`].
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trim {
    /// The records before this offset are removed.
    before: u64,
}

/// The records of a topic after some were removed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrimmedView {
    topic: String,
    topic_id: String,
    first_offset: u64,
    next_offset: u64,
}

/// Removes the records before an offset.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}/records", tag = "records",
    params(TopicPath, Trim),
    responses(
        (status = 200, body = TrimmedView),
        (status = 416, description = "The topic ends before that offset", body = Problem, content_type = "application/problem+json"),
        Invalid, Missing, Retry,
    ),
)]
pub(crate) async fn trim(
    State(app): State<Arc<App>>,
    Topic(topic): Topic,
    Params(trim): Params<Trim>,
) -> Result<Json<TrimmedView>, Problem> {
    let trimmed = app.pool.client().await?.trim(&topic, Offset(trim.before)).await?;
    Ok(Json(TrimmedView {
        topic,
        topic_id: format!("{:016x}", trimmed.topic_id.number()),
        first_offset: trimmed.first.0,
        next_offset: trimmed.next.0,
    }))
}

/// The parameters of [`list`].
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// Only topics whose names begin with this.
    #[serde(default)]
    prefix: String,
    /// Maximum number of topics, at least 1 and at most 10000. A larger list is cut off.
    #[param(minimum = 1)]
    limit: Option<usize>,
}

/// Lists topics by name.
#[utoipa::path(
    get, path = "/v1/topics", tag = "topics",
    params(List),
    responses(
        (status = 200, body = TopicsView),
        Invalid, Retry,
    ),
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Params(list): Params<List>) -> Result<Json<TopicsView>, Problem> {
    let limit = input::limit(list.limit, TOPICS_MAX)?.min(TOPICS_MAX);
    let client = app.pool.client().await?;
    let dimension = client.dimension().await?;
    let mut listing = client.list(&list.prefix).await?;
    listing.topics.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    let complete = listing.topics.len() <= limit && listing.unanswered.is_empty();
    let topics = listing.topics.iter().take(limit).map(|(node, topic)| ListedView::new(*node, topic, dimension));
    let unanswered = listing.unanswered.iter().map(|(node, _)| node.binary(dimension)).collect();
    Ok(Json(TopicsView { topics: topics.collect(), complete, unanswered }))
}
