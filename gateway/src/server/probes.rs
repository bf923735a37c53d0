//! `/healthz`, `/readyz` and `/metrics`: for those who run the gateway. They need no token and say nothing of any tenant.

use std::fmt;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use warp::reply::Response;
use warp::{Filter, Rejection};

/// What the metrics are written in.
const OPENMETRICS: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What `/readyz` says first of a process that is about to end: those that route requests take it off at once.
pub const DRAINING: &str = "draining";

/// What the probes ask.
#[derive(Clone)]
pub struct Probes {
    /// Whether this process can do its work now; if not, why.
    pub ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// All of this process's metrics.
    pub registry: Arc<Registry>,
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").finish_non_exhaustive()
    }
}

impl Probes {
    /// The routes.
    pub fn routes(self) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
        let Probes { ready, registry } = self;
        let healthz = warp::path!("healthz").map(|| text(StatusCode::OK, "ok".to_owned()));
        let readyz = warp::path!("readyz").map(move || match ready() {
            Ok(()) => text(StatusCode::OK, "ready".to_owned()),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
        });
        let metrics = warp::path!("metrics").map(move || {
            let mut body = String::new();
            if let Err(error) = encode(&mut body, &registry) {
                return text(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics can't be written: {error}"));
            }
            let mut response = text(StatusCode::OK, body);
            response.headers_mut().insert(CONTENT_TYPE, OPENMETRICS);
            response
        });
        warp::get().and(healthz.or(readyz).unify().or(metrics).unify()).boxed()
    }
}

fn text(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
