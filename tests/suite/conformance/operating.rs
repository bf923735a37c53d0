//! What operators do.

use std::time::Duration;

use agentworks_schemas::Topic;
use agentworks_schemas::access::Role;
use reqwest::Method;
use serde_json::json;

use super::World;
use super::ends::PARTITIONS;
use crate::support::eventually;
use crate::support::records::{create_topic, delete_topic};

pub(super) async fn topics_and_connections(world: &World) {
    let (http, operator) = (&world.http, world.token(Role::Operator));
    let topics = http.good("/v1/admin/topics", &operator).await;
    assert_eq!(topics["topics"].as_array().unwrap().len(), 3);
    http.is_refused("/v1/admin/topics?x=1", &operator, 400, "invalid_value").await;
    let (status, answer) = http.post("/v1/admin/topics/agent-logs/adopt", &operator, "").await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("conflict")), "{answer}");
    let (status, _) = http.post("/v1/admin/topics/no-topic/adopt", &operator, "").await;
    assert_eq!(status, 404);
    let (status, _) = http.post("/v1/admin/topics/agent-logs/adopt?dryRun=perhaps", &operator, "").await;
    assert_eq!(status, 400);

    let (first, second) = (world.connect(&operator, "alpha", "").await, world.connect(&operator, "beta", "").await);
    let listed = http.good("/v1/admin/connections?card=alpha&workspace=acme", &operator).await;
    let id = listed["connections"][0]["id"].as_str().unwrap();
    let page = http.good("/v1/admin/connections?limit=1", &operator).await;
    http.good(&format!("/v1/admin/connections?page={}", page["next"].as_str().unwrap()), &operator).await;
    let report = http.good("/v1/admin/metrics", &operator).await;
    assert_eq!(report["streaming"]["connectionsByCard"]["beta"], 1, "{report}");
    let close = async |id: &str| {
        let route = format!("/v1/admin/connections/{id}");
        http.send(Method::DELETE, &route, Some(&operator), &[], Vec::new()).await.0
    };
    assert_eq!((close(id).await, close("conn_x").await), (204, 404));
    assert_eq!(first.closed().await, 4004);
    second.terminal.close().await;
    http.is_refused("/v1/admin/connections?workspace=others", &operator, 403, "access_denied").await;
    http.is_refused("/v1/admin/connections?page=x", &operator, 400, "invalid_value").await;
    for token in [world.token(Role::Viewer), world.token(Role::Writer)] {
        for route in
            ["/v1/admin/topics", "/v1/admin/connections", "/v1/admin/metrics", "/v1/erasures", "/v1/erasures/x"]
        {
            http.is_refused(route, &token, 403, "access_denied").await;
        }
        for route in ["/v1/admin/topics/agent-logs/adopt", "/v1/erasures?run=run"] {
            let (status, _) = http.post(route, &token, "").await;
            assert_eq!(status, 403, "{route}");
        }
    }
}

/// Last, for a while nothing can be read then.
pub(super) async fn erasing(world: &World) {
    let (http, operator) = (&world.http, world.token(Role::Operator));
    let (status, receipt) = http.post("/v1/erasures?run=ended", &operator, "").await;
    assert_eq!((status, &receipt["target"]), (200, &json!({"run": "ended"})), "{receipt}");
    http.is_refused("/v1/runs/ended", &operator, 404, "not_found").await;
    let route = format!("/v1/erasures/{}", receipt["id"].as_str().unwrap());
    // Each tier in turn is gone by then, or cleared.
    let settled = |body: &serde_json::Value| {
        let tiers = body["tiers"].as_array().unwrap();
        tiers.len() == 5 && tiers.iter().all(|tier| !tier["goneBy"].is_null() || !tier["cleared"].is_null())
    };
    http.until(&route, &operator, settled).await;
    let all = http.good("/v1/erasures", &operator).await;
    assert_eq!(all["erasures"].as_array().unwrap().len(), 1);
    http.is_refused("/v1/erasures/unknown", &operator, 404, "not_found").await;
    for (route, status) in
        [("/v1/erasures", 400), ("/v1/erasures?run=nobody%27s", 404), ("/v1/erasures?workspace=others", 403)]
    {
        assert_eq!(http.post(route, &operator, "").await.0, status, "{route}");
    }
}

/// A topic that is made again. What is in it is gone.
pub(super) async fn adopting(world: &World) {
    let settings = &world.stack.settings;
    let name = settings.topics.name(Topic::SystemLogs);
    delete_topic(&settings.brokers, &name).await;
    create_topic(&settings.brokers, &name, PARTITIONS).await;
    let operator = world.token(Role::Operator);
    let adopted = async || {
        let (status, body) = world.http.post("/v1/admin/topics/system-logs/adopt?dryRun=false", &operator, "").await;
        (status == 200).then_some(body)
    };
    let adopted = eventually(Duration::from_secs(30), adopted).await;
    assert_eq!((&adopted["dryRun"], &adopted["before"]["remade"]), (&json!(false), &json!(true)), "{adopted}");
}
