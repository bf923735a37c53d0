//! The terminal page: a handful of files, held in the program, that need nothing from anywhere else.
//!
//! Their policy (CSP) lets them run their own scripts and styles and talk to this gateway, nothing more: a log line that
//! were to get into the page as markup could neither run nor send anything. Browsers keep the files and ask each time
//! whether they are still the same, so that a new gateway is a new page.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use warp::reply::Response;
use warp::{Filter, Rejection};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the page.
struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($path:literal, $kind:expr, $file:literal) => {
        Asset { path: $path, kind: $kind, text: include_str!(concat!("../web/", $file)) }
    };
}

const ASSETS: [Asset; 13] = [
    asset!("/", HTML, "index.html"),
    asset!("/icon.svg", SVG, "icon.svg"),
    asset!("/terminal.css", CSS, "terminal.css"),
    asset!("/terminal.js", SCRIPT, "terminal.js"),
    asset!("/terminal/ansi.js", SCRIPT, "terminal/ansi.js"),
    asset!("/terminal/api.js", SCRIPT, "terminal/api.js"),
    asset!("/terminal/format.js", SCRIPT, "terminal/format.js"),
    asset!("/terminal/lines.js", SCRIPT, "terminal/lines.js"),
    asset!("/terminal/replay.js", SCRIPT, "terminal/replay.js"),
    asset!("/terminal/row.js", SCRIPT, "terminal/row.js"),
    asset!("/terminal/search.js", SCRIPT, "terminal/search.js"),
    asset!("/terminal/sidebar.js", SCRIPT, "terminal/sidebar.js"),
    asset!("/terminal/stream.js", SCRIPT, "terminal/stream.js"),
];

/// The page at `/` and its files, by `GET` and `HEAD`. They need no token: they hold nothing but themselves.
pub fn routes() -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let found = warp::path::full().and_then(|path: warp::path::FullPath| {
        let asset = ASSETS.iter().find(|asset| asset.path == path.as_str());
        std::future::ready(asset.ok_or_else(warp::reject::not_found))
    });
    let reads = warp::get().or(warp::head()).unify();
    found.and(reads).and(warp::header::headers_cloned()).map(serve)
}

fn serve(asset: &'static Asset, request: HeaderMap) -> Response {
    let tag = tag(asset);
    let is_known = request.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = Response::new(if is_known { "".into() } else { asset.text.into() });
    let headers: [(HeaderName, &'static str); 6] = [
        (CONTENT_TYPE, asset.kind),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

/// Changes with the file's contents; it needs to tell versions of one file apart, not to withstand anyone.
fn tag(asset: &Asset) -> String {
    let mut hasher = DefaultHasher::new();
    asset.text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_page_asks_for_no_file_that_is_not_there() {
        let there = |path: &str| ASSETS.iter().any(|asset| asset.path == path);
        for asset in &ASSETS {
            for quoted in asset.text.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css")) {
                let folder = asset.path.rsplit_once('/').unwrap().0;
                let path = quoted.strip_prefix("./").map_or(quoted.to_owned(), |name| format!("{folder}/{name}"));
                assert!(there(&path), "{} asks for {path}", asset.path);
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        let count = |folder: &str| {
            std::fs::read_dir(folder).unwrap().filter(|file| file.as_ref().unwrap().path().is_file()).count()
        };
        assert_eq!(ASSETS.len(), count(folder) + count(&format!("{folder}/terminal")));
    }

    #[test]
    fn nothing_of_the_page_needs_what_its_policy_forbids() {
        for asset in &ASSETS {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "<style",
                "style=\"",
                "http://",
                "https://",
            ] {
                let allowed = asset.kind == SVG && forbidden == "http://";
                assert!(allowed || !asset.text.contains(forbidden), "{} contains {forbidden}", asset.path);
            }
        }
        assert!(!ASSETS[0].text.contains("onclick"));
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let first = serve(&ASSETS[0], HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, first.headers()[ETAG].clone())]);
        assert_eq!(serve(&ASSETS[0], known).status(), StatusCode::NOT_MODIFIED);
        let other = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("\"0\""))]);
        assert_eq!(serve(&ASSETS[0], other).status(), StatusCode::OK);
    }
}
