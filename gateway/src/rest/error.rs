//! Faults, and how they are told.

use std::convert::Infallible;
use std::future::ready;

use agentworks_processors::reader::ReadError;
use agentworks_processors::sink::SinkError;
use agentworks_schemas::access::AccessError;
use agentworks_store::StoreError;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;
use warp::reject::{InvalidHeader, InvalidQuery, LengthRequired, MethodNotAllowed, MissingHeader, PayloadTooLarge};
use warp::reject::{Reject, UnsupportedMediaType, custom};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::search::SearchFault;

/// A fault of a request, as its client is told. The words before the colons are the codes, which stay; the messages may
/// change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// `missing_token`, `invalid_token`, `expired_token`, `wrong_audience`, `revoked_token`: 401; `unavailable`: 503.
    Unauthorised(AccessError),
    /// `access_denied`: 403. The token is good, but not for this.
    Denied(String),
    /// `invalid_value`: 400. A parameter can't be so; the message names it, its value and what it may be.
    Invalid(String),
    /// `invalid_query`: 400. The query of a search can't be read; `at` says where.
    Query {
        /// What is wrong with it, and what was expected.
        message: String,
        /// How many of its characters come before the fault.
        at: usize,
    },
    /// `too_costly`: 422. A search is past a bound, which the message names.
    TooMuch(String),
    /// `too_many_requests`: 429. One more at once than a limit allows.
    Busy(String),
    /// `search_unavailable`: 501. This gateway has no search.
    NoSearch,
    /// `not_found`: 404.
    NotFound(String),
    /// `method_not_allowed`: 405. The route has these methods, where they are known.
    Method(Option<&'static str>),
    /// `conflict`: 409. Things are not so that this could be done; the message says how they are.
    Conflict(String),
    /// `position_gone`: 410. The position is of a topic that has been made again since.
    Gone,
    /// `history_damaged`: 500. A part of the history can't be read until it is mended; the message says which.
    Damaged(String),
    /// `unavailable`: 503. Trying again may help.
    Unavailable,
    /// `internal`: 500. The gateway's own fault; its log says more.
    Internal,
    /// Any other status, told in its own words: `length_required`, `payload_too_large`, `unsupported_media_type`.
    Http(StatusCode),
}

impl Reject for ApiError {}

/// A path has these methods, and not the request's. It is no [`ApiError`] yet: another route of the path may have taken the
/// request, and found another fault.
#[derive(Debug)]
struct WrongMethod(&'static str);

impl Reject for WrongMethod {}

/// Takes requests with one method, on a path that has `all` of these.
pub(crate) fn method(one: Method, all: &'static str) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    let check = move |method: Method| ready((method == one).then_some(()).ok_or_else(|| custom(WrongMethod(all))));
    warp::method().and_then(check).untuple_one()
}

impl ApiError {
    /// The status, the code and the message.
    pub fn parts(&self) -> (StatusCode, String, String) {
        let (status, code, message) = match self {
            ApiError::Unauthorised(error @ AccessError::Unavailable) => {
                (StatusCode::SERVICE_UNAVAILABLE, error.code(), error.to_string())
            }
            ApiError::Unauthorised(error) => (StatusCode::UNAUTHORIZED, error.code(), error.to_string()),
            ApiError::Denied(message) => (StatusCode::FORBIDDEN, "access_denied", message.clone()),
            ApiError::Invalid(message) => (StatusCode::BAD_REQUEST, "invalid_value", message.clone()),
            ApiError::Query { message, .. } => (StatusCode::BAD_REQUEST, "invalid_query", message.clone()),
            ApiError::TooMuch(message) => (StatusCode::UNPROCESSABLE_ENTITY, "too_costly", message.clone()),
            ApiError::Busy(message) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message.clone()),
            ApiError::NoSearch => {
                (StatusCode::NOT_IMPLEMENTED, "search_unavailable", SearchFault::Unavailable.to_string())
            }
            ApiError::NotFound(message) => (StatusCode::NOT_FOUND, "not_found", message.clone()),
            ApiError::Method(_) => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this route has no such method".into())
            }
            ApiError::Conflict(message) => (StatusCode::CONFLICT, "conflict", message.clone()),
            ApiError::Gone => (StatusCode::GONE, "position_gone", ReadError::Epoch.to_string()),
            ApiError::Damaged(message) => (StatusCode::INTERNAL_SERVER_ERROR, "history_damaged", message.clone()),
            ApiError::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the log or the store is not available; try again".into(),
            ),
            ApiError::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed; its log says more".into())
            }
            ApiError::Http(status) => {
                let words = status.canonical_reason().unwrap_or("refused").to_lowercase();
                return (*status, words.replace(' ', "_"), words);
            }
        };
        (status, code.to_owned(), message)
    }
}

