//! The HTTP server: accepts connections within bounds, and drains them when the gateway ends.

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
use crate::limits::{BUFFER_BYTES, DRAIN_TIME, HEADERS_TIME};
use crate::linger::linger;
use crate::refusal::Explained;

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
        linger(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIME).max_buf_size(BUFFER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(Explained::new(stream)), TowerToHyperService::new(service));
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
    use axum::body::Bytes;
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::limits::LINGER_TIME;

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

    /// Starts a server with one route that ignores bodies and another that reads them.
    async fn start() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/refused", post(|| async { StatusCode::CONFLICT }))
            .route("/read", post(|body: Bytes| async move { body.len().to_string() }));
        let (end, ending) = Ending::channel();
        tokio::spawn(async move {
            let _end = end;
            serve(listener, routes, 10, ending).await
        });
        address
    }

    #[tokio::test]
    async fn a_client_that_sends_all_before_it_reads_gets_the_refusal() {
        let address = start().await;
        // More than what the system buffers.
        let body = vec![b'x'; 32 << 20];
        let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
        let length = format!("Content-Length: {}\r\n", body.len());
        for (header, body) in [(length.as_str(), &body), ("Transfer-Encoding: chunked\r\n", &chunk)] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            for path in ["/refused", "/refused"] {
                let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(body).await.unwrap();
                let mut answer = [0; 12];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"HTTP/1.1 409", "{path} {header}");
                while !answer.ends_with(b"\r\n\r\n") {
                    answer.rotate_left(1);
                    answer[11] = stream.read_u8().await.unwrap();
                }
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_waits_for_100_continue_is_refused_at_once() {
        let address = start().await;
        for (path, expected) in [("/refused", "HTTP/1.1 409"), ("/read", "HTTP/1.1 100")] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(str::from_utf8(&answer), Ok(expected), "{path}");
            if path == "/refused" {
                // The next bytes could be the body or another request, so the connection ends.
                let end = timeout(LINGER_TIME / 2, stream.read_to_end(&mut Vec::new())).await;
                end.expect("nothing is waited for").unwrap();
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_request_gets_a_problem() {
        let address = start().await;
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(65_535));
        let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(2 * BUFFER_BYTES));
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(101));
        let after = "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nxhello\r\n\r\n";
        for (sent, code) in [
            ("\x16\x03\x01\x02\x00\x01\r\n\r\n", "NO_REQUEST"),
            ("GET / HTTP/0.9\r\n\r\n", "NO_REQUEST"),
            ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "NO_REQUEST"),
            ("GET / HTTP/1.1\r\nbad header\r\n\r\n", "NO_REQUEST"),
            (after, "NO_REQUEST"),
            (&long, "URI_TOO_LONG"),
            (&large, "HEADERS_TOO_LARGE"),
            (&many, "HEADERS_TOO_LARGE"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut answer = String::new();
            stream.write_all(sent.as_bytes()).await.unwrap();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.rsplit_once("\r\n\r\n").unwrap();
            let name: String = sent.chars().take(60).collect();
            assert!(body.contains(&format!("\"code\":\"{code}\"")), "{name}: {answer}");
            assert!(head.contains("application/problem+json"), "{name}: {head}");
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{name}: {head}");
        }
    }
}
