//! The ledger: what was sent and what Kafka acknowledged, on disk, so that a test can tell afterwards whether anything was
//! lost, doubled or changed, whatever died in between.
//!
//! A text file, one JSON object a line, only ever appended to:
//!
//! ```text
//! {"sent":{"n":0,"id":"0198…","workspace":"default","card":"fix-login-1","run":"0198…","sequence":0,"topic":"agent-logs","hash":1234}}
//! {"acked":{"n":0,"partition":3,"offset":1017}}
//! {"failed":{"n":1,"error":"Kafka did not acknowledge the entry in time"}}
//! ```
//!
//! What holds, even when the machine loses its power:
//!
//! - Whatever is in the log was in the ledger before: `sent` is on disk before the first byte goes to Kafka.
//! - Whatever is in the ledger as `acked` is in the log, once, at that offset.
//! - The acknowledgements of the last [`ACK_INTERVAL`] may be missing. Their entries are in the log once, like all `sent`
//!   without a result they are there *at most* once.

mod read;
mod write;

use agentworks_schemas::Topic;
use serde::{Deserialize, Serialize};

use crate::fleet::Record;

pub use read::{Contents, Line, Outcome};
pub use write::{ACK_INTERVAL, Ledger, Results};

/// The ledger can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file can't be opened, written or read.
    #[error("the ledger: {0}")]
    Io(#[from] std::io::Error),
    /// A line is damaged that is not the last one.
    #[error("the ledger is damaged in line {line}: {reason}")]
    Damaged {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// An earlier error ended the writing.
    #[error("the ledger is no longer written, after an earlier error")]
    Stopped,
}

/// A record that was about to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Its number in this ledger, from 0, in the order of sending.
    pub n: u64,
    /// The producer's id.
    pub id: String,
    /// The workspace.
    pub workspace: String,
    /// The card.
    pub card: String,
    /// The run.
    pub run: String,
    /// The number within the run; run events have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// The topic.
    pub topic: Topic,
    /// The [`hash`] of its canonical body.
    pub hash: u64,
}

impl Sent {
    fn new(n: u64, record: &Record, body: &mut Vec<u8>) -> Self {
        record.encode_body(body);
        Sent {
            n,
            id: record.id().into(),
            workspace: record.workspace().into(),
            card: record.card().into(),
            run: record.run().into(),
            sequence: record.sequence(),
            topic: record.topic(),
            hash: hash(body),
        }
    }
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    Sent(Sent),
    Acked { n: u64, partition: i32, offset: Option<i64> },
    Failed { n: u64, error: String },
}

/// The hash of a canonical body, FNV-1a: it has to tell bodies apart that differ by a fault, not by an attack.
pub fn hash(body: &[u8]) -> u64 {
    body.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
