//! How searchers of other processes reach the index that this one makes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use agentworks_search::remote::{Answering, LeaseKeeper, PeerKey};
use agentworks_store::Store;
use tokio::net::UdpSocket;
use tracing::{info, warn};
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::index::Index;
use crate::config::Config;

/// An index that others are told of.
pub(super) struct Shown {
    lease: LeaseKeeper,
    answering: Answering,
}

impl Shown {
    /// Tells searchers of the index, whose process listens at `listens`. `None` if nobody could reach it.
    pub(super) async fn start(
        config: &Config,
        index: &Index,
        key: PeerKey,
        listens: SocketAddr,
        store: Arc<dyn Store>,
    ) -> Option<Self> {
        let address = match &config.search.advertise {
            Some(address) => address.clone(),
            None if !listens.ip().is_unspecified() => listens.to_string(),
            None => match own_address(&config.kafka.brokers, listens.port()).await {
                Ok(address) => address.to_string(),
                Err(error) => {
                    warn!(%error, "searchers read the log instead of asking this process: give search.advertise");
                    return None;
                }
            },
        };
        let instance = Uuid::new_v4().simple().to_string();
        info!(address, "searchers are told to ask here for what isn't published yet");
        let answering = Answering::new(&instance, key, index.fresh());
        let lease = LeaseKeeper::start(store, &instance, address, index.live().clone());
        Some(Shown { lease, answering })
    }

    /// Where they ask.
    pub(super) fn routes(&self) -> BoxedFilter<(Response,)> {
        self.answering.routes()
    }

    /// Tells them that it is no more.
    pub(super) async fn end(self) {
        self.lease.end().await;
    }
}

/// The address of this machine on its way to Kafka, where searchers are, too. Nothing is sent.
async fn own_address(brokers: &str, port: u16) -> std::io::Result<SocketAddr> {
    let broker = brokers.split(',').next().unwrap_or_default().trim();
    let mut last = std::io::ErrorKind::AddrNotAvailable.into();
    for target in tokio::net::lookup_host(broker).await? {
        let any: SocketAddr = match target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(target).await {
            Ok(()) => return Ok(SocketAddr::new(socket.local_addr()?.ip(), port)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn the_way_to_kafka_has_an_address() {
        assert_eq!(own_address("127.0.0.1:9092,elsewhere:1", 7072).await.unwrap().to_string(), "127.0.0.1:7072");
        assert!(own_address("nowhere.invalid:9092", 7072).await.is_err());
    }
}
