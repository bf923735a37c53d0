use std::path::Path;
use std::process::Stdio;

use agentworks_archive::ArchiveReader;
use agentworks_processors::epochs::SinkPositions;
use agentworks_processors::epochs::adopt::{AdoptError, Adopter, Choices};
use agentworks_processors::runs::{RunListing, RunReader};
use serde_json::Value;

use super::*;
use crate::support::role::command;

impl Archived {
    /// Runs `agentworks archive` with these arguments: its exit code, and what it prints.
    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        self.run_at("objects", args).await
    }

    async fn run_at(&self, folder: &str, args: &[&str]) -> (i32, String, String) {
        let objects = self.scratch.path().join(folder).display().to_string();
        let store = format!("embedded:{}", self.scratch.path().join("its store").display());
        let variables = [
            ("AGENTWORKS__OBJECTS__URL", objects.as_str()),
            ("AGENTWORKS__STORE__URL", store.as_str()),
            ("AGENTWORKS__KAFKA__BROKERS", self.settings.brokers.as_str()),
            ("AGENTWORKS__KAFKA__TOPIC_PREFIX", self.prefix.as_str()),
        ];
        let output = command(&[&["archive"], args].concat(), &variables).stdin(Stdio::null()).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    async fn json(&self, args: &[&str]) -> Value {
        let (_, printed, said) = self.run(&[args, &["--json"]].concat()).await;
        serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{args:?}: {printed} {said}"))
    }
}

/// What is done to a file's bytes.
type Way = fn(&mut Vec<u8>);

