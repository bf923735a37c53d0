//! Streams, REST, the terminal.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agentworks_archive::{Archive, ArchiveReader, Maintenance};
use agentworks_gateway::drain::Drain;
use agentworks_gateway::hub::Hub;
use agentworks_gateway::roster::Roster;
use agentworks_gateway::routing::{Router, RoutingMetrics, Upkeep};
use agentworks_gateway::search::{Search, SearchConfig};
use agentworks_gateway::{Gateway, Metrics};
use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_objects::Objects;
use agentworks_processors::epochs::SinkPositions;
use agentworks_processors::erasure::{Clear, Eraser};
use agentworks_processors::reader::LogReader;
use agentworks_schemas::access::Authenticate;
use agentworks_search::remote::{PeerKey, follow};
use anyhow::{Context, anyhow};
use prometheus_client::registry::Registry;
use tokio::time::sleep;
use tracing::warn;
use warp::Filter;

use super::Ready;
use super::erasing::ErasedFromArchive;
use super::index::{Index, Splits};
use super::kafka::KafkaWatch;
use super::process::Places;
use super::service::{Note, Service};
use super::store::{self, StoreWatch};
use crate::config::{Config, Loaded};

/// How long is waited between attempts to reach objects.
const EVERY: Duration = Duration::from_secs(1);

/// How often is looked whether the hub has ended of itself.
const LOOK: Duration = Duration::from_secs(1);
/// What is said then.
const HUB_ENDED: &str = "the live hub has failed";

/// Who answers for what isn't published in the search index yet.
pub(crate) struct Indexing<'a> {
    /// This process itself, if it indexes.
    pub(crate) here: Option<&'a Index>,
    /// What others are asked with, if they can be.
    pub(crate) elsewhere: Option<PeerKey>,
}

/// Makes the gateway over Kafka, the store, and the objects if there are any.
pub(crate) fn gateway(
    config: &Config,
    kafka: &KafkaSettings,
    places: &Places,
    indexing: Indexing<'_>,
    auth: Arc<dyn Authenticate>,
    address: SocketAddr,
    registry: &mut Registry,
) -> anyhow::Result<Gateway> {
    let seek = SeekPool::new(kafka.clone(), config.gateway.readers);
    let store = places.store.clone();
    let mut positions = Vec::<Arc<dyn SinkPositions>>::new();
    let reader = match &places.objects {
        Some((_, archive)) => {
            let archive = Arc::new(ArchiveReader::new(archive));
            positions.push(archive.clone());
            LogReader::with_cold(store, seek.clone(), archive)
        }
        None => LogReader::new(store, seek.clone()),
    };
    reader.metrics().register(registry);
    let mut elsewhere = Vec::<Arc<dyn Clear>>::new();
    let mut search = None;
    if let Some((objects, archive)) = &places.objects {
        let splits = match indexing.here {
            Some(index) => index.splits().clone(),
            None => Splits::open(&config.search, objects, "serve")?,
        };
        positions.push(Arc::new(splits.manifest().clone()));
        let maintenance = Maintenance::new(archive.clone(), config.archive.maintenance())?;
        elsewhere.push(Arc::new(ErasedFromArchive { maintenance, grace: config.archive.grace.0 }));
        elsewhere.push(Arc::new(splits.erased(&config.search, reader.erasures().clone())?));
        let searcher = splits.searcher(&config.search, &reader, seek.clone());
        let own: Vec<_> = indexing.here.map(Index::fresh).into_iter().collect();
        searcher.set_fresh(own.clone());
        if let Some(key) = indexing.elsewhere {
            let following = follow(places.store.clone(), searcher.clone(), key, own);
            // For as long as the process lives.
            tokio::spawn(async move {
                if let Err(error) = following.await {
                    warn!(%error, "indexers can't be asked; the log is read instead");
                }
            });
        }
        search = Some(searcher);
    }
    // For as long as the process lives. Several gateways may do it: each goes on where another ended.
    tokio::spawn(Eraser::new(reader.clone()).with(elsewhere).work());
    let metrics = Arc::new(Metrics::default());
    metrics.register(registry);
    let hub = Hub::start(kafka.clone(), config.gateway.hub(), reader.clone(), seek, metrics.clone());
    Ok(Gateway {
        config: Arc::new(config.gateway.limits()?),
        auth,
        reader,
        positions,
        hub: hub.context("cannot start the live hub")?,
        metrics,
        roster: Roster::default(),
        router: Router::new(config.gateway.routing(address)?),
        drain: Drain::default(),
        search: search.map(|searcher| {
            let (max_searches, popular) = (config.search.max_searches, config.search.popular);
            Search::new(searcher, SearchConfig { max_searches, popular })
        }),
    })
}

