use agentworks_archive::{ArchiveReader, restore_runs};
use agentworks_processors::reader::ColdTier;
use agentworks_schemas::Cursor;
use agentworks_schemas::access::Role;
use serde_json::json;

use super::*;
use crate::replay::{play, terminal};
use crate::rest::get;
use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::Terminal;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_archive_alone_has_is_replayed_paged_and_linked_to_as_ever() {
    let archived = Archived::new(60).await;
    let store = archived.store_of_runs().await;
    archived.cut().await;
    let cold: Arc<dyn ColdTier> = Arc::new(ArchiveReader::new(&archived.archive));
    let config = StackConfig { store: Some(store), cold: Some(cold), ..StackConfig::default() };
    let stack = Stack::start_with(&archived.settings.brokers, &archived.prefix, PARTITIONS, config).await;
    let token = stack.token("acme", Role::Viewer);

    // A page of the card has both runs in turn; a run's has its own.
    let (status, page) = get(&stack, &token, "/v1/cards/card/entries?limit=1000&after=start").await;
    assert_eq!((status, &page["gaps"]), (200, &json!([])), "{page}");
    let entries = page["entries"].as_array().unwrap();
    let numbers: Vec<usize> = entries.iter().map(|entry| entry["message"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (0..120).map(|at| at / 2).collect::<Vec<_>>());
    let (_, of_run) = get(&stack, &token, "/v1/runs/old/entries?card=card&limit=1000&after=start").await;
    let entries = of_run["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &of_run["gaps"]), (60, &json!([])), "{of_run}");

    // A link to a line as a hit has it, which names its own partition alone, and what stands around it in its run.
    let cursor: Cursor = entries[31]["position"].as_str().unwrap().parse().unwrap();
    let position = Cursor::from_iter(cursor.iter().filter(|(partition, ..)| partition.topic == Topic::AgentLogs));
    let route = format!("/v1/entries/{position}/context?card=card&before=2&after=2");
    let (status, context) = get(&stack, &token, &route).await;
    assert_eq!((status, &context["entry"]["message"]), (200, &json!("31")), "{context}");
    let around =
        |part: &str| context[part].as_array().unwrap().iter().map(|it| it["message"].clone()).collect::<Vec<_>>();
    assert_eq!((around("before"), around("after")), (vec![json!("29"), json!("30")], vec![json!("32"), json!("33")]));

    let mut terminal = terminal(&stack).await;
    let played = play(&mut terminal, "old", json!({"speed": 0, "includeSystemLogs": true})).await;
    assert_eq!(played.lines, (0..60).collect::<Vec<_>>());
    let errors = play(&mut terminal, "old", json!({"speed": 0, "filters": {"levels": ["error"]}})).await;
    assert_eq!(errors.lines, (0..60).filter(|number| number % 5 == 3 && number % 3 != 0).collect::<Vec<_>>());

    // Who opens the card sees its last lines, and then what is written now.
    let mut watching = Terminal::connect(&stack, &token, "card", "?history=10").await;
    let history = watching.lines(10).await;
    assert_eq!(history.last().unwrap(), "59");
    line(&stack.producer.run("acme", "card", "new"), 7).await;
    assert_eq!(watching.lines(1).await, ["7"]);
    stack.stop().await;
}

/// Whatever the new store knows begins where the log began when it was made; before that there is the archive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_before_the_store_was_lost_is_read_from_the_archive() {
    let archived = Archived::new(60).await;
    archived.cut().await;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(archived.scratch.path().join("new store")).unwrap());
    // They begin: at the end, for the log has nothing left.
    let mut hot = HotSink::new(store.clone(), HotConfig::default(), &mut Registry::default()).unwrap();
    let mut runs = RunsSink::new(store.clone(), RunsConfig::default());
    archived.feed(&mut hot).await;
    archived.feed(&mut runs).await;
    let cold: Arc<dyn ColdTier> = Arc::new(ArchiveReader::new(&archived.archive));
    let config = StackConfig { store: Some(store), cold: Some(cold), ..StackConfig::default() };
    let stack = Stack::start_with(&archived.settings.brokers, &archived.prefix, PARTITIONS, config).await;
    let token = stack.token("acme", Role::Viewer);
    let numbers = async |route: &str| {
        let (status, page) = get(&stack, &token, route).await;
        assert_eq!((status, &page["gaps"]), (200, &json!([])), "{page}");
        let entries = page["entries"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry["message"].as_str().unwrap().parse().unwrap()).collect::<Vec<usize>>()
    };
    let both: Vec<_> = (0..120).map(|at| at / 2).collect();
    let (card, run) =
        ("/v1/cards/card/entries?limit=1000&after=start", "/v1/runs/old/entries?card=card&limit=1000&after=start");
    assert_eq!((numbers(card).await, numbers(run).await), (both.clone(), (0..60).collect()));
    let mut watching = Terminal::connect(&stack, &token, "card", "?history=10").await;
    assert_eq!(watching.lines(10).await.last().unwrap(), "59");

    // Also once the new store has seen the card.
    line(&stack.producer.run("acme", "card", "old"), 7).await;
    assert_eq!(watching.lines(1).await, ["7"]);
    archived.feed(&mut hot).await;
    archived.feed(&mut runs).await;
    let with = |lines: &[usize]| [lines, &[7]].concat();
    let all: Vec<_> = (0..60).collect();
    assert_eq!((numbers(card).await, numbers(run).await), (with(&both), with(&all)));

    // Its rows count what the archive has, too, once that is restored beside everything else.
    let count = async || get(&stack, &token, "/v1/runs/old?card=card").await.1["logCount"].clone();
    assert_eq!(count().await, json!(1));
    restore_runs(&ArchiveReader::new(&archived.archive), &stack.store, |_| {}).await.unwrap();
    assert_eq!(count().await, json!(61));
    let mut terminal = terminal(&stack).await;
    let played = play(&mut terminal, "old", json!({"speed": 0, "includeSystemLogs": true})).await;
    assert_eq!(played.lines, with(&all));
    stack.stop().await;
}
