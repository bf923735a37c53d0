//! What is asked to hurt ends in time: with an answer, or with an error that says which bound it is past.

use std::time::{Duration, Instant};

use agentworks_schemas::text::JsonObject;
use serde_json::json;

use super::*;

/// How long a search may take as this is configured, and what is on top of it on a machine that is busy.
const IN_TIME: Duration = Duration::from_secs(12);

/// Entries with very many different words and names, in splits and beyond.
async fn write_wide(stack: &Stack, count: usize) {
    let run = stack.producer.run("acme", "card", "run");
    let mut deliveries = Vec::new();
    for number in 0..count {
        let words: String = (0..6).map(|word| format!("a{:x}q{word} ", number * 7919 + word)).collect();
        let message = format!("line {words} {}", "a".repeat(number % 90 + 1));
        let data = format!(r#"{{"name{}":"a{number}","n":{number},"f":{number}.5}}"#, number % 500);
        let entry = run.log(Level::Info, Source::Agent, "tool-runner", &message);
        deliveries.push(entry.data(JsonObject::parse(&data).unwrap()).send().await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_queries_end_in_time() {
    let stack = start().await;
    let token = stack.token("acme", Role::Viewer);
    write_wide(&stack, 6_000).await;
    found(&stack, &token, "/v1/search?q=line&limit=1", 6_000).await;
    let (deep, long) = ("(".repeat(10_000), "a".repeat(60));
    let closed = format!("{}a{}", "(".repeat(3_000), ")".repeat(3_000));
    let many = (0..400).map(|n| format!("a{n:x}*")).collect::<Vec<_>>().join(" OR ");
    let nots = format!("{}a{}", "NOT (".repeat(40), ")".repeat(40));
    let (ors, fuzzy) = ("a OR ".repeat(2_000), format!("{long}~2"));
    let fuzzier = format!("{long}~2 OR {long}b~2 OR {long}c~2");
    let queries: [(&str, Option<u16>); 23] = [
        (&*deep, Some(400)),
        (&*closed, Some(400)),
        (&*ors, Some(400)),
        ("data.n:[5 TO 1]", None),
        ("*", Some(200)),
        ("*^2", None),
        ("*^1e30", None),
        ("a*", None),
        ("*a*", None),
        ("?*?*?*?*?*", None),
        ("message:*a*a*a*a*a*a*b", None),
        ("data:a*", None),
        ("data:*", None),
        ("a~2", None),
        (&*fuzzy, None),
        (&*fuzzier, None),
        ("data.n:[* TO *]", None),
        ("data.f:[-1e308 TO 1e308]", None),
        ("since:9999999w", None),
        ("timestamp:[0001-01-01 TO 9999-12-31]", None),
        (&*many, None),
        (&*nots, None),
        ("\"a b c d\"* NOT a*", None),
    ];
    let mut slowest = (Duration::ZERO, "");
    // Once as most of it isn't published yet, and once when it is.
    for _ in 0..2 {
        for (query, wanted) in &queries {
            let begun = Instant::now();
            let body = json!({"q": query, "facets": ["card", "component", "run"], "limit": 100, "sortBy": "relevance"});
            let request =
                reqwest::Client::new().post(format!("{}/v1/search", stack.url)).bearer_auth(&token).json(&body);
            let answer = request.send().await.unwrap();
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            let shown: String = query.chars().take(60).collect();
            assert!(begun.elapsed() < IN_TIME, "{shown}: {:?}", begun.elapsed());
            let body: Value = serde_json::from_str(&text).unwrap();
            match status {
                200 => assert!(body["incomplete"].is_null(), "{shown}: {body}"),
                // It says what is wrong with it, or which bound it is past.
                400 | 422 | 503 => {
                    let code = body["error"]["code"].as_str().unwrap_or_default();
                    assert!(
                        ["invalid_query", "invalid_value", "invalid_request", "too_costly"].contains(&code),
                        "{shown}: {body}"
                    );
                }
                status => panic!("{shown}: {status} {body}"),
            }
            if let Some(wanted) = wanted {
                assert_eq!(status, *wanted, "{shown}: {body}");
            }
            slowest = slowest.max((begun.elapsed(), query));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    println!("the slowest took {:?}: {:.60}", slowest.0, slowest.1);
    // Nobody else had to suffer for it.
    found(&stack, &token, "/v1/search?q=line&limit=1", 6_000).await;
    stack.stop().await;
}
