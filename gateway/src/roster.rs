//! Who is connected: for operators to see, and for the gateway to tell when it drains.
//!
//! A connection costs a few hundred bytes here. What it has sent and what waits for it is asked of its outbox, and only
//! when somebody wants to know.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use agentworks_schemas::Timestamp;
use agentworks_schemas::access::Claims;
use agentworks_schemas::protocol::Lag;
use agentworks_schemas::topics::partition_of;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::socket::Outbox;
use crate::tenants::Tenant;

/// All connections of this gateway, by workspace. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<Inner>);

type OfWorkspace = BTreeMap<ConnectionId, Arc<Presence>>;

#[derive(Debug, Default)]
struct Inner {
    by_workspace: Mutex<HashMap<Arc<str>, OfWorkspace>>,
    /// Somebody has left.
    left: Notify,
}

/// A connection's id. Ids are in the order in which connections were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(Uuid);

impl ConnectionId {
    /// The id that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text.strip_prefix("conn_")?).ok().map(ConnectionId)?;
        // One form for each.
        (id.to_string() == text).then_some(id)
    }
}

/// `conn_` and 32 hexadecimal digits.
impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn_{}", self.0.simple())
    }
}

/// What is known of a connection.
#[derive(Debug)]
pub struct Presence {
    id: ConnectionId,
    workspace: Arc<str>,
    subject: Box<str>,
    remote: SocketAddr,
    connected: Timestamp,
    /// The card that it was opened for.
    card: Box<str>,
    outbox: Arc<Outbox>,
    tenant: Arc<Tenant>,
    /// In milliseconds since the Unix epoch.
    active: AtomicI64,
    replays: AtomicUsize,
    watched: Mutex<Vec<Watched>>,
}

/// A card that a connection watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Which.
    pub card: Box<str>,
    /// How far its stream is behind, as the client was told last.
    pub lag: Lag,
}

impl Watched {
    fn new(card: &str) -> Self {
        Watched { card: card.into(), lag: Lag { entries: 0, seconds: 0 } }
    }
}

impl Roster {
    /// Lists a connection that was opened for `card`, until the answer is dropped. It is counted among its workspace's.
    /// `None` if that has `limit` already.
    pub fn register(
        &self,
        claims: &Claims,
        limit: usize,
        card: &str,
        remote: SocketAddr,
        outbox: Arc<Outbox>,
        tenant: Arc<Tenant>,
    ) -> Option<Registered> {
        let now = Timestamp::now();
        let mut by_workspace = self.0.by_workspace.lock();
        let (workspace, count) = match by_workspace.get_key_value(claims.workspace.as_str()) {
            Some((workspace, own)) => (Arc::clone(workspace), own.len()),
            None => (Arc::from(claims.workspace.as_str()), 0),
        };
        if count >= limit {
            return None;
        }
        tenant.connected();
        let presence = Arc::new(Presence {
            id: ConnectionId(Uuid::now_v7()),
            workspace: Arc::clone(&workspace),
            subject: claims.subject.as_str().into(),
            remote,
            connected: now,
            card: card.into(),
            outbox,
            tenant,
            active: AtomicI64::new(now.millis()),
            replays: AtomicUsize::new(0),
            watched: Mutex::new(vec![Watched::new(card)]),
        });
        by_workspace.entry(workspace).or_default().insert(presence.id, Arc::clone(&presence));
        Some(Registered { roster: self.clone(), presence })
    }

    /// The connections of a workspace, oldest first, from just after `after`, that `wanted` takes; at most `limit`.
    pub fn of_workspace(
        &self,
        workspace: &str,
        after: Option<ConnectionId>,
        limit: usize,
        wanted: impl Fn(&Presence) -> bool,
    ) -> Vec<Arc<Presence>> {
        use std::ops::Bound;

        let by_workspace = self.0.by_workspace.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let listed = by_workspace.get(workspace).into_iter().flat_map(|own| own.range((from, Bound::Unbounded)));
        listed.map(|(_, presence)| presence).filter(|presence| wanted(presence)).take(limit).cloned().collect()
    }

    /// A connection of a workspace.
    pub fn get(&self, workspace: &str, id: ConnectionId) -> Option<Arc<Presence>> {
        self.0.by_workspace.lock().get(workspace)?.get(&id).cloned()
    }

