//! The way to a broker.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use super::slow;
use super::tls::Tls;
use crate::error::FetchError;
use crate::settings::Settings;

/// What bytes go through: a socket, or TLS over one. Answers are read in large pieces, so it doesn't matter that each
/// goes through a pointer.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to whichever of a broker's addresses can be.
pub(super) async fn connect(broker: &str, settings: &Settings) -> Result<Box<dyn Stream>, FetchError> {
    let unreachable = |reason: String| FetchError::Unreachable { broker: broker.to_owned(), reason };
    let patience = settings.patience;
    let addresses = timeout(patience, lookup_host(broker)).await.map_err(|_| slow("no address", patience));
    let addresses: Vec<_> = addresses.flatten().map_err(|error| unreachable(error.to_string()))?.collect();
    let mut fault = unreachable("its name has no address".to_owned());
    // Each has its part of the time: the first one may be where nobody answers.
    let patience = patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        let tried = timeout(patience, open(broker, address, settings.tls.as_ref())).await;
        match tried.unwrap_or_else(|_| Err(unreachable(format!("no connection after {patience:?}")))) {
            Ok(stream) => return Ok(stream),
            // A certificate that is refused says more than an address where nobody is.
            Err(error) if fault.is_transient() => fault = error,
            Err(_) => {}
        }
    }
    Err(fault)
}

async fn open(broker: &str, address: SocketAddr, tls: Option<&Tls>) -> Result<Box<dyn Stream>, FetchError> {
    let unreachable =
        |error: io::Error| FetchError::Unreachable { broker: broker.to_owned(), reason: error.to_string() };
    let stream = connect_to(address).await.map_err(unreachable)?;
    match tls {
        None => Ok(Box::new(stream)),
        Some(tls) => Ok(Box::new(tls.shake_hands(broker, stream).await?)),
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Small requests leave at once, and firewalls drop idle connections silently.
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.connect(address).await
}