const WAYS: [(&str, Way); 3] = [
    ("a flipped bit", |bytes| bytes[200] ^= 16),
    ("truncated", |bytes| bytes.truncate(bytes.len() / 2)),
    ("a forged footer", |bytes| {
        let end = bytes.len() - 8;
        bytes[end..end + 4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    }),
];

fn damage(file: &Path, way: Way) {
    let mut bytes = std::fs::read(file).unwrap();
    way(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_told_and_restored_as_long_as_the_log_has_it() {
    let archived = Archived::new(20).await;
    let (code, printed, _) = archived.run(&["verify"]).await;
    assert_eq!(
        (code, printed.lines().last()),
        (0, Some("all is what was written, and every lane is whole")),
        "{printed}"
    );
    let whole = archived.json(&["verify"]).await;
    let (_, printed, _) = archived.run(&["stats", "--workspaces"]).await;
    assert!(printed.starts_with("TABLE ") && printed.contains("\nentries "), "{printed}");
    let stats = archived.json(&["stats"]).await;
    assert_eq!((&stats["tables"][0]["table"], &stats["tables"][0]["rows"]), (&"entries".into(), &40.into()), "{stats}");

    for (way, change) in WAYS {
        let file = archived.files().remove(0);
        let name = file.file_name().unwrap().to_str().unwrap();
        damage(&file, change);
        let (code, printed, _) = archived.run(&["verify"]).await;
        assert!(code == 1 && printed.contains(name) && printed.contains("archive rebuild"), "{way}: {code} {printed}");
        let (code, printed, _) = archived.run(&["rebuild", "--dry-run"]).await;
        assert!(code == 0 && printed.contains(name) && printed.contains("  the log has "), "{way}: {printed}");
        let (code, printed, said) = archived.run(&["rebuild"]).await;
        assert!(code == 0 && printed.contains("restored: 1 files, "), "{way}: {printed} {said}");
        let after = archived.json(&["verify"]).await;
        assert_eq!((&after["rows"], &after["damaged"]), (&whole["rows"], &whole["damaged"]), "{way}: {after}");
        // What was damaged is deleted like all that isn't needed any more.
        std::fs::remove_file(&file).unwrap();
    }
    assert_eq!(archived.run(&["rebuild"]).await.1, "nothing is damaged\n");
    assert_eq!(archived.run(&["vacuum", "--dry-run"]).await.1, "0 files would be deleted, 0 B\n");
    assert_eq!(archived.json(&["compact"]).await["merged"]["removed"], 0);
    assert_eq!(archived.json(&["rebuild", "--runs"]).await["runs"]["added"], 0);

    archived.cut().await;
    damage(&archived.files()[0], WAYS[1].1);
    let (code, _, said) = archived.run(&["rebuild"]).await;
    assert!(code == 1 && said.contains("the log no longer has ") && said.contains("copy of the archive"), "{said}");
    let (code, _, said) = archived.run_at("nothing", &["verify"]).await;
    assert!(code == 1 && said.contains("there is no archive in"), "{said}");
    assert!(!archived.scratch.path().join("nothing/archive").exists(), "looking makes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_that_a_lost_store_knew_of_are_restored() {
    let archived = Archived::new(30).await;
    let (code, _, said) = archived.run(&["restore"]).await;
    assert!(
        code == 1 && said.contains("the sink runs has not begun in this store: start `agentworks process`"),
        "{said}"
    );
    let kept = archived.store_of_runs().await;
    archived.cut().await;
    let runs = async |store: Arc<dyn Store>| {
        let listing = RunListing::Card("card".into());
        RunReader::new(store).list("acme", &listing, None, 100).await.unwrap().runs
    };
    let new =
        || -> Arc<dyn Store> { Arc::new(EmbeddedStore::open(archived.scratch.path().join("its store")).unwrap()) };
    let store = new();
    archived.feed(&mut RunsSink::new(store.clone(), RunsConfig::default())).await;
    assert_eq!(runs(store).await, []);
    let (code, printed, said) = archived.run(&["restore"]).await;
    assert!(code == 0 && printed.ends_with("\n64 records counted from the archive\n"), "{printed} {said}");
    let (kept, restored) = (runs(kept).await, runs(new()).await);
    assert_eq!((kept.len(), kept[0].log_count, kept[0].inferred), (2, 30, false), "{kept:?}");
    assert_eq!(restored, kept);
    let again = archived.json(&["restore"]).await;
    assert_eq!((&again["records"], &again["partitions"][0]["records"]), (&0.into(), &0.into()), "{again}");
}

#[tokio::test]
async fn what_cannot_be_done_is_told_with_what_mends_it() {
    for (args, reason) in [
        (&["stats"][..], "Give --objects, or objects.url"),
        (
            &["stats", "--objects", "ftp://there/x"],
            "(the flag --objects): ftp://there/x: the scheme is unknown; give a folder",
        ),
        (&["vacuum", "--objects", "s3://"], "it names no bucket; give a folder"),
        (&["compact", "--objects", "/proc/nothing"], "it must be writable for this process"),
        (&["verify", "--config", "/nowhere.toml"], "/nowhere.toml: the file can't be read"),
        (&["stats", "--objects", "/tmp", "--set", "archive.grace=1s"], "archive.grace = \"1s\""),
        (&["rebuild", "--runs", "--dry-run"], "cannot be used with"),
        (&["restore"], "Give --objects, or objects.url"),
    ] {
        let output = command(&[&["archive"], args].concat(), &[]).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(reason), "{args:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_before_the_archive_took_it_is_given_up_when_somebody_says_so() {
    let archived = Archived::new(5).await;
    let producer =
        Producer::builder(&archived.settings.brokers).topics(archived.settings.topics.clone()).build().unwrap();
    for number in 0..12 {
        line(&producer.run("acme", "card", "late"), number).await;
    }
    let store = archived.store_of_runs().await;
    archived.cut().await;
    let adopter = Adopter::over(store, archived.seek.clone()).unwrap();
    let adopter = adopter.with([Arc::new(ArchiveReader::new(&archived.archive)) as Arc<dyn SinkPositions>]);
    let choices = Choices { skip_lost: true, dry_run: true, ..Choices::default() };
    let would = adopter.adopt(Topic::AgentLogs, choices).await.unwrap();
    let lost: Vec<_> = would.before.lanes.iter().filter(|lane| lane.lost > 0).collect();
    assert_eq!((lost.len(), lost[0].sink.as_str(), would.skipped), (1, "archive", 8), "{lost:?}");
    let lane = TopicPartition::new(Topic::AgentLogs, lost[0].partition);
    let start = lost[0].log_start.unwrap();
    let mut sink =
        ArchiveSink::new(archived.archive.clone(), ArchiveConfig::default(), &mut Registry::default()).unwrap();
    let stopped = sink.open(lane, 0, start).await.unwrap_err().to_string();
    assert!(stopped.contains("--skip-lost"), "{stopped}");
    adopter.adopt(Topic::AgentLogs, Choices { dry_run: false, ..choices }).await.unwrap();
    assert_eq!(sink.open(lane, 0, start).await.unwrap().high, start);
}

/// A process that knows nothing of the archive has begun with a new store: it took the log for its first making.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_the_store_has_forgotten_is_adopted_from_the_archive() {
    let archived = Archived::new(5).await;
    let lane = TopicPartition::new(Topic::AgentLogs, 1);
    let mut sink =
        ArchiveSink::new(archived.archive.clone(), ArchiveConfig::default(), &mut Registry::default()).unwrap();
    for epoch in 1..3 {
        sink.open(lane, epoch, 0).await.unwrap();
    }
    let new =
        |name: &str| -> Arc<dyn Store> { Arc::new(EmbeddedStore::open(archived.scratch.path().join(name)).unwrap()) };
    let adopter = |store: &Arc<dyn Store>| Adopter::over(store.clone(), archived.seek.clone()).unwrap();
    let knowing = |store: &Arc<dyn Store>| {
        adopter(store).with([Arc::new(ArchiveReader::new(&archived.archive)) as Arc<dyn SinkPositions>])
    };
    let epochs = async |adopter: &Adopter| {
        let reports = adopter.reports().await.unwrap();
        reports.into_iter().map(|report| (report.topic.clone(), report.epoch, report.is_stopped())).collect::<Vec<_>>()
    };
    let of = |epoch: u32, is_stopped| {
        [("agent-logs", epoch, is_stopped), ("system-logs", 0, false), ("run-events", 0, false)]
            .map(|(topic, epoch, is_stopped)| (topic.to_owned(), epoch, is_stopped))
    };
    assert_eq!(epochs(&knowing(&new("of one who knows"))).await, of(2, false));

    let store = new("of one who doesn't");
    assert_eq!(epochs(&adopter(&store)).await, of(0, false));
    let stopped = sink.open(lane, 0, 0).await.unwrap_err().to_string();
    assert!(stopped.contains("`agentworks topics adopt agent-logs`"), "{stopped}");
    let adopter = knowing(&store);
    assert_eq!(epochs(&adopter).await, of(0, true));
    let would = adopter.adopt(lane.topic, Choices { dry_run: true, ..Choices::default() }).await.unwrap();
    assert_eq!((would.epoch, would.before.epoch, would.before.remade), (2, 0, false));
    assert_eq!(adopter.adopt(lane.topic, Choices::default()).await.unwrap().epoch, 2);
    assert_eq!(epochs(&adopter).await, of(2, false));
    assert!(matches!(adopter.adopt(lane.topic, Choices::default()).await, Err(AdoptError::Refused(_))));
    assert_eq!(sink.open(lane, 2, 0).await.unwrap().high, 0);
}
