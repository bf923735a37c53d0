//! Searching, on the stream and over HTTP.

use agentworks_schemas::access::Role;
use serde_json::{Value, json};

use super::World;

/// Every route and parameter that searches, and what they refuse.
pub(super) async fn searching(world: &World) {
    let (http, token) = (&world.http, world.token(Role::Viewer));
    // By now the walk has written to it.
    let found = |body: &Value| body["totalCount"].as_u64().unwrap() >= 5;
    let all =
        http.until("/v1/search?q=alpha%20card:alpha&limit=3&explain=true&facets=card,level&top=2", &token, found).await;
    assert_eq!((all["logs"].as_array().unwrap().len(), all["logs"][0]["cardId"].as_str()), (3, Some("alpha")));
    assert!(all["explanation"]["query"].is_string() && all["facets"]["card"]["values"].is_array(), "{all}");
    let what = "q=alpha&card=alpha&level=info,warn&source=agent&since=1h";
    for route in [
        "search?sort=relevance&order=asc&offset=1&interval=1m&counts=true&remember=false&",
        "facets?fields=card,run&top=3&",
    ] {
        http.good(&format!("/v1/{route}{what}"), &token).await;
    }
    http.good(&format!("/v1/histogram?interval=1m&{what}"), &token).await;
    http.good("/v1/histogram?text=alpha", &token).await;
    let fields = http.good("/v1/fields", &token).await;
    assert!(fields["sampled"].as_u64().unwrap() >= 5, "{fields}");
    http.good("/v1/fields/id/values?prefix=0&limit=5", &token).await;
    let values = http.good("/v1/fields/card/values?prefix=al&limit=5", &token).await;
    assert_eq!(values["values"][0]["value"], "alpha");
    let cursor = all["cursor"].as_str().unwrap();
    let body = json!({"q": "alpha card:alpha", "limit": 2, "cursor": cursor, "facets": ["level"], "explain": true, "counts": false});
    let (status, second) = http.post("/v1/search", &token, body.to_string()).await;
    assert_eq!(status, 200, "{second}");
    assert_eq!(second.get("totalCount"), None, "{second}");
    let first: Vec<_> = all["logs"].as_array().unwrap().iter().map(|entry| &entry["id"]).collect();
    assert!(second["logs"].as_array().unwrap().iter().all(|entry| !first.contains(&&entry["id"])));
    let position = all["logs"][2]["position"].as_str().unwrap();
    let context = http.good(&format!("/v1/entries/{position}/context?card=alpha&before=2&after=1"), &token).await;
    assert_eq!(context["entry"]["id"], all["logs"][2]["id"]);
    assert!(context["before"].as_array().unwrap().len() <= 2 && context["after"].as_array().unwrap().len() == 1);
    let popular = http.good("/v1/queries/popular?limit=3", &token).await;
    assert!(popular["queries"].as_array().unwrap().iter().any(|one| one["query"] == "alpha card:alpha"), "{popular}");
    let analytics = http.good("/v1/analytics?card=alpha&start=1h", &token).await;
    assert!(analytics["totalCount"].as_u64().unwrap() >= 5 && analytics["topMessages"].is_array(), "{analytics}");

    for (route, code) in [
        ("/v1/search?q=(", "invalid_query"),
        ("/v1/search?limit=1001", "invalid_value"),
        ("/v1/search?since=noon", "invalid_value"),
        ("/v1/facets", "invalid_value"),
        ("/v1/histogram?interval=1m", "invalid_value"),
        ("/v1/fields/message/values", "invalid_value"),
        ("/v1/entries/nonsense!/context?card=alpha", "invalid_value"),
        ("/v1/analytics?start=2020-01-01", "invalid_value"),
    ] {
        http.is_refused(route, &token, 400, code).await;
    }
    let (_, refused) = http.get("/v1/search?q=level:error%20AND%20(", &token).await;
    assert!(refused["error"]["at"].is_u64(), "{refused}");
    let limited = world.limited(&["beta"]);
    http.is_refused(&format!("/v1/entries/{position}/context?card=alpha"), &limited, 403, "access_denied").await;
    http.is_refused(&format!("/v1/entries/{position}/context?card=beta"), &limited, 404, "not_found").await;
    http.is_refused("/v1/analytics?card=alpha", &limited, 403, "access_denied").await;
    assert_eq!(http.good("/v1/search?q=card:alpha", &limited).await["totalCount"], 0);

    let mut client = world.connect(&token, "alpha", "?history=0").await;
    let query = json!({"text": "alpha", "cardId": "alpha", "limit": 2});
    let result = client.ask(json!({"type": "search_logs", "query": query}), "search_result").await;
    assert_eq!((result["data"]["logs"].as_array().unwrap().len(), &result["data"]["query"]), (2, &query));
    client.terminal.close().await;
}
