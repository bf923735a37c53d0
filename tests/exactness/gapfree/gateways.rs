//! Gateways as processes of their own, as users start them, and what fills the store that they share, if they share one.

use std::time::Duration;

use agentworks_gateway::auth::{Secret, mint};
use agentworks_kafka::KafkaSettings;
use agentworks_schemas::access::{Claims, Role as Access};

use super::WORKSPACE;
use super::crowd::News;
use crate::support::Scratch;
use crate::support::cassandra::cassandra;
use crate::support::role::{Role, command};

const SECRET: &str = "a secret of the tests, long enough";

/// Who has what the gateways read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiers {
    /// The log alone: every gateway has a store of its own that nobody fills.
    Log,
    /// The log, and a store on Cassandra that processors fill.
    Store,
}

/// See the module.
pub struct Gateways {
    variables: Vec<(&'static str, String)>,
    tiers: Tiers,
    running: Vec<Role>,
    /// Lives as long as the gateways do.
    _process: Option<Role>,
    folder: Scratch,
}

impl Gateways {
    pub async fn start(settings: &KafkaSettings, tiers: Tiers, count: usize) -> Self {
        let prefix = settings.topics.prefix();
        let mut variables = vec![
            ("AGENTWORKS__KAFKA__BROKERS", settings.brokers.clone()),
            ("AGENTWORKS__KAFKA__TOPIC_PREFIX", prefix.to_owned()),
            ("AGENTWORKS__AUTH__SECRET", SECRET.to_owned()),
            ("AGENTWORKS__RUNTIME__GROUP", format!("{prefix}store")),
            // Clients that don't read are cut off within the test's time, and tails are short enough to be left behind.
            ("AGENTWORKS__GATEWAY__WRITE_TIMEOUT", "4s".to_owned()),
            ("AGENTWORKS__GATEWAY__TAIL_AGE", "2s".to_owned()),
        ];
        if tiers == Tiers::Store {
            let config = cassandra().await.config();
            let user = config.user.as_deref().unwrap();
            let url = format!("cql://{user}@{}/{}", config.contact_points[0], config.keyspace);
            variables.push(("AGENTWORKS__STORE__URL", url));
            // The password of a new Cassandra is its user's name.
            variables.push(("AGENTWORKS__STORE__PASSWORD", user.to_owned()));
        }
        let folder = Scratch::new("gapfree");
        let mut gateways = Gateways { variables, tiers, running: Vec::new(), _process: None, folder };
        if tiers == Tiers::Store {
            let variables = gateways.variables(0);
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let output = command(&["migrate"], &variables).output().await.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let quick = ["process", "--set", "hot.block_age=500ms", "--set", "warm.block_age=1s"];
            gateways._process = Some(Role::start(&quick, &variables).await);
        }
        for index in 0..count {
            let gateway = gateways.one(index).await;
            gateway.is_ready().await;
            gateways.running.push(gateway);
        }
        gateways
    }

    /// What clients have to know of them.
    pub fn news(&self) -> News {
        let gateways = self.running.iter().map(|role| role.address().to_owned()).collect();
        News { gateways, token: token(), ..News::default() }
    }

    /// Kills one with -9, and starts it again, at another port.
    pub async fn kill(&mut self, index: usize) {
        self.running.remove(index).kill_9().await;
        let gateway = self.one(index).await;
        gateway.is_ready().await;
        self.running.insert(index, gateway);
    }

    /// Kills all of them with -9; `meanwhile` happens before they are started again.
    pub async fn kill_all(&mut self, meanwhile: impl Future<Output = ()>) {
        let count = self.running.len();
        for gateway in self.running.drain(..) {
            gateway.kill_9().await;
        }
        meanwhile.await;
        for index in 0..count {
            let gateway = self.one(index).await;
            gateway.is_ready().await;
            self.running.push(gateway);
        }
    }

    async fn one(&self, index: usize) -> Role {
        let variables = self.variables(index);
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Role::start(&["serve"], &variables).await
    }

    fn variables(&self, index: usize) -> Vec<(&'static str, String)> {
        let mut variables = self.variables.clone();
        if self.tiers == Tiers::Log {
            let store = self.folder.path().join(format!("store-{index}"));
            variables.push(("AGENTWORKS__STORE__URL", format!("embedded:{}", store.display())));
        }
        variables
    }
}

fn token() -> String {
    let (workspace, subject) = (WORKSPACE.to_owned(), "gapfree".to_owned());
    let claims = Claims { workspace, subject, role: Access::Viewer, ..Claims::default() };
    mint(&Secret::new(SECRET, "the tests").unwrap(), &claims, Duration::from_secs(24 * 3600)).unwrap()
}
