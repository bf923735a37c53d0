//! Kafka itself: what we rely on of it, and the child process that we make of it.

/// What a log promises to its readers and writers.
mod log;
/// Starting, dying, starting again, stopping.
mod supervision;
/// A topic that is deleted and made again.
mod topic_made_again;
