//! docker-compose.yml and what it mounts, against the code: no container engine runs here, so images, ports, variables,
//! command lines, health checks, Prometheus' targets and the dashboard's metrics are held to what the binary itself says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_yaml_ng::{Mapping, Value};

use crate::support::role::command;
use crate::support::{kafka, unique_prefix};

/// Which section of the configuration says where a role listens.
const ROLES: [(&str, &str); 3] = [("ingest", "ingest"), ("process", "runtime"), ("serve", "gateway")];
/// What stands for a variable that must be given.
const GIVEN: &str = "0123456789abcdef0123456789abcdef";

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn yaml(path: &str) -> Value {
    let mut value: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(project(path)).unwrap()).unwrap();
    value.apply_merge().unwrap();
    value
}

/// The services of docker-compose.yml, by name.
fn services() -> BTreeMap<String, Mapping> {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_mapping().unwrap();
    services.iter().map(|(name, service)| (text(name), service.as_mapping().unwrap().clone())).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is not a text")).to_owned()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_sequence).into_iter().flatten().map(text).collect()
}

/// A value with `${NAME:-default}` and `${NAME:?message}` put in, as Compose does where the variables aren't set, or must be.
fn interpolated(value: &str) -> String {
    let Some((before, rest)) = value.split_once("${") else { return value.to_owned() };
    let (inner, after) = rest.split_once('}').unwrap();
    let put = match inner.split_once(":-") {
        Some((_, default)) => default,
        None if inner.contains(":?") => GIVEN,
        None => panic!("{value}: neither a default nor a message"),
    };
    format!("{before}{put}{}", interpolated(after))
}

/// A service's variables.
fn environment(service: &Mapping) -> Vec<(String, String)> {
    let variables = service.get("environment").and_then(Value::as_mapping).into_iter().flatten();
    variables.map(|(name, value)| (text(name), interpolated(&text(value)))).collect()
}

fn arguments(service: &Mapping) -> Vec<String> {
    text(&service["command"]).split_ascii_whitespace().map(str::to_owned).collect()
}

/// Runs the binary as a service would; its exit code, and what it printed on either output.
async fn run(arguments: &[String], variables: &[(String, String)]) -> (Option<i32>, String) {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let output = command(&arguments, &variables).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// The port that each role listens at by its configuration in the compose file.
async fn role_ports() -> BTreeMap<&'static str, u16> {
    let services = services();
    let mut ports = BTreeMap::new();
    for (role, section) in ROLES {
        let (code, shown) = run(&["config".into(), "show".into()], &environment(&services[role])).await;
        assert_eq!(code, Some(0), "{shown}");
        let values = shown.split_once(&format!("[{section}]")).unwrap().1;
        let line = values.lines().find(|line| line.starts_with("listen = ")).unwrap();
        let (host, port) = line.split('"').nth(1).unwrap().rsplit_once(':').unwrap();
        assert_eq!(host, "0.0.0.0", "{role} must be reached from other containers");
        ports.insert(role, port.parse().unwrap());
    }
    ports
}

#[test]
fn images_are_pinned_and_whatever_is_waited_for_has_a_health_check() {
    let services = services();
    for name in ["kafka", "scylla", "minio", "prometheus", "grafana", "migrate", "ingest", "process", "serve"] {
        assert!(services.contains_key(name), "{name}");
    }
    for (name, service) in &services {
        let image = text(&service["image"]);
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image} has no tag"));
        assert!(
            tag.contains(|c: char| c.is_ascii_digit()) && tag.contains(['.', '-']),
            "{name}: {image} is not pinned"
        );
        let is_one_shot = !service.contains_key("restart");
        assert_eq!(service.contains_key("healthcheck"), !is_one_shot, "{name}");
        for (other, dependency) in service.get("depends_on").and_then(Value::as_mapping).into_iter().flatten() {
            let other = &services[&text(other)];
            match dependency["condition"].as_str().unwrap() {
                "service_healthy" => assert!(other.contains_key("healthcheck"), "{name}"),
                "service_completed_successfully" => assert!(!other.contains_key("restart"), "{name}"),
                condition => panic!("{name}: {condition}"),
            }
        }
        for mount in texts(service.get("volumes")).iter().filter(|mount| mount.starts_with("./")) {
            let path = mount.split(':').next().unwrap();
            assert!(project(path).exists(), "{name}: {path}");
        }
    }
    let own: Vec<_> = services.values().filter(|service| service.contains_key("build")).collect();
    assert_eq!(own.len(), 5, "three roles, topics and migrate");
    for service in own {
        assert!(project(&text(&service["build"]["dockerfile"])).exists());
    }
}

