//! Holds what is said to the documents: every frame, every request and every answer.
//!
//! Stricter than a client should be: fields that a document doesn't have are a fault, so that it lacks none. And it
//! remembers what it has seen.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use serde_json::Value;

/// The documents, compiled.
pub(crate) struct Checker {
    asyncapi: Value,
    openapi: Value,
    schemas: Schemas,
    /// By the place of the schema in its document.
    compiled: BTreeMap<String, SchemaIndex>,
    /// The types of messages that were checked.
    pub(crate) messages: BTreeSet<String>,
    /// The codes of `error` messages that were checked.
    pub(crate) codes: BTreeSet<String>,
    /// The codes of closes that were seen.
    #[allow(dead_code, reason = "this file is part of two programs")]
    pub(crate) closes: BTreeSet<u16>,
    /// Method, path as in the document, and status of the answers that were checked.
    pub(crate) answers: BTreeSet<(String, String, u16)>,
}

const ASYNCAPI: &str = "file:///asyncapi.json";
const OPENAPI: &str = "file:///openapi.json";

impl Checker {
    /// A checker of these two documents.
    pub(crate) fn new(asyncapi: Value, openapi: Value) -> Self {
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        let mut schemas = Schemas::new();
        let mut compiled = BTreeMap::new();
        for (url, document) in [(ASYNCAPI, &asyncapi), (OPENAPI, &openapi)] {
            let mut places = Vec::new();
            let mut strict = document.clone();
            find_schemas(&mut strict, String::new(), &mut places);
            compiler.add_resource(url, strict).unwrap_or_else(|error| panic!("{url}: {error}"));
            for place in places {
                let place = format!("{url}#{place}");
                let index = compiler.compile(&place, &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
                compiled.insert(place, index);
            }
        }
        let (messages, codes, closes, answers) = Default::default();
        Checker { asyncapi, openapi, schemas, compiled, messages, codes, closes, answers }
    }

    /// The types of the document's messages: those that a client says, and those that the gateway says.
    pub(crate) fn known_messages(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let operations = self.asyncapi["operations"].as_object().unwrap().values();
        let of = |action: &str| {
            let operations = operations.clone().filter(|operation| operation["action"] == action);
            let messages = operations.flat_map(|operation| operation["messages"].as_array().unwrap());
            messages.map(|message| message["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
        };
        (of("receive"), of("send"))
    }

    /// The codes of errors on the stream.
    #[allow(dead_code, reason = "this file is part of two programs")]
    pub(crate) fn error_codes(&self) -> BTreeSet<String> {
        let codes = self.asyncapi["components"]["schemas"]["ErrorCode"]["enum"].as_array().unwrap();
        codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect()
    }

    /// The codes with which connections are closed.
    #[allow(dead_code, reason = "this file is part of two programs")]
    pub(crate) fn close_codes(&self) -> BTreeSet<u16> {
        let closes = self.asyncapi["channels"]["stream"]["x-close-codes"].as_array().unwrap();
        closes.iter().map(|close| u16::try_from(close["code"].as_u64().unwrap()).unwrap()).collect()
    }

    /// Method and path of all operations over HTTP.
    #[allow(dead_code, reason = "this file is part of two programs")]
    pub(crate) fn operations(&self) -> BTreeSet<(String, String)> {
        let paths = self.openapi["paths"].as_object().unwrap();
        let of = |(path, item): (&String, &Value)| -> Vec<(String, String)> {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
            methods.map(|method| (method.clone(), path.clone())).collect()
        };
        paths.iter().flat_map(of).collect()
    }

    /// Checks a frame of the stream, from either side.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn frame(&mut self, message: &Value) -> Result<(), String> {
        let name = message["type"].as_str().ok_or_else(|| format!("a frame without a type: {message}"))?;
        self.validate(&format!("{ASYNCAPI}#/components/messages/{name}/payload"), message)?;
        self.messages.insert(name.to_owned());
        if name == "error" {
            self.codes.insert(message["data"]["code"].as_str().unwrap_or_default().to_owned());
        }
        Ok(())
    }

    /// Checks an answer to a request for this path, whose query aside.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn answer(
        &mut self,
        method: &str,
        path: &str,
        status: u16,
        kind: Option<&str>,
        body: &str,
    ) -> Result<(), String> {
        let said = format!("{method} {path}: {status} {kind:?} {body}");
        let known = self.openapi["paths"].as_object().unwrap().keys().find(|known| matches(known, path)).cloned();
        let Some(known) = known else {
            return self.fault_of_no_route(status, body).map_err(|error| format!("{said}: {error}"));
        };
        let method = method.to_lowercase();
        let operation = &self.openapi["paths"][&known][&method];
        if operation.is_null() {
            return self.fault_of_no_route(status, body).map_err(|error| format!("{said}: {error}"));
        }
        let mut place = format!("/paths/{}/{method}/responses/{status}", escaped(&known));
        let mut response = &operation["responses"][status.to_string()];
        if let Some(reference) = response["$ref"].as_str() {
            place = reference[1..].to_owned();
            response = self.openapi.pointer(&place).unwrap();
        }
        if response.is_null() {
            return Err(format!("{said}: the document doesn't know this status"));
        }
        if let Some(content) = response["content"].as_object() {
            let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default();
            if !content.contains_key(kind) {
                return Err(format!("{said}: the document doesn't know this content"));
            }
            let value = match kind {
                "application/json" => {
                    serde_json::from_str(body).map_err(|error| format!("{said}: no JSON: {error}"))?
                }
                _ => Value::from(body),
            };
            let schema = format!("{OPENAPI}#{place}/content/{}/schema", escaped(kind));
            self.validate(&schema, &value).map_err(|error| format!("{said}: {error}"))?;
        }
        self.answers.insert((method, known, status));
        Ok(())
    }

    /// What no operation is asked is answered with a fault all the same.
    fn fault_of_no_route(&self, status: u16, body: &str) -> Result<(), String> {
        if ![400, 401, 404, 405].contains(&status) {
            return Err("the document has no such operation".to_owned());
        }
        let body = serde_json::from_str(body).map_err(|error| error.to_string())?;
        self.validate(&format!("{OPENAPI}#/components/schemas/Fault"), &body)
    }

    /// Checks a value by the schema at a place of a document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn validate(&self, place: &str, value: &Value) -> Result<(), String> {
        let index = self.compiled.get(place).ok_or_else(|| format!("{place} is not documented: {value}"))?;
        self.schemas.validate(value, *index).map_err(|error| format!("{error:#}\nin {value:#}"))
    }
}

