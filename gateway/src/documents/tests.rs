#![allow(clippy::unwrap_used)]

mod routes;
mod samples;

use std::collections::BTreeSet;

use agentworks_schemas::protocol::{ClientMessage, ErrorCode, ServerMessage};
use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use super::checker::Checker;
use super::{asyncapi, openapi};
use crate::GatewayConfig;

fn checker() -> Checker {
    Checker::new(asyncapi(&GatewayConfig::default()), openapi())
}

fn as_json(message: &impl serde::Serialize) -> Value {
    serde_json::to_value(message).unwrap()
}

fn kind(message: &Value) -> String {
    message["type"].as_str().unwrap().to_owned()
}

#[test]
fn every_message_is_documented_with_all_of_its_fields() {
    let mut checker = checker();
    let (from_client, from_server): (Vec<_>, Vec<_>) =
        (samples::client().iter().map(as_json).collect(), samples::server().iter().map(as_json).collect());
    for message in from_client.iter().chain(&from_server) {
        checker.frame(message).unwrap_or_else(|error| panic!("{error}"));
    }
    let (asked, told) = checker.known_messages();
    assert_eq!(asked, from_client.iter().map(kind).collect());
    assert_eq!(asked, ClientMessage::TYPES.map(str::to_owned).into());
    assert_eq!(told, from_server.iter().map(kind).collect());
}

#[test]
fn examples_are_messages_and_leave_nothing_of_the_document_out() {
    let (document, mut checker) = (asyncapi(&GatewayConfig::default()), checker());
    let all: Vec<Value> = samples::client().iter().map(as_json).chain(samples::server().iter().map(as_json)).collect();
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        let examples: Vec<Value> =
            message["examples"].as_array().unwrap().iter().map(|example| example["payload"].clone()).collect();
        for example in &examples {
            checker.frame(example).unwrap_or_else(|error| panic!("{error}"));
            let text = example.to_string();
            let again = match ClientMessage::TYPES.contains(&name.as_str()) {
                true => as_json(&ClientMessage::parse(&text).unwrap()),
                false => as_json(&ServerMessage::parse(&text).unwrap()),
            };
            assert_eq!(&again, example);
        }
        let own: Vec<&Value> = all.iter().filter(|sample| sample["type"] == **name).chain(&examples).collect();
        unseen(&document, &message["payload"], &own, name);
    }
}

/// Fails if a documented field is in none of the values.
fn unseen(document: &Value, schema: &Value, values: &[&Value], place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return unseen(document, document.pointer(&reference[1..]).unwrap(), values, place);
    }
    for part in ["allOf", "oneOf"].iter().filter_map(|part| schema[part].as_array()).flatten() {
        unseen(document, part, values, place);
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let own: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).collect();
        assert!(!own.is_empty(), "no message has {place}.{name}");
        unseen(document, inner, &own, &format!("{place}.{name}"));
    }
    let items: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
    if !items.is_empty() {
        unseen(document, &schema["items"], &items, place);
    }
}

#[test]
fn what_is_wrong_is_found() {
    let mut checker = checker();
    let entry = || as_json(&samples::server().into_iter().find(|one| matches!(one, ServerMessage::LogEntry { .. })));
    let mut undocumented = entry();
    undocumented["data"]["secret"] = json!(1);
    let mut lacking = entry();
    lacking["data"].as_object_mut().unwrap().remove("level");
    let mut batch = json!({"type": "logs_batch", "cardId": "c", "position": "AQ", "data": [entry()["data"]]});
    for bad in [undocumented, lacking, batch.clone(), json!({"type": "dance"}), json!({"type": "pong"})] {
        checker.frame(&bad).unwrap_err();
    }
    batch["data"][0]["position"] = json!("AQ");
    checker.frame(&batch).unwrap();
    batch["data"][0]["extra"] = json!("AQ");
    checker.frame(&batch).unwrap_err();
    for seek in [json!({}), json!({"position": 1, "fraction": 0.5}), json!({"fraction": 1.5}), json!({"position": -1})]
    {
        let mut message = json!({"type": "replay_seek", "sessionId": "s"});
        message.as_object_mut().unwrap().extend(seek.as_object().unwrap().clone());
        checker.frame(&message).unwrap_err();
    }

    let json = Some("application/json");
    let cards = r#"{"cards":[{"cardId":"c","lastSeen":"2025-12-02T10:15:30.123Z"}]}"#;
    checker.answer("GET", "/v1/cards", 200, json, cards).unwrap();
    checker.answer("GET", "/v1/cards/c%2Fd", 200, json, cards).unwrap_err();
    checker.answer("GET", "/v1/cards", 200, json, &cards.replace("cardId", "card")).unwrap_err();
    checker.answer("GET", "/v1/cards", 418, json, cards).unwrap_err();
    checker.answer("GET", "/v1/cards", 200, Some("text/plain"), cards).unwrap_err();
    let fault = r#"{"error":{"code":"not_found","message":"none"}}"#;
    checker.answer("GET", "/v1/runs/r", 404, json, fault).unwrap();
    checker.answer("GET", "/v1/nothing", 404, json, fault).unwrap();
    checker.answer("GET", "/v1/nothing", 404, json, &fault.replace("not_found", "lost")).unwrap_err();
}

