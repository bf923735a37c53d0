//! Unpacking what zstd has packed, and what was unpacked lately: who watches asks the same again, and the next page.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tantivy::directory::OwnedBytes;
use zstd::dict::DecoderDictionary;
use zstd::zstd_safe::{DCtx, get_error_name};

use crate::lately::Lately;

/// How many bytes of blocks are kept, of all files together.
const KEPT: usize = 64 << 20;
/// The same for who reads files as wholes.
const KEPT_APART: usize = 8 << 20;

thread_local! {
    /// What unpacks. To make one asks the processor what it can, which in a virtual machine takes as long as a block.
    static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());

    /// The blocks of who reads files as wholes.
    static APART: RefCell<Option<Blocks>> = const { RefCell::new(None) };
}

/// Blocks of files, by the files' numbers and their own. Files never change.
type Blocks = Lately<(u64, usize), Arc<Unpacked>>;

static BLOCKS: LazyLock<Mutex<Blocks>> = LazyLock::new(|| Mutex::new(Lately::new(KEPT)));

/// A block that is unpacked.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) bytes: OwnedBytes,
    /// Where each thing in it ends, if it has several.
    pub(super) ends: Vec<u32>,
}

/// A number that no other file of this process has.
pub(super) fn number_of_file() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// What `work` unpacks on this thread is kept for itself alone, and no longer: it reads files as wholes, and would drive out
/// all that searches have at hand.
pub(super) fn apart<T>(work: impl FnOnce() -> T) -> T {
    struct Ended(Option<Blocks>);
    impl Drop for Ended {
        fn drop(&mut self) {
            APART.set(self.0.take());
        }
    }
    let _ended = Ended(APART.replace(Some(Lately::new(KEPT_APART))));
    work()
}

/// A block of a file, if it was unpacked lately.
pub(super) fn unpacked(file: u64, block: usize) -> Option<Arc<Unpacked>> {
    APART.with_borrow_mut(|apart| match apart {
        Some(apart) => apart.get(&(file, block)),
        None => BLOCKS.lock().get(&(file, block)),
    })
}

/// Keeps a block of a file for a while.
pub(super) fn keep(file: u64, block: usize, unpacked: Arc<Unpacked>) {
    let bytes = unpacked.bytes.len() + unpacked.ends.len() * size_of::<u32>() + size_of::<Unpacked>();
    APART.with_borrow_mut(|apart| match apart {
        Some(apart) => apart.put((file, block), unpacked, bytes),
        None => BLOCKS.lock().put((file, block), unpacked, bytes),
    });
}

/// Unpacks a frame into `out`, which has nothing in it, and room for so much.
///
/// # Errors
/// If the frame is damaged, or has more than that.
pub(super) fn unpack(
    frame: &[u8],
    dictionary: Option<&DecoderDictionary<'static>>,
    room: usize,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    out.reserve_exact(room);
    let unpacking = CONTEXT.with_borrow_mut(|context| match dictionary {
        Some(known) => context.decompress_using_ddict(out, frame, known.as_ddict()),
        None => context.decompress(out, frame),
    });
    match unpacking {
        Ok(_) => Ok(()),
        Err(code) => Err(io::Error::new(io::ErrorKind::InvalidData, get_error_name(code))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_apart_drives_nothing_out_and_leaves_nothing() {
        let block = |byte| Arc::new(Unpacked { bytes: OwnedBytes::new(vec![byte; 1000]), ends: Vec::new() });
        let (one, other) = (number_of_file(), number_of_file());
        keep(one, 0, block(1));
        apart(|| {
            assert!(unpacked(one, 0).is_none());
            keep(other, 0, block(2));
            assert!(unpacked(other, 0).is_some());
        });
        assert!(unpacked(one, 0).is_some() && unpacked(other, 0).is_none());
    }
}
