//! Following partitions.
//!
//! One thread does it all: it asks who leads each partition, keeps a connection to each of these brokers, and has one fetch
//! on its way to each, for all the partitions that it leads. What comes of a fetch is handed over as it came, and the next
//! one leaves at once, for what lies behind.

mod broker;
mod leaders;
mod state;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tracing::error;

use crate::error::FetchError;
use crate::held::Held;
use crate::records::{Aborted, RecordsError};
use crate::settings::Settings;
use state::{Followed, State};

/// How soon something is tried again that failed, at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The number of a following. Each is used once, so that what is told of one that was left can be told apart.
pub type Token = u64;

/// What happens to a partition that is followed.
#[derive(Debug)]
pub struct Event {
    /// In which following.
    pub token: Token,
    /// What.
    pub what: What,
}

/// See [`Event`].
#[derive(Debug)]
pub enum What {
    /// Record batches, from the offset on that was next. Holding any part of `data` counts as [`Settings::held_bytes`].
    Records {
        /// Whole batches.
        data: Bytes,
        /// The offset that was asked for; the first batch may begin before.
        from: i64,
        /// Which transactions in them were aborted.
        aborted: Vec<Aborted>,
    },
    /// Nothing lies behind what was handed over, as far as it may be read: what open transactions have written comes later.
    /// Told once, until something comes.
    AtEnd {
        /// Where the log ends, open transactions and markers included.
        high_watermark: i64,
    },
    /// The next offset isn't in the log, or the log isn't the one any more that was read: it was cut back, or the topic was
    /// made again. It is followed no longer.
    Astray,
    /// What lies in the log can't be taken apart. It is followed no longer.
    Broken(RecordsError),
    /// Something is wrong; it is tried again. Told once, until something comes.
    Fault(FetchError),
}

/// Follows partitions until it is dropped.
#[derive(Debug)]
pub struct Fetcher {
    commands: mpsc::UnboundedSender<Command>,
    ends: Ends,
    last: AtomicU64,
}

#[derive(Debug)]
enum Command {
    Follow { token: Token, topic: String, number: i32, from: i64 },
    Leave(Vec<Token>),
}

/// Where logs end, as of the last answer.
type Ends = Arc<Mutex<HashMap<Token, i64>>>;

/// What the tasks of the thread share.
struct Shared {
    settings: Settings,
    held: Held,
    state: RefCell<State>,
    /// Says that there may be something else to do.
    changed: watch::Sender<()>,
    ends: Ends,
    /// Leaders that need a task.
    leaders: mpsc::UnboundedSender<i32>,
    deliver: Box<dyn Fn(Event)>,
}

impl Shared {
    fn tell(&self, token: Token, what: What) {
        (self.deliver)(Event { token, what });
    }

    fn tell_faults(&self, faults: Vec<(Token, FetchError)>) {
        faults.into_iter().for_each(|(token, fault)| self.tell(token, What::Fault(fault)));
    }

    /// Says of those partitions that are meant what is wrong, where that is news.
    fn blame(&self, fault: &FetchError, is_meant: impl Fn(&mut Followed) -> bool) {
        let mut news = Vec::new();
        for (token, followed) in self.state.borrow_mut().all() {
            if is_meant(followed) && followed.is_news(fault) {
                news.push((token, fault.clone()));
            }
        }
        self.tell_faults(news);
    }

    fn wake(&self) {
        self.changed.send_replace(());
    }

    fn serve(&self, leader: i32) {
        // Its other end lives as long as the tasks do.
        let _ = self.leaders.send(leader);
    }

    /// Follows partitions no longer.
    fn leave(&self, tokens: &[Token]) {
        let (mut state, mut ends) = (self.state.borrow_mut(), self.ends.lock());
        for token in tokens {
            state.leave(*token);
            ends.remove(token);
        }
    }
}

impl Fetcher {
    /// Starts the thread. It calls `deliver` for whatever happens, which mustn't take long.
    ///
    /// # Errors
    /// If there can't be another thread.
    pub fn start(settings: Settings, deliver: impl Fn(Event) + Send + 'static) -> io::Result<Self> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let ends = Ends::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let of_thread = ends.clone();
        thread::Builder::new().name("kafka-fetch".into()).spawn(move || {
            let (to_serve, leaders) = mpsc::unbounded_channel();
            let shared = Rc::new(Shared {
                settings,
                held: Held::default(),
                state: RefCell::default(),
                changed: watch::Sender::new(()),
                ends: of_thread,
                leaders: to_serve,
                deliver: Box::new(deliver),
            });
            LocalSet::new().block_on(&runtime, run(shared, receiver, leaders));
        })?;
        Ok(Fetcher { commands, ends, last: AtomicU64::new(0) })
    }

    /// Follows a partition from an offset on.
    pub fn follow(&self, topic: &str, number: i32, from: i64) -> Token {
        let token = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.command(Command::Follow { token, topic: topic.to_owned(), number, from });
        token
    }

    /// Follows partitions no longer. What was on its way may still be told.
    pub fn leave(&self, tokens: Vec<Token>) {
        self.command(Command::Leave(tokens));
    }

    /// Where a partition's log ends as of the last answer, open transactions and markers included; `None` before the first.
    pub fn end(&self, token: Token) -> Option<i64> {
        self.ends.lock().get(&token).copied()
    }

    /// Whether the thread has ended, which it doesn't by itself: it must have panicked.
    pub fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    fn command(&self, command: Command) {
        // If the thread has ended, that is seen by `has_ended`.
        let _ = self.commands.send(command);
    }
}

/// Works until the fetcher is dropped. All tasks end with this; and this with any of them, which only a panic can end.
/// Whoever uses the fetcher sees that it has ended.
async fn run(
    shared: Rc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut leaders: mpsc::UnboundedReceiver<i32>,
) {
    let mut tasks = JoinSet::new();
    tasks.spawn_local(leaders::find(shared.clone()));
    loop {
        tokio::select! {
            command = commands.recv() => {
                match command {
                    Some(Command::Follow { token, topic, number, from }) => {
                        shared.state.borrow_mut().follow(token, topic, number, from);
                    }
                    Some(Command::Leave(tokens)) => shared.leave(&tokens),
                    None => return,
                }
                shared.wake();
            }
            Some(leader) = leaders.recv() => drop(tasks.spawn_local(broker::serve(shared.clone(), leader))),
            Some(ended) = tasks.join_next() => {
                error!(panicked = ended.is_err(), "a task of the fetcher has ended");
                return;
            }
        }
    }
}

/// Grows from attempt to attempt.
#[derive(Debug)]
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Backoff(BACKOFF.0)
    }

    /// How long to wait now.
    fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(BACKOFF.1);
        now
    }
}
