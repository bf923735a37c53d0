//! Unpacking what zstd has packed.

use std::cell::RefCell;
use std::io;

use zstd::dict::DecoderDictionary;
use zstd::zstd_safe::{DCtx, get_error_name};

thread_local! {
    /// What unpacks. To make one asks the processor what it can, which in a virtual machine takes as long as a block.
    static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
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
