//! The frame around one role: its port, its probes, its end.
//!
//! The port answers from the start. Until the role has what it needs, `/readyz` says what it waits for, and everything
//! but the probes is answered with 503.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use agentworks_gateway::server::{self, Ending, Probes, ServerLimits, Slots};
use anyhow::Context;
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tracing::{info, warn};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::Ready;
use super::metrics::ProcessMetrics;

/// What a role waits for, as `/readyz` says it.
#[derive(Clone, Debug)]
pub(crate) struct Note(Arc<Mutex<String>>);

impl Note {
    /// Of a process that has just started.
    pub(crate) fn new() -> Self {
        Note(Arc::new(Mutex::new("starting".to_owned())))
    }

    /// Says what is waited for; it is logged when it changes.
    pub(super) fn set(&self, reason: impl Into<String>) {
        let (mut note, reason) = (self.0.lock(), reason.into());
        if *note != reason {
            warn!("not ready: {reason}");
            *note = reason;
        }
    }

    fn get(&self) -> String {
        self.0.lock().clone()
    }
}

/// A role that is being started.
pub(super) struct Service {
    role: &'static str,
    listener: TcpListener,
    registry: Registry,
    note: Note,
    stop: Stop,
    limits: ServerLimits,
    waiting: Server,
}

impl Service {
    /// Takes the port, and says where it is on standard output.
    pub(super) fn listen(role: &'static str, address: SocketAddr) -> anyhow::Result<Self> {
        let stop = Stop::new()?;
        let in_use = || format!("cannot listen on {address}: choose another address with --listen");
        let listener = server::bind(address).with_context(in_use)?.into_std().with_context(in_use)?;
        let early = listener.try_clone().and_then(TcpListener::from_std).with_context(in_use)?;
        let listener = TcpListener::from_std(listener).with_context(in_use)?;
        let address = listener.local_addr().context("the listener has no address")?;
        println!("agentworks {role} listens on http://{address}");
        info!(role, %address, version = env!("CARGO_PKG_VERSION"), "started");

        let note = Note::new();
        let mut registry = Registry::default();
        ProcessMetrics::register(role, &mut registry);
        let reason = note.clone();
        let ready: Ready = Arc::new(move || Err(reason.get()));
        let probes = Probes { ready, registry: Arc::new(registry) };
        let routes = probes.routes().or(warp::any().map(not_yet)).unify().boxed();
        let waiting = Server::start(early, routes, Slots::default());
        let mut registry = Registry::default();
        ProcessMetrics::register(role, &mut registry);
        Ok(Service { role, listener, registry, note, stop, limits: ServerLimits::default(), waiting })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        self.listener.local_addr().context("the listener has no address")
    }

    /// Where to write what is waited for.
    pub(super) fn note(&self) -> Note {
        self.note.clone()
    }

    /// Where the role shows its metrics.
    pub(super) fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Serves within these limits.
    pub(super) fn limit(&mut self, limits: ServerLimits) {
        self.limits = limits;
    }

    /// What `starting` comes to; `None` if the process is told to stop before.
    pub(super) async fn until_stopped<T>(
        &mut self,
        starting: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<Option<T>> {
        tokio::select! {
            started = starting => started.map(Some),
            () = self.stop.wait() => Ok(None),
        }
    }

    /// Serves the role's routes from now on.
    pub(super) fn serve(mut self, ready: Ready, routes: impl FnOnce(Probes) -> BoxedFilter<(Response,)>) -> Serving {
        let slots = Slots::new(self.limits);
        slots.register(&mut self.registry);
        let probes = Probes { ready, registry: Arc::new(self.registry) };
        let server = Server::start(self.listener, routes(probes), slots);
        // Its last answers may go out beside the first ones of the other.
        self.waiting.ending.end();
        info!(role = self.role, "serving");
        Serving { stop: self.stop, server }
    }
}

/// A role that serves.
pub(super) struct Serving {
    stop: Stop,
    server: Server,
}

impl Serving {
    /// Waits until the process is told to stop, or until `failed` says that it can't go on.
    pub(super) async fn until_stopped(
        &mut self,
        failed: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        tokio::select! {
            () = self.stop.wait() => Ok(()),
            failed = failed => failed,
        }
    }

    /// Ends the role as `end` does it; a second signal ends the process at once.
    pub(super) async fn finish(self, end: impl AsyncFnOnce(Server) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
        let Serving { mut stop, server } = self;
        info!("stopping");
        tokio::select! {
            ended = end(server) => ended.map(|()| ExitCode::SUCCESS),
            () = stop.wait() => {
                warn!("stopped at once, with work under way; it goes on from the log next time");
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

/// Routes being served.
pub(super) struct Server {
    ending: Ending,
    task: JoinHandle<()>,
}

impl Server {
    fn start(listener: TcpListener, routes: BoxedFilter<(Response,)>, slots: Slots) -> Self {
        let ending = Ending::default();
        let task = tokio::spawn(server::serve_until(listener, routes, slots, ending.clone()));
        Server { ending, task }
    }

    /// How it is told to end.
    pub(super) fn ending(&self) -> &Ending {
        &self.ending
    }

    /// Takes no more requests, and waits for those that are under way.
    pub(super) async fn end(self) {
        self.ending.end();
        // A panic in it has been printed.
        let _ = self.task.await;
    }
}

fn not_yet() -> Response {
    let body = json!({"error": {"code": "unavailable", "message": "this process is not ready yet: /readyz says why"}});
    let mut response =
        warp::reply::with_status(warp::reply::json(&body), StatusCode::SERVICE_UNAVAILABLE).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The signals that end the process.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Stop { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
