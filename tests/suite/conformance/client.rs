//! A terminal whose frames are checked, both ways.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::checker::Checker;
use crate::support::terminal::{Terminal, shown};

pub(super) struct Client {
    pub(super) terminal: Terminal,
    checker: Arc<Mutex<Checker>>,
}

impl Client {
    /// Connects, and takes in the first message.
    pub(super) async fn connect(
        address: &str,
        checker: &Arc<Mutex<Checker>>,
        token: &str,
        card: &str,
        query: &str,
    ) -> Client {
        let terminal = Terminal::connect_to(address, token, card, query).await;
        let mut client = Client::new(terminal, checker);
        assert_eq!(client.told().await["type"], "connection_established");
        client
    }

    pub(super) fn new(terminal: Terminal, checker: &Arc<Mutex<Checker>>) -> Client {
        Client { terminal, checker: Arc::clone(checker) }
    }

    fn check(&self, message: &Value) -> Result<(), String> {
        self.checker.lock().unwrap().frame(message)
    }

    /// Says something that the document allows.
    pub(super) async fn say(&mut self, message: Value) {
        self.check(&message).unwrap_or_else(|error| panic!("{error}"));
        self.terminal.send(message).await;
    }

    /// The next message.
    pub(super) async fn told(&mut self) -> Value {
        let message = self.terminal.message().await;
        self.check(&message).unwrap_or_else(|error| panic!("{error}"));
        message
    }

    /// The next message of a type. What else comes before it is checked.
    pub(super) async fn told_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.told().await;
            if message["type"] == kind {
                return message;
            }
            assert_ne!(message["type"], "error", "{message}");
        }
    }

    /// Says something, and waits for a message of a type.
    pub(super) async fn ask(&mut self, message: Value, kind: &str) -> Value {
        self.say(message).await;
        self.told_of(kind).await
    }

    /// Says something that is answered with an error of this code.
    pub(super) async fn is_refused(&mut self, message: Value, code: &str) {
        self.say(message.clone()).await;
        self.error(&message, code).await;
    }

    /// Says something that neither the gateway nor the document allows.
    pub(super) async fn is_wrong(&mut self, message: Value, code: &str) {
        assert!(self.check(&message).is_err(), "the document allows {message}");
        self.terminal.send(message.clone()).await;
        self.error(&message, code).await;
    }

    async fn error(&mut self, question: &Value, code: &str) {
        loop {
            let message = self.told().await;
            if message["type"] == "error" {
                assert_eq!(message["data"]["code"], code, "{question} {message}");
                if let Some(answered) = message["data"]["inReplyTo"].as_str() {
                    assert_eq!(question["type"], answered);
                }
                return;
            }
        }
    }

    /// The lines of the next so many entries, whatever else comes.
    pub(super) async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while lines.len() < count {
            let message = self.told().await;
            let entries = shown(&message);
            if let Some(last) = entries.last() {
                self.terminal.position = Some(last.position.clone());
            }
            lines.extend(entries.iter().map(|shown| shown.message().to_owned()));
        }
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }

    /// Waits until all that was asked has been done; what has come before.
    pub(super) async fn settle(&mut self) -> Vec<Value> {
        self.say(json!({"type": "ping", "timestamp": 42})).await;
        let mut before = Vec::new();
        loop {
            let message = self.told().await;
            if message["type"] == "pong" {
                assert_eq!(message["timestamp"], 42);
                return before;
            }
            before.push(message);
        }
    }

    /// Waits for the close.
    pub(super) async fn closed(mut self) -> u16 {
        let (code, _) = self.terminal.closed().await;
        self.checker.lock().unwrap().closes.insert(code);
        code
    }
}
