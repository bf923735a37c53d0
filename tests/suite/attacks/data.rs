//! What is in entries, ids and positions.

use futures_util::SinkExt;

use super::*;
use crate::support::terminal::{Terminal, shown};

/// How many cards there are that nobody has asked for.
const CARDS: usize = 1_000_000;
const BATCH: usize = 50_000;

/// What a process has in memory, in bytes.
fn resident(metrics: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with("process_resident_memory_bytes "));
    line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap()
}

/// The names and labels of all series, without their values.
fn series(metrics: &str) -> usize {
    metrics.lines().filter(|line| !line.starts_with('#')).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_cards_are_as_many_series_as_one() {
    // One of its own: with nobody who takes them into the store, whatever others read they would read through all of these.
    let target = Target::start().await;
    let workspace = "crowd";
    let token = target.token(workspace, Role::Writer);
    let post = async |from: usize| {
        let lines =
            (from..from + BATCH).map(|n| format!("{{\"cardId\":\"c{n}\",\"runId\":\"r{n}\",\"message\":\"m\"}}\n"));
        let body: String = lines.collect();
        let request = reqwest::Client::new().post(format!("{}/v1/logs", target.ingest.url)).body(body);
        let answer = request.bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    // Somebody watches, so that the gateway sees them all.
    let mut terminal = Terminal::connect_to(target.serve.address(), &token, "c0", "").await;
    post(0).await;
    terminal.lines(1).await;
    let (ingest, serve) = (series(&target.ingest.metrics().await), series(&target.serve.metrics().await));
    let memory = resident(&target.serve.metrics().await);
    for from in (BATCH..CARDS).step_by(BATCH) {
        post(from).await;
    }
    // And of those that nobody has written to, which are asked for and watched.
    let bearer = format!("Bearer {token}");
    for number in 0..200 {
        target.serve.get(&format!("/v1/cards/never-{number}/gateway"), &token).await;
        let (mut socket, _) =
            target.connect(&format!("never-{number}"), "?history=0", &[("authorization", &bearer)]).await;
        told(&mut socket, "connection_established").await;
    }
    target.write(workspace, "c0", "r0", [json!("the last")]).await;
    assert_eq!(terminal.lines(1).await, ["the last"]);
    let (ingest_now, serve_now) = (series(&target.ingest.metrics().await), series(&target.serve.metrics().await));
    // Other tests go on meanwhile: a code or a reason that hasn't been seen before is a series, once.
    assert!(ingest_now <= ingest + 20 && serve_now <= serve + 20, "{ingest} → {ingest_now}, {serve} → {serve_now}");
    let grown = resident(&target.serve.metrics().await) - memory;
    assert!(grown < 200e6, "{grown} bytes more");
    terminal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escape_sequences_are_kept_as_they_are_and_shown_as_text() {
    let target = Target::get().await;
    let token = target.token("space", Role::Viewer);
    let hostile =
        "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}]52;c;cm0gLXJm\u{7}\u{9b}6n\u{202e}gpj.exe\r\n<script>alert(1)</script>";
    target.write("space", "hostile", "run", [json!({"message": hostile, "component": hostile})]).await;
    let mut terminal = Terminal::connect_to(target.serve.address(), &token, "hostile", "").await;
    let entries = terminal.entries().await;
    assert_eq!(entries[0].message(), hostile);
    let (_, page) = target.serve.get("/v1/cards/hostile/entries", &token).await;
    assert_eq!((&page["entries"][0]["message"], &page["entries"][0]["component"]), (&json!(hostile), &json!(hostile)));

    // In a shell nothing of it is left that a terminal would obey; see also the tests of `tail`.
    let variables = [("AGENTWORKS_URL", target.serve.url.as_str()), ("AGENTWORKS_TOKEN", &token)];
    let tail = command(&["tail", "hostile", "--no-follow"], &variables).output().await.unwrap();
    let printed = String::from_utf8(tail.stdout).unwrap();
    assert!(tail.status.success() && printed.contains("gpj.exe"), "{printed}");
    assert!(!printed.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{printed:?}");
    assert!(!printed.contains('\u{202e}'), "{printed:?}");

    // A page may run no script but its own, so that text stays text.
    let answer = reqwest::get(format!("{}/", target.serve.url)).await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-inline"), "{policy}");
    terminal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_of_another_workspace_opens_nothing() {
    let target = Target::get().await;
    target.write("acme", "shared-name", "run", [json!("acme's own 1"), json!("acme's own 2")]).await;
    target.write("globex", "shared-name", "run", [json!("globex's own")]).await;
    let theirs = target.token("acme", Role::Viewer);
    let mut victim = Terminal::connect_to(target.serve.address(), &theirs, "shared-name", "?history=1").await;
    let stolen = victim.entries().await[0].position.clone();
    let token = target.token("globex", Role::Viewer);
    let query = format!("?position={stolen}");
    let mut thief = Terminal::connect_to(target.serve.address(), &token, "shared-name", &query).await;
    let mut seen = thief.settle().await;
    for card in ["shared-name", "another"] {
        thief.send(json!({"type": "resume", "positions": {card: stolen}})).await;
        thief.send(json!({"type": "subscribe_card", "cardId": card, "position": stolen})).await;
    }
    seen.extend(thief.settle().await);
    target.write("acme", "shared-name", "run", [json!("acme's own 3")]).await;
    target.write("globex", "shared-name", "run", [json!("globex's second")]).await;
    while !seen.iter().flat_map(shown).any(|shown| shown.message() == "globex's second") {
        seen.push(thief.message().await);
    }
    assert!(!json!(seen).to_string().contains("acme"), "{seen:?}");
    for path in ["/v1/cards/shared-name/entries", "/v1/runs/run/entries"] {
        for query in [format!("?after={stolen}"), format!("?before={stolen}&card=shared-name")] {
            let (_, body) = target.serve.get(&format!("{path}{query}"), &token).await;
            assert!(!body.to_string().contains("acme"), "{path}{query}: {body}");
        }
    }
    // A position that was made up is refused or leads nowhere.
    for forged in ["AAAA", "../../x", "%00", &stolen[1..], &format!("{stolen}{stolen}")] {
        let query = format!("?position={forged}");
        let mut terminal = Terminal::connect_to(target.serve.address(), &token, "shared-name", &query).await;
        assert!(!json!(terminal.settle().await).to_string().contains("acme"), "{forged}");
        terminal.close().await;
    }
    victim.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_the_card_of_just_these_bytes() {
    let target = Target::get().await;
    target.write("space", "vault", "vault-run", [json!("locked away")]).await;
    let claims = |cards: &[&str]| Claims {
        workspace: "space".to_owned(),
        cards: Some(cards.iter().map(|&card| card.to_owned()).collect()),
        ..Claims::default()
    };
    // Two strings that look alike, or that some file system or browser would take for the same.
    let alike = [
        "Vault",
        "VAULT",
        " vault",
        "vault ",
        "vault/",
        "/vault",
        "./vault",
        "x/../vault",
        "../vault",
        "vault/..",
        "vault\0",
        "vault%00",
        "v\u{430}ult",
        "vau\u{13c}t",
        "v\u{e0}ult",
        "va\u{200b}ult",
        "\u{ff56}ault",
        "vault\u{301}",
        "%76ault",
    ];
    for id in alike {
        let token = target.token_with(claims(&[id]), HOUR);
        let encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in [
            format!("/v1/cards/{encoded}/entries"),
            format!("/v1/cards/{encoded}"),
            format!("/v1/cards/{encoded}/runs"),
        ] {
            let (_, body) = target.serve.get(&path, &token).await;
            assert!(
                !body.to_string().contains("locked away") && !body.to_string().contains("vault-run"),
                "{path}: {body}"
            );
        }
        for path in
            ["/v1/cards/vault/entries", "/v1/runs/vault-run?card=vault", "/v1/runs/vault-run/entries?card=vault"]
        {
            let (status, body) = target.serve.get(path, &token).await;
            assert!([403, 404].contains(&status), "{id:?} {path}: {status} {body}");
        }
        let mut socket = target.open(&encoded, &token).await;
        told(&mut socket, "connection_established").await;
        let subscribe = json!({"type": "subscribe_card", "cardId": "vault"}).to_string();
        socket.send(Message::text(subscribe)).await.unwrap();
        assert_eq!(told(&mut socket, "error").await["data"]["code"], "access_denied", "{id:?}");
        let replay = json!({"type": "replay_run", "runId": "vault-run"}).to_string();
        socket.send(Message::text(replay)).await.unwrap();
        assert_eq!(told(&mut socket, "error").await["data"]["code"], "not_found", "{id:?}");
    }
    // Segments that climb are no way round, encoded or not.
    let token = target.token_with(claims(&["mine"]), HOUR);
    for path in [
        "/v1/cards/mine/../vault/entries",
        "/v1/cards/mine%2f..%2fvault/entries",
        "/v1/cards/..%2fvault/entries",
        "/v1/cards/mine/%2e%2e/vault/entries",
    ] {
        let (status, body) = target.serve.get(path, &token).await;
        assert!(status >= 400 && !body.to_string().contains("locked away"), "{path}: {status} {body}");
    }
    let good = target.token_with(claims(&["vault"]), HOUR);
    assert!(target.serve.get("/v1/cards/vault/entries", &good).await.1.to_string().contains("locked away"));
}