#[test]
fn the_image_is_built_with_the_toolchain_of_the_project() {
    let dockerfile = std::fs::read_to_string(project("deploy/Dockerfile")).unwrap();
    let toolchain = std::fs::read_to_string(project("rust-toolchain.toml")).unwrap();
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    let (minor, _) = channel.rsplit_once('.').unwrap();
    assert!(dockerfile.contains(&format!("FROM rust:{minor}-")), "{channel}");
    assert!(dockerfile.contains("ENTRYPOINT [\"agentworks\"]"), "the commands are its arguments");
}

#[tokio::test]
async fn the_roles_take_their_command_lines_and_variables() {
    let services = services();
    for (role, _) in ROLES {
        let variables = environment(&services[role]);
        for (name, _) in &variables {
            assert!(name.starts_with("AGENTWORKS__"), "{role}: {name}");
        }
        let mut arguments = arguments(&services[role]);
        assert_eq!(arguments[0], role);
        arguments.push("--check".into());
        let (code, said) = run(&arguments, &variables).await;
        assert_eq!(code, Some(0), "{role}: {said}");
        // And it is these variables that are read.
        let wrong = [&variables[..], &[("AGENTWORKS__KAFKA__BROKER".to_owned(), "a:1".to_owned())]].concat();
        assert_ne!(run(&arguments, &wrong).await.0, Some(0), "{role}");
    }
    let image = |name: &str| text(&services[name]["image"]);
    assert!(["process", "serve", "topics", "migrate"].iter().all(|name| image(name) == image("ingest")));
}

#[tokio::test]
async fn topics_are_made_and_migrate_is_told_where_the_store_is() {
    let services = services();
    let (brokers, prefix) = (kafka().await.bootstrap(), unique_prefix());
    let mut topics = arguments(&services["topics"]);
    let at = topics.iter().position(|argument| argument == "--brokers").unwrap() + 1;
    assert_eq!(topics[at], environment_value(&services["ingest"], "AGENTWORKS__KAFKA__BROKERS"));
    topics[at] = brokers;
    topics.extend(["--topic-prefix".into(), prefix]);
    let (code, said) = run(&topics, &environment(&services["topics"])).await;
    assert_eq!(code, Some(0), "{said}");

    // Where nobody listens it says so; what can't be understood would end with clap's own code.
    let store = environment_value(&services["migrate"], "AGENTWORKS__STORE__URL");
    assert_eq!(store, environment_value(&services["process"], "AGENTWORKS__STORE__URL"));
    let nowhere = format!("127.0.0.1:{}", crate::support::dev::free_port());
    let mut variables = environment(&services["migrate"]);
    for (name, value) in &mut variables {
        if name == "AGENTWORKS__STORE__URL" {
            *value = value.replace("scylla:9042", &nowhere);
        }
    }
    let (code, said) = run(&arguments(&services["migrate"]), &variables).await;
    assert!(code == Some(1) && said.contains("not available"), "{code:?}: {said}");
}

fn environment_value(service: &Mapping, name: &str) -> String {
    environment(service).into_iter().find(|(known, _)| known == name).unwrap().1
}

