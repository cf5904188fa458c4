//! The HTTP server: connections, their bounds, and the end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::api::Ending;
use crate::limits::{DRAIN_TIME, HEADERS_TIME, WRITE_BUFFER_BYTES};

/// Pause after a connection could not be accepted: most likely for lack of descriptors, which others will give back.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

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
                let serving = serve_one(stream, router.clone(), ending.clone());
                tokio::spawn(async move {
                    serving.await;
                    drop(permit);
                });
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
async fn serve_one(stream: TcpStream, router: Router, ending: Ending) {
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIME).max_buf_size(WRITE_BUFFER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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
