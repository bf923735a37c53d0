//! Brokers beside the one that has the controller, for topics with several replicas.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agentworks_broker::jars::KAFKA;
use agentworks_broker::service::{Service, free_port};

use super::jvm::java;
use super::wait::eventually;
use super::{process, records};

/// A further broker of a cluster.
pub struct Replica {
    folder: PathBuf,
    service: Service,
}

impl Replica {
    /// Starts the broker with the id `id` in the cluster of the one that has its data in `cluster`. Its own is kept in a
    /// folder in there.
    pub async fn start(cluster: &Path, id: i32) -> Replica {
        let folder = cluster.join(format!("replica-{id}"));
        fs::create_dir_all(&folder).unwrap();
        let setting = |file: &str, name: &str| {
            let text = fs::read_to_string(cluster.join(file)).unwrap();
            let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).map(str::to_owned);
            value.unwrap_or_else(|| panic!("no {name} in {file}"))
        };
        let voters = setting("server.properties", "controller.quorum.voters");
        let port = free_port().unwrap();
        let text = format!(
            "process.roles=broker
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=data
log.message.timestamp.type=LogAppendTime
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=4194304
"
        );
        fs::write(folder.join("server.properties"), text).unwrap();
        let cluster_id = setting("data/meta.properties", "cluster.id");
        let mut format = java(&KAFKA, &folder).await;
        let output = format
            .args(["kafka.tools.StorageTool", "format", "-t", &cluster_id, "-c", "server.properties"])
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let service = launch(&folder).await;
        Replica { folder, service }
    }

    /// As `kill -9`. Returns when it is gone.
    pub async fn kill(&self) {
        process::kill_9(self.service.pid());
        eventually(records::PATIENCE, async || (!self.service.is_running()).then_some(())).await;
    }

    /// Starts it again, with what it has on disk.
    pub async fn start_again(&mut self) {
        self.service = launch(&self.folder).await;
    }
}

async fn launch(folder: &Path) -> Service {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = java(&KAFKA, folder).await;
    command
        .args(["-Xmx256m", "kafka.Kafka", "server.properties"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    Service::start(command).await.unwrap()
}
