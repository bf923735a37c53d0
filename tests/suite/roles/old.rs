//! A Kafka that is too old to be written to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::*;

/// One broker that has every topic it is asked for, and knows nothing of idempotent producers. It speaks as much of the
/// protocol as it takes to say that.
struct OldBroker {
    address: SocketAddr,
}

impl OldBroker {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || OldBroker { address }.serve(stream.unwrap()));
            }
        });
        OldBroker { address }
    }

    /// Answers until the client has gone.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length).ok()?;
            let mut request = vec![0; i32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request).ok()?;
            let (key, version) = (i16::from_be_bytes([request[0], request[1]]), request[3]);
            let mut answer = request[4..8].to_vec();
            match (key, version) {
                // ApiVersions: Metadata 0 to 1 and ApiVersions 0, or that the version asked for isn't known.
                (18, 0) => {
                    answer.extend([0, 0, 0, 0, 0, 2]);
                    answer.extend([0, 3, 0, 0, 0, 1].into_iter().chain([0, 18, 0, 0, 0, 0]));
                }
                (18, _) => answer.extend([0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 0]),
                _ => self.metadata(&request, &mut answer)?,
            }
            stream.write_all(&(answer.len() as u32).to_be_bytes()).ok()?;
            stream.write_all(&answer).ok()?;
        }
    }

    /// Metadata in version 1: the broker, the controller, and the topics that were asked for with a partition each.
    fn metadata(&self, request: &[u8], answer: &mut Vec<u8>) -> Option<()> {
        let numbers =
            |answer: &mut Vec<u8>, numbers: &[i32]| answer.extend(numbers.iter().flat_map(|n| n.to_be_bytes()));
        let string = |answer: &mut Vec<u8>, text: &[u8]| {
            answer.extend((text.len() as u16).to_be_bytes());
            answer.extend(text);
        };
        numbers(answer, &[1, 1]);
        string(answer, b"127.0.0.1");
        numbers(answer, &[i32::from(self.address.port())]);
        answer.extend((-1i16).to_be_bytes());
        // Behind the client's name come the topics'.
        let client = u16::from_be_bytes(request.get(8..10)?.try_into().unwrap());
        let (count, mut names) = request.get(10 + usize::from(client)..)?.split_first_chunk::<4>()?;
        let count = i32::from_be_bytes(*count).max(0);
        numbers(answer, &[1, count]);
        for _ in 0..count {
            let (length, rest) = names.split_first_chunk::<2>()?;
            let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            names = rest;
            answer.extend([0, 0]);
            string(answer, name);
            answer.push(0);
            numbers(answer, &[1]);
            answer.extend([0, 0]);
            numbers(answer, &[0, 1, 1, 1, 1, 1]);
        }
        Some(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_ends_when_its_producer_can_write_no_more() {
    let broker = OldBroker::start();
    let installation = Installation::with(&broker.address.to_string(), "");
    let log = installation.ends(&["ingest"]).await;
    let said = "error: the producer can write no more: ";
    assert!(log.contains(said) && log.contains("Idempotent producer not supported"), "{log}");
}
