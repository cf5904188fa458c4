//! All routes, and the document that describes them.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post, put};
use dht_client::Builder;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use crate::guard::{Accepted, guard};
use crate::hub::Hub;
use crate::pool::Pool;
use crate::problem::{PROBLEM_TYPE, Problem};
use crate::publish::Lanes;
use crate::{nodes, publish, read, stream, topics};

/// The state that all requests share. None of it has to survive the process: clients know their positions, and
/// everything else is in the cube.
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

/// Becomes true when the gateway is told to end, so that streams and waiting requests stop.
#[derive(Clone, Debug)]
pub struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Returns the sender of the signal, and its receiver.
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
            // The sender is gone, as in a test without a server, so the gateway is never told to end.
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
        .with_state(app)
        .merge(SwaggerUi::new("/v1/docs").url("/v1/openapi.json", Document::openapi()));
    let router = match cors {
        Some(cors) => router.layer(cors),
        None => router,
    };
    guarded(router, accepted)
}

/// Adds the layers that concern all routes: which requests are accepted, and errors that no handler has answered.
fn guarded(router: Router, accepted: Accepted) -> Router {
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(explain))
        .layer(from_fn_with_state(Arc::new(accepted), guard))
}

/// Returns the layer that tells browsers which other sites may use the gateway; `None` if none may.
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

/// Turns an error without a problem document into one: an unknown path, a wrong method, a missing file of the docs
/// page.
async fn explain(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    if response.headers().get(header::CONTENT_TYPE).is_some_and(|media_type| media_type == PROBLEM_TYPE) {
        return response;
    }
    let problem = match response.status() {
        StatusCode::NOT_FOUND => {
            Problem::new(StatusCode::NOT_FOUND, "NO_ROUTE", format!("there is nothing at {}", uri.path()))
                .hint("the paths are in /v1/openapi.json; a / in the name of a topic is written as %2F")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            let detail = format!("{method} is not possible at {}", uri.path());
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
                .hint("the methods of each path are in /v1/openapi.json, and in the header Allow")
        }
        _ => return response,
    };
    let mut explained = problem.into_response();
    if let Some(methods) = response.headers().get(header::ALLOW) {
        explained.headers_mut().insert(header::ALLOW, methods.clone());
    }
    explained
}

/// Answers a request whose handler has panicked. The message of the panic is on standard error.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    let detail = "this request ran into a defect of the gateway";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail)
        .outcome_unknown()
        .hint("report it with the log of the gateway; see whether the request was executed before you send it again")
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn errors_of_no_handler_become_problems() {
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/bare", get(|| async { StatusCode::NOT_FOUND }))
            .route("/defect", get(|| async { if true { panic!("on purpose") } else { "ok" } }));
        let router = guarded(router, Accepted::default());
        for (method, path, status, code) in [
            (Method::GET, "/", 200, ""),
            (Method::GET, "/bare", 404, "NO_ROUTE"),
            (Method::GET, "/none", 404, "NO_ROUTE"),
            (Method::POST, "/", 405, "METHOD_NOT_ALLOWED"),
            (Method::GET, "/defect", 500, "INTERNAL"),
        ] {
            let request = Request::builder().method(&method).uri(path).header("host", "127.0.0.1");
            let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(response.headers().contains_key("allow"), status == 405, "{method} {path}");
            let body = axum::body::to_bytes(response.into_body(), 1 << 10).await.unwrap();
            assert!(String::from_utf8_lossy(&body).contains(code), "{method} {path}: {body:?}");
        }
    }
}
