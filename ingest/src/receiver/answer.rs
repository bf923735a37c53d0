//! What a client is told.

use agentworks_schemas::access::AccessError;
use agentworks_schemas::codec::Reject;
use http::header::{ACCEPT_ENCODING, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use warp::Reply;
use warp::reply::Response;

/// What became of the lines of a request.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Accepted {
    accepted: usize,
    rejected: usize,
    errors: Vec<LineError>,
    #[serde(skip)]
    unreadable: usize,
}

/// The most bytes of a message about a line: a second bound, for those who refuse lines cut what they repeat of them.
const MAX_MESSAGE: usize = 1024;

/// What is wrong with one line.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct LineError {
    /// Which one, from 1.
    line: usize,
    code: &'static str,
    message: String,
}

/// Why a line is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineFault {
    #[error(transparent)]
    Reject(#[from] Reject),
    #[error("the token does not cover card {0:?}")]
    Denied(String),
}

impl LineFault {
    pub(super) fn code(&self) -> &'static str {
        match self {
            LineFault::Reject(reject) => reject.code(),
            LineFault::Denied(_) => "access_denied",
        }
    }
}

impl Accepted {
    pub(super) fn accept(&mut self) {
        self.accepted += 1;
    }

    /// Notes a fault; only the first `listed` are told one by one.
    pub(super) fn reject(&mut self, line: usize, fault: &LineFault, listed: usize) {
        self.rejected += 1;
        self.unreadable += usize::from(matches!(fault, LineFault::Reject(Reject::Json { .. })));
        if self.errors.len() < listed {
            let mut message = fault.to_string();
            message.truncate(message.floor_char_boundary(MAX_MESSAGE));
            self.errors.push(LineError { line, code: fault.code(), message });
        }
    }
}

impl Reply for Accepted {
    fn into_response(self) -> Response {
        if self.accepted > 0 || self.unreadable < self.rejected {
            return warp::reply::json(&self).into_response();
        }
        let error = json!({"code": "unreadable", "message": "no line of the body is a JSON object"});
        let body = json!({"accepted": 0, "rejected": self.rejected, "errors": self.errors, "error": error});
        warp::reply::with_status(warp::reply::json(&body), StatusCode::BAD_REQUEST).into_response()
    }
}

/// Why a request is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("the token's role may not write")]
    MayNotWrite,
    #[error("{0}")]
    InvalidBody(String),
    #[error("the body did not come in time")]
    BodyTimeout,
    #[error("the body has more than {limit} bytes {}", if *.decoded { "when decoded" } else { "as sent" })]
    TooLarge { limit: usize, decoded: bool },
    #[error("the body has more than {limit} lines")]
    TooManyLines { limit: usize },
    #[error("Content-Encoding may be gzip or zstd, or absent")]
    Encoding,
    #[error("the log does not keep up, and nothing of this request was taken: send it again later")]
    Busy,
    #[error("{missing} lines were not acknowledged in time: send the request again; some lines may come twice then")]
    Undelivered { missing: usize },
    #[error(
        "{missing} lines were not acknowledged, for this receiver's producer has failed for good and the receiver ends: \
         send the request again, to another one or once this one has been started again; some lines may come twice then"
    )]
    Failed { missing: usize },
}

impl Refusal {
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::Access(AccessError::Unavailable) => {
                (StatusCode::SERVICE_UNAVAILABLE, AccessError::Unavailable.code())
            }
            Refusal::Access(error) => (StatusCode::UNAUTHORIZED, error.code()),
            Refusal::MayNotWrite => (StatusCode::FORBIDDEN, "access_denied"),
            Refusal::InvalidBody(_) => (StatusCode::BAD_REQUEST, "invalid_body"),
            Refusal::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Refusal::TooLarge { .. } | Refusal::TooManyLines { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large")
            }
            Refusal::Encoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Refusal::Busy => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Refusal::Undelivered { .. } | Refusal::Failed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }

    fn header(&self) -> Option<(HeaderName, &'static str)> {
        match self {
            // RFC 6750, 3.1: without a token there is nothing to say about it.
            Refusal::Access(AccessError::Missing) => Some((WWW_AUTHENTICATE, "Bearer realm=\"agentworks\"")),
            Refusal::Access(AccessError::Unavailable) => Some((RETRY_AFTER, "1")),
            Refusal::Access(_) => Some((WWW_AUTHENTICATE, "Bearer realm=\"agentworks\", error=\"invalid_token\"")),
            Refusal::MayNotWrite => {
                Some((WWW_AUTHENTICATE, "Bearer realm=\"agentworks\", error=\"insufficient_scope\""))
            }
            Refusal::Encoding => Some((ACCEPT_ENCODING, "gzip, zstd")),
            Refusal::Busy => Some((RETRY_AFTER, "1")),
            Refusal::Undelivered { .. } | Refusal::Failed { .. } => Some((RETRY_AFTER, "5")),
            _ => None,
        }
    }
}

impl Reply for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.parts();
        let body = json!({"error": {"code": code, "message": self.to_string()}});
        let mut response = warp::reply::with_status(warp::reply::json(&body), status).into_response();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_about_a_line_is_bounded_whoever_wrote_it() {
        let mut accepted = Accepted::default();
        let reason = "ü".repeat(100_000);
        accepted.reject(1, &Reject::Json { reason }.into(), 2);
        accepted.reject(2, &LineFault::Denied("\u{7f}".repeat(512)), 2);
        accepted.reject(3, &Reject::Empty.into(), 2);
        assert_eq!((accepted.rejected, accepted.errors.len()), (3, 2));
        for LineError { message, .. } in &accepted.errors {
            assert!((MAX_MESSAGE - 1..=MAX_MESSAGE).contains(&message.len()), "{} bytes", message.len());
        }
    }
}
