//! A process that erases: this test binary, started again.

use std::net::SocketAddr;
use std::sync::Arc;

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_processors::erasure::{Eraser, Target};
use agentworks_processors::reader::LogReader;
use agentworks_schemas::Topics;
use agentworks_store::Store;
use serde::{Deserialize, Serialize};

use super::gate::Gate;
use crate::child::{self, Child, tell};
use crate::failpoint::{Failpoint, Plan};
use crate::member::{Pace, commands};
use crate::remote::RemoteStore;
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
    let Some(order) = child::order::<Order>() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work(order));
    std::process::exit(0);
}

async fn work(order: Order) {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let remote: Arc<dyn Store> = Arc::new(RemoteStore::new(order.store));
    let store: Arc<dyn Store> = match order.plan {
        Some(plan) => Arc::new(Failpoint::new(remote, plan)),
        None => remote,
    };
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
