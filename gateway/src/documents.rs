//! `/asyncapi.json` and `/openapi.json`: what the stream and the HTTP routes say, for programs to read.
//!
//! They are written by hand under `api/`, in pieces, and put together here: schemas that both speak of, messages, paths.
//! What this gateway knows better is put in: the version, and its limits. Tests hold them to the types, to the routes and,
//! against a running gateway, to every frame and answer.

mod assemble;
#[cfg(test)]
mod checker;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use warp::reply::Response;
use warp::{Filter, Rejection};

use crate::GatewayConfig;

pub use assemble::{asyncapi, openapi};

/// `GET /asyncapi.json` and `GET /openapi.json`. They need no token and say nothing of any tenant, so that a page of any
/// origin may read them.
pub fn routes(config: Arc<GatewayConfig>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let (stream, http) = (Arc::new(OnceLock::<Bytes>::new()), Arc::new(OnceLock::<Bytes>::new()));
    let asyncapi = warp::path!("asyncapi.json")
        .map(move || serve(stream.get_or_init(|| assemble::asyncapi(&config).to_string().into())));
    let openapi =
        warp::path!("openapi.json").map(move || serve(http.get_or_init(|| assemble::openapi().to_string().into())));
    warp::get().and(asyncapi.or(openapi).unify()).boxed()
}

fn serve(document: &Bytes) -> Response {
    let mut response = Response::new(document.clone().into());
    let headers: [(HeaderName, &'static str); 3] =
        [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache"), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
