//! What there is to be seen.

use std::sync::Arc;
use std::time::Duration;

use agentworks_ingest::producer::{Delivery, RunHandle};
use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Level, Source};
use tokio::task::JoinHandle;

use super::names::{CARDS, run_of};
use super::principal::{Principal, SHARED};
use crate::support::stack::Stack;

/// A run of a card, and what is in everything that it writes.
struct Writer {
    run: RunHandle,
    canary: String,
}

fn writers(stack: &Stack, principals: &[Arc<Principal>]) -> Vec<Writer> {
    let of_workspaces = principals.iter().filter(|principal| !principal.is_limited);
    let of_cards = of_workspaces.flat_map(|principal| {
        CARDS.iter().map(|card| {
            let run = stack.producer.run(&principal.workspace, card, &run_of(card));
            let canary = if *card == SHARED { &principal.canary } else { &principal.card_canary };
            Writer { run, canary: canary.clone() }
        })
    });
    of_cards.collect()
}

impl Writer {
    async fn line(&self, number: usize) -> Delivery {
        let canary = &self.canary;
        let (level, source) = (Level::ALL[number % 5], Source::ALL[number % 4]);
        let (message, data) = (format!("{number} {canary}"), format!(r#"{{"inner":["{canary}"]}}"#));
        let entry = self.run.log(level, source, canary, &message).data(JsonObject::parse(&data).unwrap());
        let entry = entry.agent(canary).model(canary, canary).user(canary).tags([canary.as_str()]);
        entry.correlation(canary).trace(canary, Some(canary)).send().await.unwrap()
    }

    async fn event(&self, number: usize) -> Delivery {
        let canary = &self.canary;
        let event = match number % 10 {
            0 => self.run.started(),
            1 => self.run.failed(canary),
            _ => self.run.usage().cost(0.01),
        };
        event.agent(canary).model(canary, canary).user(canary).trace(canary).send().await.unwrap()
    }
}

/// Gives every card a past.
pub(super) async fn fill(stack: &Stack, principals: &[Arc<Principal>]) {
    let mut deliveries = Vec::new();
    for writer in writers(stack, principals) {
        deliveries.push(writer.event(0).await);
        for number in 0..30 {
            deliveries.push(writer.line(number).await);
        }
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

/// Writes on, until it is aborted.
pub(super) fn go_on(stack: &Stack, principals: &[Arc<Principal>]) -> JoinHandle<()> {
    let writers = writers(stack, principals);
    tokio::spawn(async move {
        for number in 0.. {
            let writer = &writers[number % writers.len()];
            let delivery = if number % 29 == 0 { writer.event(number / 29).await } else { writer.line(number).await };
            delivery.await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    })
}
