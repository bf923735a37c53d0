//! Which watched cards may have records where the hub doesn't look for them yet.
//!
//! Where a card's records lie is known to the store, and may change while it is watched: partitions get added, and not
//! everybody places as our producers do. To ask the store about every card every few seconds is too much where many are
//! watched. So it is asked first about those of which a record was seen in a partition that isn't theirs, for the hub reads
//! most partitions when it has many cards; and about the others in turn, so many a round.

use std::time::Instant;

use agentworks_processors::reader::Scope;
use agentworks_schemas::TopicPartition;

use super::channel::ChannelId;
use super::core::Core;

/// For so many rounds a suspicion lasts. The hot sink, which tells the store, is some seconds behind the hub.
const ROUNDS: u8 = 10;

impl Core {
    /// Takes note of a record that may lie where its card's channels don't look.
    pub(super) fn suspect(&mut self, partition: TopicPartition, key: Option<&[u8]>) {
        let Some(card) = key.and_then(|key| std::str::from_utf8(key).ok()) else { return };
        for (_, id) in self.by_card.get(card).into_iter().flatten() {
            if let Some(channel) = self.channels.get_mut(id)
                && !channel.reads(partition)
            {
                channel.suspected = ROUNDS;
            }
        }
    }

    /// The cards that the store is to be asked about in this round, at most `count`: the suspected ones first, then those
    /// that it was not asked about for longest.
    pub(super) fn due_for_look(&mut self, now: Instant, count: usize) -> Vec<(ChannelId, Scope)> {
        let mut ids: Vec<_> = self.channels.iter().map(|(id, of)| (of.suspected == 0, of.looked_up, *id)).collect();
        if count < ids.len() {
            ids.select_nth_unstable_by_key(count, |(is_calm, looked_up, id)| (*is_calm, *looked_up, id.0));
            ids.truncate(count);
        }
        let mut due = Vec::with_capacity(ids.len());
        for (.., id) in ids {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.looked_up = now;
                channel.suspected = channel.suspected.saturating_sub(1);
                due.push((id, channel.scope()));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agentworks_schemas::{Cursor, Topic};

    use super::*;
    use crate::hub::testing::{Bench, EVENTS, entry};

    const ELSEWHERE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 1 };

    fn cards(due: Vec<(ChannelId, Scope)>) -> Vec<String> {
        let mut cards: Vec<_> = due.into_iter().map(|(_, scope)| scope.card().to_owned()).collect();
        cards.sort();
        cards
    }

    #[test]
    fn few_are_looked_up_each_round_and_many_in_turn() {
        let mut bench = Bench::new();
        let _viewers: Vec<_> = (0..5).map(|n| bench.viewer("w", &format!("card-{n}"))).collect();
        let later = |seconds| bench.now + Duration::from_secs(seconds);
        let (first, second, third) = (later(3), later(6), later(9));
        assert_eq!(bench.core.due_for_look(first, 9).len(), 5);
        let (mut two, other_two) = (bench.core.due_for_look(second, 2), bench.core.due_for_look(second, 2));
        two.extend(other_two);
        two.extend(bench.core.due_for_look(third, 1));
        assert_eq!(cards(two), ["card-0", "card-1", "card-2", "card-3", "card-4"]);
    }

    #[test]
    fn a_record_out_of_place_has_its_card_looked_up_first_until_it_is_read_there() {
        let mut bench = Bench::new();
        let viewers: Vec<_> = (0..5).map(|n| bench.viewer("w", &format!("card-{n}"))).collect();
        // Somebody else's partition.
        bench.core.join(ELSEWHERE, 0, 0);
        bench.entry(ELSEWHERE, &entry("w", "card-3", "r", "astray"));
        bench.entry(ELSEWHERE, &entry("w", "nobody", "r", "not watched"));
        for _ in 0..ROUNDS {
            bench.now += Duration::from_secs(3);
            assert_eq!(cards(bench.core.due_for_look(bench.now, 1)), ["card-3"], "the store may not know it yet");
        }
        bench.now += Duration::from_secs(3);
        assert_ne!(cards(bench.core.due_for_look(bench.now, 1)), ["card-3"], "it was another tenant's perhaps");

        let (known, events) = (Cursor::from_iter([(ELSEWHERE, 0, 1)]), Cursor::from_iter([(EVENTS, 0, 0)]));
        bench.core.extend(viewers[3].channel, &known, &events);
        bench.entry(ELSEWHERE, &entry("w", "card-3", "r", "expected"));
        assert_ne!(cards(bench.core.due_for_look(bench.now, 1)), ["card-3"]);
    }
}
