//! A process that adopts a topic: this test binary, started again.

use std::net::SocketAddr;

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_processors::epochs::adopt::{Adopter, Choices};
use agentworks_schemas::Topics;
use serde::{Deserialize, Serialize};

use crate::child::{self, Child, tell};
use crate::failpoint::{Plan, failing};
use crate::member::Pace;
use crate::world::{PATIENCE, World};

/// What the child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Adopting {
    brokers: String,
    prefix: String,
    store: SocketAddr,
    plan: Option<Plan>,
    skip_lost: bool,
}

impl Adopting {
    pub fn new(world: &World, plan: Option<Plan>, skip_lost: bool) -> Self {
        let crate::member::Order { brokers, prefix, store, .. } = world.order(Pace::Lazy);
        Adopting { brokers, prefix, store, plan, skip_lost }
    }

    /// Has it done. Returns what the child has told: what came of it, or where it died.
    pub async fn told(&self) -> String {
        let mut child = Child::start("adopting::member::process_of_other_tests", self);
        child.ended(PATIENCE).await.expect("it ends").expect("it tells something")
    }

    /// The same by one that is to die.
    pub async fn died(&self) -> String {
        let told = self.told().await;
        assert!(told.starts_with("died: "), "{told}, and not {:?}", self.plan);
        told
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn process_of_other_tests() {
    child::run(adopt);
}

async fn adopt(order: Adopting) {
    let store = failing(order.store, order.plan);
    let settings = KafkaSettings::new(order.brokers, Topics::with_prefix(order.prefix));
    let adopter = Adopter::over(store, SeekPool::new(settings, 1)).unwrap();
    let choices = Choices { skip_lost: order.skip_lost, ..Choices::default() };
    match adopter.adopt(super::TOPIC, choices).await {
        Ok(adopted) => tell(&format!("adopted in epoch {}", adopted.epoch)),
        Err(error) => tell(&format!("not adopted: {error}")),
    }
}
