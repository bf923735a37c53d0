//! Real Apache Cassandra, which stands in for ScyllaDB: one for all tests, and how a test starts one of its own.
//!
//! It asks for a password, and takes connections with and without TLS on one port.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agentworks_broker::jars::Package;
use agentworks_broker::java::Java;
use agentworks_broker::service::{Service, free_port};
use agentworks_store_cql::config::TlsFiles;
use agentworks_store_cql::{CqlConfig, CqlStore, Password, migrate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::jvm::java;
use super::kafka::{remove_folders_of_earlier_runs, scratch_root};
use super::{eventually, unique_prefix};

const CASSANDRA: Package = Package {
    title: "Cassandra",
    name: "cassandra",
    version: "5.0.5",
    artifacts: &["org.apache.cassandra:cassandra-all:5.0.5"],
};
const SHARED: &str = "shared-cassandra-";
/// Who may do everything in a new Cassandra, and that one's password.
const USER: &str = "cassandra";
const START: Duration = Duration::from_secs(120);

/// What Cassandra reaches into that Java 17 doesn't open by itself.
const EXPORTS: [&str; 9] = [
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
];
const OPENS: [&str; 15] = [
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
];

/// A running Cassandra.
pub struct Cassandra {
    folder: PathBuf,
    port: u16,
    storage_port: u16,
    service: Service,
}

/// The Cassandra that all tests of this binary share, started by whoever asks first. Take a keyspace of your own
/// ([`Cassandra::store`]). It ends with the test process; its folder, with its log, is kept until the next run.
pub async fn cassandra() -> &'static Cassandra {
    static CASSANDRA: OnceCell<Cassandra> = OnceCell::const_new();
    CASSANDRA
        .get_or_init(|| async {
            remove_folders_of_earlier_runs(SHARED);
            Cassandra::start(&scratch_root().join(format!("{SHARED}{}", std::process::id()))).await
        })
        .await
}

impl Cassandra {
    /// Starts one in a folder, and returns when it serves. What it acknowledges is on disk.
    pub async fn start(folder: &Path) -> Cassandra {
        Cassandra::start_with(folder, BATCH).await
    }

    /// One that writes its log to disk every 10 s, as nodes do that have others beside them.
    #[allow(dead_code, reason = "for the benchmarks")]
    pub async fn start_periodic(folder: &Path) -> Cassandra {
        Cassandra::start_with(folder, PERIODIC).await
    }

    async fn start_with(folder: &Path, sync: &str) -> Cassandra {
        fs::create_dir_all(folder).unwrap();
        let (port, storage_port) = (free_port().unwrap(), free_port().unwrap());
        make_certificate(folder).await;
        fs::write(folder.join("logback.xml"), LOGBACK).unwrap();
        fs::write(folder.join("cassandra.yaml"), settings(folder, port, storage_port, sync)).unwrap();
        let service = launch(folder).await;
        let cassandra = Cassandra { folder: folder.to_owned(), port, storage_port, service };
        cassandra.until_it_serves().await;
        cassandra
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.service.is_running()
    }

    /// Starts it again, on the same ports and data, after it was killed. Returns when it serves.
    pub async fn start_again(&mut self) {
        self.service = launch(&self.folder).await;
        self.until_it_serves().await;
    }

    /// Stops it, so that everything lies in its data folder. Returns that folder.
    pub async fn stop(self) -> PathBuf {
        self.service.stop().await;
        self.folder.join("data")
    }

    /// How to connect to a keyspace of a test's own, which isn't made yet.
    pub fn config(&self) -> CqlConfig {
        let keyspace = unique_prefix().trim_end_matches('-').to_owned();
        CqlConfig {
            user: Some(USER.to_owned()),
            password: Some(Password::new(USER)),
            // Tests share a machine, and its disk.
            request_timeout: Duration::from_secs(15),
            ..CqlConfig::new(vec![self.address().to_string()], keyspace)
        }
    }

    /// The files for TLS: its certificate is its own authority.
    pub fn tls(&self) -> TlsFiles {
        TlsFiles { ca: self.folder.join("certificate.pem"), client: None }
    }

