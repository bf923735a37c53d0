//! That what is wrong with a folder is said.

use std::fs;

use super::*;
use crate::Column;

const TABLE: Table = Table { name: "table", partition: &[Column::int("part")], clustering: &[], versioned: false };

fn message(result: Result<EmbeddedStore, StoreError>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

/// A folder with a few rows in a table.
async fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder).unwrap();
    let write = |place: i64| Write {
        table: &TABLE,
        key: Key { partition: vec![place.into()], clustering: vec![] },
        version: 0,
        expires: None,
        stats: vec![7; 500].into(),
        payload: Default::default(),
    };
    store.write((0..100).map(write).collect()).await.unwrap();
    store.disk.space(TABLE.name).unwrap().rows.rotate_memtable_and_wait().unwrap();
    folder
}

#[test]
fn a_folder_is_opened_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = EmbeddedStore::open(&folder).unwrap();
    let second = message(EmbeddedStore::open(&folder));
    assert!(second.contains("in use by another process"), "{second}");
    drop(first);
    EmbeddedStore::open(&folder).unwrap();
}

#[test]
fn a_file_is_no_folder() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = message(EmbeddedStore::open(file.path()));
    assert!(error.contains("can't be opened"), "{error}");
}

#[tokio::test]
async fn another_format_is_refused() {
    let folder = filled().await;
    let marker = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let marker = marker.into_iter().find(|path| path.file_name().unwrap() == "version").unwrap();
    fs::write(marker, b"something else").unwrap();
    let error = message(EmbeddedStore::open(&folder));
    assert!(error.contains("move it away"), "{error}");
}

/// Every file in turn, cut short and overwritten: the store opens or says why not; and then a row that was in a table is
/// what was written, or an error. It never panics, nor reads something else.
#[tokio::test]
async fn damage_is_an_error() {
    for spoil in [|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2), |bytes: &mut Vec<u8>| bytes.fill(0xa5)] {
        let files = files(filled().await.path()).len();
        for victim in 0..files {
            let folder = filled().await;
            let path = files_of(&folder)[victim].clone();
            let mut bytes = fs::read(&path).unwrap();
            spoil(&mut bytes);
            fs::write(&path, bytes).unwrap();
            let store = match EmbeddedStore::open(&folder) {
                Ok(store) => store,
                Err(error) => {
                    assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
                    continue;
                }
            };
            let key = Key { partition: vec![7.into()], clustering: vec![] };
            if let Ok(row) = store.get(&TABLE, &key).await {
                let stats = row.map(|row| row.stats);
                assert_eq!(stats.as_deref(), Some(&[7; 500][..]), "after damage to {}", path.display());
            }
        }
    }
}

fn files_of(folder: &tempfile::TempDir) -> Vec<std::path::PathBuf> {
    files(folder.path())
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
