//! Terminals on real Kafka: history, live, and everything in between.

mod cards;
mod filters;
mod flow;
mod protocol;
mod streams;

use agentworks_ingest::producer::RunHandle;
use agentworks_schemas::{Level, Source};

/// Writes these lines, and waits until they are in the log.
async fn write(run: &RunHandle, lines: impl IntoIterator<Item = String>) {
    let mut deliveries = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        // Both topics that hold entries, so that a card has more than one partition.
        let source = if index % 5 == 4 { Source::System } else { Source::Agent };
        deliveries.push(run.log(Level::Info, source, "test", &line).send().await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

fn numbered(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| format!("line {number}"))
}

/// Whether lines of [`numbered`] are all there, once each, whatever the order between topics.
fn assert_complete(mut lines: Vec<String>, range: std::ops::Range<usize>) {
    let mut expected: Vec<String> = numbered(range).collect();
    lines.sort();
    expected.sort();
    assert_eq!(lines, expected);
}
