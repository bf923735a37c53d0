//! The balancers' configurations in deploy/, on a real Envoy, and on a real nginx where there is one; and held to what the
//! gateway's own says everywhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentworks_gateway::GatewayConfig;
use agentworks_gateway::server::{DRAINING, bind, serve};
use agentworks_gateway::socket::upgrade::{Handshake, take_stream};
use agentworks_schemas::topics::partition_of;
use futures_util::{SinkExt, StreamExt};
use serde_yaml_ng::Value;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::*;
use crate::support::Scratch;

/// As the configuration has it.
const LANES: i32 = 12;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Envoy, which comes with the Python packages of the tests.
fn envoy() -> Command {
    let python = std::env::var("AGENTWORKS_PYTHON").unwrap_or_else(|_| ".tools/venv/bin/python".into());
    let library = project(&python).parent().unwrap().parent().unwrap().join("lib");
    let versions = std::fs::read_dir(&library).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
    let binary = |version: PathBuf| version.join("site-packages/envoy/_bin/envoy");
    let found = versions.map(|version| binary(version.unwrap().path())).find(|path| path.exists());
    let mut command = Command::new(found.expect("Envoy is installed: run `make test`"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

/// A gateway as far as a balancer sees it: it says its own number to whatever it is asked, and echoes on WebSockets.
struct Backend {
    port: u16,
    is_draining: Arc<AtomicBool>,
    shutdown: CancellationToken,
}

impl Backend {
    fn start(number: usize) -> Backend {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_draining = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_draining);
        let readyz = warp::path!("readyz").map(move || match flag.load(Ordering::Relaxed) {
            false => "ready".into_response(),
            true => warp::reply::with_status(DRAINING, http::StatusCode::SERVICE_UNAVAILABLE).into_response(),
        });
        let refuses = Arc::clone(&is_draining);
        let answer = warp::path!("v1" / ..)
            .and(warp::path::full())
            .and(warp::header::optional::<String>("x-agentworks-lane"))
            .map(move |_, lane: Option<String>| match refuses.load(Ordering::Relaxed) {
                false => format!("{number} {}", lane.unwrap_or_default()).into_response(),
                true => http::StatusCode::SERVICE_UNAVAILABLE.into_response(),
            });
        let stream = warp::path!("v1" / "cards" / String / "stream")
            .and(warp::header::headers_cloned())
            .and(warp::ext::get())
            .map(move |_, headers, upgrade| -> Response {
                let response = Handshake::check(&headers).unwrap().response();
                tokio::spawn(async move {
                    let (stream, _) = take_stream(upgrade).await.unwrap();
                    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
                    socket.send(Message::text(number.to_string())).await.unwrap();
                    while socket.next().await.is_some_and(|message| message.is_ok()) {}
                });
                response
            });
        let routes = readyz.map(Reply::into_response).or(stream).unify().or(answer).unify();
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, routes, shutdown.clone()));
        Backend { port, is_draining, shutdown }
    }
}

fn ports(backends: &[Backend]) -> Vec<u16> {
    backends.iter().map(|backend| backend.port).collect()
}

/// A proxy with the project's configuration before some gateways.
pub(super) struct Balancer {
    /// `HOST:PORT`
    pub(super) url: String,
    admin: u16,
    /// What lives as long.
    parts: (Child, Scratch),
}

impl Balancer {
    pub(super) async fn start(ports: &[u16]) -> Balancer {
        let text = std::fs::read_to_string(project("deploy/envoy/envoy.yaml")).unwrap();
        let mut config: Value = serde_yaml_ng::from_str(&text).unwrap();
        let (port, admin) = (free_port(), free_port());
        let resources = &mut config["static_resources"];
        resources["listeners"][0]["address"]["socket_address"]["port_value"] = port.into();
        let endpoints = &mut resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"];
        let endpoint = endpoints[0].clone();
        let at = |port: &u16| {
            let mut endpoint = endpoint.clone();
            let address = &mut endpoint["endpoint"]["address"]["socket_address"];
            (address["address"], address["port_value"]) = ("127.0.0.1".into(), (*port).into());
            endpoint
        };
        *endpoints = ports.iter().map(at).collect();
        config["admin"]["address"]["socket_address"]["port_value"] = admin.into();
        let folder = Scratch::new("envoy");
        let file = folder.path().join("envoy.yaml");
        std::fs::write(&file, serde_yaml_ng::to_string(&config).unwrap()).unwrap();
        let log = folder.path().join("log");
        let mut command = envoy();
        command.arg("--config-path").arg(&file).args(["--disable-hot-restart", "--concurrency", "1", "--log-path"]);
        let envoy = command.arg(&log).stderr(Stdio::null()).spawn().unwrap();
        let balancer = Balancer { url: format!("127.0.0.1:{port}"), admin, parts: (envoy, folder) };
        balancer.has(ports.len()).await;
        balancer
    }

