//! In which making of its topics a log is, where the store doesn't know: the archive and the search index do.

use std::sync::Arc;

use agentworks_archive::{Archive, ArchiveReader};
use agentworks_objects::{Objects, ObjectsConfig};
use agentworks_processors::epochs::SinkEpochs;
use agentworks_processors::sink::SinkError;
use agentworks_schemas::Topic;
use agentworks_store::StoreError;
use async_trait::async_trait;

use super::index::manifest;

/// The archive and the index of this process.
pub(crate) fn opened(objects: &Objects, archive: &Archive) -> Vec<Arc<dyn SinkEpochs>> {
    vec![Arc::new(ArchiveReader::new(archive)), Arc::new(manifest(objects))]
}

/// Those of other processes. They are opened when they are asked, which is once in a store's life.
#[derive(Debug)]
pub(crate) struct Unopened(pub(crate) ObjectsConfig);

#[async_trait]
impl SinkEpochs for Unopened {
    async fn newest(&self, topic: Topic) -> Result<Option<u32>, SinkError> {
        // Whoever can't look must not take the log for its first making; another process may say which it is.
        let failed = |error: agentworks_objects::ObjectsError| StoreError::Failed(format!("objects.url: {error}"));
        let objects = Objects::open(&self.0).map_err(failed)?;
        let archive = objects.child("archive");
        let mut newest = manifest(&objects).newest(topic).await?;
        if Archive::is_there(&archive).await? {
            newest = newest.max(ArchiveReader::new(&Archive::open(&archive).await?).newest(topic).await?);
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_archive::{ArchiveConfig, ArchiveSink};
    use agentworks_processors::sink::Sink;
    use agentworks_schemas::TopicPartition;
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn objects_that_nothing_was_opened_of_tell_what_was_archived() {
        let folder = tempfile::tempdir().unwrap();
        let config = ObjectsConfig::at(folder.path().join("objects").to_str().unwrap());
        let unopened = Unopened(config.clone());
        assert_eq!(unopened.newest(Topic::AgentLogs).await.unwrap(), None);
        let objects = Objects::open(&config).unwrap();
        assert!(!Archive::is_there(&objects.child("archive")).await.unwrap(), "none is made");

        let archive = Archive::open(&objects.child("archive")).await.unwrap();
        let mut sink = ArchiveSink::new(archive.clone(), ArchiveConfig::default(), &mut Registry::default()).unwrap();
        for epoch in 0..3 {
            sink.open(TopicPartition::new(Topic::AgentLogs, 5), epoch, 0).await.unwrap();
        }
        assert_eq!(unopened.newest(Topic::AgentLogs).await.unwrap(), Some(2));
        assert_eq!(unopened.newest(Topic::RunEvents).await.unwrap(), None);
        let opened = opened(&objects, &archive);
        assert_eq!(opened[0].newest(Topic::AgentLogs).await.unwrap(), Some(2));
        assert_eq!(opened[1].newest(Topic::AgentLogs).await.unwrap(), None);
    }
}