impl Reply for ApiError {
    fn into_response(self) -> Response {
        let (status, code, message) = self.parts();
        let mut body = json!({"error": {"code": code, "message": message}});
        if let ApiError::Query { at, .. } = self {
            body["error"]["at"] = at.into();
        }
        let mut response = warp::reply::with_status(warp::reply::json(&body), status).into_response();
        let header = match self {
            // RFC 6750, 3.1: without a token there is nothing to say about it.
            ApiError::Unauthorised(AccessError::Missing) => Some((WWW_AUTHENTICATE, "Bearer realm=\"agentworks\"")),
            ApiError::Unauthorised(AccessError::Unavailable) => Some((RETRY_AFTER, "1")),
            ApiError::Unauthorised(_) => {
                Some((WWW_AUTHENTICATE, "Bearer realm=\"agentworks\", error=\"invalid_token\""))
            }
            ApiError::Denied(_) => {
                Some((WWW_AUTHENTICATE, "Bearer realm=\"agentworks\", error=\"insufficient_scope\""))
            }
            ApiError::Method(Some(methods)) => Some((ALLOW, methods)),
            ApiError::Unavailable | ApiError::Busy(_) => Some((RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        ApiError::Unauthorised(error)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        if let ReadError::Epoch = error {
            return ApiError::Gone;
        }
        let transient = error.is_transient();
        tracing::warn!(%error, transient, "a request could not be answered");
        if let Some(message) = damage(&error) {
            return ApiError::Damaged(message);
        }
        if transient { ApiError::Unavailable } else { ApiError::Internal }
    }
}

/// What clients are told of history that is damaged, without the names of files, which the log has; `None` of other faults.
pub(crate) fn damage(error: &ReadError) -> Option<String> {
    let ReadError::Damaged { partition, from, to, .. } = error else { return None };
    Some(format!(
        "the archive is damaged in what it has of {partition}, offsets {from} to {to}, which can't be read; an operator is to \
         run `agentworks archive verify` and then `agentworks archive rebuild`, and finds the file in the gateway's log"
    ))
}

impl From<SinkError> for ApiError {
    fn from(error: SinkError) -> Self {
        ReadError::from(error).into()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ReadError::from(error).into()
    }
}

/// Answers what every route has rejected: [`ApiError`]s as they are, and warp's own rejections in the same form.
pub async fn recover(rejection: Rejection) -> Result<Response, Infallible> {
    let error = if let Some(error) = rejection.find::<ApiError>() {
        error.clone()
    } else if rejection.is_not_found() {
        ApiError::NotFound("there is no such route".to_owned())
    } else if rejection.find::<PayloadTooLarge>().is_some() {
        // Before the method: a route of several methods is rejected by each in its own way.
        ApiError::Http(StatusCode::PAYLOAD_TOO_LARGE)
    } else if rejection.find::<LengthRequired>().is_some() {
        ApiError::Http(StatusCode::LENGTH_REQUIRED)
    } else if rejection.find::<UnsupportedMediaType>().is_some() {
        ApiError::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    } else if let Some(WrongMethod(methods)) = rejection.find() {
        ApiError::Method(Some(methods))
    } else if rejection.find::<MethodNotAllowed>().is_some() {
        ApiError::Method(None)
    } else if let Some(header) = rejection.find::<MissingHeader>() {
        ApiError::Invalid(format!("the header {} is missing", header.name()))
    } else if let Some(header) = rejection.find::<InvalidHeader>() {
        ApiError::Invalid(format!("the header {} can't be read", header.name()))
    } else if rejection.find::<InvalidQuery>().is_some() {
        ApiError::Invalid("the query can't be read".to_owned())
    } else {
        tracing::error!(?rejection, "a request was rejected for an unknown reason");
        ApiError::Internal
    };
    Ok(error.into_response())
}

#[cfg(test)]
mod tests {
    use agentworks_kafka::KafkaError;

    use super::*;

    #[test]
    fn each_fault_has_its_status_and_says_how_to_authenticate() {
        let response = ApiError::from(AccessError::Missing).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"agentworks\"");
        let response = ApiError::from(AccessError::Expired).into_response();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"agentworks\", error=\"invalid_token\"");
        let response = ApiError::Denied("no".to_owned()).into_response();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()["content-type"], "application/json");
    }

    #[test]
    fn faults_below_are_told_without_their_insides() {
        let broken = StoreError::Failed("block 17 at /var/lib/x".to_owned());
        let (status, code, message) = ApiError::from(broken).parts();
        assert_eq!((status, code.as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"));
        assert!(!message.contains("/var/lib"), "{message}");
        let away = ReadError::Kafka(KafkaError::Unavailable("no broker".to_owned()));
        assert_eq!(ApiError::from(away), ApiError::Unavailable);
        assert_eq!(ApiError::from(ReadError::Epoch), ApiError::Gone);
    }

    #[test]
    fn damage_is_told_with_its_place_and_the_remedy_and_no_file() {
        let partition = agentworks_schemas::TopicPartition::new(agentworks_schemas::Topic::AgentLogs, 3);
        let reason = "entries/date=2025-12-02/part-1.parquet: its footer is not what was written".to_owned();
        let (status, code, message) = ApiError::from(ReadError::Damaged { partition, from: 5, to: 9, reason }).parts();
        assert_eq!((status, code.as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "history_damaged"));
        assert!(message.contains("offsets 5 to 9") && message.contains("archive verify"), "{message}");
        assert!(message.contains(&partition.to_string()) && !message.contains("parquet"), "{message}");
    }

    #[test]
    fn other_statuses_have_codes_too() {
        let (_, code, message) = ApiError::Http(StatusCode::PAYLOAD_TOO_LARGE).parts();
        assert_eq!((code.as_str(), message.as_str()), ("payload_too_large", "payload too large"));
    }
}
