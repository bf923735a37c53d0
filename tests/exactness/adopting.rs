//! Whoever adopts a topic is killed at its writes: the next one finishes it, no lane goes on in another epoch than its
//! topic's, and in the end the store has what the topics have.
//!
//! - `member`: a process that adopts a topic.

mod member;

use std::collections::BTreeMap;
use std::ops::Range;

use agentworks_kafka::SeekPool;
use agentworks_processors::epochs::adopt::{Adopter, LaneReport, TopicReport};
use agentworks_processors::lane::{self, Held};
use agentworks_processors::reader::{LogReader, Scope};
use agentworks_schemas::{Topic, TopicPartition};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};

use crate::checker::{SINKS, first_difference, read_with_gaps};
use crate::failpoint::{Plan, Side};
use crate::log::Log;
use crate::member::{Member, Order, Pace};
use crate::support::eventually;
use crate::support::records::{admin, make_again, produce};
use crate::truth::{Told, Truth};
use crate::world::{PATIENCE, World, is_chaos, seed};
use member::Adopting;

/// The topic that is adopted.
const TOPIC: Topic = Topic::AgentLogs;

const PARTITIONS: i32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_up_what_was_lost_is_finished_by_the_next() {
    let seed = seed("giving up what was lost");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(PARTITIONS, seed).await;
    world.log.load(8, 400).await;
    let mut sinks = Member::start(&order(&world, None));
    world.held(&world.ends().await).await;
    sinks.leave().await;
    sinks.ended(PATIENCE).await.expect("it leaves");

    // While nobody was there more came, and retention took some of it.
    let before = world.ends().await;
    world.log.load(8, 400).await;
    cut_half_since(&world, &before).await;
    let mut sinks = Member::start(&order(&world, None));
    let adopter = Adopter::over(world.store.clone(), SeekPool::new(world.log.settings.clone(), 1)).unwrap();
    let report = async || report_of(&adopter).await;
    let died = async |nth, side, random: &mut StdRng| {
        let plan = Plan { nth, side, ..Plan::drawn(random) };
        println!("  {}", Adopting::new(&world, Some(plan), true).died().await);
    };

    // It notes that it has begun, moves the positions of one lane after the other, and tells all.
    assert!(!report().await.unfinished);
    died(1, Side::Before, &mut random).await;
    assert!(!report().await.unfinished);
    died(1, Side::After, &mut random).await;
    let mut is_restarted = false;
    loop {
        let now = report().await;
        assert!(now.unfinished && !now.remade && now.epoch == 0, "{now:#?}");
        now.lanes.iter().for_each(|lane| is_whole(lane, &before));
        let lost = now.lanes.iter().filter(|lane| lane.lost > 0).count() as u32;
        if lost == 0 {
            break;
        }
        match is_chaos() {
            true => {
                died(2, Side::Before, &mut random).await;
                died(2, Side::After, &mut random).await;
            }
            false => died(random.random_range(2..=1 + lost), Side::After, &mut random).await,
        }
        // Whoever is started meanwhile finds some lanes moved, and others not.
        if !std::mem::replace(&mut is_restarted, true) {
            sinks.kill_9().await;
            sinks = Member::start(&order(&world, None));
        }
    }
    let refused = Adopting::new(&world, None, false).told().await;
    assert!(refused.contains("begun and not finished"), "{refused}");
    if random.random() {
        died(2, Side::Before, &mut random).await;
        assert!(report().await.unfinished);
        assert_eq!(Adopting::new(&world, None, true).told().await, "adopted in epoch 0");
    } else {
        died(2, Side::After, &mut random).await;
    }
    assert!(!report().await.is_stopped());
    let refused = Adopting::new(&world, None, true).told().await;
    assert!(refused.contains("there is nothing to adopt"), "{refused}");
    holds(&world, |_| 0).await;
    sinks.leave().await;
    sinks.ended(PATIENCE).await.expect("it leaves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adopting_what_was_made_again_is_finished_by_the_next() {
    let seed = seed("adopting what was made again");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(PARTITIONS, seed).await;
    world.log.settings.extra.push(("topic.metadata.refresh.interval.ms".into(), "500".into()));
    world.log.load(8, 200).await;
    let sinks = Member::start(&order(&world, None));
    world.held(&world.ends().await).await;
    make_again(&world.log.settings, TOPIC, PARTITIONS).await;
    // More than there was: no offset shows it.
    write(&world.log, TOPIC, 0..900).await;
    let adopter = Adopter::over(world.store.clone(), SeekPool::new(world.log.settings.clone(), 1)).unwrap();
    let report = async || report_of(&adopter).await;
    eventually(PATIENCE, async || report().await.remade.then_some(())).await;

    let died = async |side, random: &mut StdRng| {
        let plan = Plan { side, ..Plan::drawn(random) };
        println!("  {}", Adopting::new(&world, Some(plan), false).died().await);
    };
    died(Side::Before, &mut random).await;
    // Nor does anybody take it for the old one who is started meanwhile, and takes the rest.
    sinks.kill_9().await;
    let sinks = Member::start(&order(&world, None));
    write(&world.log, Topic::SystemLogs, 0..50).await;
    let ends = Truth::read(&world.log.settings).await.ends;
    for (partition, (_, end)) in ends.into_iter().filter(|(partition, _)| partition.topic == Topic::SystemLogs) {
        let is_held = |held: &Held| (held.epoch, held.high) == (0, end);
        let held = async || lane::load(&*world.store, "runs", partition).await.unwrap().filter(is_held);
        eventually(PATIENCE, held).await;
    }
    let now = report().await;
    assert!(now.remade && now.epoch == 0 && now.lanes.iter().all(|lane| lane.epoch == 0), "{now:#?}");
    sinks.kill_9().await;
    died(Side::After, &mut random).await;
    let adopted = report().await;
    assert!(!adopted.remade && adopted.epoch == 1 && adopted.lanes.iter().all(|lane| lane.epoch == 0), "{adopted:#?}");
    let refused = Adopting::new(&world, None, false).told().await;
    assert!(refused.contains("there is nothing to adopt"), "{refused}");

    // As the lanes are begun in the new epoch, and then go on.
    let mut next = 900;
    for round in 0..if is_chaos() { 18 } else { 3 } {
        let only = Some(format!("positions/{}", SINKS[round % SINKS.len()]));
        // The first begins two lanes; positions of several are often moved with one write.
        let nth = random.random_range(1..=if round == 0 { 2 } else { 1 });
        let side = Side::ALL[random.random_range(0..3)];
        let plan = Plan { only, nth, side, ..Plan::drawn(&mut random) };
        let mut dying = Member::start(&order(&world, Some(plan.clone())));
        write(&world.log, TOPIC, next..next + 100).await;
        next += 100;
        let told = dying.ended(PATIENCE).await.unwrap_or_else(|| panic!("it lives beyond: {plan}"));
        println!("  {}", told.unwrap_or_else(|| panic!("it ended without coming to: {plan}")));
    }
    let mut last = Member::start(&order(&world, None));
    holds(&world, |topic| u32::from(topic == TOPIC)).await;
    last.leave().await;
    last.ended(PATIENCE).await.expect("it leaves");
}

/// An order for one that has all partitions back as soon as it is started again.
fn order(world: &World, plan: Option<Plan>) -> Order {
    Order { instance: Some("one".into()), plan, ..world.order(Pace::Eager) }
}

/// Entries of cards of their own.
async fn write(log: &Log, topic: Topic, numbers: Range<usize>) {
    let lines = numbers.map(|number| {
        let card = format!("card-{}", number % 20);
        let json = format!(
            r#"{{"id":"new-{number}","runId":"run-of-{card}","cardId":"{card}","workspaceId":"space","message":"text"}}"#
        );
        (card, json)
    });
    produce(&log.settings.brokers, &log.settings.topics.name(topic), lines).await;
}

/// Takes half of what has come since from the topic, as retention does.
async fn cut_half_since(world: &World, before: &BTreeMap<TopicPartition, i64>) {
    let mut list = TopicPartitionList::new();
    for (partition, end) in world.ends().await {
        let from = before[&partition];
        if partition.topic == TOPIC && from < end {
            let offset = Offset::Offset(from + (end - from + 1) / 2);
            list.add_partition_offset(&world.log.settings.topics.name(TOPIC), partition.partition, offset).unwrap();
        }
    }
    assert!(list.count() > 0);
    admin(&world.log.settings.brokers).delete_records(&list, &AdminOptions::new()).await.unwrap();
}

/// What there is to say of the topic.
async fn report_of(adopter: &Adopter) -> TopicReport {
    // Of a topic that was made a moment ago not everything can be told yet.
    let reports = eventually(PATIENCE, async || adopter.reports().await.ok()).await;
    reports.into_iter().find(|report| report.topic == TOPIC.as_str()).unwrap()
}

/// A lane is where it was, or goes on where the log begins.
fn is_whole(lane: &LaneReport, before: &BTreeMap<TopicPartition, i64>) {
    let end = before[&TopicPartition::new(TOPIC, lane.partition)];
    let is_moved = Some(lane.low) == lane.log_start && lane.high >= lane.low;
    assert!(lane.epoch == 0 && (is_moved || (lane.low, lane.high) == (0, end)), "{lane:?}");
}

/// Waits until every sink holds every partition, from the log's start to its end, in the epoch of its topic; then readers
/// show of every card what the topics hold.
async fn holds(world: &World, epoch_of: impl Fn(Topic) -> u32) {
    let mut truth = Truth::read(&world.log.settings).await;
    let mut missing = Vec::new();
    let is_held = eventually_or_not(async || {
        missing.clear();
        for (partition, (low, high)) in &truth.ends {
            for sink in SINKS {
                let held = lane::load(&*world.store, sink, *partition).await.unwrap();
                let is_it = |held: &Held| (held.epoch, held.low, held.high) == (epoch_of(partition.topic), *low, *high);
                if !held.as_ref().is_some_and(is_it) {
                    missing.push(format!("{sink} in {partition}: {held:?} of {low}..{high}"));
                }
            }
        }
        missing.is_empty()
    })
    .await;
    assert!(is_held, "AGENTWORKS_SEED={}: {missing:#?}", world.seed);
    let reader = LogReader::new(world.store.clone(), SeekPool::new(world.log.settings.clone(), 2));
    for ((workspace, card), told) in &mut truth.cards {
        let scope = Scope::Card { workspace: workspace.clone(), card: card.clone() };
        let in_epoch = |told: &mut Told| told.epoch = epoch_of(told.partition.topic);
        told.entries.iter_mut().for_each(in_epoch);
        let (found, _) = read_with_gaps(&reader, &scope).await.unwrap();
        if let Some(difference) = first_difference(&told.entries, &found) {
            panic!("AGENTWORKS_SEED={}: card {workspace}/{card}: {difference}", world.seed);
        }
    }
}

/// Whether something becomes true in time.
async fn eventually_or_not(mut is_true: impl AsyncFnMut() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_true().await {
        if tokio::time::Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    true
}
