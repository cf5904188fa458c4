//! All routes, and the document that describes them.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::Redirect;
use axum::routing::{get, post, put};
use dht_client::Builder;
use tokio::sync::watch;
use tower_http::cors::CorsLayer;
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use crate::guard::{Accepted, guard};
use crate::hub::Hub;
use crate::pool::Pool;
use crate::problem::Problem;
use crate::publish::Lanes;
use crate::{nodes, publish, read, stream, topics};

/// What all requests share. None of it is lost with the process: clients have their positions, and the cube the rest.
#[derive(Debug)]
pub struct App {
    pub(crate) pool: Arc<Pool>,
    pub(crate) hub: Hub,
    pub(crate) lanes: Lanes,
    pub(crate) ending: Ending,
}

impl App {
    /// Returns the state of a gateway that has `clients` connections to the cube for requests, and others for streams.
    /// It connects when it is used.
    pub fn new(builder: Builder, clients: usize, ending: Ending) -> Arc<Self> {
        let pool = Arc::new(Pool::new(builder, clients));
        let hub = Hub::new(Arc::clone(&pool));
        Arc::new(Self { pool, hub, lanes: Lanes::default(), ending })
    }
}

/// Tells everybody when the gateway begins to end.
#[derive(Clone, Debug)]
pub struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Returns what tells, and what is told.
    pub fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    pub(crate) fn is_ending(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the gateway is ending.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|is_ending| *is_ending).await.is_err() {
            // Nobody can tell any more, as in a test without a server.
            std::future::pending::<()>().await;
        }
    }
}

/// The document of the API.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "dht-gateway",
        description = "Topics of a dht-node cube over HTTP. Errors are problem documents (RFC 9457)."
    ),
    paths(
        topics::create,
        topics::describe,
        topics::change,
        topics::delete,
        topics::list,
        topics::trim,
        publish::publish,
        read::read,
        stream::stream,
        nodes::query,
        nodes::trace,
        nodes::cluster,
        nodes::stats,
        nodes::health,
        nodes::ready,
    )
)]
struct Document;

/// Returns the service of a gateway.
pub fn router(app: Arc<App>, accepted: Accepted) -> Router {
    let cors = cors(&accepted);
    let router = Router::new()
        .route("/v1/topics", get(topics::list))
        .route(
            "/v1/topics/{topic}",
            put(topics::create).get(topics::describe).patch(topics::change).delete(topics::delete),
        )
        .route("/v1/topics/{topic}/records", post(publish::publish).get(read::read).delete(topics::trim))
        .route("/v1/topics/{topic}/stream", get(stream::stream))
        .route("/v1/query/{topic}", get(nodes::query))
        .route("/v1/trace/{topic}", get(nodes::trace))
        .route("/v1/cluster", get(nodes::cluster))
        .route("/v1/stats", get(nodes::stats))
        .route("/healthz", get(nodes::health))
        .route("/readyz", get(nodes::ready))
        .route("/", get(|| async { Redirect::temporary("/v1/docs/") }))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(app)
        .merge(SwaggerUi::new("/v1/docs").url("/v1/openapi.json", Document::openapi()));
    let router = match cors {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(from_fn_with_state(Arc::new(accepted), guard))
}

/// Returns the answers to browsers that ask whether pages of other sites may use the gateway.
fn cors(accepted: &Accepted) -> Option<CorsLayer> {
    let origins: Vec<_> = accepted.origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers(
                ["content-type", "idempotency-key", "last-event-id", "dht-key", "dht-key-b64", "dht-timestamp-us"]
                    .map(HeaderName::from_static),
            )
            .expose_headers(["retry-after", "dht-next", "dht-offset"].map(HeaderName::from_static))
    })
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NO_ROUTE", format!("there is nothing at {}", uri.path()))
        .hint("the paths are in /v1/openapi.json; a / in the name of a topic is written as %2F")
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("{method} is not possible at {}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
        .hint("the methods of each path are in /v1/openapi.json")
}
