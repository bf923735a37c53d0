//! Fetching from one broker.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{sleep, sleep_until};
use tracing::debug;

use super::state::{Ask, BY_ID, EPOCH_OF_RECORD, topics};
use super::{Backoff, Shared, What};
use crate::connection::{Connection, error_of};
use crate::error::FetchError;
use crate::records::{Aborted, outline};

/// The first version that tells of aborted transactions.
const LEAST: i16 = 4;
/// The highest that is known here.
const MOST: i16 = 16;
/// What only committed transactions have written.
const READ_COMMITTED: i8 = 1;
/// How soon a partition is asked for again that something is wrong with.
const AGAIN: Duration = Duration::from_millis(200);

/// Fetches from a leader, for ever.
pub(super) async fn serve(shared: Rc<Shared>, leader: i32) {
    let mut changed = shared.changed.subscribe();
    let (mut connection, mut backoff) = (None, Backoff::new());
    loop {
        shared.held.below(shared.settings.held_bytes).await;
        changed.borrow_and_update();
        let (asked, later) = shared.state.borrow().to_ask(leader, shared.settings.partition_bytes);
        if asked.is_empty() {
            match later {
                Some(later) => tokio::select! {
                    // The sender is ours, too, and so it never ends.
                    _ = changed.changed() => {}
                    () = sleep_until(later) => {}
                },
                None => {
                    // What lies idle may be gone by the time that it is needed.
                    connection = None;
                    let _ = changed.changed().await;
                }
            }
            continue;
        }
        match fetch(&shared, leader, &mut connection, &asked).await {
            Ok((answer, version)) => {
                backoff = Backoff::new();
                let throttled = Duration::from_millis(answer.throttle_time_ms.max(0) as u64);
                take(&shared, &asked, answer, version);
                if !throttled.is_zero() {
                    // By a quota. The broker wouldn't read what we sent sooner.
                    sleep(throttled).await;
                }
            }
            Err(error) => {
                debug!(%error, leader, "a fetch failed");
                lost(&shared, leader, &error);
                sleep(backoff.next()).await;
            }
        }
    }
}

/// Asks once; by a new connection if the one there is has been closed. Returns the answer, and its version.
async fn fetch(
    shared: &Shared,
    leader: i32,
    connection: &mut Option<(String, Connection)>,
    asked: &[Ask],
) -> Result<(FetchResponse, i16), FetchError> {
    let address = shared.state.borrow().brokers.get(&leader).cloned();
    let gone = || FetchError::Unreachable { broker: leader.to_string(), reason: "it isn't one any more".into() };
    let address = address.ok_or_else(gone)?;
    if let Some((of, mut known)) = connection.take().filter(|(of, _)| *of == address) {
        match ask(shared, &mut known, asked).await {
            Ok(answer) => {
                *connection = Some((of, known));
                return Ok(answer);
            }
            // As it does with those that lie idle.
            Err(error @ FetchError::Closed { .. }) => debug!(%error, leader, "connecting anew"),
            Err(error) => return Err(error),
        }
    }
    let mut new = Connection::open(&address, &shared.settings, &shared.held).await?;
    let answer = ask(shared, &mut new, asked).await?;
    *connection = Some((address, new));
    Ok(answer)
}

