//! A process that erases: this test binary, started again.

use std::net::SocketAddr;

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_processors::erasure::{Eraser, Target};
use agentworks_processors::reader::LogReader;
use agentworks_schemas::Topics;
use serde::{Deserialize, Serialize};

use super::gate::Gate;
use crate::child::{self, Child, tell};
use crate::failpoint::{Plan, failing};
use crate::member::{Pace, commands};
use crate::world::World;

/// What it does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Work {
    /// Makes an erasure, of a workspace or one of its runs, and tells the receipt.
    Erase { workspace: String, run: Option<String> },
    /// Waits until it has known all erasures for long enough, tells that it is waiting, and clears the tiers once it is told
    /// to.
    Clear,
}

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    brokers: String,
    prefix: String,
    store: SocketAddr,
    plan: Option<Plan>,
    work: Work,
}

impl Order {
    pub fn new(world: &World, plan: Option<Plan>, work: Work) -> Self {
        let crate::member::Order { brokers, prefix, store, .. } = world.order(Pace::Lazy);
        Order { brokers, prefix, store, plan, work }
    }
}

/// Starts one.
pub fn launch(order: &Order) -> Child {
    Child::start("erasing::member::process_of_other_tests", order)
}

#[test]
#[ignore = "a process that other tests start"]
fn process_of_other_tests() {
    child::run(work);
}

async fn work(order: Order) {
    let store = failing(order.store, order.plan);
    let settings = KafkaSettings::new(order.brokers, Topics::with_prefix(order.prefix));
    let eraser = |store| Eraser::new(LogReader::new(store, SeekPool::new(settings, 1)));
    match order.work {
        Work::Erase { workspace, run } => {
            let target = run.map_or(Target::Workspace, Target::Run);
            match eraser(store).erase(&workspace, target, "tests").await {
                Ok(receipt) => tell(&serde_json::to_string(&receipt).unwrap()),
                Err(error) => tell(&format!("failed: {error}")),
            }
        }
        Work::Clear => {
            let (gate, mut commands) = (Gate::before(store), commands());
            tokio::spawn(eraser(gate.clone()).work());
            gate.waited_at().await;
            tell("waiting");
            while commands.recv().await.as_deref() == Some("go") {
                gate.open();
            }
        }
    }
}
