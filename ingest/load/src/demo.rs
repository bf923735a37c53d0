//! A small fleet at human pace, for somebody who looks at a terminal.

use agentworks_ingest::producer::Producer;
use agentworks_schemas::Timestamp;

use crate::drive::{DriveError, Limit, Pace, Progress, drive};
use crate::fleet::Fleet;

/// Five cards, about fifteen steps a second, runs of half a minute to a few; one ends, the next begins, some fail. Goes on
/// until `stop`.
pub async fn demo(producer: &Producer, workspace: &str, stop: impl Future<Output = ()>) -> Result<(), DriveError> {
    let fleet = Fleet {
        workspace: workspace.into(),
        cards: 5,
        rate: 15.0,
        skew: 0.5,
        run_length: 60..=300,
        ..Fleet::new(rand::random(), Timestamp::now())
    };
    drive(&fleet, Pace::Fleet, Limit::default(), producer, None, &Progress::default(), stop).await?;
    Ok(())
}
