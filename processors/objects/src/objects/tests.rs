#![allow(clippy::unwrap_used)]

use super::*;

fn s3(options: S3Options) -> Result<Objects, ObjectsError> {
    Objects::open(&ObjectsConfig { url: "s3://bucket/a/b".into(), s3: options })
}

#[tokio::test]
async fn a_folder_is_made_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("with a space").join("ü%41");
    let objects = Objects::open(&ObjectsConfig::at(path.to_str().unwrap())).unwrap();
    objects.put("x/y.bin", "contents".into()).await.unwrap();
    assert_eq!(std::fs::read(path.join("x/y.bin")).unwrap(), b"contents");
    let again = Objects::open(&ObjectsConfig::at(objects.url().as_str())).unwrap();
    assert_eq!(again.get("x/y.bin").await.unwrap(), "contents");
    assert_eq!(again.child("x").get("y.bin").await.unwrap(), "contents");
    assert_eq!(again.child("x").url().as_str(), format!("{}x/", again.url()));
    again.delete("x/y.bin").await.unwrap();
    again.delete("x/y.bin").await.unwrap();
    let error = objects.get("x/y.bin").await.unwrap_err();
    assert!(error.is_not_found() && !error.is_transient(), "{error}");
}

#[tokio::test]
async fn of_many_makers_one_succeeds_and_its_retry_too() {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::folder(folder.path()).unwrap();
    let makers = (0..16).map(|maker| {
        let objects = objects.clone();
        tokio::spawn(async move { objects.create("one", format!("by {maker}").into()).await.unwrap() })
    });
    let mut ours = Vec::new();
    for (maker, task) in makers.collect::<Vec<_>>().into_iter().enumerate() {
        if task.await.unwrap() == Created::Ours {
            ours.push(maker);
        }
    }
    let [winner] = ours[..] else { panic!("{ours:?}") };
    assert_eq!(objects.get("one").await.unwrap(), format!("by {winner}"));
    assert_eq!(objects.create("one", format!("by {winner}").into()).await.unwrap(), Created::Ours);
    assert_eq!(objects.create("one", "by another".into()).await.unwrap(), Created::Taken);
}

#[test]
fn a_bucket_is_opened_with_its_options() {
    let options = S3Options {
        endpoint: Some("http://127.0.0.1:9".into()),
        region: Some("eu-central-1".into()),
        access_key_id: Some("id".into()),
        secret_access_key: Some("hush".into()),
        session_token: None,
        allow_http: true,
    };
    let objects = s3(options.clone()).unwrap();
    assert_eq!((objects.url().as_str(), objects.path("x").as_ref()), ("s3://bucket/a/b/", "a/b/x"));
    assert!(!format!("{objects:?}").contains("hush"));
    for (options, named) in [
        (S3Options { allow_http: false, ..options.clone() }, "allow_http"),
        (S3Options { endpoint: Some("minio:9000".into()), ..options.clone() }, "endpoint"),
        (S3Options { access_key_id: None, ..options.clone() }, "access_key_id"),
        (S3Options { secret_access_key: None, ..options.clone() }, "secret_access_key"),
    ] {
        let error = s3(options).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("s3://bucket/a/b") && !error.contains("hush"), "{error}");
    }
    let config = ObjectsConfig { url: "/tmp".into(), s3: options };
    assert!(Objects::open(&config).unwrap_err().to_string().contains("s3"));
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Objects::folder(&file.path().join("x")).unwrap_err().to_string();
    assert!(error.contains(file.path().to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn large_objects_are_written_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::folder(folder.path()).unwrap();
    for bytes in [0, PART, PART + 1, 2 * PART + 7] {
        let contents: Bytes = (0..bytes).map(|n| n as u8).collect::<Vec<_>>().into();
        objects.put_large("large", contents.clone()).await.unwrap();
        assert!(objects.get("large").await.unwrap() == contents, "{bytes}");
    }
    let file = objects.file("large").unwrap();
    assert_eq!(std::fs::metadata(file).unwrap().len(), 2 * PART as u64 + 7);
}
