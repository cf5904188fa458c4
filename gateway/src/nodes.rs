//! The cube itself: the home of a name, the path to it, and the state and counters of the nodes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use crate::api::App;
use crate::input::{NoParams, Params, Topic, TopicPath};
use crate::problem::{Invalid, Problem, Retry};
use crate::views::{ClusterView, TopicView, TraceView};

/// Returns the home of a name and the path to it, whether or not there is such a topic.
#[utoipa::path(
    get, path = "/v1/query/{topic}", tag = "cube",
    params(TopicPath),
    responses(
        (status = 200, body = TopicView),
        Invalid, Retry,
    ),
)]
pub(crate) async fn query(
    State(app): State<Arc<App>>,
    Topic(topic): Topic,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<TopicView>, Problem> {
    let client = app.pool.client().await?;
    let description = client.query(&topic).await?;
    Ok(Json(TopicView::new(&topic, &description, client.dimension().await?)))
}

/// Follows a request to the home of a name, node by node.
#[utoipa::path(
    get, path = "/v1/trace/{topic}", tag = "cube",
    params(TopicPath),
    responses(
        (status = 200, body = TraceView),
        Invalid, Retry,
    ),
)]
pub(crate) async fn trace(
    State(app): State<Arc<App>>,
    Topic(topic): Topic,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<TraceView>, Problem> {
    let client = app.pool.client().await?;
    let trace = client.trace_topic(&topic).await?;
    Ok(Json(TraceView::new(&topic, &trace, client.dimension().await?)))
}

/// Returns all nodes and links.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "cube",
    responses(
        (status = 200, body = ClusterView),
        Invalid, Retry,
    ),
)]
pub(crate) async fn cluster(
    State(app): State<Arc<App>>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<ClusterView>, Problem> {
    let cluster = app.pool.client().await?.cluster().await?;
    Ok(Json(ClusterView::new(&cluster)))
}

/// Returns the counters of all nodes: `{"nodes":[{"id":"000","up":true,"stats":{"uptime_ms":1,…}},…]}`.
#[utoipa::path(
    get, path = "/v1/stats", tag = "cube",
    responses(
        (status = 200, description = "The counters of each node by name", body = Value),
        Invalid, Retry,
    ),
)]
pub(crate) async fn stats(
    State(app): State<Arc<App>>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<Value>, Problem> {
    let client = app.pool.client().await?;
    let dimension = client.dimension().await?;
    let nodes: Vec<_> = dimension.all().collect();
    let answers = client.stats(&nodes).await?;
    let nodes = answers.into_iter().map(|answer| {
        let mut node = json!({"id": answer.node.binary(dimension), "up": answer.answer.is_ok()});
        match answer.answer {
            Ok(text) => node["stats"] = Value::Object(counters(&text)),
            Err(error) => node["reason"] = json!(error.to_string()),
        }
        node
    });
    Ok(Json(json!({"nodes": nodes.collect::<Vec<_>>()})))
}

/// Returns the counters of a text with lines `name value`.
fn counters(text: &str) -> Map<String, Value> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs
        .map(|(name, value)| (name.to_owned(), value.parse::<u64>().map_or_else(|_| json!(value), |n| json!(n))))
        .collect()
}

/// Says that the gateway is alive, whether or not the cube is.
#[utoipa::path(get, path = "/healthz", tag = "gateway", responses((status = 200, description = "It is alive", body = String)))]
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// Says whether the gateway can be used: a node of the cube answers, and the gateway is not ending.
#[utoipa::path(
    get, path = "/readyz", tag = "gateway",
    responses(
        (status = 200, description = "It can", body = String),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if app.ending.is_ending() {
        return Err(Problem::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "ENDING", "this gateway is ending"));
    }
    app.pool.client().await?.ingress().await?;
    Ok("ok\n")
}