#[tokio::test]
async fn ports_health_checks_and_prometheus_targets_are_those_of_the_roles() {
    let (services, ports) = (services(), role_ports().await);
    for (role, port) in &ports {
        let service = &services[*role];
        let checked = texts(service["healthcheck"].get("test"));
        let url = checked.iter().find(|argument| argument.starts_with("http://")).unwrap();
        assert_eq!(*url, format!("http://127.0.0.1:{port}/readyz"), "{role}");
        for published in texts(service.get("ports")) {
            assert!(published.ends_with(&format!(":{port}")), "{role}: {published}");
        }
        let grace = text(&service["stop_grace_period"]);
        let grace: u64 = grace.strip_suffix('s').unwrap().parse().unwrap();
        // Connections have ten seconds to end, and what is pending ten seconds to be written, by default.
        assert!(Duration::from_secs(grace) > Duration::from_secs(20), "{role}");
    }
    // Replicas can't share a port of the host.
    assert!(!services["process"].contains_key("ports"));

    let prometheus = yaml("deploy/prometheus.yml");
    let mut scraped = BTreeSet::new();
    for job in prometheus["scrape_configs"].as_sequence().unwrap() {
        for target in
            job.get("static_configs").and_then(|configs| configs[0]["targets"].as_sequence()).into_iter().flatten()
        {
            let target = text(target);
            let (host, port) = target.split_once(':').unwrap();
            assert_eq!(port, ports[host].to_string(), "{target}");
            scraped.insert(host.to_owned());
        }
        for config in job.get("dns_sd_configs").and_then(Value::as_sequence).into_iter().flatten() {
            let host = text(&config["names"][0]);
            assert_eq!(config["port"].as_u64(), Some(ports[host.as_str()].into()), "{host}");
            scraped.insert(host);
        }
    }
    assert_eq!(scraped, ROLES.map(|(role, _)| role.to_owned()).into());
}

/// The listeners of Kafka in such a variable: their names, hosts and ports.
fn listeners(variable: &str) -> BTreeMap<String, (String, u16)> {
    let of_one = |listener: &str| {
        let (name, address) = listener.split_once("://").unwrap();
        let (host, port) = address.rsplit_once(':').unwrap();
        (name.to_owned(), (host.to_owned(), port.parse().unwrap()))
    };
    variable.split(',').map(of_one).collect()
}

/// The ports that a service listens at, as it is told itself, or as its program does if it isn't told.
async fn listens(services: &BTreeMap<String, Mapping>) -> BTreeMap<String, BTreeSet<u16>> {
    let told = |service: &str, flag: &str, default: u16| {
        let command = services[service].get("command").map(text).unwrap_or_default();
        let mut words = command.split([' ', '=']).skip_while(|word| *word != flag);
        words.nth(1).map_or(default, |address| address.rsplit(':').next().unwrap().parse().unwrap())
    };
    let kafka = listeners(&environment_value(&services["kafka"], "KAFKA_LISTENERS"));
    let mut listens = BTreeMap::from([
        ("kafka".to_owned(), kafka.into_values().map(|(_, port)| port).collect()),
        ("scylla".to_owned(), BTreeSet::from([told("scylla", "--native-transport-port", 9042)])),
        ("minio".to_owned(), BTreeSet::from([told("minio", "--address", 9000), told("minio", "--console-address", 0)])),
        ("prometheus".to_owned(), BTreeSet::from([told("prometheus", "--web.listen-address", 9090)])),
        ("grafana".to_owned(), BTreeSet::from([3000])),
    ]);
    listens.extend(role_ports().await.into_iter().map(|(role, port)| (role.to_owned(), BTreeSet::from([port]))));
    listens
}