    /// All connections there are.
    pub fn all(&self) -> Vec<Arc<Presence>> {
        self.0.by_workspace.lock().values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// How many connections were opened for cards of lanes that are another's: `is_home` has an element for each lane.
    pub fn foreign(&self, is_home: &[bool]) -> usize {
        let Ok(lanes) = i32::try_from(is_home.len()) else { return 0 };
        if lanes == 0 {
            return 0;
        }
        let lane = |presence: &&Arc<Presence>| partition_of(presence.card.as_bytes(), lanes) as usize;
        let by_workspace = self.0.by_workspace.lock();
        by_workspace.values().flat_map(BTreeMap::values).filter(|presence| !is_home[lane(presence)]).count()
    }

    /// Waits until nobody is connected.
    pub async fn emptied(&self) {
        loop {
            let mut left = std::pin::pin!(self.0.left.notified());
            left.as_mut().enable();
            if self.0.by_workspace.lock().is_empty() {
                return;
            }
            left.await;
        }
    }
}

impl Presence {
    /// Its id.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whose it is.
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// Who has connected, as the token says.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// From where.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// When.
    pub fn connected(&self) -> Timestamp {
        self.connected
    }

    /// When the client last said something.
    pub fn active(&self) -> Timestamp {
        Timestamp(self.active.load(Ordering::Relaxed))
    }

    /// How many replays are open.
    pub fn replays(&self) -> usize {
        self.replays.load(Ordering::Relaxed)
    }

    /// The card that it was opened for.
    pub fn card(&self) -> &str {
        &self.card
    }

    /// What is counted of its workspace.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// What it is sent through.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The cards that it watches.
    pub fn watched(&self) -> Vec<Watched> {
        self.watched.lock().clone()
    }

    /// Whether it watches a card.
    pub fn watches(&self, card: &str) -> bool {
        self.watched.lock().iter().any(|watched| &*watched.card == card)
    }

    /// The furthest that any of its streams is behind.
    pub fn lag(&self) -> Lag {
        let watched = self.watched.lock();
        let most = |of: fn(&Lag) -> u64| watched.iter().map(|watched| of(&watched.lag)).max().unwrap_or(0);
        Lag { entries: most(|lag| lag.entries), seconds: most(|lag| lag.seconds) }
    }

    /// The client has said something.
    pub(crate) fn touch(&self) {
        self.active.store(Timestamp::now().millis(), Ordering::Relaxed);
    }

    /// So many replays are open.
    pub(crate) fn set_replays(&self, count: usize) {
        self.replays.store(count, Ordering::Relaxed);
    }

    /// It watches a card, until the answer is dropped.
    pub(crate) fn watch(self: &Arc<Self>, card: &str) -> Watching {
        let mut watched = self.watched.lock();
        if !watched.iter().any(|watched| &*watched.card == card) {
            watched.push(Watched::new(card));
        }
        Watching { presence: Arc::clone(self), card: card.into() }
    }

    /// The client was told that a card's stream is so far behind.
    pub(crate) fn lags(&self, card: &str, lag: Lag) {
        if let Some(watched) = self.watched.lock().iter_mut().find(|watched| &*watched.card == card) {
            watched.lag = lag;
        }
    }
}

/// A card that is listed as watched.
#[derive(Debug)]
pub(crate) struct Watching {
    presence: Arc<Presence>,
    card: Box<str>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.presence.watched.lock().retain(|watched| watched.card != self.card);
    }
}

/// A connection that is listed.
#[derive(Debug)]
pub struct Registered {
    roster: Roster,
    presence: Arc<Presence>,
}

impl Registered {
    /// What is listed of it.
    pub fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Presence { id, workspace, .. } = &*self.presence;
        let mut by_workspace = self.roster.0.by_workspace.lock();
        if let Some(own) = by_workspace.get_mut(workspace) {
            own.remove(id);
            if own.is_empty() {
                by_workspace.remove(workspace);
            }
        }
        drop(by_workspace);
        self.roster.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::tenants::Tenants;

    fn register(roster: &Roster, workspace: &str, card: &str) -> Registered {
        register_within(roster, workspace, card, usize::MAX).unwrap()
    }

