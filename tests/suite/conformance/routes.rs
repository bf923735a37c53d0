//! Reading and writing over HTTP.

use std::io::Write;

use agentworks_schemas::Cursor;
use agentworks_schemas::access::Role;
use flate2::write::GzEncoder;
use reqwest::Method;
use serde_json::json;

use super::World;

type Headers = &'static [(&'static str, &'static str)];

/// `POST /v1/logs` and `/v1/events` in every form, and what they refuse.
pub(super) async fn writing(world: &World) {
    let (http, writer) = (&world.http, world.token(Role::Writer));
    let line = r#"{"cardId":"written","runId":"written","message":"a line","level":"warn","data":{"n":1.50}}"#;
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(line.as_bytes()).unwrap();
    let forms: [(Vec<u8>, Headers, u64); 5] = [
        (format!("{line}\n{line}\n").into_bytes(), &[("content-type", "application/x-ndjson")], 2),
        (format!("[{line},{line}]").into_bytes(), &[("content-type", "application/json")], 2),
        (line.replace(',', ",\n").into_bytes(), &[("content-type", "application/json")], 1),
        (gzip.finish().unwrap(), &[("content-encoding", "gzip")], 1),
        (zstd::encode_all(line.as_bytes(), 3).unwrap(), &[("content-encoding", "zstd")], 1),
    ];
    for (body, headers, count) in forms {
        let (status, answer) = http.send(Method::POST, "/v1/logs", Some(&writer), headers, body).await;
        assert_eq!((status, &answer["accepted"]), (200, &json!(count)), "{answer}");
    }
    let events = r#"{"cardId":"written","runId":"written","kind":"started","agentId":"agent-2"}
{"cardId":"written","runId":"written","kind":"usage","cost":0.25,"inputTokens":12,"outputTokens":3}
{"cardId":"written","runId":"written","kind":"failed","exitCode":101,"reason":"it broke"}
{"cardId":"written","runId":"written","kind":"paused"}"#;
    let (status, answer) = http.post("/v1/events", &writer, events).await;
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (200, &json!(3), &json!(1)), "{answer}");
    assert_eq!(answer["errors"][0]["line"], 4);

    for route in ["/v1/logs", "/v1/events"] {
        let post = async |token: Option<&str>, headers: &[(&str, &str)], body: &str| {
            let (status, answer) = http.send(Method::POST, route, token, headers, body.into()).await;
            (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(post(None, &[], line).await, (401, "missing_token".into()));
        assert_eq!(post(Some("garbage"), &[], line).await, (401, "invalid_token".into()));
        assert_eq!(post(Some(&world.token(Role::Viewer)), &[], line).await, (403, "access_denied".into()));
        assert_eq!(post(Some(&writer), &[], "").await, (400, "invalid_body".into()));
        assert_eq!(post(Some(&writer), &[], "[{]").await, (400, "invalid_body".into()));
        assert_eq!(post(Some(&writer), &[], "no JSON\n").await, (400, "unreadable".into()));
        let encoding = [("content-encoding", "br")];
        assert_eq!(post(Some(&writer), &encoding, line).await, (415, "unsupported_media_type".into()));
        let many = "7\n".repeat(100_001);
        assert_eq!(post(Some(&writer), &[], &many).await, (413, "payload_too_large".into()));
    }
    let mixed = format!(
        "{line}\n{}\n7\n{{\"cardId\":\"c\"}}",
        r#"{"cardId":"c","runId":"r","message":"m","workspaceId":"theirs"}"#
    );
    let (_, answer) = http.post("/v1/logs", &writer, mixed).await;
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(1), &json!(3)), "{answer}");
}

