//! All routes, asked over a bare connection: no client tidies what is asked.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::principal::{Loot, Principal};
use super::{names, search};

/// A request.
struct Asked {
    method: &'static str,
    route: String,
    body: String,
    /// What of it may come back.
    said: Vec<String>,
}

fn get(route: String) -> Asked {
    Asked { method: "GET", route, body: String::new(), said: Vec::new() }
}

/// Sends it, and looks at the whole answer, its head too.
async fn send(address: &str, principal: &Principal, loot: &Loot, asked: Asked) {
    let Asked { method, route, body, said } = asked;
    let head = format!(
        "{method} {route} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        body.len(),
        principal.token
    );
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(|_| answer)
    };
    // A head that is too long may break the connection.
    let Ok(Ok(answer)) = timeout(Duration::from_secs(30), asking).await else { return };
    let answer = String::from_utf8_lossy(&answer);
    principal.saw(&answer, &said, &(method, &route));
    if let Some((_, body)) = answer.split_once("\r\n\r\n")
        && let Ok(json) = serde_json::from_str(body)
    {
        loot.take(&json);
    }
}

/// What pages of entries may be asked with.
fn place(loot: &Loot, rng: &mut StdRng) -> String {
    let position = loot.position(rng);
    let places =
        ["after=start".to_owned(), "before=end".to_owned(), format!("after={position}"), format!("before={position}")];
    format!("{}&limit={}", places.choose(rng).unwrap(), rng.random_range(1..300))
}

fn route(principals: &[Arc<Principal>], principal: &Principal, loot: &Loot, rng: &mut StdRng, which: usize) -> Asked {
    let (card, run) = (names::card(rng), names::run(rng));
    let (card, run) = (names::in_path(rng, &card), names::in_path(rng, &run));
    let other = principals.choose(rng).unwrap();
    match which {
        0 => get("/v1/me".to_owned()),
        1 => get("/v1/cards?limit=1000".to_owned()),
        2 => get(format!("/v1/cards/{card}")),
        3 => get(format!("/v1/cards/{card}/runs?limit=2&page={}", loot.page(rng))),
        4 => get(format!("/v1/cards/{card}/runs")),
        5 | 6 => get(format!("/v1/cards/{card}/entries?{}", place(loot, rng))),
        7 => get(format!("/v1/cards/{card}/gateway")),
        8 => get(format!("/v1/runs?limit=3&page={}", loot.page(rng))),
        9 => get("/v1/runs?limit=1".to_owned()),
        10 => get(format!("/v1/runs/{run}")),
        11 => get(format!("/v1/runs/{run}?card={card}")),
        12 => get(format!("/v1/runs/{run}/entries?{}", place(loot, rng))),
        13 => get(format!("/v1/runs/{run}/entries?card={card}&{}", place(loot, rng))),
        14 => get("/v1/erasures".to_owned()),
        15 => get(format!("/v1/erasures/{}", loot.erasure(rng))),
        16 => get("/v1/admin/topics".to_owned()),
        17 => {
            let said = vec![other.workspace.clone()];
            Asked { said, ..get(format!("/v1/admin/connections?workspace={}", other.workspace)) }
        }
        18 => get("/v1/admin/connections".to_owned()),
        19 => get(format!("/v1/admin/connections/{}", loot.connection(rng))),
        20 => get("/v1/admin/metrics".to_owned()),
        21 => get("/metrics".to_owned()),
        22 => get(["/readyz", "/healthz", "/", "/openapi.json", "/asyncapi.json"].choose(rng).unwrap().to_string()),
        23 => get(format!("/v1/cards/{card}/stream")),
        24 => {
            // Its own it might erase.
            let theirs = principals.iter().find(|other| other.workspace != principal.workspace).unwrap();
            let said = vec![theirs.workspace.clone()];
            let route = format!("/v1/erasures?workspace={}", theirs.workspace);
            Asked { method: "POST", route, body: String::new(), said }
        }
        25 => {
            let line = json!({"cardId": names::card(rng), "runId": "forged", "message": "forged",
                "workspaceId": other.workspace});
            let said = vec![other.workspace.clone()];
            Asked { method: "POST", route: "/v1/logs".to_owned(), body: line.to_string(), said }
        }
        26 => {
            let line = json!({"cardId": names::card(rng), "runId": "forged", "kind": "started",
                "workspaceId": other.workspace});
            let said = vec![other.workspace.clone()];
            Asked { method: "POST", route: "/v1/events".to_owned(), body: line.to_string(), said }
        }
        27 => {
            let body = String::new();
            Asked {
                method: "DELETE",
                route: format!("/v1/admin/connections/{}", loot.connection(rng)),
                body,
                said: Vec::new(),
            }
        }
        28 => get(format!("/{card}/../v1/cards/{card}")),
        which => {
            let (route, body) = search::route(principal, loot, rng, which - PLAIN);
            let (method, body) = body.map_or(("GET", String::new()), |body| ("POST", body.to_string()));
            Asked { method, route, body, said: Vec::new() }
        }
    }
}

/// Those that don't search, and all.
const PLAIN: usize = 29;
const ROUTES: usize = PLAIN + search::ROUTES;

/// Asks any route of any name.
pub(super) async fn any(
    address: &str,
    principal: &Principal,
    principals: &[Arc<Principal>],
    loot: &Loot,
    rng: &mut StdRng,
) {
    let which = rng.random_range(0..ROUTES);
    let asked = route(principals, principal, loot, rng, which);
    send(address, principal, loot, asked).await;
}

/// Asks each route a few times, as each of them.
pub(super) async fn everything(address: &str, principals: &[Arc<Principal>], loot: &Loot, rng: &mut StdRng) {
    for which in (0..ROUTES).chain(0..ROUTES) {
        for principal in principals {
            let asked = route(principals, principal, loot, rng, which);
            send(address, principal, loot, asked).await;
        }
    }
}