    /// Waits until so many gateways are healthy.
    pub(super) async fn has(&self, count: usize) {
        let url = format!("http://127.0.0.1:{}/stats?filter=membership_healthy", self.admin);
        let healthy = format!("cluster.gateways.membership_healthy: {count}\n");
        let knows = async || reqwest::get(&url).await.ok()?.text().await.ok()?.contains(&healthy).then_some(());
        eventually(PATIENCE, knows).await;
    }

    /// Which backend answers for a card, and in which lane the card is.
    async fn asks(&self, card: &str) -> (usize, Option<i32>) {
        let answer = reqwest::get(format!("http://{}/v1/cards/{card}/entries", self.url)).await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status}: {text}");
        let (backend, lane) = text.split_once(' ').unwrap();
        (backend.parse().unwrap(), lane.parse().ok())
    }

    /// Which backend has each lane. Envoy's threads learn of a change one after another.
    async fn homes(&self) -> Vec<usize> {
        eventually(PATIENCE, async || self.homes_now().await).await
    }

    /// The same, if all cards of each lane are at one.
    async fn homes_now(&self) -> Option<Vec<usize>> {
        let mut homes = vec![usize::MAX; LANES as usize];
        for number in 0..150 {
            let card = format!("card-{number}");
            let (backend, lane) = self.asks(&card).await;
            let lane = lane.unwrap();
            assert_eq!(lane, partition_of(card.as_bytes(), LANES), "{card}");
            let home = &mut homes[lane as usize];
            if *home != usize::MAX && *home != backend {
                return None;
            }
            *home = backend;
        }
        assert!(!homes.contains(&usize::MAX), "{homes:?}");
        Some(homes)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_takes_all_cards_of_a_lane_to_one_gateway_and_nobody_to_one_that_goes() {
    let backends: Vec<_> = (0..3).map(Backend::start).collect();
    let balancer = Balancer::start(&ports(&backends)).await;
    let homes = balancer.homes().await;
    // With so few lanes one may get none.
    assert!(homes.iter().collect::<BTreeSet<_>>().len() > 1, "{homes:?}");
    // As the producers count, whatever the bytes are; and what a client says of lanes is nothing.
    for (card, path) in
        [("a", "a"), ("ab", "ab"), ("abc", "abc"), ("é/ü %", "%C3%A9%2F%c3%bc%20%25"), ("\u{1F9EA}", "%F0%9F%A7%AA")]
    {
        let (backend, lane) = balancer.asks(path).await;
        assert_eq!(lane, Some(partition_of(card.as_bytes(), LANES)), "{card}");
        assert_eq!(backend, homes[lane.unwrap() as usize], "{card}");
    }
    let client = reqwest::Client::new();
    let forged = client.get(format!("http://{}/v1/me", balancer.url)).header("x-agentworks-lane", "3");
    let told = forged.send().await.unwrap().text().await.unwrap();
    assert!(told.ends_with(' '), "{told}");

    // A WebSocket goes the same way, both ways.
    let (mut socket, _) = connect_async(format!("ws://{}/v1/cards/card-0/stream", balancer.url)).await.unwrap();
    let home = homes[partition_of(b"card-0", LANES) as usize];
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(home.to_string()));

    // It drains: from the first moment nobody is answered by it, and who is there stays.
    backends[home].is_draining.store(true, Ordering::Relaxed);
    for number in 0..50 {
        assert_ne!(balancer.asks(&format!("card-{number}")).await.0, home);
    }
    balancer.has(2).await;
    let after = balancer.homes().await;
    assert!(!after.contains(&home), "{after:?}");
    socket.send(Message::Ping("still there".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("still there".into()));

    // And one that is gone.
    let gone = after[0];
    backends[gone].shutdown.cancel();
    balancer.has(1).await;
    let last = balancer.homes().await;
    assert_eq!(last.iter().collect::<BTreeSet<_>>().len(), 1, "{last:?}");
}

/// A time as Envoy and nginx write it: `90s`.
fn seconds(text: &str) -> Duration {
    Duration::from_secs(
        text.strip_suffix('s').and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{text}")),
    )
}

#[test]
fn envoys_configuration_agrees_with_the_gateways() {
    let text = std::fs::read_to_string(project("deploy/envoy/envoy.yaml")).unwrap();
    let config: Value = serde_yaml_ng::from_str(&text).unwrap();
    let gateway = GatewayConfig::default();
    let listener = &config["static_resources"]["listeners"][0];
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    assert!(seconds(manager["stream_idle_timeout"].as_str().unwrap()) >= 3 * gateway.heartbeat);
    assert!(seconds(manager["drain_timeout"].as_str().unwrap()) > gateway.drain.deadline);
    let cluster = &config["static_resources"]["clusters"][0];
    let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    assert_eq!(endpoint["address"]["socket_address"]["port_value"], 7070);
    let check = &cluster["health_checks"][0];
    assert_eq!(check["http_health_check"]["path"], "/readyz");
    // It has noticed before the gateway takes no more.
    assert!(seconds(check["interval"].as_str().unwrap()) < gateway.drain.delay);
    // As many lanes as the topics are made with.
    let compose = std::fs::read_to_string(project("docker-compose.yml")).unwrap();
    assert!(compose.contains(&format!("topics create --brokers kafka:9092 --partitions {LANES}")));
    assert!(text.contains(&format!("local LANES = {LANES}\n")));
}

/// The value of a directive of nginx, without what ends it.
fn directive<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().map(str::trim).find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}"))[name.len()..].trim().trim_end_matches(';')
}

