//! What docs/metrics.md says is measured is measured, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;

/// A metric as it is documented.
struct Documented {
    kind: String,
    labels: BTreeSet<String>,
    /// `always`, with `work`, or after a `fault`.
    there: String,
}

/// By name, as in the exposition's `# TYPE` lines.
fn documented() -> BTreeMap<String, Documented> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let mut metrics = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `agentworks_") || line.starts_with("| `process_")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, there, ..] = &cells[..] else { panic!("{line}") };
        let name = name.trim_matches('`');
        let suffix = match *kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let name = name.strip_suffix(suffix).unwrap_or_else(|| panic!("{name} is a {kind}")).to_owned();
        let labels = labels.split(',').map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect();
        let documented = Documented { kind: (*kind).to_owned(), labels, there: (*there).to_owned() };
        assert!(["always", "work", "fault"].contains(&documented.there.as_str()), "{line}");
        assert!(metrics.insert(name.clone(), documented).is_none(), "{name} is there twice");
    }
    metrics
}

/// Kinds and labels of what is exposed.
fn exposed(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut metrics = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            current = name.to_owned();
            metrics.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = labels.rsplit_once('}').unwrap().0;
            let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            metrics.get_mut(&current).unwrap().1.extend(names.filter(|name| name != "le"));
        }
    }
    metrics
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_documented_and_the_other_way_round() {
    let installation = Installation::new().await;
    let own = installation.start(&["serve"]).await;
    let (ingest, serve) = (installation.start(&["ingest"]).await, own);
    let mut elsewhere = Installation { variables: installation.variables.clone(), folder: Scratch::new("roles") };
    elsewhere.set("AGENTWORKS__STORE__URL", format!("embedded:{}", elsewhere.folder.path().join("store").display()));
    elsewhere.set("AGENTWORKS__OBJECTS__URL", elsewhere.folder.path().join("objects").display().to_string());
    elsewhere.set("AGENTWORKS__SEARCH__FOLDER", elsewhere.folder.path().join("search").display().to_string());
    let process = elsewhere.start(&["process", "--sinks", "hot,warm,runs,search,archive"]).await;
    for role in [&ingest, &serve, &process] {
        role.is_ready().await;
    }
    // Something of everything: a line that is refused, one that isn't, and a terminal that sees it and goes.
    let answer = ingest.post("/v1/logs", &token(), lines("card", 0..3) + "nonsense\n").await;
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(3), &json!(1)), "{answer}");
    let mut terminal = Terminal::connect_to(serve.address(), &token(), "card", "").await;
    assert_eq!(terminal.lines(3).await, messages(0..3));
    terminal.close().await;
    let ended = async || (serve.metric("agentworks_terminal_ends_total", "").await > 0.0).then_some(());
    eventually(PATIENCE, ended).await;
    let taken = async || (process.metric("agentworks_logs_processed_total", "").await == 3.0).then_some(());
    eventually(PATIENCE, taken).await;
    let written = async || (process.metric("agentworks_sink_flush_entries_count", "").await > 0.0).then_some(());
    eventually(PATIENCE, written).await;

    let documented = documented();
    let mut found = BTreeSet::new();
    for role in [&ingest, &process, &serve] {
        for (name, (kind, labels)) in exposed(&role.get("/metrics").await.1) {
            let Some(documented) = documented.get(&name) else { panic!("{name} is not in docs/metrics.md") };
            assert_eq!(kind, documented.kind, "{name}");
            assert!(labels.is_subset(&documented.labels), "{name} has the labels {labels:?}");
            found.insert(name);
        }
    }
    let sources = sources();
    for (name, Documented { there, .. }) in &documented {
        // What takes a fault to be seen is looked for where it is registered: by its whole name, or by what follows a prefix.
        let parts = || name.match_indices('_').map(|(at, _)| &name[at + 1..]).chain([name.as_str()]);
        let registered = || parts().any(|part| sources.contains(&format!("\"{part}\"")));
        assert!(found.contains(name) || (there == "fault" && registered()), "{name} is documented, but not exposed");
    }
}

/// The text of all sources.
fn sources() -> String {
    fn read(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                read(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut text = String::new();
    for folder in ["src", "gateway/src", "ingest/src", "processors/src"] {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut text);
    }
    text
}
