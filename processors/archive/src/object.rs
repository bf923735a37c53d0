//! A Parquet file in an object store.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// How much of a file's end is read at first: most footers are smaller.
const FOOTER_HINT: usize = 64 << 10;

/// Reads one.
#[derive(Clone, Debug)]
pub(crate) struct ObjectReader {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    /// What the log says that its size is, in bytes.
    pub(crate) size: u64,
}

fn wrapped(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl ObjectReader {
    /// Where a footer points is read before it is known to be the one that was written. A store that is asked for what lies
    /// beyond an object refuses as if it had a fault of its own.
    fn check(&self, range: &Range<u64>) -> Result<()> {
        if range.start < range.end && range.end <= self.size {
            return Ok(());
        }
        Err(ParquetError::General(format!("it points to {range:?}, and has {} bytes", self.size)))
    }
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            self.check(&range)?;
            self.store.get_range(&self.path, range).await.map_err(wrapped)
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move {
            ranges.iter().try_for_each(|range| self.check(range))?;
            self.store.get_ranges(&self.path, &ranges).await.map_err(wrapped)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let found = self.store.head(&self.path).await.map_err(wrapped)?.size;
            if found != self.size {
                let size = self.size;
                return Err(ParquetError::General(format!("it has {found} bytes, and the log says {size}")));
            }
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            let reader = reader.with_prefetch_hint(Some(FOOTER_HINT));
            let size = self.size;
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use object_store::PutPayload;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn what_lies_beyond_an_object_is_damage_and_no_fault_of_the_store() {
        let (store, path) = (Arc::new(InMemory::new()), Path::from("file"));
        store.put(&path, PutPayload::from_static(b"0123456789")).await.unwrap();
        let mut reader = ObjectReader { store, path, size: 10 };
        assert_eq!(reader.get_bytes(8..10).await.unwrap(), "89");
        for (start, end) in [(8, 11), (10, 10), (20, 30), (6, 4), (0, u64::MAX)] {
            let error = reader.get_bytes(start..end).await.unwrap_err();
            assert!(matches!(error, ParquetError::General(_)), "{error}");
            let error = reader.get_byte_ranges(vec![0..2, start..end]).await.unwrap_err();
            assert!(matches!(crate::error::ArchiveError::from(error), crate::error::ArchiveError::Corrupt(_)));
        }
    }
}
