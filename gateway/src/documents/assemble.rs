//! Putting the documents together from their pieces.

use serde_json::{Map, Value, json};

use crate::GatewayConfig;

type Object = Map<String, Value>;

macro_rules! piece {
    ($file:literal) => {
        read($file, include_str!(concat!("../../api/", $file)))
    };
}

/// The AsyncAPI document of a gateway with this configuration.
pub fn asyncapi(config: &GatewayConfig) -> Value {
    let mut document = Value::Object(piece!("asyncapi.yaml"));
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["components"]["schemas"] = joined([piece!("schemas.yaml"), piece!("asyncapi/schemas.yaml")]).into();

    let from_client = named(piece!("asyncapi/client.yaml"));
    let from_server = named(joined([piece!("asyncapi/server.yaml"), piece!("asyncapi/replay.yaml")]));
    let (asked, told) = (names(&from_client), names(&from_server));
    document["components"]["messages"] = joined([from_client, from_server]).into();
    let in_channel = |name: &String| (name.clone(), reference("/components/messages", name));
    document["channels"]["stream"]["messages"] = asked.iter().chain(&told).map(in_channel).collect::<Object>().into();
    document["channels"]["stream"]["x-limits"] = limits(config);

    let channel = reference("/channels", "stream");
    let references = |names: &[String]| -> Value {
        names.iter().map(|name| reference("/channels/stream/messages", name)).collect::<Vec<_>>().into()
    };
    let mut operations = Object::new();
    for (name, answers) in piece!("asyncapi/answers.yaml") {
        let answers: Vec<String> = serde_json::from_value(answers).unwrap_or_else(|error| unreadable(&name, &error));
        let reply = json!({"channel": channel, "messages": references(&answers)});
        let messages = references(std::slice::from_ref(&name));
        let operation = json!({"action": "receive", "channel": channel, "messages": messages, "reply": reply});
        operations.insert(name, operation);
    }
    let show = json!({"action": "send", "channel": channel, "messages": references(&told),
        "summary": "What is shown without being asked for, and all answers."});
    operations.insert("show".to_owned(), show);
    document["operations"] = operations.into();
    document
}

/// The OpenAPI document.
pub fn openapi() -> Value {
    let mut document = Value::Object(piece!("openapi.yaml"));
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let schemas = [
        piece!("schemas.yaml"),
        piece!("openapi/schemas/reading.yaml"),
        piece!("openapi/schemas/searching.yaml"),
        piece!("openapi/schemas/writing.yaml"),
        piece!("openapi/schemas/operating.yaml"),
    ];
    document["components"]["schemas"] = joined(schemas).into();
    let paths = [
        piece!("openapi/reading.yaml"),
        piece!("openapi/searching.yaml"),
        piece!("openapi/writing.yaml"),
        piece!("openapi/operating.yaml"),
    ];
    document["paths"] = joined(paths).into();
    document
}

/// The limits that a client meets, as this gateway has them.
fn limits(config: &GatewayConfig) -> Value {
    json!({
        "history": config.history,
        "maxMessageBytes": config.max_message,
        "maxMessageDepth": config.max_depth,
        "maxMessagesPerSecond": config.max_messages_per_second,
        "maxPendingBytes": config.max_pending,
        "maxReplays": config.max_replays,
        "maxCards": config.max_cards,
        "maxRuns": config.max_subscriptions,
        "maxConnectionsOfWorkspace": config.max_connections,
        "heartbeatSeconds": config.heartbeat.as_secs_f64(),
        "idleTimeoutSeconds": config.idle_timeout.as_secs_f64(),
        "writeTimeoutSeconds": config.write_timeout.as_secs_f64(),
        "replayIdleCapSeconds": config.replay_idle_cap.as_secs_f64(),
        "tokenInQuery": config.token_in_query,
    })
}

/// Gives each message its key as its name.
fn named(messages: Object) -> Object {
    let named = |(name, mut message): (String, Value)| {
        message["name"] = name.clone().into();
        (name, message)
    };
    messages.into_iter().map(named).collect()
}

fn names(messages: &Object) -> Vec<String> {
    messages.keys().cloned().collect()
}

fn reference(place: &str, name: &str) -> Value {
    json!({"$ref": format!("#{place}/{name}")})
}

fn joined(pieces: impl IntoIterator<Item = Object>) -> Object {
    pieces.into_iter().flatten().collect()
}

fn read(file: &str, text: &str) -> Object {
    serde_yaml_ng::from_str(text).unwrap_or_else(|error| unreadable(file, &error))
}

/// The pieces are the program's own, and a test reads them all.
fn unreadable<T>(file: &str, error: &dyn std::fmt::Display) -> T {
    unreachable!("{file} can't be read: {error}")
}
