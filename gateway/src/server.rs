//! The HTTP server: connections, their bounds, and the end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::api::Ending;
use crate::limits::{DRAIN_TIME, HEADERS_TIME, WRITE_BUFFER_BYTES};

/// Pause after a connection could not be accepted: most likely for lack of descriptors, which others will give back.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The place of one connection among those that may be open. A WebSocket keeps it beyond its HTTP connection.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// Serves connections until `ending`, then answers what was asked.
///
/// At most `connections` are open at a time; further ones wait in the listener's backlog.
///
/// # Errors
/// Returns the error of the system.
pub async fn serve(listener: TcpListener, router: Router, connections: u32, ending: Ending) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(connections as usize));
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = ending.wait() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let place = Place { _permit: Arc::new(permit) };
                tokio::spawn(serve_one(stream, router.clone(), place, ending.clone()));
            }
            Err(error) => {
                log::warn!("cannot accept a connection: {error}; trying again");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    if timeout(DRAIN_TIME, permits.acquire_many(connections)).await.is_err() {
        log::warn!("ending although some requests are not answered");
    }
    Ok(())
}

/// Serves the requests of one connection. Once the gateway is ending, it closes after the current response.
async fn serve_one(stream: TcpStream, router: Router, place: Place, ending: Ending) {
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        if request.headers().contains_key(header::UPGRADE) {
            request.extensions_mut().insert(place.clone());
        }
        request
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIME).max_buf_size(WRITE_BUFFER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection.with_upgrades());
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ending.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        log::debug!("a connection ended: {error}");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn headers_that_do_not_arrive_end_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_end, ending) = Ending::channel();
        tokio::spawn(serve(listener, Router::new().route("/", get(|| async { "ok" })), 10, ending));
        let whole = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for (sent, expected) in [("", ""), ("GET / HT", ""), (whole, "ok"), (&format!("{whole}GET /"), "ok")] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let begun = Instant::now();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with(expected), "{sent:?}: {answer:?}");
            assert_eq!(begun.elapsed().as_secs(), HEADERS_TIME.as_secs(), "{sent:?}: {answer:?}");
        }
    }
}
