//! Who sees what over HTTP: tokens, workspaces, lists of cards.

use std::time::Duration;

use agentworks_gateway::GatewayConfig;
use agentworks_gateway::auth::{Secret, mint};
use agentworks_schemas::access::{Claims, Role};
use serde_json::{Value, json};

use super::rest::{ask, get, write};
use crate::support::stack::{Stack, StackConfig};
use crate::support::{eventually, kafka, unique_prefix};

const HOUR: Duration = Duration::from_secs(3600);

/// Routes that need a token, all of them.
const ROUTES: [&str; 8] = [
    "/v1/me",
    "/v1/cards",
    "/v1/cards/card",
    "/v1/cards/card/runs",
    "/v1/cards/card/entries",
    "/v1/runs",
    "/v1/runs/run",
    "/v1/runs/run/entries",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_good_token_there_is_nothing() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let claims =
        Claims { workspace: "acme".to_owned(), subject: "eve".to_owned(), role: Role::Operator, ..Claims::default() };
    let forged =
        mint(&Secret::new("another secret, as long as it has to be", "the test").unwrap(), &claims, HOUR).unwrap();
    let expired = stack.token_with("acme", Role::Viewer, None, Duration::ZERO);
    // A token is good for some seconds more than it says, for clocks differ.
    eventually(Duration::from_secs(15), async || (get(&stack, &expired, "/v1/me").await.0 == 401).then_some(())).await;
    for route in ROUTES {
        let answer = reqwest::get(format!("http://{}{route}", stack.address)).await.unwrap();
        assert_eq!(answer.status(), 401, "{route}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"agentworks\"");
        assert_eq!(answer.headers()["content-type"], "application/json");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "missing_token", "{route}: {body}");

        for (token, code) in [("garbage", "invalid_token"), (&forged, "invalid_token"), (&expired, "expired_token")] {
            let (status, body) = get(&stack, token, route).await;
            assert_eq!((status, &body["error"]["code"]), (401, &json!(code)), "{route}: {body}");
            assert!(!body.to_string().contains(token), "{body}");
        }
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_the_query_counts_only_where_it_is_switched_on() {
    let config = GatewayConfig { token_in_query: true, ..GatewayConfig::default() };
    let config = StackConfig { gateway: config, ..StackConfig::default() };
    let open = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 1, config).await;
    let closed = Stack::start(&unique_prefix(), 1).await;
    let token = open.token("acme", Role::Viewer);
    let status = async |stack: &Stack| {
        let url = format!("http://{}/v1/me?token={token}", stack.address);
        reqwest::get(url).await.unwrap().status()
    };
    assert_eq!(status(&open).await, 200);
    assert_eq!(status(&closed).await, 401);
    open.stop().await;
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_sees_nothing_of_another() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    // The same ids in both: only the workspace tells them apart.
    write(&stack.producer.run("acme", "card", "run"), ["acme's"]).await;
    write(&stack.producer.run("globex", "card", "run"), ["globex's"]).await;
    for workspace in ["acme", "globex"] {
        let token = stack.token(workspace, Role::Operator);
        ask(&stack, &token, "/v1/cards", |body| body["cards"][0]["cardId"] == "card").await;
        ask(&stack, &token, "/v1/runs/run", |body| body["logCount"] == 1).await;
        for route in ["/v1/cards/card/entries", "/v1/runs/run/entries?card=card"] {
            let (_, body) = get(&stack, &token, route).await;
            let entries = body["entries"].as_array().unwrap();
            assert_eq!(entries.len(), 1, "{route}: {body}");
            assert_eq!(entries[0]["message"], format!("{workspace}'s"));
            assert_eq!(entries[0]["workspaceId"], workspace);
        }
    }
    let stranger = stack.token("initech", Role::Operator);
    assert_eq!(get(&stack, &stranger, "/v1/cards").await.1, json!({"cards": []}));
    assert_eq!(get(&stack, &stranger, "/v1/runs").await.1, json!({"runs": [], "next": null}));
    assert_eq!(get(&stack, &stranger, "/v1/runs/run").await.0, 404);
    assert_eq!(get(&stack, &stranger, "/v1/cards/card/entries").await.1["entries"], json!([]));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_cards_is_a_limit_everywhere() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    for card in ["mine", "theirs"] {
        let run = stack.producer.run("acme", card, &format!("run-{card}"));
        run.started().send().await.unwrap().await.unwrap();
        write(&run, ["x"]).await;
    }
    let all = stack.token("acme", Role::Viewer);
    ask(&stack, &all, "/v1/cards", |body| body["cards"].as_array().is_some_and(|cards| cards.len() == 2)).await;
    ask(&stack, &all, "/v1/runs", |body| body["runs"].as_array().is_some_and(|runs| runs.len() == 2)).await;

    let token = stack.token_with("acme", Role::Viewer, Some(&["mine", "unwritten"]), HOUR);
    let me = get(&stack, &token, "/v1/me").await.1;
    assert_eq!(
        (&me["workspace"], &me["role"], &me["cards"]),
        (&json!("acme"), &json!("viewer"), &json!(["mine", "unwritten"]))
    );
    let cards = get(&stack, &token, "/v1/cards?limit=1").await.1;
    assert_eq!(cards["cards"].as_array().unwrap().len(), 1);
    assert_eq!(cards["cards"][0]["cardId"], "mine");
    let runs = get(&stack, &token, "/v1/runs").await.1;
    assert_eq!((runs["runs"].as_array().unwrap().len(), &runs["runs"][0]["runId"]), (1, &json!("run-mine")));

    for allowed in ["/v1/cards/mine", "/v1/cards/mine/runs", "/v1/cards/unwritten/entries", "/v1/runs/run-mine/entries"]
    {
        assert_eq!(get(&stack, &token, allowed).await.0, 200, "{allowed}");
    }
    let denied = [
        "/v1/cards/theirs",
        "/v1/cards/theirs/runs",
        "/v1/cards/theirs/entries",
        "/v1/runs/run-theirs?card=theirs",
        "/v1/runs/run-theirs/entries?card=theirs",
    ];
    for denied in denied {
        let (status, body) = get(&stack, &token, denied).await;
        assert_eq!((status, &body["error"]["code"]), (403, &json!("access_denied")), "{denied}");
    }
    // That there is such a run is already too much.
    for unknown in ["/v1/runs/run-theirs", "/v1/runs/run-theirs/entries"] {
        let (status, body) = get(&stack, &token, unknown).await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")), "{unknown}");
    }
    stack.stop().await;
}
