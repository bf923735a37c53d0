//! Ending without anybody losing anything.
//!
//! ```text
//! SIGTERM       + delay                      + jitter, and a moment       deadline
//!    │ /readyz 503  │ nothing new is taken       │ who hasn't gone is         │ the rest is closed
//!    │              │ all are told to reconnect  │ closed, one after another  │
//! ```
//! At first nothing changes but what `/readyz` and the ring say, so that balancers and the other gateways have noticed
//! when this one takes no more connections. Then every client is told to connect again after a time of its own, and is
//! served on meanwhile. Clients that don't understand that are closed with 1012 bit by bit, for the same reason: those
//! who come after this gateway shall not get all of them at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentworks_schemas::protocol::{ReconnectInfo, ServerMessage};
use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::info;

use crate::roster::Roster;
use crate::routing::Router;
use crate::server::{DRAINING, Ending};
use crate::socket::{CloseCode, Frame, Waiting};

/// What clients are told.
const REASON: &str = "the gateway restarts: connect again";
/// How long those have to go who were told to wait longest.
const MOMENT: Duration = Duration::from_secs(1);
/// How often some of those are closed that are left.
const STEP: Duration = Duration::from_millis(50);

/// How long the steps of a drain take.
#[derive(Clone, Copy, Debug)]
pub struct DrainConfig {
    /// From the beginning until no more connections are taken.
    pub delay: Duration,
    /// From then on: the longest that a client is told to wait before it connects again.
    pub jitter: Duration,
    /// From the beginning until the last connections are closed. If `delay` and `jitter` leave no time, this decides.
    pub deadline: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        DrainConfig { delay: seconds(3), jitter: seconds(5), deadline: seconds(15) }
    }
}

/// How far a gateway is with its end. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Steps>);

#[derive(Debug, Default)]
struct Steps {
    has_begun: AtomicBool,
    is_closing: AtomicBool,
}

impl Drain {
    /// Whether no new connections are taken any more.
    pub fn is_closing(&self) -> bool {
        self.0.is_closing.load(Ordering::Relaxed)
    }

    /// Fails once it has begun, with what `/readyz` is to say.
    ///
    /// # Errors
    /// Then.
    pub fn check(&self) -> Result<(), String> {
        match self.0.has_begun.load(Ordering::Relaxed) {
            true => Err(format!("{DRAINING}: this gateway is about to end")),
            false => Ok(()),
        }
    }

    /// Has all clients go elsewhere, and returns when they have, or after [`DrainConfig::deadline`]. `ending` is told to
    /// take nothing new on the way, and is yet to be ended.
    pub(crate) async fn run(&self, config: DrainConfig, roster: &Roster, router: &Router, ending: &Ending) {
        let DrainConfig { delay, jitter, deadline } = config;
        let deadline = Instant::now() + deadline;
        self.0.has_begun.store(true, Ordering::Relaxed);
        router.leave();
        info!(connections = roster.all().len(), "draining");
        sleep_until((Instant::now() + delay).min(deadline)).await;

        self.0.is_closing.store(true, Ordering::Relaxed);
        ending.closing.cancel();
        let until = (Instant::now() + jitter).min(deadline);
        let longest = until.saturating_duration_since(Instant::now()).as_millis() as u64;
        for presence in roster.all() {
            let data = ReconnectInfo { after: rand::rng().random_range(0..=longest), reason: REASON.to_owned() };
            presence.outbox().insist(Frame::message(&ServerMessage::Reconnect { data }));
        }
        if timeout_at((until + MOMENT).min(deadline), roster.emptied()).await.is_ok() {
            return;
        }
        let both = async { tokio::join!(close_rest(roster, deadline), roster.emptied()) };
        if timeout_at(deadline, both).await.is_err() {
            info!(connections = roster.all().len(), "not all clients have gone by themselves");
        }
    }
}

