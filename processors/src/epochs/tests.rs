#![allow(clippy::unwrap_used)]

use super::*;

fn sight(recorded: Option<&str>, there: Option<&str>) -> Sight {
    let recorded = Epoch { epoch: 3, revision: 5, topic_id: recorded.map(str::to_owned), adopted: Timestamp(0) };
    Sight { recorded, topic_id: there.map(str::to_owned) }
}

#[test]
fn another_id_is_another_topic_and_no_id_says_nothing() {
    assert!(sight(Some("a"), Some("b")).is_remade());
    assert_eq!(sight(Some("a"), Some("b")).epoch(), 4, "as which it will be adopted");
    for (recorded, there) in [(Some("a"), Some("a")), (Some("a"), None), (None, Some("a")), (None, None)] {
        assert!(!sight(recorded, there).is_remade());
        assert_eq!(sight(recorded, there).epoch(), 3);
        assert_eq!(sight(recorded, there).problem(Topic::AgentLogs), None);
    }
    let problem = sight(Some("a"), Some("b")).problem(Topic::AgentLogs).unwrap();
    assert!(problem.contains("was a in epoch 3 and is b") && problem.contains("topics adopt agent-logs"), "{problem}");
}

#[test]
fn whatever_is_recorded_wins_over_what_was_before() {
    let first = sight(Some("a"), None).recorded;
    let next = first.next(Some("b".into()));
    assert_eq!((next.epoch, next.revision, next.topic_id.as_deref()), (4, 6, Some("b")));
    let revised = next.revised();
    assert_eq!((revised.epoch, revised.revision, &revised.adopted), (4, 7, &next.adopted));
}

#[tokio::test]
async fn the_first_sight_is_recorded_and_a_later_record_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(agentworks_store::EmbeddedStore::open(folder.path()).unwrap());
    let epochs = Epochs::without_ids(store.clone());
    let sights = epochs.look().await.unwrap();
    assert_eq!(sights.len(), 3);
    let first = &sights[&Topic::AgentLogs].recorded;
    assert_eq!((first.epoch, first.revision, &first.topic_id), (0, 0, &None));
    assert_eq!(epochs.recent().await.unwrap(), sights);

    let next = first.next(Some("b".into()));
    assert_eq!(epochs.record(Topic::AgentLogs, &next).await.unwrap(), next);
    // Somebody who has slept through that finds it, and not its own.
    let other = Epochs::without_ids(store);
    assert_eq!(other.record(Topic::AgentLogs, first).await.unwrap(), next);
    assert_eq!(other.look().await.unwrap()[&Topic::AgentLogs].recorded, next);
    assert_eq!(other.look().await.unwrap()[&Topic::RunEvents].recorded.epoch, 0);
}