    fn register_within(roster: &Roster, workspace: &str, card: &str, limit: usize) -> Option<Registered> {
        let (workspace, subject) = (workspace.to_owned(), "somebody".to_owned());
        let claims = Claims { workspace, subject, ..Claims::default() };
        let tenant = Tenants::default().of(&claims.workspace);
        let outbox = Arc::new(Outbox::new(1000));
        roster.register(&claims, limit, card, "127.0.0.1:9".parse().unwrap(), outbox, tenant)
    }

    #[test]
    fn a_workspace_has_as_many_connections_as_it_may() {
        let roster = Roster::default();
        let enter = |roster: &Roster, workspace, limit| register_within(roster, workspace, "card", limit);
        let first = enter(&roster, "a", 2).unwrap();
        let second = enter(&roster.clone(), "a", 2).unwrap();
        assert!(enter(&roster, "a", 2).is_none());
        assert!(enter(&roster, "b", 2).is_some());
        drop(first);
        assert!(enter(&roster, "a", 2).is_some());
        drop(second);
        assert!(roster.0.by_workspace.lock().is_empty());
        assert!(enter(&roster, "c", 0).is_none());
    }

    fn ids(listed: &[Arc<Presence>]) -> Vec<ConnectionId> {
        listed.iter().map(|presence| presence.id()).collect()
    }

    #[test]
    fn a_workspace_has_its_own_and_they_are_paged_in_their_order() {
        let roster = Roster::default();
        let own: Vec<_> = (0..5).map(|n| register(&roster, "a", &format!("card-{n}"))).collect();
        let other = register(&roster, "b", "card-1");
        let all = roster.of_workspace("a", None, 10, |_| true);
        assert_eq!(ids(&all), own.iter().map(|own| own.presence().id()).collect::<Vec<_>>());
        let rest = roster.of_workspace("a", Some(all[1].id()), 2, |_| true);
        assert_eq!(ids(&rest), ids(&all[2..4]));
        let some = roster.of_workspace("a", None, 10, |presence| presence.watches("card-3"));
        assert_eq!(ids(&some), [own[3].presence().id()]);
        let id = other.presence().id();
        assert!(roster.get("a", id).is_none() && roster.get("b", id).is_some());
        assert_eq!(ConnectionId::parse(&id.to_string()), Some(id));
        for wrong in ["", "conn_", &id.to_string()[5..], &id.to_string().to_uppercase()] {
            assert_eq!(ConnectionId::parse(wrong), None);
        }
        drop((own, other));
        assert!(roster.all().is_empty() && roster.0.by_workspace.lock().is_empty());
    }

    #[test]
    fn what_it_watches_and_how_far_it_lags() {
        let roster = Roster::default();
        let registered = register(&roster, "a", "one");
        let presence = registered.presence();
        let first = presence.watch("one");
        let _second = presence.watch("two");
        presence.lags("two", Lag { entries: 7, seconds: 1 });
        presence.lags("one", Lag { entries: 1, seconds: 9 });
        presence.lags("three", Lag { entries: 99, seconds: 99 });
        assert_eq!(presence.watched().len(), 2);
        assert_eq!(presence.lag(), Lag { entries: 7, seconds: 9 });
        drop(first);
        assert_eq!(presence.lag(), Lag { entries: 7, seconds: 1 });
        assert!(!presence.watches("one"));
    }

    #[test]
    fn connections_away_from_home_are_counted_by_their_lanes() {
        let roster = Roster::default();
        let _connections: Vec<_> = (0..100).map(|n| register(&roster, "a", &format!("card-{n}"))).collect();
        let of_lane = |lane| (0..100).filter(|n| partition_of(format!("card-{n}").as_bytes(), 3) == lane).count();
        assert_eq!(roster.foreign(&[true, true, true]), 0);
        assert_eq!(roster.foreign(&[true, false, true]), of_lane(1));
        assert_eq!(roster.foreign(&[]), 0);
    }

    #[tokio::test]
    async fn when_the_last_has_left_it_is_told() {
        let roster = Roster::default();
        roster.emptied().await;
        let (first, second) = (register(&roster, "a", "card"), register(&roster, "b", "card"));
        let mut emptied = Box::pin(roster.emptied());
        assert!(futures_util::poll!(emptied.as_mut()).is_pending());
        drop(first);
        assert!(futures_util::poll!(emptied.as_mut()).is_pending());
        drop(second);
        emptied.await;
    }
}