/// All texts within a value.
fn within(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![interpolated(text)],
        Value::Sequence(values) => values.iter().flat_map(within).collect(),
        Value::Mapping(values) => values.values().flat_map(within).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn addresses_are_those_at_which_the_services_listen() {
    let services = services();
    let listens = listens(&services).await;
    let mut found = BTreeSet::new();
    for (name, service) in &services {
        let told =
            ["environment", "command", "entrypoint", "healthcheck"].into_iter().filter_map(|key| service.get(key));
        for text in told.flat_map(within) {
            for (other, ports) in &listens {
                for (at, _) in text.match_indices(&format!("{other}:")) {
                    let is_whole = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
                    let digits = &text[at + other.len() + 1..];
                    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
                    let Some(port) = digits[..end].parse::<u16>().ok().filter(|_| is_whole) else { continue };
                    assert!(ports.contains(&port), "{name} goes to {other}:{port}, which listens at {ports:?}");
                    found.insert(format!("{name} {other}:{port}"));
                }
            }
        }
        for published in texts(service.get("ports")) {
            let port = published.rsplit(':').next().unwrap().parse().unwrap();
            assert!(listens[name].contains(&port), "{name} publishes {published}, and listens at {:?}", listens[name]);
        }
    }
    for role in ROLES.map(|(role, _)| role) {
        for address in ["kafka:9092", "scylla:9042", "minio:9000"] {
            assert!(found.contains(&format!("{role} {address}")), "{role} {address}: {found:?}");
        }
    }
    for address in ["topics kafka:9092", "bucket minio:9000", "migrate scylla:9042"] {
        assert!(found.contains(address), "{address}: {found:?}");
    }

    // Clients go on to where Kafka says that it is: in the network of the containers, or at a port that is published.
    let kafka = &services["kafka"];
    let bound = listeners(&environment_value(kafka, "KAFKA_LISTENERS"));
    let published: BTreeSet<_> = texts(kafka.get("ports")).into_iter().collect();
    for (listener, (host, port)) in listeners(&environment_value(kafka, "KAFKA_ADVERTISED_LISTENERS")) {
        let (_, inside) = bound[&listener];
        match host.as_str() {
            "kafka" => assert_eq!(port, inside, "{listener}"),
            "localhost" => assert!(published.contains(&format!("127.0.0.1:{port}:{inside}")), "{listener}"),
            host => panic!("{listener} is at {host}"),
        }
    }
    let controller = environment_value(kafka, "KAFKA_CONTROLLER_LISTENER_NAMES");
    let voters = environment_value(kafka, "KAFKA_CONTROLLER_QUORUM_VOTERS");
    assert!(voters.ends_with(&format!("@kafka:{}", bound[&controller].1)), "{voters}");
    let source = yaml("deploy/grafana/provisioning/datasources/prometheus.yml");
    let url = text(&source["datasources"][0]["url"]);
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    assert!(listens["prometheus"].contains(&port), "{url}");
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let docs = std::fs::read_to_string(project("docs/metrics.md")).unwrap();
    let dashboard = std::fs::read_to_string(project("deploy/grafana/dashboards/agentworks.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let source = yaml("deploy/grafana/provisioning/datasources/prometheus.yml");
    let source = &source["datasources"][0];
    assert_eq!(text(&source["url"]), "http://prometheus:9090");
    let provider = yaml("deploy/grafana/provisioning/dashboards/agentworks.yml");
    let folder = text(&provider["providers"][0]["options"]["path"]);
    assert!(texts(services()["grafana"].get("volumes")).contains(&format!("./deploy/grafana/dashboards:{folder}:ro")));

    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 5);
    for panel in panels {
        assert_eq!(panel["datasource"]["uid"], text(&source["uid"]), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let metrics: Vec<_> =
                words.filter(|word| word.starts_with("agentworks_") || word.starts_with("process_")).collect();
            assert!(!metrics.is_empty(), "{expression}");
            for metric in metrics {
                let metric = metric.strip_suffix("_bucket").unwrap_or(metric);
                assert!(docs.contains(&format!("| `{metric}` |")), "{metric} is not in docs/metrics.md");
            }
        }
    }
}
