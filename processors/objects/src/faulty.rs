//! A store that fails when it is told to: before a call has done anything, or after it has done everything, as a network
//! does that loses the request or the answer.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// What a call does to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Operation {
    Put,
    Get,
    List,
    Delete,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request got lost: nothing is done.
    Unasked,
    /// The answer got lost: all is done.
    Unanswered,
    /// Of what is read, one half comes. Any other call is as [`Fault::Unanswered`].
    BrokenOff,
}

type Decide = dyn FnMut(Operation, &Path) -> Option<Fault> + Send;

/// A store in front of another one. Clones share what is to fail.
#[derive(Clone)]
pub struct FaultyStore {
    behind: Arc<dyn ObjectStore>,
    decide: Arc<Mutex<Box<Decide>>>,
    calls: Arc<AtomicUsize>,
}

impl FaultyStore {
    /// A store that doesn't fail yet.
    pub fn new(behind: Arc<dyn ObjectStore>) -> Self {
        FaultyStore { behind, decide: Arc::new(Mutex::new(Box::new(|_, _| None))), calls: Arc::default() }
    }

    /// From now on `decide` is asked before each call whether it fails.
    pub fn fail(&self, decide: impl FnMut(Operation, &Path) -> Option<Fault> + Send + 'static) {
        *self.decide.lock() = Box::new(decide);
    }

    /// Fails no more.
    pub fn heal(&self) {
        self.fail(|_, _| None);
    }

    /// How many calls there have been.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn ask(&self, operation: Operation, path: &Path) -> Result<Option<Fault>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match (self.decide.lock())(operation, path) {
            Some(Fault::Unasked) => Err(injected()),
            fault => Ok(fault),
        }
    }
}

fn injected() -> Error {
    Error::Generic { store: "faulty", source: "injected".into() }
}

fn answer<T>(fault: Option<Fault>, result: Result<T>) -> Result<T> {
    if fault.is_some() { result.and_then(|_| Err(injected())) } else { result }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.behind)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.ask(Operation::Put, location)?;
        answer(fault, self.behind.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.ask(Operation::Put, location)?;
        answer(fault, self.behind.put_multipart_opts(location, options).await)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.ask(Operation::Get, location)?;
        let result = self.behind.get_opts(location, options.clone()).await;
        if fault != Some(Fault::BrokenOff) {
            return answer(fault, result);
        }
        let whole = self.behind.get_opts(location, options).await?.bytes().await?;
        let parts = [Ok(whole.slice(..whole.len() / 2)), Err(injected())];
        Ok(GetResult { payload: GetResultPayload::Stream(stream::iter(parts).boxed()), ..result? })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fault = self.ask(Operation::Get, location)?;
        answer(fault, self.behind.get_ranges(location, ranges).await)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let each = move |location: Result<Path>| {
            let this = this.clone();
            async move {
                let location = location?;
                let fault = this.ask(Operation::Delete, &location)?;
                let one = stream::once(async move { Ok(location) }).boxed();
                let deleted = this.behind.delete_stream(one).next().await;
                answer(fault, deleted.unwrap_or_else(|| Err(injected())))
            }
        };
        locations.then(each).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.ask(Operation::List, prefix.unwrap_or(&Path::default())) {
            Ok(None) => self.behind.list(prefix),
            Ok(Some(_)) | Err(_) => stream::once(async { Err(injected()) }).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.ask(Operation::List, prefix.unwrap_or(&Path::default())) {
            Ok(None) => self.behind.list_with_offset(prefix, offset),
            Ok(Some(_)) | Err(_) => stream::once(async { Err(injected()) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fault = self.ask(Operation::List, prefix.unwrap_or(&Path::default()))?;
        answer(fault, self.behind.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fault = self.ask(Operation::Put, to)?;
        answer(fault, self.behind.copy_opts(from, to, options).await)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use object_store::memory::InMemory;
    use url::Url;

    use super::*;
    use crate::{Created, Objects};

    #[tokio::test]
    async fn an_answer_that_gets_lost_is_made_good_by_asking_again() {
        let store = FaultyStore::new(Arc::new(InMemory::new()));
        let objects = Objects::of(Arc::new(store.clone()), Path::from("p"), Url::parse("memory:///p/").unwrap());
        for fault in [Fault::Unasked, Fault::Unanswered] {
            let name = format!("{fault:?}");
            store.fail(move |operation, _| (operation == Operation::Put).then_some(fault));
            let error = objects.create(&name, "ours".into()).await.unwrap_err();
            assert!(error.is_transient() && error.to_string().contains("memory:///p/"), "{error}");
            store.heal();
            assert_eq!(objects.get(&name).await.is_ok(), fault == Fault::Unanswered);
            assert_eq!(objects.create(&name, "ours".into()).await.unwrap(), Created::Ours);
            assert_eq!(objects.create(&name, "theirs".into()).await.unwrap(), Created::Taken);
        }
        store.fail(|operation, _| (operation == Operation::Delete).then_some(Fault::Unasked));
        assert!(objects.delete("Unasked").await.is_err() && objects.get("Unasked").await.is_ok());
        store.fail(|operation, _| (operation == Operation::Get).then_some(Fault::BrokenOff));
        assert!(objects.get("Unasked").await.unwrap_err().is_transient());
        assert!(store.calls() > 8);
    }
}