#[test]
fn answers_are_told_of_every_question() {
    let document = asyncapi(&GatewayConfig::default());
    let mut told = BTreeSet::new();
    for operation in document["operations"].as_object().unwrap().values() {
        let messages = operation["messages"].as_array().unwrap().iter();
        for message in messages.chain(operation["reply"]["messages"].as_array().into_iter().flatten()) {
            let in_channel = document.pointer(&message["$ref"].as_str().unwrap()[1..]).unwrap();
            assert!(document.pointer(&in_channel["$ref"].as_str().unwrap()[1..]).is_some(), "{message}");
            told.insert(message["$ref"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(told.len(), document["components"]["messages"].as_object().unwrap().len());
}

#[test]
fn every_code_is_documented_and_the_other_way_round() {
    let (stream, http) = (asyncapi(&GatewayConfig::default()), openapi());
    let codes = |document: &Value, name: &str| -> BTreeSet<String> {
        serde_json::from_value(document["components"]["schemas"][name]["enum"].clone()).unwrap()
    };
    let own: BTreeSet<String> = ErrorCode::ALL.iter().map(|code| as_json(code).as_str().unwrap().to_owned()).collect();
    assert_eq!(codes(&stream, "ErrorCode"), own);
    for code in &own {
        let description = stream["components"]["schemas"]["ErrorCode"]["description"].as_str().unwrap();
        assert!(description.contains(&format!("`{code}`")), "{code} is not explained");
    }
    let faults = codes(&http, "FaultCode");
    for fault in samples::faults() {
        let (_, code, _) = fault.parts();
        assert!(faults.contains(&code), "{code}");
    }
    let closes = stream["channels"]["stream"]["x-close-codes"].as_array().unwrap();
    let numbers: BTreeSet<u64> = closes.iter().map(|close| close["code"].as_u64().unwrap()).collect();
    assert_eq!(numbers, samples::closes().iter().map(|close| u64::from(close.number())).collect());
    for close in closes {
        let is_reconnectable = matches!(close["code"].as_u64(), Some(1011..=1013 | 4000..=4499));
        assert_eq!(close["reconnect"], is_reconnectable, "{close}");
    }
}

#[test]
fn a_gateway_tells_its_own_limits() {
    let config = GatewayConfig { max_message: 777, ..GatewayConfig::default() };
    assert_eq!(asyncapi(&config)["channels"]["stream"]["x-limits"]["maxMessageBytes"], 777);
    assert_eq!(openapi()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// By the rules of who made them; OpenAPI's are held to it in tests/suite, by its own validator.
#[test]
fn the_asyncapi_document_is_one() {
    let rules: Value = serde_json::from_str(include_str!("tests/vendor/asyncapi-3.0.0.json")).unwrap();
    let url = rules["$id"].as_str().unwrap().to_owned();
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.add_resource(&url, rules).unwrap();
    let rules = compiler.compile(&url, &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
    let mut document = asyncapi(&GatewayConfig::default());
    schemas.validate(&document, rules).unwrap_or_else(|error| panic!("{error:#}"));
    document["operations"]["nonsense"] = json!({"action": "shout"});
    assert!(schemas.validate(&document, rules).is_err(), "the rules are no rules");
}
