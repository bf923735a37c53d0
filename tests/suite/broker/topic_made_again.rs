use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::support::records::{PATIENCE, consumer, consumer_at, create_topic, delete_topic, next, produce};
use crate::support::topic_id::topic_id;
use crate::support::{kafka, unique_prefix};

/// Offsets begin anew, and nothing in a record says so. A client that comes back with a position of before sees one of
/// two things: an error, if the position lies past the new end; or, if it doesn't, other records, as if nothing had
/// happened. Only the topic's id tells them apart, which is why a position carries an epoch.
#[tokio::test]
async fn offsets_begin_anew_and_the_id_is_another() {
    let bootstrap = kafka().await.bootstrap();
    let topic = format!("{}log", unique_prefix());
    create_topic(&bootstrap, &topic, 1).await;
    produce(&bootstrap, &topic, (0..10).map(|i| ("key", format!("old {i}")))).await;
    let old = topic_id(&bootstrap, &topic).await;
    assert_eq!(topic_id(&bootstrap, &topic).await, old);

    delete_topic(&bootstrap, &topic).await;
    create_topic(&bootstrap, &topic, 1).await;
    produce(&bootstrap, &topic, (0..5).map(|i| ("key", format!("new {i}")))).await;
    assert_ne!(topic_id(&bootstrap, &topic).await, old);

    tokio::task::spawn_blocking(move || {
        assert_eq!(consumer(&bootstrap).fetch_watermarks(&topic, 0, PATIENCE).unwrap(), (0, 5));
        let error = next(&consumer_at(&bootstrap, &topic, 0, 10)).unwrap_err();
        assert_eq!(error, KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset));
        assert_eq!(next(&consumer_at(&bootstrap, &topic, 0, 3)).unwrap().text(), "new 3");
    })
    .await
    .unwrap();
}
