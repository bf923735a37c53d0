//! The kernel's errors, sorted into what may pass and what doesn't.

use delta_kernel::KernelError;

use crate::error::ArchiveError;

/// Sorts an error.
pub(super) fn sort(error: KernelError) -> ArchiveError {
    match error {
        KernelError::Backtraced { source, .. } => sort(*source),
        KernelError::ObjectStore(error) => error.into(),
        KernelError::Parquet(error) => error.into(),
        KernelError::Arrow(error) => error.into(),
        // Seen when another commits while the log is listed.
        KernelError::MissingVersion(_)
        | KernelError::FileNotFound(_)
        | KernelError::FileAlreadyExists(_)
        | KernelError::IOError(_)
        | KernelError::JoinFailure(_) => ArchiveError::Unavailable(error.to_string()),
        KernelError::Unsupported(_) | KernelError::InvalidTableLocation(_) => ArchiveError::Refused(format!(
            "the table can't be worked with: {error}. It was changed by another program, or by a newer version of this one"
        )),
        error => ArchiveError::Corrupt(error.to_string()),
    }
}

/// Whether it says that there is no table.
pub(super) fn is_no_table(error: &KernelError) -> bool {
    match error {
        KernelError::Backtraced { source, .. } => is_no_table(source),
        KernelError::FileNotFound(_) | KernelError::EmptyLog => true,
        // What an empty folder gives.
        error => error.to_string().contains("No files in log segment"),
    }
}