#[test]
fn nginxs_configuration_agrees_with_the_gateways() {
    let text = std::fs::read_to_string(project("deploy/nginx/agentworks.conf")).unwrap();
    let gateway = GatewayConfig::default();
    assert_eq!(directive(&text, "hash"), "$agentworks_key consistent");
    for name in ["proxy_read_timeout", "proxy_send_timeout"] {
        assert!(seconds(directive(&text, name)) >= 3 * gateway.heartbeat);
    }
    assert_eq!(directive(&text, "proxy_http_version"), "1.1");
    assert!(text.contains("proxy_set_header Upgrade $http_upgrade;"));
    assert!(text.contains("proxy_set_header Host $http_host;"), "the gateway compares it with the origin");
    // A query may hold a token.
    let format = directive(&text, "log_format");
    for variable in ["$request ", "$request_uri", "$args", "$query_string", "$http_"] {
        assert!(!format.contains(variable), "{format}");
    }
    let servers: Vec<_> = text.lines().filter(|line| line.trim().starts_with("server gateway-")).collect();
    assert!(servers.len() > 1 && servers.iter().all(|line| line.contains(":7070 ")), "{servers:?}");
}

/// nginx with the project's configuration before three gateways; `None` where there is no nginx.
pub(super) async fn nginx(ports: &[u16], folder: Scratch) -> Option<Balancer> {
    let root = folder.path().display();
    let port = free_port();
    let text = std::fs::read_to_string(project("deploy/nginx/agentworks.conf")).unwrap();
    let mut text = text.replace("listen 8080", &format!("listen 127.0.0.1:{port}"));
    text = text.replace("/var/log/nginx", &root.to_string());
    for (number, port) in (1..).zip(ports) {
        text = text.replace(&format!("gateway-{number}:7070"), &format!("127.0.0.1:{port}"));
    }
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|name| format!("{name}_temp_path {root}/{name};")).concat();
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log {root}/errors;\nevents {{}}\nhttp {{\n{temporary}\n{text}}}\n"
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, whole).unwrap();
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let mut command = Command::new("nginx");
    command.env("PATH", path).arg("-p").arg(folder.path()).arg("-c").arg(&file).kill_on_drop(true);
    let child = match command.stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no nginx here to try it with");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let balancer = Balancer { url: format!("127.0.0.1:{port}"), admin: 0, parts: (child, folder) };
    let answers = async || reqwest::get(format!("http://{}/v1/me", balancer.url)).await.ok().map(drop);
    eventually(PATIENCE, answers).await;
    Some(balancer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_takes_all_of_a_card_to_one_gateway_and_nobody_to_one_that_goes() {
    let backends: Vec<_> = (0..3).map(Backend::start).collect();
    let Some(balancer) = nginx(&ports(&backends), Scratch::new("nginx")).await else { return };
    let cards: Vec<_> = (0..60).map(|number| format!("card-{number}")).collect();
    let mut homes = Vec::new();
    for card in &cards {
        let (home, _) = balancer.asks(card).await;
        assert_eq!(balancer.asks(card).await.0, home, "{card}");
        homes.push(home);
    }
    assert_eq!(homes.iter().collect::<BTreeSet<_>>().len(), 3, "{homes:?}");
    let (mut socket, _) = connect_async(format!("ws://{}/v1/cards/card-0/stream", balancer.url)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(homes[0].to_string()));

    backends[homes[0]].is_draining.store(true, Ordering::Relaxed);
    for (card, before) in cards.iter().zip(&homes) {
        let (after, _) = balancer.asks(card).await;
        assert_eq!(after != *before, *before == homes[0], "{card}");
    }
    socket.send(Message::Ping("still there".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("still there".into()));
    // The log has no query.
    let _ = reqwest::get(format!("http://{}/v1/me?token=canary", balancer.url)).await.unwrap();
    let log = std::fs::read_to_string(balancer.parts.1.path().join("agentworks.log")).unwrap();
    assert!(log.contains("/v1/cards/card-0/entries") && !log.contains("canary"), "{log}");
}