/// Every route and parameter that reads.
pub(super) async fn reading(world: &World) {
    let (http, token) = (&world.http, world.token(Role::Viewer));
    let me = http.good("/v1/me", &world.limited(&["alpha", "b/é"])).await;
    assert_eq!((&me["workspace"], &me["cards"]), (&json!("acme"), &json!(["alpha", "b/é"])));
    assert_eq!(http.good("/v1/me", &token).await.get("cards"), None);

    http.until("/v1/cards?limit=1000", &token, |body| body["cards"].as_array().unwrap().len() >= 4).await;
    http.until("/v1/cards/alpha", &token, |body| body["lastSeen"].is_string() && body["activeRun"].is_object()).await;
    let empty = http.good("/v1/cards/nobody%27s", &token).await;
    assert_eq!(empty, json!({"cardId": "nobody's", "lastSeen": null, "activeRun": null}));
    let failed = |body: &serde_json::Value| body["runs"].as_array().unwrap().iter().any(|run| run["exitCode"] == 101);
    http.until("/v1/cards/written/runs?limit=1&status=failed", &token, failed).await;
    http.until("/v1/runs?status=failed,cancelled&limit=200", &token, failed).await;
    let page = http.until("/v1/runs?limit=1", &token, |body| body["next"].is_string()).await;
    http.good(&format!("/v1/runs?limit=1&page={}", page["next"].as_str().unwrap()), &token).await;
    let run = http.good("/v1/runs/written?card=written", &token).await;
    assert_eq!(
        (&run["status"], &run["reason"], &run["tokensUsed"]),
        (&json!("failed"), &json!("it broke"), &json!(15))
    );
    let home = http.good("/v1/cards/alpha/gateway", &token).await;
    assert_eq!((&home["cardId"], &home["isSelf"]), (&json!("alpha"), &json!(true)));
    http.until("/v1/runs/ended", &token, |run| run["status"] == "completed").await;

    for base in ["/v1/cards/replayed/entries?", "/v1/runs/ended/entries?card=replayed&", "/v1/runs/ended/entries?"] {
        let all = http.good(&format!("{base}after=start&limit=1000"), &token).await;
        assert!(all["entries"].as_array().unwrap().len() >= 40 && all["next"].is_null(), "{base}");
        let first = http.good(&format!("{base}after=start&limit=3"), &token).await;
        assert_eq!(first["entries"][2]["message"], "2");
        let next = first["next"].as_str().unwrap();
        assert_eq!(http.good(&format!("{base}after={next}&limit=1"), &token).await["entries"][0]["message"], "3");
        let back = http.good(&format!("{base}before={next}"), &token).await;
        assert_eq!(back["entries"].as_array().unwrap().len(), 3);
        http.good(&format!("{base}before=end&limit=1"), &token).await;
        let filters =
            "level=warn,error&source=agent&component=walk&since=2025-12-02T10:15:50Z&until=2025-12-02T10:16:10Z";
        let some = http.good(&format!("{base}after=start&{filters}"), &token).await;
        let found: Vec<_> = some["entries"].as_array().unwrap().iter().map(|entry| &entry["message"]).collect();
        assert!(found.starts_with(&[&json!("12"), &json!("13")]), "{found:?}");
    }
    for (route, kind) in [("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "")] {
        let (status, _) = http.send(Method::GET, route, None, &[], Vec::new()).await;
        assert_eq!(status, 200, "{kind}");
    }
    for route in ["/asyncapi.json", "/openapi.json"] {
        assert_eq!(http.send(Method::GET, route, None, &[], Vec::new()).await.0, 200);
    }
    // A stream is a WebSocket, and nothing else.
    http.is_refused("/v1/cards/alpha/stream", &token, 426, "upgrade_required").await;
}

/// What is refused, on every route.
pub(super) async fn refusals(world: &World) {
    let (http, token) = (&world.http, world.token(Role::Viewer));
    let expired = world.expired().await;
    let routes: Vec<String> = world.documented(|path| path.starts_with("/v1/"));
    for route in &routes {
        let (status, body) = http.send(Method::GET, route, None, &[], Vec::new()).await;
        let refused = [(401, "missing_token"), (405, "method_not_allowed")];
        let code = body["error"]["code"].as_str().unwrap();
        assert!(refused.contains(&(status, code)), "{route} {status} {body}");
        if status == 401 {
            http.is_refused(route, "garbage", 401, "invalid_token").await;
            http.is_refused(route, expired, 401, "expired_token").await;
        }
    }
    let limited = world.limited(&["alpha"]);
    for route in ["/v1/cards/beta", "/v1/cards/beta/runs", "/v1/cards/beta/entries", "/v1/cards/beta/stream"] {
        http.is_refused(route, &limited, 403, "access_denied").await;
    }
    for route in ["/v1/runs/ended", "/v1/runs/ended/entries"] {
        http.is_refused(route, &limited, 404, "not_found").await;
        http.is_refused(&format!("{route}?card=replayed"), &limited, 403, "access_denied").await;
        http.is_refused(&route.replace("ended", "nobody%27s"), &token, 404, "not_found").await;
    }
    for route in [
        "/v1/me?verbose=1",
        "/v1/cards?limit=0",
        "/v1/cards/alpha?x=1",
        "/v1/cards/alpha/runs?status=done",
        "/v1/cards/alpha/entries?after=start&before=end",
        "/v1/runs?page=nonsense",
        "/v1/runs/ended?x=1",
        "/v1/runs/ended/entries?level=loud",
    ] {
        http.is_refused(route, &token, 400, "invalid_value").await;
    }
    // A position of a topic that was made again since.
    let page = http.good("/v1/cards/alpha/entries?limit=1", &token).await;
    let position: Cursor = page["end"].as_str().unwrap().parse().unwrap();
    let foreign: Cursor = position.iter().map(|(partition, epoch, next)| (partition, epoch + 7, next)).collect();
    let (status, body) = http.get(&format!("/v1/cards/alpha/entries?after={foreign}"), &token).await;
    assert!(status == 410 && body["error"]["code"] == "position_gone", "{status} {body}");
    http.is_refused("/v1/nowhere", &token, 404, "not_found").await;
}

impl World {
    /// The documented paths, with some name in their braces.
    fn documented(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let paths = self.checker.lock().unwrap().operations();
        let mut paths: Vec<String> = paths.into_iter().map(|(_, path)| path).filter(|path| wanted(path)).collect();
        paths.dedup();
        for path in &mut paths {
            for parameter in ["{card}", "{run}", "{id}", "{topic}", "{field}", "{position}"] {
                *path = path.replace(parameter, "agent-logs");
            }
        }
        paths
    }
}
