//! Asks Kafka itself whether it serves.
//!
//! An open port says little: it opens before the broker leads its partitions, and may be somebody else's. So we ask for
//! the metadata, and then for the end of every partition. Kafka serves once the metadata lists our node in our cluster,
//! and each partition has an answer: also a broker that is listed still takes a moment to become a partition's leader.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire;

/// Between two attempts.
const INTERVAL: Duration = Duration::from_millis(25);
/// For one attempt.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of an answer, in bytes. Some ten thousand topics; whoever sends more isn't our Kafka.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Returns when the Kafka of cluster `cluster_id` serves on `port`.
pub(crate) async fn until_ready(port: u16, cluster_id: &str) {
    while !matches!(tokio::time::timeout(PATIENCE, serves(port, cluster_id)).await, Ok(Ok(true))) {
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn serves(port: u16, cluster_id: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let answer = ask(&mut stream, &wire::metadata_request()).await?;
    let metadata = wire::metadata(&answer).ok_or(io::ErrorKind::InvalidData)?;
    if metadata.brokers == 0 || metadata.cluster_id != Some(cluster_id.as_bytes()) {
        return Ok(false);
    }
    let answer = ask(&mut stream, &wire::ends_request(&metadata.topics)).await?;
    Ok(wire::no_errors_in_ends(&answer).ok_or(io::ErrorKind::InvalidData)?)
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(request).await?;
    let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if length > MAX_ANSWER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::TcpListener;

    use super::*;
    use crate::wire::tests::{ends_answer, metadata_answer};

    #[tokio::test]
    async fn it_asks_until_everything_is_there() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let attempts: [&[Vec<u8>]; 5] = [
            // Another Kafka has the port.
            &[metadata_answer(1, "theirs", &[])],
            // No broker has been let in.
            &[metadata_answer(0, "ours", &[])],
            // Something that isn't Kafka.
            &[b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()],
            // A partition without its leader.
            &[metadata_answer(1, "ours", &[("log", 2)]), ends_answer("log", &[0, 6])],
            &[metadata_answer(1, "ours", &[("log", 2)]), ends_answer("log", &[0, 0])],
        ];
        let server = async {
            for answers in attempts {
                let (mut stream, _) = listener.accept().await.unwrap();
                for answer in answers {
                    let length = stream.read_i32().await.unwrap();
                    stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
                    stream.write_i32(answer.len() as i32).await.unwrap();
                    stream.write_all(answer).await.unwrap();
                }
            }
        };
        tokio::join!(server, until_ready(port, "ours"));
    }
}
