//! Where logs end, asked for beside the reading: a consumer learns it by what it fetches, and so nothing of a partition that
//! it doesn't read, or may not.

use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::SeekPool;

use crate::runtime::status::Board;

/// Asks for the ends of the driver's partitions again and again, for all at once.
pub(super) async fn look(seek: SeekPool, every: Duration, board: Arc<Board>) {
    loop {
        tokio::time::sleep(every).await;
        let partitions = board.partitions();
        if !partitions.is_empty() {
            board.set_asked(seek.ends(partitions).await);
        }
    }
}