/// Whether a path is one of the document's, whose parameters are in braces.
fn matches(known: &str, path: &str) -> bool {
    let (known, path): (Vec<_>, Vec<_>) = (known.split('/').collect(), path.split('/').collect());
    known.len() == path.len()
        && known.iter().zip(&path).all(
            |(known, own)| {
                if known.starts_with('{') { !own.is_empty() } else { known == own }
            },
        )
}

/// A key as a part of a JSON pointer in a URL's fragment.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1").replace('{', "%7B").replace('}', "%7D")
}

/// Finds all schemas of a document, and makes them strict.
fn find_schemas(value: &mut Value, place: String, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                let inner_place = format!("{place}/{}", escaped(key));
                let in_schemas = place == "/components/schemas";
                if in_schemas || ((key == "schema" || key == "payload") && !place.contains("/examples")) {
                    found.push(inner_place);
                    make_strict(inner, !in_schemas);
                } else if key != "examples" && key != "example" {
                    find_schemas(inner, inner_place, found);
                }
            }
        }
        Value::Array(array) => {
            for (index, inner) in array.iter_mut().enumerate() {
                find_schemas(inner, format!("{place}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Refuses fields that a schema doesn't have, wherever a whole value is described: not in what is a part of others, for
/// which the whole refuses them. A component's own root is open, for it may be such a part.
fn make_strict(schema: &mut Value, is_whole: bool) {
    let Some(object) = schema.as_object_mut() else { return };
    for (key, inner) in object.iter_mut() {
        match (key.as_str(), inner) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(|inner| make_strict(inner, true));
            }
            ("items" | "additionalProperties", inner @ Value::Object(_)) => make_strict(inner, true),
            ("allOf" | "oneOf" | "anyOf", Value::Array(parts)) => {
                parts.iter_mut().for_each(|part| make_strict(part, false));
            }
            _ => {}
        }
    }
    if is_whole && !object.contains_key("additionalProperties") {
        object.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
    }
}