/// Opens the archive among the objects; waits for a store that can't be reached, with the reason in `note`.
///
/// # Errors
/// If the store refuses us, or holds something else.
pub(crate) async fn archive(objects: &Objects, note: &Note) -> anyhow::Result<Archive> {
    let objects = objects.child("archive");
    loop {
        match Archive::open(&objects).await {
            Ok(archive) => return Ok(archive),
            Err(error) if error.is_transient() => note.set(error.to_string()),
            Err(error) => return Err(error).context("cannot open the archive"),
        }
        sleep(EVERY).await;
    }
}

/// Keeps up with the other gateways, for as long as the process lives.
pub(crate) fn follow_peers(gateway: &Gateway, ready: Ready, registry: &mut Registry) -> anyhow::Result<()> {
    let metrics = RoutingMetrics::default();
    metrics.register(registry);
    let (router, reader, roster) = (gateway.router.clone(), gateway.reader.clone(), gateway.roster.clone());
    let upkeep = Upkeep::new(router, ready, reader, roster, metrics).context("cannot probe the other gateways")?;
    tokio::spawn(upkeep.work());
    Ok(())
}

/// Runs the role until it is told to stop, or nothing shows live lines any more: then it ends with that, to be started again.
pub(crate) async fn run(loaded: &Loaded) -> anyhow::Result<ExitCode> {
    let auth = Arc::new(loaded.auth()?);
    let (settings, address, objects) = (loaded.kafka()?, loaded.store()?, loaded.objects()?);
    let mut service = Service::listen("serve", loaded.config.gateway.listen)?;
    let note = service.note();
    let objects = objects.map(|objects| Objects::open(&objects)).transpose().context("cannot open objects.url")?;
    let opened = async {
        let store = store::open(&address, &note).await?;
        let kafka = KafkaWatch::start(&settings, &note).await?;
        Ok((kafka, Places::open(store, objects, &note).await?))
    };
    let Some((kafka, places)) = service.until_stopped(opened).await? else { return Ok(ExitCode::SUCCESS) };
    let watch = StoreWatch::start(places.store.clone());
    let address = service.address()?;
    auth.register(service.registry());
    let config = &loaded.config;
    let indexing = Indexing { here: None, elsewhere: loaded.peers()? };
    let gateway = gateway(config, &settings, &places, indexing, auth.clone(), address, service.registry())?;
    service.limit(gateway.config.server.clone());
    let (hub, live) = (gateway.hub.clone(), gateway.hub.clone());
    let ready: Ready = Arc::new(move || {
        if !hub.is_running() {
            return Err(HUB_ENDED.into());
        }
        kafka.check().and_then(|()| watch.check()).and_then(|()| auth.ready())
    });
    follow_peers(&gateway, ready.clone(), service.registry())?;
    let routes = gateway.clone();
    let mut serving = service.serve(ready, |probes| routes.routes(probes).boxed());
    let ended = serving.until_stopped(async {
        while live.is_running() {
            sleep(LOOK).await;
        }
        Err(anyhow!(HUB_ENDED))
    });
    let ended = ended.await;
    let code = serving
        .finish(async |server| {
            gateway.drain(server.ending()).await;
            server.end().await;
            Ok(())
        })
        .await?;
    ended.map(|()| code)
}
