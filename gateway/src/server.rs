//! The accept loop, and the routes that it serves.
//!
//! warp answers requests; the loop around it is our own, for the sake of the sockets: their buffers are small, and a
//! WebSocket's stream is taken over as it is.

mod probes;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};
use warp::reply::Response;
use warp::{Filter, Rejection};

pub use self::probes::Probes;
use crate::rest;

/// The kernel's send buffer of a connection. Much more would hide for how long a reader has been slow: 200 stalled ones
/// held 750 MB in buffers of the default size.
const SEND_BUFFER: u32 = 64 * 1024;
const BACKLOG: u32 = 1024;
/// The most that hyper buffers of a connection, and the longest request head.
const MAX_BUFFER: usize = 64 * 1024;
const MAX_HEAD: usize = 16 * 1024;
/// How long a client may take to send a request's head, and how long a connection may wait for its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long connections have to end when the server does.
const DRAIN: Duration = Duration::from_secs(10);

/// The connection that a request came over; every request served by [`serve`] has it as an extension.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client's address.
    pub remote: SocketAddr,
    /// Cancelled when the server ends: whoever has taken the connection over lets its client know, and ends.
    pub shutdown: CancellationToken,
    /// The server ends when these have ended, or after its patience.
    pub tasks: TaskTracker,
}

/// Listens on an address, with the buffers that [`serve`] wants: accepted connections inherit them.
///
/// # Errors
/// If the address can't be bound.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `routes` until `shutdown`, then lets requests and WebSockets come to their end for a while. What the routes
/// reject is answered in the form that all faults have.
pub async fn serve<F>(listener: TcpListener, routes: F, shutdown: CancellationToken)
where
    F: Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let routes = routes.recover(rest::recover).unify();
    let service = TowerToHyperService::new(warp::service(routes));
    let tasks = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, remote)) => {
                let connection = Connection { remote, shutdown: shutdown.clone(), tasks: tasks.clone() };
                let serving = serve_connection(stream, connection, service.clone());
                tasks.spawn(abort.clone().run_until_cancelled_owned(serving));
            }
            // The peer was gone before it was accepted, or there are no more file descriptors: those come back.
            Err(error) => {
                warn!(%error, "a connection can't be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if timeout(DRAIN, tasks.wait()).await.is_err() {
        info!(connections = tasks.len(), "connections that have not ended are cut off");
        abort.cancel();
    }
}

async fn serve_connection<S>(stream: TcpStream, connection: Connection, service: S)
where
    S: Service<Request<hyper::body::Incoming>, Response = Response, Error = std::convert::Infallible>,
{
    // A frame leaves at once; many that are ready together go together anyway.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "the connection is gone already");
        return;
    }
    let shutdown = connection.shutdown.clone();
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(connection.clone());
        service.call(request)
    });
    let serving = http1::Builder::new()
        .max_buf_size(MAX_BUFFER)
        .max_header_size(MAX_HEAD)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "a connection ended in a fault");
    }
}

#[cfg(test)]
mod tests;
