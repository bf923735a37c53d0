#![allow(clippy::unwrap_used)]

use super::*;

fn sight(recorded: Option<&str>, there: Option<&str>) -> Sight {
    let recorded =
        Epoch { epoch: 3, revision: 5, as_is: 0, topic_id: recorded.map(str::to_owned), adopted: Timestamp(0) };
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
    let next = first.next(0, Some("b".into()));
    assert_eq!((next.epoch, next.revision, next.topic_id.as_deref()), (4, 6, Some("b")));
    let revised = next.revised();
    assert_eq!((revised.epoch, revised.revision, &revised.adopted), (4, 7, &next.adopted));
    // A sink has taken more makings than are recorded.
    assert_eq!((first.next(8, None).epoch, first.next(2, None).epoch), (9, 4));
    assert_eq!(first.next(u32::MAX, None).epoch, u32::MAX);
    let found = first.found(8, Some("a".into()));
    assert_eq!((found.epoch, found.revision, found.topic_id.as_deref()), (8, 6, Some("a")));
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

    let next = first.next(0, Some("b".into()));
    assert_eq!(epochs.record(Topic::AgentLogs, &next).await.unwrap(), next);
    // Somebody who has slept through that finds it, and not its own.
    let other = Epochs::without_ids(store);
    assert_eq!(other.record(Topic::AgentLogs, first).await.unwrap(), next);
    assert_eq!(other.look().await.unwrap()[&Topic::AgentLogs].recorded, next);
    assert_eq!(other.look().await.unwrap()[&Topic::RunEvents].recorded.epoch, 0);
}

/// A sink that has come to a making, or says nothing.
#[derive(Debug)]
struct Elsewhere(Topic, Option<u32>);

#[async_trait::async_trait]
impl SinkEpochs for Elsewhere {
    async fn newest(&self, topic: Topic) -> Result<Option<u32>, SinkError> {
        let error = || StoreError::Unavailable("away".into()).into();
        if topic == self.0 { self.1.map(Some).ok_or_else(error) } else { Ok(None) }
    }
}

#[tokio::test]
async fn a_topic_that_nothing_is_recorded_of_goes_on_where_sinks_elsewhere_are() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(agentworks_store::EmbeddedStore::open(folder.path()).unwrap());
    let elsewhere = |epoch| Arc::new(Elsewhere(Topic::AgentLogs, epoch)) as Arc<dyn SinkEpochs>;
    let epochs = |elsewhere: Vec<Arc<dyn SinkEpochs>>| Epochs::without_ids(store.clone()).with(elsewhere);
    // Without an answer nothing is recorded.
    let error = epochs(vec![elsewhere(Some(1)), elsewhere(None)]).look().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(recorded(&*store, Topic::AgentLogs).await.unwrap(), None);

    let sights = epochs(vec![elsewhere(Some(2)), elsewhere(Some(1))]).look().await.unwrap();
    let of = |topic| (sights[&topic].recorded.epoch, sights[&topic].recorded.revision);
    assert_eq!((of(Topic::AgentLogs), of(Topic::RunEvents)), ((2, 2), (0, 0)));
    // Nobody is asked of a topic that is recorded; and whoever knew of nothing, and was late, finds that.
    let late = epochs(vec![elsewhere(None)]);
    assert_eq!(late.look().await.unwrap()[&Topic::AgentLogs].recorded.epoch, 2);
    let ignorant = Epoch::first(0, Some("a".into()));
    assert_eq!(late.record(Topic::AgentLogs, &ignorant).await.unwrap().epoch, 2);
    // The other way round, too.
    late.record(Topic::SystemLogs, &ignorant).await.unwrap();
    let knowing = Epoch::first(3, Some("a".into()));
    assert_eq!(late.record(Topic::SystemLogs, &knowing).await.unwrap(), knowing);
}
