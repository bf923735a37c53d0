//! The layout of a split's object.
//!
//! | bytes | |
//! |---|---|
//! | | the files, one after the other, some of them [packed](super::packed) |
//! | | the directory: JSON, each file's name, offset, length and CRC-32 as it lies there, and how long a packed one is |
//! | 4 | the directory's length, little-endian |
//! | 4 | the directory's CRC-32, little-endian |
//! | 8 | `AWSPLIT4`; `AWSPLIT1` where terms lay in automata, `AWSPLIT2` where bodies lay in the index, `AWSPLIT3` where nothing was packed |
//!
//! The directory and what follows it are the footer. Its SHA-256 is in the manifest: a footer that somebody else wrote is
//! refused, however well its own checksums fit.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"AWSPLIT4";
/// What versions before wrote.
const BEFORE: [&[u8; 8]; 3] = [b"AWSPLIT1", b"AWSPLIT2", b"AWSPLIT3"];
const TRAILER: usize = 16;
/// More files than any split has.
const MAX_FILES: usize = 1 << 16;

/// A file in a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) crc32: u32,
    /// How long it is unpacked, if it is packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unpacked: Option<u64>,
}

impl FileEntry {
    pub(super) fn range(&self) -> Range<usize> {
        self.offset as usize..(self.offset + self.length) as usize
    }
}

/// What is told of a split that a version before has made.
pub(crate) const OF_BEFORE: &str =
    "was made by a version before: `agentworks reindex --from 2020-01-01 --damaged` makes all such again";

/// Whether an object that ends so was made by a version before.
pub(crate) fn is_of_before(end: &[u8]) -> bool {
    BEFORE.iter().any(|before| end.ends_with(&before[..]))
}

/// How many bytes of an object's end are enough to [tell](is_of_before).
pub(crate) const END: u64 = 8;

/// A directory as a footer, and the footer's SHA-256.
pub(super) fn encode(files: &[FileEntry]) -> serde_json::Result<(Vec<u8>, String)> {
    let mut footer = serde_json::to_vec(files)?;
    let (length, crc) = (footer.len() as u32, crc32fast::hash(&footer));
    footer.extend_from_slice(&length.to_le_bytes());
    footer.extend_from_slice(&crc.to_le_bytes());
    footer.extend_from_slice(MAGIC);
    let digest = digest(&footer);
    Ok((footer, digest))
}

fn digest(footer: &[u8]) -> String {
    Sha256::digest(footer).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of an object, with all that the footer says of them checked, their contents included.
///
/// # Errors
/// What is wrong, to be said of the split.
pub(super) fn check(object: &[u8], expected: Option<&str>) -> Result<Vec<FileEntry>, String> {
    let trailer = object.len().checked_sub(TRAILER).ok_or("is cut short")?;
    let (body, end) = object.split_at(trailer);
    if is_of_before(end) {
        return Err(OF_BEFORE.into());
    }
    if &end[8..] != MAGIC {
        return Err("is cut short, or is none".into());
    }
    let number = |at: usize| u32::from_le_bytes([end[at], end[at + 1], end[at + 2], end[at + 3]]);
    let start = body.len().checked_sub(number(0) as usize).ok_or("has a damaged footer")?;
    let (contents, directory) = body.split_at(start);
    if crc32fast::hash(directory) != number(4) {
        return Err("has a damaged footer".into());
    }
    if expected.is_some_and(|expected| digest(&object[start..]) != expected) {
        return Err("has another footer than the manifest says".into());
    }
    let files: Vec<FileEntry> =
        serde_json::from_slice(directory).map_err(|error| format!("has a footer that says nothing: {error}"))?;
    if files.len() > MAX_FILES {
        return Err(format!("has {} files", files.len()));
    }
    // One after the other, with nothing between them.
    let mut next = 0u64;
    for file in &files {
        let end = file.offset.checked_add(file.length).filter(|end| *end <= contents.len() as u64);
        if file.offset != next || end.is_none() {
            return Err(format!("has a footer that puts {} where it can't lie", file.name));
        }
        next += file.length;
        if crc32fast::hash(&contents[file.range()]) != file.crc32 {
            return Err(format!("is damaged in {}", file.name));
        }
    }
    if next != contents.len() as u64 {
        return Err("has more in it than its footer says".into());
    }
    Ok(files)
}
