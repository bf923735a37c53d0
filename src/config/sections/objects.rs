//! Where objects are, and the two sinks that write them.

use std::path::PathBuf;

use agentworks_archive::{ArchiveConfig, MaintainConfig};
use agentworks_processors::lane::Retention;
use serde::{Deserialize, Serialize};

use super::sinks::retention;
use crate::config::forms::{Hidden, Named, Size, Time};

/// Where splits of the search index and the tables of the archive are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Objects {
    /// A folder, or `s3://BUCKET/PREFIX`; neither index nor archive if not given.
    pub(crate) url: Option<String>,
    /// The S3 server, if it isn't AWS.
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) access_key_id: Option<String>,
    pub(crate) secret_access_key: Option<Hidden>,
    pub(crate) secret_access_key_file: Option<PathBuf>,
    /// Whether the server may be spoken to without TLS.
    pub(crate) allow_http: bool,
}

/// The search index: its sink, and searching it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Search {
    /// A local folder of this process alone: splits in the making, and copies of those that lie in a bucket.
    pub(crate) folder: PathBuf,
    /// How much the copies may take.
    pub(crate) cache: Size,
    pub(crate) retention: Time,
    /// The retention of single workspaces, by id.
    pub(crate) workspaces: Named<Time>,
    /// How long a split is in the making.
    pub(crate) split_age: Time,
    pub(crate) split_bytes: Size,
    /// How often splits are merged, and looked through for what has expired.
    pub(crate) maintain: Time,
    /// Where no split has come for so long, those that were never merged are, however few.
    pub(crate) settle: Time,
    /// How long one search may take.
    pub(crate) deadline: Time,
    /// How many records of the log a search looks at itself, where no indexer answers for them.
    pub(crate) tail: u64,
    /// What `serve` and the processes that index know each other by, of 32 bytes at least; made of `auth.secret` if not given.
    pub(crate) secret: Option<Hidden>,
    pub(crate) secret_file: Option<PathBuf>,
    /// Where `serve` reaches this process, if it indexes: `HOST:PORT`.
    pub(crate) advertise: Option<String>,
    /// How many searches of a workspace a gateway makes at once.
    pub(crate) max_searches: usize,
    /// Whether a gateway remembers, in memory alone, which queries are asked most.
    pub(crate) popular: bool,
}

impl Default for Search {
    fn default() -> Self {
        Search {
            folder: "data/search".into(),
            cache: Size(10 << 30),
            retention: Time::seconds(90 * 86_400),
            workspaces: Named::default(),
            split_age: Time::seconds(60),
            split_bytes: Size(256 << 20),
            maintain: Time::seconds(30),
            settle: Time::seconds(600),
            deadline: Time::seconds(10),
            tail: 200_000,
            secret: None,
            secret_file: None,
            advertise: None,
            max_searches: 16,
            popular: true,
        }
    }
}

impl Search {
    /// How long entries can be found.
    pub(crate) fn retention(&self) -> Retention {
        retention(self.retention, &self.workspaces)
    }
}

/// The archive: its sink, and how its tables are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Archive {
    /// Records are published when the first of them has waited for so long.
    pub(crate) flush_interval: Time,
    /// Or when all that wait take so much memory.
    pub(crate) flush_bytes: Size,
    pub(crate) zstd_level: i32,
    /// How often files are merged, rolled up and vacuumed.
    pub(crate) maintain: Time,
    /// How long a file stays that no current version of a table needs.
    pub(crate) grace: Time,
    /// For how many days entries of single workspaces are kept, by id; those of others for ever.
    pub(crate) keep_days: Named<u32>,
}

impl Default for Archive {
    fn default() -> Self {
        let ArchiveConfig { flush_interval, flush_bytes, zstd_level } = ArchiveConfig::default();
        Archive {
            flush_interval: flush_interval.into(),
            flush_bytes: Size(flush_bytes),
            zstd_level,
            maintain: Time::seconds(600),
            grace: MaintainConfig::default().grace.into(),
            keep_days: Named::default(),
        }
    }
}

impl Archive {
    /// As the sink takes it.
    pub(crate) fn sink(&self) -> ArchiveConfig {
        ArchiveConfig {
            flush_interval: self.flush_interval.0,
            flush_bytes: self.flush_bytes.0,
            zstd_level: self.zstd_level,
        }
    }

    /// How the tables are kept.
    pub(crate) fn maintenance(&self) -> MaintainConfig {
        MaintainConfig { grace: self.grace.0, retention: self.keep_days.0.clone(), ..MaintainConfig::default() }
    }
}