async fn ask(shared: &Shared, connection: &mut Connection, asked: &[Ask]) -> Result<(FetchResponse, i16), FetchError> {
    let have_ids = asked.iter().all(|ask| ask.topic_id.is_some());
    let most = if have_ids { MOST } else { MOST.min(BY_ID - 1) };
    let version = connection.version::<FetchRequest>(LEAST, most)?;
    let settings = &shared.settings;
    let request = FetchRequest::default()
        .with_max_wait_ms(i32::try_from(settings.wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(1)
        .with_max_bytes(settings.answer_bytes)
        .with_isolation_level(READ_COMMITTED)
        .with_topics(topics(asked, version));
    let answer = connection.ask(&request, version, settings.wait).await?;
    match error_of(answer.error_code) {
        None => Ok((answer, version)),
        Some(error) => Err(connection.refused(error)),
    }
}

/// Nothing can be had of this leader: maybe another one leads by now.
fn lost(shared: &Shared, leader: i32, error: &FetchError) {
    shared.blame(error, |followed| followed.leader.take_if(|led_by| *led_by == leader).is_some());
    shared.wake();
}

/// Hands over what an answer holds.
fn take(shared: &Shared, asked: &[Ask], answer: FetchResponse, version: i16) {
    let by_id = version >= BY_ID;
    let of_ask = |ask: &Ask| {
        let id = ask.topic_id.filter(|_| by_id);
        (id, if id.is_some() { StrBytes::default() } else { ask.topic.clone() }, ask.partition.partition)
    };
    let asked: HashMap<_, _> = asked.iter().map(|ask| (of_ask(ask), ask)).collect();
    for topic in answer.responses {
        let id = Some(topic.topic_id).filter(|_| by_id);
        for partition in topic.partitions {
            let Some(ask) = asked.get(&(id, topic.topic.0.clone(), partition.partition_index)) else { continue };
            if let Some(what) = take_one(shared, ask, partition, version) {
                if matches!(what, What::Astray | What::Broken(_)) {
                    shared.leave(&[ask.token]);
                }
                shared.tell(ask.token, what);
            }
        }
    }
    // Those whose leader is to be found out.
    if !shared.state.borrow().leaderless().is_empty() {
        shared.wake();
    }
}

/// What came of a partition. It may have been left meanwhile, or even followed anew from elsewhere.
fn take_one(shared: &Shared, ask: &Ask, answer: PartitionData, version: i16) -> Option<What> {
    let mut state = shared.state.borrow_mut();
    let followed = state.get(ask.token).filter(|followed| followed.next == ask.partition.fetch_offset)?;
    if let Some(error) = error_of(answer.error_code) {
        if error == ResponseError::OffsetOutOfRange && followed.is_beyond {
            return Some(What::Astray);
        }
        followed.put_off(AGAIN);
        // The leader says so of itself, in most cases.
        followed.leader = None;
        if error == ResponseError::OffsetOutOfRange {
            followed.is_beyond = true;
            return None;
        }
        let fault = FetchError::Partition { topic: followed.topic.to_string(), number: followed.number, error };
        return followed.is_news(&fault).then_some(What::Fault(fault));
    }
    if answer.diverging_epoch.end_offset >= 0 {
        return Some(What::Astray);
    }
    shared.ends.lock().insert(ask.token, answer.high_watermark);
    followed.faults.clear();
    (followed.is_beyond, followed.is_compared) = (false, version >= EPOCH_OF_RECORD);
    let from = followed.next;
    let data = answer.records.unwrap_or_default();
    let outline = match outline(&data) {
        Ok(outline) => outline,
        Err(error) => return Some(What::Broken(error)),
    };
    // Of batches that lie before what was asked for there is nothing to be had: the log goes on behind them.
    let Some(outline) = outline.filter(|outline| outline.next > from) else {
        // A leader that doesn't know the last stable offset says -1.
        let end = if answer.last_stable_offset < 0 { answer.high_watermark } else { answer.last_stable_offset };
        let is_news = from >= end && followed.ended_at != Some(from);
        followed.ended_at = Some(from).filter(|from| *from >= end);
        return is_news.then_some(What::AtEnd { high_watermark: answer.high_watermark });
    };
    followed.ended_at = None;
    followed.next = outline.next;
    followed.written_in = outline.leader_epoch;
    followed.was_read = true;
    state.had_its_turn(ask.token);
    let aborted = answer.aborted_transactions.unwrap_or_default();
    let aborted = aborted.iter().map(|one| Aborted { producer_id: one.producer_id.0, first_offset: one.first_offset });
    Some(What::Records { data: data.slice(..outline.whole), from, aborted: aborted.collect() })
}