    /// A store in a keyspace of a test's own, with all tables.
    pub async fn store(&self) -> (CqlConfig, CqlStore) {
        let config = self.config();
        migrate(&config).await.unwrap();
        let store = CqlStore::connect(&config).await.unwrap();
        (config, store)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// It serves once it answers, and knows its first user, whom it makes a moment later.
    async fn until_it_serves(&self) {
        assert_ne!(self.port, self.storage_port);
        let config = self.config();
        let serves = async || {
            assert!(self.is_running(), "Cassandra ended: {}", self.folder.join("log").display());
            let answers = answers(self.address()).await.unwrap_or(false);
            // A keyspace without tables is an error that only one who was let in gets to see.
            let refused = if answers { CqlStore::connect(&config).await.err()? } else { return None };
            refused.to_string().contains("run `agentworks migrate`").then_some(())
        };
        eventually(START, serves).await;
    }
}

/// Whether a database of the right protocol answers there.
async fn answers(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    // OPTIONS in version 4 of the protocol; SUPPORTED answers it.
    stream.write_all(&[4, 0, 0, 0, 5, 0, 0, 0, 0]).await?;
    let mut header = [0; 9];
    let read = tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut header)).await;
    Ok(read.is_ok_and(|read| read.is_ok()) && header[4] == 6)
}

async fn launch(folder: &Path) -> Service {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = java(&CASSANDRA, folder).await;
    command
        .args(["-Xms512m", "-Xmx512m"])
        .arg("-Djdk.attach.allowAttachSelf=true")
        .arg(format!("-Dcassandra.storagedir={}", folder.display()))
        .arg(format!("-Dcassandra.config=file://{}", folder.join("cassandra.yaml").display()))
        .arg(format!("-Dlogback.configurationFile={}", folder.join("logback.xml").display()))
        // Otherwise it closes its output once it has started.
        .arg("-Dcassandra-foreground=yes")
        .args(["-Dcassandra.superuser_setup_delay_ms=0", "-Dcassandra.auth_bcrypt_gensalt_log2_rounds=4"])
        .args(["-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.ring_delay_ms=1"])
        .args(EXPORTS.map(|package| format!("--add-exports={package}=ALL-UNNAMED")))
        .args(OPENS.map(|package| format!("--add-opens={package}=ALL-UNNAMED")))
        .arg("org.apache.cassandra.service.CassandraDaemon")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    Service::start(command).await.unwrap()
}

/// A certificate that it signs itself, for its address.
pub async fn make_certificate(folder: &Path) {
    let java = Java::find().unwrap_or_else(|error| panic!("{error}"));
    let keytool = java.program().with_file_name("keytool");
    let run = async |arguments: &[&str]| {
        let store = ["-keystore", "keys.p12", "-storepass", KEY_PASSWORD, "-alias", "node"];
        let output = Command::new(&keytool).args(arguments).args(store).current_dir(folder).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        output.stdout
    };
    let made = ["-keyalg", "EC", "-dname", "CN=test", "-ext", "san=ip:127.0.0.1", "-storetype", "PKCS12"];
    run(&[&["-genkeypair"], &made[..]].concat()).await;
    fs::write(folder.join("certificate.pem"), run(&["-exportcert", "-rfc"]).await).unwrap();
}

/// Of the store of keys that [`make_certificate`] writes.
pub const KEY_PASSWORD: &str = "changeit";

const LOGBACK: &str = r#"<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{ISO8601} %-5level [%thread] %logger{0}: %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"#;

/// When the commit log is written to disk.
const BATCH: &str = "commitlog_sync: batch";
const PERIODIC: &str = "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms";

fn settings(folder: &Path, port: u16, storage_port: u16, sync: &str) -> String {
    let folder = folder.display();
    format!(
        "cluster_name: test
num_tokens: 16
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories: [{folder}/data]
commitlog_directory: {folder}/commitlog
saved_caches_directory: {folder}/saved
hints_directory: {folder}/hints
cdc_raw_directory: {folder}/cdc
{sync}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: '127.0.0.1:{storage_port}'}}]
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {storage_port}
native_transport_port: {port}
endpoint_snitch: SimpleSnitch
authenticator: PasswordAuthenticator
auto_snapshot: false
write_request_timeout: 10000ms
read_request_timeout: 10000ms
range_request_timeout: 10000ms
hinted_handoff_enabled: false
prepared_statements_cache_size: 64MiB
client_encryption_options:
  enabled: true
  optional: true
  keystore: {folder}/keys.p12
  keystore_password: {KEY_PASSWORD}
"
    )
}
