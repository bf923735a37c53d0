//! The search index, made by one process and searched by another.

use std::fs;
use std::path::PathBuf;

use agentworks_kafka::KafkaSettings;
use agentworks_schemas::Topic;
use serde_json::Value;

use super::*;
use crate::support::records::{cut, make_again};
use crate::support::role::command;

impl Installation {
    /// With a place for objects.
    pub(super) fn with_objects(mut self) -> Self {
        let (objects, search) = (self.folder.path().join("objects"), self.folder.path().join("search"));
        self.set("AGENTWORKS__OBJECTS__URL", objects.display().to_string());
        self.set("AGENTWORKS__SEARCH__FOLDER", search.display().to_string());
        self
    }

    /// The files of the splits, by age.
    pub(super) fn splits(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path().join("objects/search/splits"));
        let mut files: Vec<_> = files.into_iter().flatten().map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "split"));
        files.sort();
        files
    }

    /// What `agentworks ARGS` comes to: whether it succeeds, and what it prints.
    async fn run(&self, args: &[&str]) -> (bool, String) {
        let output = command(args, &self.variables()).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }
}

/// What a search for all lines finds.
pub(super) async fn search(serve: &Role) -> Value {
    let url = format!("{}/v1/search?q=line", serve.url());
    let answer = reqwest::Client::new().get(url).bearer_auth(token()).send().await.unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// An installation into which entries can be posted, and its process that indexes and archives soon, and merges nothing.
async fn indexing() -> (Installation, Role, Role) {
    let installation = Installation::new().await.with_objects();
    let ingest = installation.start(&["ingest"]).await;
    ingest.is_ready().await;
    let mut index = vec!["process", "--sinks", "search,archive"];
    for setting in ["search.split_age=1s", "search.maintain=1h", "archive.flush_interval=1s"] {
        index.extend(["--set", setting]);
    }
    let process = installation.start(&index).await;
    process.is_ready().await;
    (installation, ingest, process)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_that_is_missing_or_damaged_is_named_and_made_again() {
    let (installation, ingest, process) = indexing().await;
    for number in 0..3 {
        ingest.post("/v1/logs", &token(), lines("card", 50 * number..50 * (number + 1))).await;
        eventually(PATIENCE, async || (installation.splits().len() > number).then_some(())).await;
    }
    let (status, log) = process.terminate().await;
    assert!(status.success(), "{log}");

    let files = installation.splits();
    let id = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let (missing, damaged) = (id(&files[0]), id(&files[1]));
    fs::remove_file(&files[0]).unwrap();
    let mut contents = fs::read(&files[1]).unwrap();
    let middle = contents.len() / 2;
    contents[middle] ^= 1;
    fs::write(&files[1], contents).unwrap();

    let serve = installation.start(&["serve"]).await;
    serve.is_ready().await;
    let found = search(&serve).await;
    let reasons = found["incomplete"].to_string();
    assert!(found["totalCount"].as_u64().unwrap() < 150, "{found}");
    for id in [&missing, &damaged] {
        assert!(reasons.contains(&format!("agentworks reindex --split {id}")), "{reasons}");
    }
    // The store is the gateway's alone.
    let (_, said) = installation.run(&["reindex", "--split", &missing]).await;
    assert!(said.contains("in use by another process"), "{said}");
    serve.terminate().await;

    for (args, reason) in [
        (&["reindex"][..], "say which splits"),
        (&["reindex", "--from", "noon"], "--from: \"noon\" is not a time"),
        (&["reindex", "--from", "1h", "--to", "2h"], "is after --to"),
        (&["reindex", "--split", "0123456789abcdef0123456789abcdef"], "there is no split 0123456789abcdef"),
        (&["reindex", "--from", "1h", "--set", "objects.url="], "objects.url"),
    ] {
        let (success, said) = installation.run(args).await;
        assert!(!success && said.contains(reason), "{args:?}: {said}");
    }
    let (success, said) = installation.run(&["reindex", "--from", "1h", "--to", "0s", "--damaged", "--dry-run"]).await;
    assert!(success && said.contains("2 of 3 splits would be made again"), "{said}");
    let (success, said) = installation.run(&["reindex", "--split", &missing]).await;
    assert!(success && said.contains(&format!("made {missing} again: 50 entries, before 50")), "{said}");
    let (success, said) = installation.run(&["reindex", "--from", "1h", "--to", "0s"]).await;
    assert!(success && said.contains("3 of 3 splits were made again"), "{said}");

    let serve = installation.start(&["serve"]).await;
    serve.is_ready().await;
    let found = search(&serve).await;
    assert_eq!((&found["totalCount"], &found["incomplete"]), (&json!(150), &Value::Null));
    serve.terminate().await;

    // What the log no longer has is taken from the archive, and what that has not either can't be had.
    cut(installation.get("AGENTWORKS__KAFKA__BROKERS"), &installation.topics(), 4).await;
    // Files of before lie there yet.
    let lost = installation.splits().pop().unwrap();
    fs::remove_file(&lost).unwrap();
    let lost = id(&lost);
    let (success, said) = installation.run(&["reindex", "--split", &lost]).await;
    assert!(success && said.contains(&format!("made {lost} again: 50 entries, before 50")), "{said}");
    let serve = installation.start(&["serve"]).await;
    serve.is_ready().await;
    let found = search(&serve).await;
    assert_eq!((&found["totalCount"], &found["incomplete"]), (&json!(150), &Value::Null));
    serve.terminate().await;
    fs::rename(installation.folder.path().join("objects/archive"), installation.folder.path().join("away")).unwrap();
    let lost = id(&installation.splits().pop().unwrap());
    let (success, said) = installation.run(&["reindex", "--split", &lost]).await;
    assert!(!success && said.contains("neither in the log nor in an archive"), "{said}");
}

/// Whatever lies at the same offsets now is something else: what there was has the archive alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn splits_of_a_topic_that_was_made_again_are_made_from_the_archive() {
    let (installation, ingest, process) = indexing().await;
    ingest.post("/v1/logs", &token(), lines("card", 0..50)).await;
    eventually(PATIENCE, async || (!installation.splits().is_empty()).then_some(())).await;
    for role in [process, ingest] {
        let (status, log) = role.terminate().await;
        assert!(status.success(), "{log}");
    }
    let settings = KafkaSettings::new(installation.get("AGENTWORKS__KAFKA__BROKERS"), installation.topics());
    make_again(&settings, Topic::AgentLogs, 4).await;
    let all = ["reindex", "--from", "1h", "--to", "0s"];
    let (success, said) = installation.run(&all).await;
    assert!(success && said.contains("again: 50 entries, before 50"), "{said}");
    fs::rename(installation.folder.path().join("objects/archive"), installation.folder.path().join("away")).unwrap();
    let (success, said) = installation.run(&all).await;
    assert!(!success && said.contains("neither in the log nor in an archive"), "{said}");
}
