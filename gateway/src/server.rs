//! The accept loop, and the routes that it serves.
//!
//! warp answers requests; the loop around it is our own, for the sake of the sockets: their buffers are small, and a
//! WebSocket's stream is taken over as it is.

mod network;
mod patient;
mod probes;
mod slots;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};
use warp::reply::Response;
use warp::{Filter, Rejection};

pub use self::network::{Network, NetworkError};
pub(crate) use self::patient::Patient;
pub use self::probes::{DRAINING, Probes};
pub use self::slots::{Full, ServerLimits, Slot, Slots};
use crate::rest;

/// The kernel's send buffer of a connection. Much more would hide for how long a reader has been slow: 200 stalled ones
/// held 750 MB in buffers of the default size.
const SEND_BUFFER: u32 = 64 * 1024;
const BACKLOG: u32 = 1024;
/// The most that hyper buffers of a connection, and the longest request head.
const MAX_BUFFER: usize = 64 * 1024;
const MAX_HEAD: usize = 16 * 1024;
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
    /// By this it is counted; whoever has taken the connection over keeps it.
    pub slot: Arc<Slot>,
}

/// How a server is told to end: in two steps, or at once.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// Cancelled when no more connections are to be taken. Requests that are being answered are, to their end;
    /// WebSockets go on.
    pub closing: CancellationToken,
    /// Cancelled when WebSockets are to end too.
    pub shutdown: CancellationToken,
}

impl Ending {
    /// Ends the server, in one step if the first has not been taken.
    pub fn end(&self) {
        self.closing.cancel();
        self.shutdown.cancel();
    }
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
    serve_until(listener, routes, Slots::default(), Ending { closing: shutdown.clone(), shutdown }).await;
}

/// As [`serve`], with limits, and for who has the server end in two steps. Between them it ends early once nobody is
/// connected any more.
pub async fn serve_until<F>(listener: TcpListener, routes: F, slots: Slots, ending: Ending)
where
    F: Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let Ending { closing, shutdown } = ending;
    let routes = routes.recover(rest::recover).unify();
    let service = TowerToHyperService::new(warp::service(routes));
    let tasks = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, remote)) => {
                let slot = match slots.take(remote.ip()) {
                    Ok(slot) => Arc::new(slot),
                    Err(full) => {
                        refuse(&stream, full);
                        continue;
                    }
                };
                let connection = Connection { remote, shutdown: shutdown.clone(), tasks: tasks.clone(), slot };
                let serving = serve_connection(stream, connection, service.clone(), slots.clone(), closing.clone());
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
    tokio::select! {
        () = tasks.wait() => return,
        () = shutdown.cancelled() => {}
    }
    if timeout(DRAIN, tasks.wait()).await.is_err() {
        info!(connections = tasks.len(), "connections that have not ended are cut off");
        abort.cancel();
    }
}

/// Says that there are too many, as far as that can be said without waiting: whoever floods us gets no more than this.
fn refuse(stream: &TcpStream, full: Full) {
    let body = json!({"error": {"code": "limit_exceeded", "message": full.to_string()}}).to_string();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    if let Err(error) = stream.try_write(answer.as_bytes()) {
        debug!(%error, "a connection that was refused is gone already");
    }
}

async fn serve_connection<S>(
    stream: TcpStream,
    connection: Connection,
    service: S,
    slots: Slots,
    closing: CancellationToken,
) where
    S: Service<Request<hyper::body::Incoming>, Response = Response, Error = std::convert::Infallible>,
{
    // A frame leaves at once; many that are ready together go together anyway.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "the connection is gone already");
        return;
    }
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(connection.clone());
        service.call(request)
    });
    let limits = slots.limits();
    let stream = Patient::new(stream, limits.write_timeout);
    let serving = http1::Builder::new()
        .max_buf_size(MAX_BUFFER)
        .max_header_size(MAX_HEAD)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = closing.cancelled() => {
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