/// Closes those who are left, evenly over the time that is left, in an order of their own and not that in which they came.
async fn close_rest(roster: &Roster, deadline: Instant) {
    let mut rest = roster.all();
    rest.shuffle(&mut rand::rng());
    let began = Instant::now();
    let steps = deadline.saturating_duration_since(began).as_millis() / STEP.as_millis();
    let some = rest.len().div_ceil(usize::try_from(steps).unwrap_or(usize::MAX).max(1)).max(1);
    for (step, some) in (0..).zip(rest.chunks(some)) {
        sleep_until(began + STEP * step).await;
        for presence in some {
            presence.outbox().close(CloseCode::Restart, REASON, Waiting::Send);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::VecDeque;

    use agentworks_schemas::access::{Claims, Role};

    use super::*;
    use crate::roster::Registered;
    use crate::routing::RoutingConfig;
    use crate::socket::Outbox;
    use crate::tenants::Tenants;

    const CONFIG: DrainConfig = DrainConfig {
        delay: Duration::from_secs(3),
        jitter: Duration::from_secs(5),
        deadline: Duration::from_secs(15),
    };

    fn crowd(count: usize) -> (Roster, Vec<Registered>) {
        let (roster, tenants) = (Roster::default(), Tenants::default());
        let (workspace, subject) = ("space".to_owned(), "somebody".to_owned());
        let claims =
            Claims { workspace, subject, role: Role::Viewer, cards: None, expires: 0, key: None, token_id: None };
        let register = |_| {
            let outbox = Arc::new(Outbox::new(1000));
            let remote = "127.0.0.1:9".parse().unwrap();
            roster.register(&claims, usize::MAX, "card", remote, outbox, tenants.of("space")).unwrap()
        };
        let registered = (0..count).map(register).collect();
        (roster, registered)
    }

    /// The frames that wait for each, as text, but for the first two bytes.
    fn told(crowd: &[Registered]) -> Vec<Vec<String>> {
        let take = |registered: &Registered| {
            let mut frames = VecDeque::new();
            registered.presence().outbox().take(&mut frames, 9);
            frames.iter().map(|frame| String::from_utf8_lossy(frame.payload()).into_owned()).collect()
        };
        crowd.iter().map(take).collect()
    }

    fn closed(crowd: &[Registered]) -> usize {
        crowd.iter().filter(|registered| registered.presence().outbox().is_closed()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_told_at_once_to_go_at_different_times_and_the_rest_is_closed_bit_by_bit() {
        let (roster, crowd) = crowd(600);
        let (drain, ending, router) = (Drain::default(), Ending::default(), Router::new(RoutingConfig::alone("own")));
        assert!(drain.check().is_ok());
        let running = async { drain.run(CONFIG, &roster, &router, &ending).await };
        let watching = async {
            tokio::time::sleep(Duration::from_millis(2900)).await;
            assert!(drain.check().unwrap_err().starts_with(DRAINING));
            assert!(router.ring().members().is_empty() && !drain.is_closing() && !ending.closing.is_cancelled());
            assert!(told(&crowd).iter().all(Vec::is_empty));
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(drain.is_closing() && ending.closing.is_cancelled() && !ending.shutdown.is_cancelled());
            let mut after: Vec<u64> = Vec::new();
            for frames in told(&crowd) {
                let [frame] = &frames[..] else { panic!("{frames:?}") };
                let message: serde_json::Value = serde_json::from_str(frame).unwrap();
                assert_eq!(message["type"], "reconnect");
                after.push(message["data"]["after"].as_u64().unwrap());
            }
            after.sort_unstable();
            assert!(after[0] < 200 && after[599] > 4800 && after[599] <= 5000, "{after:?}");
            assert!(after.windows(2).all(|pair| pair[1] - pair[0] < 200), "{after:?}");
            // They are served on: at first nobody is closed, then as many in each second.
            tokio::time::sleep(Duration::from_millis(5850)).await;
            assert_eq!(closed(&crowd), 0);
            for second in 1..=6 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(closed(&crowd).abs_diff(100 * second) < 20, "{second}: {}", closed(&crowd));
            }
        };
        let began = Instant::now();
        tokio::join!(running, watching);
        assert_eq!(closed(&crowd), 600);
        assert_eq!(began.elapsed().as_secs(), 15);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_all_have_gone() {
        let (roster, crowd) = crowd(3);
        let (drain, ending, router) = (Drain::default(), Ending::default(), Router::new(RoutingConfig::alone("own")));
        let leaving = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            drop(crowd);
        };
        let began = Instant::now();
        tokio::join!(drain.run(CONFIG, &roster, &router, &ending), leaving);
        assert_eq!(began.elapsed().as_secs(), 4);
    }
}
