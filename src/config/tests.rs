#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::time::Duration;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn layers(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> (tempfile::TempDir, Layers) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agentworks.toml");
    std::fs::write(&path, file).unwrap();
    let owned = |text: &str| OsString::from(text);
    let layers = Layers {
        file: Some(path),
        environment: variables.iter().map(|(name, value)| (owned(name), owned(value))).collect(),
        flags: flags
            .iter()
            .map(|(key, value)| FlagValue {
                flag: format!("--set {key}"),
                key: (*key).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
    };
    (folder, layers)
}

fn load(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, String> {
    let (folder, layers) = layers(file, variables, flags);
    let path = folder.path().display().to_string();
    Loaded::from_layers(&layers).map_err(|faults| faults.to_string().replace(&path, ""))
}

#[test]
fn defaults_are_in_order() {
    let loaded = load("", &[], &[]).unwrap();
    assert_eq!(loaded.config.kafka.brokers, "127.0.0.1:9092");
    assert!(loaded.given.is_empty());
}

#[test]
fn each_layer_lies_over_the_one_before() {
    let file =
        "[kafka]\nbrokers = \"file:1\"\ntopic_prefix = \"file-\"\n[runtime]\nmemory = 16777216\nsinks = [\"hot\"]\n";
    let variables = [("AGENTWORKS__KAFKA__BROKERS", "env:1"), ("AGENTWORKS__RUNTIME__DRAIN", "20s"), ("PATH", "/bin")];
    let flags = [("runtime.drain", "30s")];
    let loaded = load(file, &variables, &flags).unwrap();
    let config = &loaded.config;
    assert_eq!((config.kafka.brokers.as_str(), config.kafka.topic_prefix.as_str()), ("env:1", "file-"));
    assert_eq!((config.runtime.memory.0, config.runtime.drain.0), (16 << 20, Duration::from_secs(30)));
    assert_eq!(config.runtime.sinks.0, ["hot"]);
    let shown = Shown(&loaded).to_string();
    let line = |key: &str| shown.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap().to_owned();
    assert!(line("brokers").ends_with("# the variable AGENTWORKS__KAFKA__BROKERS"), "{shown}");
    assert!(line("topic_prefix").ends_with("agentworks.toml:3"), "{shown}");
    assert!(line("drain").ends_with("# the flag --set runtime.drain"), "{shown}");
    assert!(line("queue").ends_with("# default"), "{shown}");
}

#[test]
fn a_secret_of_a_stronger_layer_counts_in_whichever_way_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old");
    std::fs::write(&old, "old").unwrap();
    let file = format!("[store]\nurl = \"cql://me@db/k\"\npassword_file = \"{}\"\n", old.display());
    let password = |variables: &[(&str, &str)], flags: &[(&str, &str)]| {
        let store = load(&file, variables, flags).unwrap().config.store;
        (store.password.map(|password| password.expose().to_owned()), store.password_file)
    };
    let short = ("AGENTWORKS_STORE_PASSWORD", "new");
    let long = ("AGENTWORKS__STORE__PASSWORD", "newer");
    assert_eq!(password(&[], &[]), (None, Some(old.clone())));
    assert_eq!(password(&[("AGENTWORKS_STORE_PASSWORD", "")], &[]), (None, Some(old.clone())));
    assert_eq!(password(&[short], &[]), (Some("new".into()), None));
    assert_eq!(password(&[short, long], &[]), (Some("newer".into()), None));
    let shown = old.display().to_string();
    assert_eq!(password(&[short], &[("store.password_file", &shown)]), (None, Some(old)));
    let shown = Shown(&load(&file, &[short], &[]).unwrap()).to_string();
    assert!(shown.contains("# the variable AGENTWORKS_STORE_PASSWORD") && !shown.contains("new\""), "{shown}");
    let both = load(&format!("{file}password = \"x\"\n"), &[], &[]).unwrap_err();
    assert!(both.contains("give either store.password or store.password_file, not both"), "{both}");
}

#[test]
fn what_is_shown_can_be_read_again() {
    let variables = [("AGENTWORKS__KAFKA__TOPIC_PREFIX", "p-"), ("AGENTWORKS__AUTH__SECRET", SECRET)];
    let shown = Shown(&load("", &variables, &[]).unwrap()).to_string();
    let again = load(&shown, &[], &[]).unwrap();
    assert_eq!(again.config.kafka.topic_prefix, "p-");
    assert!(again.config.auth.secret.is_none());
}

#[test]
fn every_fault_names_key_value_source_and_what_to_do() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: &[Case<'_>] = &[
        (
            "\n[kafka]\nbroker = \"a:1\"\n",
            &[],
            "kafka.broker (/agentworks.toml:3): there is no such key; did you mean kafka.brokers?",
        ),
        (
            "[kafak]\nbrokers = \"a:1\"\n",
            &[],
            "kafak.brokers (/agentworks.toml:2): there is no such key; did you mean kafka.brokers?",
        ),
        ("[kafak]\n", &[], "kafak (/agentworks.toml:1): there is no such key"),
        ("kafka = 3\n", &[], "kafka (/agentworks.toml:1): there is no such key"),
        ("[kafka\n", &[], "/agentworks.toml:1: this is not TOML"),
        (
            "[runtime]\n\ndrain = \"10\"\n",
            &[],
            "runtime.drain = \"10\" (/agentworks.toml:3): expected a time with its unit: 500ms, 30s, 5m, 24h or 7d",
        ),
        (
            "",
            &[("AGENTWORKS__HOT__WRITES", "many")],
            "hot.writes = \"many\" (the variable AGENTWORKS__HOT__WRITES): expected an integer",
        ),
        (
            "",
            &[("AGENTWORKS__INGEST__LISTEN", "7071")],
            "ingest.listen = \"7071\" (the variable AGENTWORKS__INGEST__LISTEN): invalid socket address syntax",
        ),
        (
            "",
            &[("AGENTWORKS__NOTHING", "1")],
            "nothing (the variable AGENTWORKS__NOTHING): there is no such key; `agentworks config show` lists all",
        ),
        ("[hot]\nretention = \"30d\"\n", &[], "hot.retention = \"30d\" (/agentworks.toml:2): expected 1h to 7d"),
        (
            "",
            &[("AGENTWORKS__RUNTIME__SINKS", "hot,cold")],
            "runtime.sinks = \"hot,cold\" (the variable AGENTWORKS__RUNTIME__SINKS): expected one or more of hot",
        ),
        (
            "",
            &[("AGENTWORKS__KAFKA__EXTRA__FETCH_MAX_BYTES", "1")],
            "give all names in one variable: AGENTWORKS__KAFKA__EXTRA=name=value,name=value",
        ),
        (
            "[kafka.extra]\n\"fetch.wait.max.mss\" = \"5\"\n",
            &[],
            "kafka.extra.fetch.wait.max.mss (/agentworks.toml:2): librdkafka refuses it: No such configuration property",
        ),
        (
            "[kafka]\nsecurity_protocol = \"sasl_plaintext\"\n",
            &[("AGENTWORKS__KAFKA__SASL_USERNAME", "me")],
            "kafka.sasl_password (default): kafka.security_protocol asks for SASL, so this is needed",
        ),
        (
            "[store]\nurl = \"redis://there\"\n",
            &[],
            "store.url = \"redis://there\" (/agentworks.toml:2): expected embedded:PATH",
        ),
        (
            "[kafka]\nbrokers = \"nowhere\"\n",
            &[],
            "kafka.brokers = \"nowhere\" (/agentworks.toml:2): expected HOST:PORT",
        ),
        (
            "[auth]\nsecret_file = \"/nowhere/secret\"\n",
            &[],
            "auth.secret_file = \"/nowhere/secret\" (/agentworks.toml:2): the file can't be read: No such file",
        ),
        (
            "[auth]\njwks_url = \"http://login.example/keys\"\n",
            &[],
            "auth.jwks_url = \"http://login.example/keys\" (/agentworks.toml:2): keys may come over http from this machine",
        ),
        (
            "[auth]\nrevoked = \"ann\"\n",
            &[],
            "auth.revoked = \"ann\" (/agentworks.toml:2): expected kid:KEY, jti:TOKEN or sub:WORKSPACE/SUBJECT",
        ),
        (
            "[gateway]\ntrusted_proxies = [\"10.0.0.0/8\", \"proxy\"]\n",
            &[],
            "gateway.trusted_proxies = \"10.0.0.0/8,proxy\" (/agentworks.toml:2): expected an address, or a network",
        ),
        ("[log]\nfilter = \"info,x=loud\"\n", &[], "log.filter = \"info,x=loud\" (/agentworks.toml:2)"),
    ];
    for (file, variables, expected) in cases {
        let faults = load(file, variables, &[]).unwrap_err();
        assert!(faults.contains(expected), "expected\n  {expected}\nbut it was\n  {faults}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let faults =
        load("[runtime]\ndrain = \"5m\"\n[gateway]\nreaders = 0\n[log]\nformat = \"xml\"\n", &[], &[]).unwrap_err();
    assert!(faults.contains("in 3 places"), "{faults}");
}

#[test]
fn secrets_are_never_shown() {
    let file = "[kafka]\nsecurity_protocol = \"sasl_plaintext\"\nsasl_username = \"me\"\nsasl_password = \"hunter2\"\n[kafka.extra]\n\"client.rack\" = \"hunter2\"\n";
    let loaded = load(file, &[("AGENTWORKS__AUTH__SECRET", SECRET)], &[]).unwrap();
    assert_eq!(loaded.auth_secret().unwrap(), agentworks_gateway::auth::Secret::new(SECRET, "here").ok());
    let extra = loaded.kafka().unwrap().extra;
    assert!(extra.contains(&("sasl.password".to_owned(), "hunter2".to_owned())));
    for shown in [Shown(&loaded).to_string(), format!("{loaded:?}")] {
        assert!(!shown.contains("hunter2") && !shown.contains(SECRET), "{shown}");
    }
    let faults = load("[auth]\nsecret = \"hunter2\"\n", &[("AGENTWORKS__KAFKA__KEY_PASSWORD", "hunter2")], &[]);
    assert!(!faults.as_ref().unwrap_err().contains("hunter2"), "{faults:?}");
    let faults = load("[auth]\nsecret = [\"hunter2\"]\n", &[], &[]).unwrap_err();
    assert!(!faults.contains("hunter2") && faults.contains("auth.secret"), "{faults}");
    let faults = load("[auth]\nsecrte = \"hunter2\"\n", &[], &[]).unwrap_err();
    assert!(!faults.contains("hunter2"), "{faults}");
    let faults = load("[store]\nurl = \"cql://me:hunter2@db/k\"\n", &[], &[]).unwrap_err();
    assert!(!faults.contains("hunter2") && faults.contains("store.url"), "{faults}");
}

#[test]
fn secrets_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    let path = path.display().to_string();
    let loaded = load("", &[("AGENTWORKS__AUTH__SECRET_FILE", &path)], &[]).unwrap();
    assert_eq!(loaded.auth_secret().unwrap(), agentworks_gateway::auth::Secret::new(SECRET, "here").ok());
    let both = [("AGENTWORKS__AUTH__SECRET_FILE", path.as_str()), ("AGENTWORKS__AUTH__SECRET", SECRET)];
    assert!(load("", &both, &[]).unwrap_err().contains("give either auth.secret or auth.secret_file, not both"));
}

/// docs/configuration.md has a row for each key, with its default, and no other.
#[test]
fn every_key_is_documented_with_its_default() {
    let text = include_str!("../../docs/configuration.md");
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
        (line.starts_with("| `")).then(|| (cells[1].clone(), cells[2].clone()))
    };
    let documented: Vec<_> = text.lines().filter_map(row).collect();
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let mut expected = Vec::new();
    for (section, values) in defaults.as_object().unwrap() {
        for (key, value) in values.as_object().unwrap() {
            let default = match value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Null | serde_json::Value::Object(_) => String::new(),
                value => value.to_string(),
            };
            expected.push((format!("{section}.{key}"), default));
        }
    }
    let mut sorted = documented.clone();
    sorted.sort();
    expected.sort();
    assert_eq!(sorted, expected);
}
