//! Reading a body: bounded in bytes and time, as sent and as decoded.

use std::io::{self, Read};
use std::ops::Deref;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use flate2::read::MultiGzDecoder;
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ReceiverConfig;
use super::answer::Refusal;

/// A decoded body, which holds its share of the memory for bodies until it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    _share: Share,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
        match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Encoding::Identity),
            "gzip" | "x-gzip" => Ok(Encoding::Gzip),
            "zstd" => Ok(Encoding::Zstd),
            _ => Err(Refusal::Encoding),
        }
    }
}

pub(super) async fn read(
    headers: &HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    config: &ReceiverConfig,
    memory: &Arc<Semaphore>,
) -> Result<Body, Refusal> {
    let encoding = Encoding::of(headers)?;
    let too_large = Refusal::TooLarge { limit: config.body, decoded: false };
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > config.body) {
        return Err(too_large);
    }
    let mut share = Share::new(memory);
    let mut bytes = Vec::new();
    let reading = async {
        let mut body = std::pin::pin!(body);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Refusal::InvalidBody(format!("the body broke off: {error}")))?;
            if bytes.len() + piece.remaining() > config.body {
                return Err(too_large);
            }
            share.grow(piece.remaining())?;
            bytes.put(piece);
        }
        Ok(())
    };
    tokio::time::timeout(config.body_timeout, reading).await.map_err(|_| Refusal::BodyTimeout)??;
    if encoding == Encoding::Identity {
        return Ok(Body { bytes, _share: share });
    }
    let limit = config.decoded;
    // It may take a while, and nobody else on this thread should.
    let decoded = tokio::task::spawn_blocking(move || decode(encoding, &bytes, limit, share)).await;
    decoded.map_err(|error| Refusal::InvalidBody(format!("the body could not be decoded: {error}")))?
}

fn decode(encoding: Encoding, bytes: &[u8], limit: usize, mut share: Share) -> Result<Body, Refusal> {
    /// A frame may ask for a window of up to 2 GiB; what real encoders use by default is within 8 MiB.
    const WINDOW_LOG: u32 = 23;
    let broken = |error: io::Error| Refusal::InvalidBody(format!("the body can't be decoded: {error}"));
    let mut decoder: Box<dyn Read> = match encoding {
        Encoding::Identity => Box::new(bytes),
        Encoding::Gzip => Box::new(MultiGzDecoder::new(bytes)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(broken)?;
            decoder.window_log_max(WINDOW_LOG).map_err(broken)?;
            Box::new(decoder)
        }
    };
    let mut decoded = Vec::new();
    loop {
        let before = decoded.len();
        decoder.by_ref().take(64 * 1024).read_to_end(&mut decoded).map_err(broken)?;
        if decoded.len() == before {
            return Ok(Body { bytes: decoded, _share: share });
        }
        if decoded.len() > limit {
            return Err(Refusal::TooLarge { limit, decoded: true });
        }
        share.grow(decoded.len() - before)?;
    }
}

/// A request's share of the memory for bodies.
#[derive(Debug)]
struct Share {
    memory: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Share {
    fn new(memory: &Arc<Semaphore>) -> Self {
        Share { memory: Arc::clone(memory), taken: None }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::Busy)?;
        let more = Arc::clone(&self.memory).try_acquire_many_owned(bytes).map_err(|_| Refusal::Busy)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(encoding: Encoding, bytes: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
        decode(encoding, bytes, limit, Share::new(&Arc::new(Semaphore::new(1 << 20)))).map(|body| body.bytes)
    }

    #[test]
    fn both_encodings_are_read_also_in_several_members() {
        let (one, two) = ("one ".repeat(50_000), "two");
        let both = [gzip(one.as_bytes()), gzip(two.as_bytes())].concat();
        assert_eq!(decoded(Encoding::Gzip, &both, 1 << 20).unwrap(), (one.clone() + two).as_bytes());
        let both =
            [zstd::encode_all(one.as_bytes(), 3).unwrap(), zstd::encode_all(two.as_bytes(), 3).unwrap()].concat();
        assert_eq!(decoded(Encoding::Zstd, &both, 1 << 20).unwrap(), (one + two).as_bytes());
    }

    #[test]
    fn bombs_go_off_within_the_limit() {
        let zeros = vec![0; 100 << 20];
        for (encoding, bomb) in
            [(Encoding::Gzip, gzip(&zeros)), (Encoding::Zstd, zstd::encode_all(&*zeros, 3).unwrap())]
        {
            let refused = decoded(encoding, &bomb, 1 << 19);
            assert!(matches!(refused, Err(Refusal::TooLarge { decoded: true, .. })), "{refused:?}");
            let busy = decoded(encoding, &bomb, 1 << 30);
            assert!(matches!(busy, Err(Refusal::Busy)), "beyond the memory for all: {busy:?}");
        }
        let mut window = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        window.window_log(27).unwrap();
        window.include_contentsize(false).unwrap();
        window.write_all(b"small").unwrap();
        let refused = decoded(Encoding::Zstd, &window.finish().unwrap(), 1 << 20);
        assert!(matches!(refused, Err(Refusal::InvalidBody(_))), "{refused:?}");
    }

    #[test]
    fn what_is_cut_or_not_encoded_so_is_refused() {
        let whole = gzip(b"whole and in one piece");
        for bytes in [&whole[..whole.len() - 3], b"plain text"] {
            assert!(matches!(decoded(Encoding::Gzip, bytes, 1 << 20), Err(Refusal::InvalidBody(_))));
        }
        let whole = zstd::encode_all(&b"whole and in one piece"[..], 3).unwrap();
        for bytes in [&whole[..whole.len() - 3], b"plain text"] {
            assert!(matches!(decoded(Encoding::Zstd, bytes, 1 << 20), Err(Refusal::InvalidBody(_))));
        }
    }
}
