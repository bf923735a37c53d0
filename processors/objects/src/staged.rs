//! What a folder has of writes that were killed in the midst of it: an object is written under its name with `#` and a
//! number, and given its own when it is whole. Lists of objects leave such files out, and nobody else deletes them.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

fn is_staged(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()))
}

/// Deletes those that were last written to before then, in a folder and below. Returns how many.
pub(crate) fn sweep(folder: &Path, before: SystemTime) -> io::Result<u64> {
    let (mut swept, mut folders) = (0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_str().is_some_and(is_staged) {
                // Whoever writes it may be done meanwhile.
                let written = entry.metadata().and_then(|meta| meta.modified());
                if written.is_ok_and(|written| written < before) && fs::remove_file(entry.path()).is_ok() {
                    swept += 1;
                }
            }
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_left_half_written_is_swept_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        for name in ["a/x.parquet#1", "y#12", "y", "y#", "y#1b"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let now = SystemTime::now();
        assert_eq!(sweep(folder.path(), now - Duration::from_secs(60)).unwrap(), 0);
        assert_eq!(sweep(folder.path(), now + Duration::from_secs(60)).unwrap(), 2);
        assert_eq!(sweep(&folder.path().join("none"), now).unwrap(), 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }
}
