//! Tokens: forged, stolen, expired, revoked; and where they may be seen.

use futures_util::SinkExt;
use jsonwebtoken::{Algorithm, EncodingKey};
use tokio::time::Instant;

use super::*;
use crate::support::issuer::{claims_for, signed};

/// Asks over HTTP and over a WebSocket; both have to refuse the token in the same way.
async fn refused(target: &Target, token: &str) -> Value {
    let (status, body) = target.serve.get("/v1/me", token).await;
    assert_eq!(status, 401, "{body}");
    let mut socket = target.open("card", token).await;
    let (code, reason) = closed(&mut socket).await;
    assert_eq!((code, json!(reason)), (1008, body["error"]["message"].clone()));
    let answer = reqwest::Client::new().post(format!("{}/v1/logs", target.ingest.url)).bearer_auth(token).body("{}");
    assert_eq!(answer.send().await.unwrap().status(), 401);
    body["error"]["code"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_seen_in_no_log_and_no_metric() {
    let target = Target::get().await;
    let good =
        target.token_with(Claims { workspace: "canary".to_owned(), role: Role::Operator, ..Claims::default() }, HOUR);
    let of_key = target.rsa.token(&claims_for("canary", "viewer", 60));
    let expired = target.token_with(Claims { workspace: "canary".to_owned(), ..Claims::default() }, Duration::ZERO);
    let mangled = format!("{}x", &good[..good.len() - 8]);
    let garbage = "canary-4b1d-no-token-at-all".to_owned();
    let tokens = [good, of_key, expired, mangled, garbage];
    for token in &tokens {
        let (mut by_query, _) = target.connect("card", &format!("?token={token}&history=x"), &[]).await;
        let mut by_header = target.open("card", token).await;
        let offers = format!("agentworks.v1, agentworks.bearer.{token}");
        let (mut by_offer, response) = target.connect("card", "", &[("sec-websocket-protocol", &offers)]).await;
        assert_eq!(response.headers()["sec-websocket-protocol"], "agentworks.v1");
        for socket in [&mut by_query, &mut by_header, &mut by_offer] {
            let refresh = json!({"type": "refresh_token", "token": token});
            let wrong = json!({"type": "refresh_token", "tokn": token});
            for message in [refresh.to_string(), wrong.to_string(), format!("{{\"type\": \"{token}\""), token.clone()] {
                // Those with a bad token are closed by now.
                let _ = socket.send(Message::text(message)).await;
            }
            let _ = timeout(Duration::from_millis(300), closed(socket)).await;
        }
        for process in [&target.serve, &target.ingest] {
            for path in ["/v1/me", "/v1/cards/card/entries", "/v1/nowhere", "/v1/logs", "/metrics", "/healthz", "/"] {
                let url = format!("{}{path}?token={token}", process.url);
                reqwest::get(&url).await.unwrap();
                reqwest::Client::new().post(&url).bearer_auth(token).body(token.clone()).send().await.unwrap();
                process.get(path, token).await;
            }
        }
    }
    let (logs, metrics) = (target.logs(), target.serve.metrics().await + &target.ingest.metrics().await);
    assert!(logs.contains("a connection has ended"), "so much is logged that it would show");
    for token in &tokens {
        for part in token.split('.').filter(|part| part.len() > 20 && !part.starts_with("eyJ0eXAi")) {
            let seen = logs.lines().find(|line| line.contains(part));
            assert_eq!(seen, None, "in a log");
            assert!(!metrics.contains(part), "in the metrics");
        }
    }
    assert!(!logs.contains(SECRET) && !metrics.contains("canary"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn algorithms_are_not_confused() {
    let target = Target::get().await;
    let claims = claims_for("space", "operator", 60);
    for signer in [&target.rsa, &target.ec] {
        assert_eq!(target.serve.get("/v1/me", &signer.token(&claims)).await.0, 200);
        // The public key is known to everybody; as a secret it is worth nothing.
        let jwk = signer.jwk();
        for secret in [jwk.to_string(), jwk["n"].to_string(), jwk["x"].to_string(), String::new()] {
            let key = EncodingKey::from_secret(secret.as_bytes());
            for header in [json!({"alg": "HS256", "kid": signer.kid}), json!({"alg": "HS256"})] {
                let forged = signed(&header, &claims, &key, Algorithm::HS256);
                assert_eq!(refused(&target, &forged).await, "invalid_token", "{header}");
            }
        }
    }
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None", "kid": "rsa-1"}),
        json!({"alg": "ES256", "kid": "rsa-1"}),
        json!({"alg": "RS256", "kid": "ec-1"}),
        json!({"alg": "RS512", "kid": "rsa-1"}),
        json!({"alg": "PS256", "kid": "rsa-1"}),
        json!({"alg": ["RS256"], "kid": "rsa-1"}),
        json!({"kid": "rsa-1"}),
    ] {
        assert_eq!(refused(&target, &target.rsa.token_with(&header, &claims)).await, "invalid_token", "{header}");
    }
    // Without a signature, or with that of another token.
    let token = target.rsa.token(&claims);
    let (message, _) = token.rsplit_once('.').unwrap();
    let other = target.rsa.token(&claims_for("space", "viewer", 60));
    for signature in ["", other.rsplit('.').next().unwrap()] {
        assert_eq!(refused(&target, &format!("{message}.{signature}")).await, "invalid_token");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_key_is_no_path_no_address_and_no_query() {
    let target = Target::get().await;
    let claims = claims_for("space", "operator", 60);
    let attacker = Signer::rsa("rsa-1");
    let theirs = Publisher::start(&[&attacker]);
    let at = format!("{}#", theirs.url());
    for kid in [
        "../../../../../../dev/null",
        "/etc/passwd",
        "file:///dev/null",
        &at,
        "rsa-1' OR '1'='1",
        "rsa-1\0",
        "rsa-1\n",
        " rsa-1",
        "RSA-1",
        "rsa\u{2010}1",
        "",
        &"k".repeat(3000),
    ] {
        let header = json!({"alg": "RS256", "kid": kid});
        assert_eq!(refused(&target, &attacker.token_with(&header, &claims)).await, "invalid_token", "{kid:?}");
    }
    // Nor does a header bring its own key.
    for member in ["jku", "x5u"] {
        let header = json!({"alg": "RS256", "kid": "rsa-1", member: theirs.url()});
        assert_eq!(refused(&target, &attacker.token_with(&header, &claims)).await, "invalid_token", "{member}");
    }
    let header = json!({"alg": "RS256", "kid": "rsa-1", "jwk": attacker.jwk()});
    assert_eq!(refused(&target, &attacker.token_with(&header, &claims)).await, "invalid_token");
    assert_eq!(theirs.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_costs_no_fetches() {
    let target = Target::get().await;
    let stranger = Signer::ec("stranger");
    let claims = claims_for("space", "viewer", 600);
    let (before, began) = (target.publisher.requests(), Instant::now());
    for number in 0..400 {
        let token = stranger.token_with(&json!({"alg": "ES256", "kid": format!("unknown-{number}")}), &claims);
        assert_eq!(target.serve.get("/v1/me", &token).await.0, 401);
    }
    // Two processes fetch by age, every two seconds, and one for the sake of unknown keys, every second.
    let expected = 4 + 2 * usize::try_from(began.elapsed().as_secs()).unwrap();
    let fetched = target.publisher.requests() - before;
    assert!(fetched <= expected, "{fetched} fetches in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_withdrawn_ends_the_connections_of_its_tokens() {
    let target = Target::get().await;
    let leaked = Signer::ec("rotated");
    target.publisher.publish(&[&target.rsa, &target.ec, &leaked]);
    let claims = claims_for("space", "viewer", 600);
    // Found when it is first named, unless the document was fetched a moment ago.
    let token = leaked.token(&claims);
    eventually(PATIENCE, async || (target.serve.get("/v1/me", &token).await.0 == 200).then_some(())).await;
    let mut theirs = target.open("card", &token).await;
    told(&mut theirs, "connection_established").await;
    let mut ours = target.open("card", &target.rsa.token(&claims)).await;
    told(&mut ours, "connection_established").await;
    target.publisher.publish(&[&target.rsa, &target.ec]);
    assert_eq!(closed(&mut theirs).await, (1008, "the token has been revoked".to_owned()));
    let mut again = target.open("card", &token).await;
    assert_eq!(closed(&mut again).await, (1008, "the token is not valid".to_owned()));
    // Whoever has another key hasn't noticed.
    ours.send(Message::text(json!({"type": "ping", "timestamp": 1}).to_string())).await.unwrap();
    told(&mut ours, "pong").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_by_name_is_refused() {
    let target = Target::get().await;
    let claims = |subject: &str, token_id: &str| Claims {
        workspace: "space".to_owned(),
        subject: subject.to_owned(),
        token_id: Some(token_id.to_owned()),
        ..Claims::default()
    };
    assert_eq!(refused(&target, &target.token_with(claims("ann", "stolen"), HOUR)).await, "revoked_token");
    assert_eq!(refused(&target, &target.token_with(claims("mallory", "another"), HOUR)).await, "revoked_token");
    assert_eq!(target.serve.get("/v1/me", &target.token_with(claims("ann", "another"), HOUR)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_expires_mid_replay_ends_it() {
    let target = Target::get().await;
    // An hour's worth, of which a few seconds are shown.
    let lines =
        (0..3600).map(|n| json!({"message": format!("line {n}"), "timestamp": 1_700_000_000_000i64 + n * 1000}));
    target.write("space", "expiring", "long", lines).await;
    let claims = Claims { workspace: "space".to_owned(), ..Claims::default() };
    let mut socket = target.open("expiring", &target.token_with(claims, Duration::from_secs(4))).await;
    let replay = json!({"type": "replay_run", "runId": "long", "options": {"speed": 4}});
    socket.send(Message::text(replay.to_string())).await.unwrap();
    told(&mut socket, "replay_log").await;
    assert_eq!(closed(&mut socket).await, (1008, "the token has expired".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_token_is_the_same_bearers_and_counts_at_once() {
    let target = Target::get().await;
    let claims = |subject: &str, workspace: &str, cards: &[&str]| Claims {
        subject: subject.to_owned(),
        workspace: workspace.to_owned(),
        cards: Some(cards.iter().map(|&card| card.to_owned()).collect()),
        ..Claims::default()
    };
    let first = target.token_with(claims("ann", "space", &["fresh", "other"]), Duration::from_secs(5));
    let mut socket = target.open("fresh", &first).await;
    let say =
        async |socket: &mut Socket, message: Value| socket.send(Message::text(message.to_string())).await.unwrap();
    say(&mut socket, json!({"type": "subscribe_card", "cardId": "other"})).await;
    told(&mut socket, "card_subscribed").await;
    for (stranger, words) in [
        (target.token_with(claims("bob", "space", &["fresh"]), HOUR), "another subject or workspace"),
        (target.token_with(claims("ann", "globex", &["fresh"]), HOUR), "another subject or workspace"),
        ("garbage".to_owned(), "not valid"),
    ] {
        say(&mut socket, json!({"type": "refresh_token", "token": stranger})).await;
        let error = told(&mut socket, "error").await;
        assert_eq!(
            (&error["data"]["code"], &error["data"]["inReplyTo"]),
            (&json!("access_denied"), &json!("refresh_token"))
        );
        assert!(error["data"]["message"].as_str().unwrap().contains(words), "{error}");
    }
    let narrower = target.token_with(claims("ann", "space", &["fresh"]), HOUR);
    say(&mut socket, json!({"type": "refresh_token", "token": narrower})).await;
    let refreshed = told(&mut socket, "token_refreshed").await;
    assert!(refreshed["data"]["expiresAt"].is_number() || refreshed["data"]["expiresAt"].is_string(), "{refreshed}");
    assert_eq!(told(&mut socket, "error").await["data"]["code"], "access_denied");
    target.write("space", "other", "run", [json!("no longer for you")]).await;
    // The first token's time passes meanwhile.
    tokio::time::sleep(Duration::from_secs(6)).await;
    target.write("space", "fresh", "run", [json!("still for you")]).await;
    loop {
        let Some(Ok(Message::Text(text))) = timeout(PATIENCE, socket.next()).await.unwrap() else { continue };
        assert!(!text.contains("no longer for you"), "{text}");
        if text.contains("still for you") {
            break;
        }
    }
    say(&mut socket, json!({"type": "subscribe_card", "cardId": "other"})).await;
    assert_eq!(told(&mut socket, "error").await["data"]["code"], "access_denied");
}
