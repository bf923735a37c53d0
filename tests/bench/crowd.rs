//! A crowd of WebSocket clients in one thread: cheap, so that it is the servers that are measured, and the same for all
//! of them. It reads what comes in large pieces and looks for nothing but stamps in it.

mod viewer;

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use self::viewer::Viewer;

/// How many handshakes are under way at once.
const AT_ONCE: usize = 64;
/// How much is read at once.
const READ: usize = 256 * 1024;
/// How often the crowd looks for whether it has to end, if nothing comes.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How long a crowd may take to gather.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a client says once a message has come in which certain words are, if anything.
pub type Answer = Box<dyn Fn(&str) -> Option<String> + Send>;

/// How a client connects.
pub struct Opening {
    pub address: SocketAddr,
    /// Path and query.
    pub path: String,
    pub token: Option<String>,
    /// What is said first.
    pub hello: Option<String>,
    /// What is waited for, one after the other: words in a message, and the answer to it. Then the client is there.
    pub steps: Vec<(&'static str, Answer)>,
}

impl Opening {
    /// A client that is there when these words have come.
    pub fn until(address: SocketAddr, path: String, words: &'static str) -> Self {
        let steps: Vec<(_, Answer)> = vec![(words, Box::new(|_: &str| None))];
        Opening { address, path, token: None, hello: None, steps }
    }
}

/// What a crowd was given.
#[derive(Debug, Default)]
struct Seen {
    /// Clients that are there.
    ready: AtomicUsize,
    /// Clients whose connection has ended.
    lost: AtomicUsize,
    /// Stamps that came.
    stamps: AtomicU64,
    /// Bytes that came.
    bytes: AtomicU64,
    /// Of every stamp, how long it took, in microseconds.
    latencies: Mutex<Vec<u32>>,
    stop: AtomicBool,
}

/// Clients that are connected. They leave when this is dropped.
pub struct Crowd {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

/// What was counted up to some moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub stamps: u64,
    pub bytes: u64,
}

impl Crowd {
    /// Connects all of them, and returns when they are there.
    pub fn gather(openings: Vec<Opening>) -> Crowd {
        let (seen, total) = (Arc::new(Seen::default()), openings.len());
        let own = seen.clone();
        let thread = std::thread::Builder::new().name("crowd".to_owned()).spawn(move || Work::new(own).run(openings));
        let crowd = Crowd { seen, thread: Some(thread.unwrap()) };
        let deadline = Instant::now() + PATIENCE;
        while crowd.seen.ready.load(Relaxed) < total {
            let (ready, lost) = (crowd.seen.ready.load(Relaxed), crowd.lost());
            assert!(
                lost == 0 && Instant::now() < deadline,
                "{ready} of {total} clients are there, {lost} were refused"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        crowd
    }

    /// What has come so far.
    pub fn count(&self) -> Count {
        Count { stamps: self.seen.stamps.load(Relaxed), bytes: self.seen.bytes.load(Relaxed) }
    }

    /// How long the stamps took that came since this was asked last, in microseconds.
    pub fn latencies(&self) -> Vec<u32> {
        std::mem::take(&mut self.seen.latencies.lock())
    }

    /// How many connections have ended.
    pub fn lost(&self) -> usize {
        self.seen.lost.load(Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.seen.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has said why it ended, if it panicked.
            let _ = thread.join();
        }
    }
}

/// What a text begins with that says when it was sent; the nanoseconds since 1970 follow, 19 digits.
const STAMP: &str = "@sent:";
const DIGITS: usize = 19;

/// A stamp of this moment.
pub fn stamp() -> String {
    format!("{STAMP}{:019}", now())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// The crowd's thread.
struct Work {
    seen: Arc<Seen>,
    epoll: OwnedFd,
    viewers: Vec<Viewer>,
    /// How many of them are connected and not there yet.
    arriving: usize,
    latencies: Vec<u32>,
}

impl Work {
    fn new(seen: Arc<Seen>) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        Work { seen, epoll, viewers: Vec::new(), arriving: 0, latencies: Vec::new() }
    }

    fn run(mut self, openings: Vec<Opening>) {
        let mut openings = openings.into_iter();
        let mut events = Vec::with_capacity(1024);
        let mut buffer = vec![0; READ];
        while !self.seen.stop.load(Relaxed) {
            while self.arriving < AT_ONCE
                && let Some(opening) = openings.next()
            {
                let stream = TcpStream::connect(opening.address).unwrap();
                stream.set_nodelay(true).unwrap();
                let index = EventData::new_u64(self.viewers.len() as u64);
                epoll::add(&self.epoll, &stream, index, EventFlags::IN).unwrap();
                self.viewers.push(Viewer::open(stream, opening));
                self.arriving += 1;
            }
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
            for event in &events {
                let data = event.data;
                self.read(data.u64() as usize, &mut buffer);
            }
            self.seen.latencies.lock().append(&mut self.latencies);
        }
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        let viewer = &mut self.viewers[index];
        let was_arriving = viewer.is_arriving();
        let Some(bytes) = viewer.receive(buffer) else {
            epoll::delete(&self.epoll, viewer.stream()).unwrap();
            self.seen.lost.fetch_add(1, Relaxed);
            return;
        };
        self.seen.bytes.fetch_add(bytes as u64, Relaxed);
        let (now, mut stamps) = (now(), 0);
        viewer.messages(|text| {
            stamps += each_stamp(text, |sent| self.latencies.push((now.saturating_sub(sent) / 1000) as u32));
        });
        self.seen.stamps.fetch_add(stamps, Relaxed);
        if was_arriving && !viewer.is_arriving() {
            self.arriving -= 1;
            self.seen.ready.fetch_add(1, Relaxed);
        }
    }
}

/// Calls `on` with every stamp in a text; how many there are.
fn each_stamp(text: &[u8], mut on: impl FnMut(u64)) -> u64 {
    let (mut rest, mut count) = (text, 0);
    while let Some(at) = rest.iter().position(|byte| *byte == b'@') {
        rest = &rest[at..];
        let digits = rest.strip_prefix(STAMP.as_bytes()).and_then(|after| after.get(..DIGITS));
        if let Some(sent) = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()) {
            on(sent);
            count += 1;
        }
        rest = &rest[1..];
    }
    count
}
