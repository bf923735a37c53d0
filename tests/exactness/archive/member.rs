//! A process that fills or keeps an archive: this test binary, started again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentworks_archive::{Archive, ArchiveConfig, ArchiveSink, MaintainConfig, Maintenance};
use agentworks_kafka::KafkaSettings;
use agentworks_objects::Objects;
use agentworks_objects::faulty::{Fault, FaultyStore, Operation};
use agentworks_processors::runtime::{Runtime, RuntimeConfig};
use agentworks_schemas::Topics;
use agentworks_store::Store;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

use crate::child::{self, Child, tell};
use crate::failpoint::Side;
use crate::member::commands;
use crate::remote::RemoteStore;
use crate::support::process;

/// Where to die: at a write of an object, or at its deletion.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dies {
    /// Objects whose path has this count; all if there is none.
    pub path: Option<String>,
    /// The how-manieth of them, from 1.
    pub nth: u32,
    pub side: Side,
}

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Fill it from there; without, keep it, once.
    pub log: Option<crate::member::Order>,
    /// The archive's folder.
    pub objects: PathBuf,
    pub dies: Option<Dies>,
}

/// Starts one.
pub fn launch(order: &Order) -> Child {
    Child::start("archive::member::process_of_other_tests", order)
}

#[test]
#[ignore = "a process that other tests start"]
fn process_of_other_tests() {
    child::run(work);
}

async fn work(order: Order) {
    let mut objects = Objects::folder(&order.objects).unwrap();
    if let Some(dies) = order.dies {
        objects = dying(&objects, dies);
    }
    match order.log {
        Some(log) => fill(&objects, log).await,
        None => {
            // Whatever fails has failed because it is to die.
            if let Err(error) = keep(&objects).await {
                tell(&format!("died: {error}"));
            }
        }
    }
}

async fn fill(objects: &Objects, log: crate::member::Order) {
    // It is tried again, as a process that is started is: what fails has failed because it is to die.
    let archive = loop {
        if let Ok(archive) = Archive::open(objects).await {
            break archive;
        }
    };
    let runtime = start(archive, log);
    let mut commands = commands();
    while let Some(command) = commands.recv().await {
        if command == "leave" {
            return runtime.shutdown().await;
        }
    }
}

/// Feeds an archive.
pub fn start(archive: Archive, log: crate::member::Order) -> agentworks_processors::runtime::RuntimeHandle {
    let store: Arc<dyn Store> = Arc::new(RemoteStore::new(log.store));
    let mut settings = KafkaSettings::new(log.brokers, Topics::with_prefix(log.prefix));
    settings.extra = log.extra;
    let config = ArchiveConfig { flush_interval: Duration::from_millis(250), flush_bytes: 256 << 10, zstd_level: 1 };
    let sink = ArchiveSink::new(archive, config, &mut Registry::default()).unwrap();
    let config = RuntimeConfig {
        instance: log.instance,
        dead_letters: false,
        memory: 512 << 10,
        ..RuntimeConfig::new(settings, log.group, store, vec![Box::new(sink)])
    };
    Runtime::start(config).unwrap()
}

/// What is regularly done.
pub async fn keep(objects: &Objects) -> Result<(), agentworks_archive::ArchiveError> {
    let config = MaintainConfig { grace: Duration::from_secs(3600), ..MaintainConfig::default() };
    Maintenance::new(Archive::open(objects).await?, config)?.round().await
}

/// Objects whose writer is killed as it writes one of them.
fn dying(objects: &Objects, dies: Dies) -> Objects {
    objects.through(|behind| {
        let faulty = FaultyStore::new(behind);
        let (mut left, mut is_done) = (dies.nth, false);
        faulty.fail(move |call, path| {
            let path: &str = path.as_ref();
            if is_done {
                die(&dies, path);
            }
            let counts = matches!(call, Operation::Put | Operation::Delete);
            if !counts || !dies.path.as_ref().is_none_or(|part| path.contains(part)) {
                return None;
            }
            left -= 1;
            if left > 0 {
                return None;
            }
            match dies.side {
                Side::Before => die(&dies, path),
                Side::During => {
                    if call == Operation::Put {
                        half_written(path);
                    }
                    die(&dies, path)
                }
                // Its answer doesn't come, and whatever is done next isn't.
                Side::After => {
                    is_done = true;
                    Some(Fault::Unanswered)
                }
            }
        });
        Arc::new(faulty)
    })
}

/// What a folder has of an object that was being written: it gets its name when it is whole.
fn half_written(path: &str) {
    let path = Path::new("/").join(format!("{path}#1"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, [7; 1000]).unwrap();
}

fn die(dies: &Dies, path: &str) -> ! {
    let name = path.rsplit('/').next().unwrap_or_default();
    tell(&format!("died: {:?} write {} of {}: at {name}", dies.side, dies.nth, dies.path.as_deref().unwrap_or("all")));
    process::kill_9(std::process::id());
    loop {
        std::thread::park();
    }
}
