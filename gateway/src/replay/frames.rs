//! What a replay says.

use std::borrow::Cow;
use std::time::Duration;

use agentworks_schemas::protocol::{
    Gap, ReplayComplete, ReplayEntry, ReplayMetadata, ReplayOptions, ReplaySeeked, ReplaySpeedInfo, ReplayStartInfo,
    ReplayStatus, ServerMessage,
};
use agentworks_schemas::{Timestamp, TopicPartition};

use super::ahead::Numbered;
use crate::socket::Frame;

/// Makes the frames of one replay.
pub(super) struct Frames {
    id: String,
}

impl Frames {
    /// Of the replay with this id.
    pub(super) fn new(id: String) -> Self {
        Frames { id }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn started(&self, run: &str, total: u64, duration: Duration, options: &ReplayOptions) -> Frame {
        let data = ReplayStartInfo {
            session_id: self.id.clone(),
            run_id: run.to_owned(),
            total_logs: total,
            estimated_duration: millis(duration),
            filters: options.filters.clone(),
        };
        Frame::message(&ServerMessage::ReplayStarted { data })
    }

    pub(super) fn log(&self, numbered: Numbered, total: u64) -> Frame {
        let Numbered { entry, ordinal, cursor } = numbered;
        let replay = ReplayMetadata {
            session_id: self.id.clone(),
            replay_position: ordinal,
            replay_total: total,
            replay_progress: progress(ordinal, total),
            original_timestamp: entry.entry.timestamp,
            replay_timestamp: Timestamp::now(),
        };
        let data = ReplayEntry { entry: entry.entry, replay };
        Frame::message(&ServerMessage::ReplayLog { position: cursor, data })
    }

    pub(super) fn gap(&self, partition: TopicPartition, (from, to): (i64, i64)) -> Frame {
        let data = Gap { topic: partition.topic.to_string(), partition: partition.partition, from, to };
        let session_id = Some(Cow::Borrowed(self.id.as_str()));
        Frame::message(&ServerMessage::Gap { card_id: None, session_id, data })
    }

    pub(super) fn paused(&self, position: u64) -> Frame {
        Frame::message(&ServerMessage::ReplayPaused { data: self.status(position) })
    }

    pub(super) fn resumed(&self, position: u64) -> Frame {
        Frame::message(&ServerMessage::ReplayResumed { data: self.status(position) })
    }

    pub(super) fn live(&self, position: u64) -> Frame {
        Frame::message(&ServerMessage::ReplayLive { data: self.status(position) })
    }

    pub(super) fn speed_changed(&self, speed: f64) -> Frame {
        let data = ReplaySpeedInfo { session_id: self.id.clone(), speed };
        Frame::message(&ServerMessage::ReplaySpeedChanged { data })
    }

    pub(super) fn seeked(&self, position: u64, total: u64) -> Frame {
        let data = ReplaySeeked { session_id: self.id.clone(), position, progress: progress(position, total) };
        Frame::message(&ServerMessage::ReplaySeeked { data })
    }

    pub(super) fn completed(&self, played: u64, duration: Duration, stopped: bool) -> Frame {
        let data = ReplayComplete {
            session_id: self.id.clone(),
            total_logs_played: played,
            duration: millis(duration),
            stopped,
        };
        Frame::message(&ServerMessage::ReplayCompleted { data })
    }

    fn status(&self, position: u64) -> ReplayStatus {
        ReplayStatus { session_id: self.id.clone(), position }
    }
}

fn progress(position: u64, total: u64) -> f64 {
    if total == 0 { 100.0 } else { position as f64 / total as f64 * 100.0 }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
