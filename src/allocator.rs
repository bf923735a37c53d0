//! The allocator.

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
use mimalloc::MiMalloc;

/// glibc's own gives back what each segment of the index and each batch has used, and the kernel clears it for the next:
/// that was a third of what indexing costs. See decision 014.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, which the crate doesn't name.
const PURGE_DELAY: mi_option_t = 15;

/// How long memory that nothing lies in is kept for what comes next, in milliseconds; mimalloc's own default is 1000. What
/// sinks take and give back comes again with every segment and every flush.
const KEPT: i64 = 5000;

/// Has memory kept for longer, in a process that takes and gives back much all the time. `MIMALLOC_PURGE_DELAY` says
/// otherwise.
pub(crate) fn keep_longer() {
    // SAFETY: it may be called at any time, by any thread.
    unsafe { mi_option_set_default(PURGE_DELAY, KEPT) };
}
