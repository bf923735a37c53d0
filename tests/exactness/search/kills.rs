//! Indexers, mergers and searchers are killed at their calls to the object store, one after the other, each going on where
//! the one before died. In the end every entry is indexed once.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::member::{Member, Order, Work};
use super::place::{Call, Place, Plan, Side};
use super::truth::{check, check_alone, difference, expected, requests};
use crate::hands::Batches;
use crate::support::minio::minio;
use crate::support::{Scratch, unique_prefix};
use crate::world::{World, alone, is_chaos, seed};

/// How long it may take until one comes to where it is to die.
const COMES: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_at_any_call_indexes_each_entry_once() {
    let _alone = alone().await;
    let world = World::new(3, seed("search kills")).await;
    let folder = Scratch::new("search");
    let place = Place::Folder(folder.path().join("objects"));
    kill(world, &place, &folder, if is_chaos() { 12 } else { 2 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_at_any_call_to_minio_indexes_each_entry_once() {
    let Some(minio) = minio().await else { return };
    let _alone = alone().await;
    let world = World::new(3, seed("search kills on MinIO")).await;
    let folder = Scratch::new("search");
    let place = Place::Minio(minio.endpoint(), unique_prefix());
    kill(world, &place, &folder, if is_chaos() { 12 } else { 1 }).await;
}

/// Kills so many at each kind of call.
async fn kill(mut world: World, place: &Place, folder: &Scratch, each: u32) {
    let mut random = StdRng::seed_from_u64(world.seed);
    let order = |work, name: &str| Order::new(work, &world, place, &folder.path().join(name));
    // Whoever follows has the partitions at once, and the scratch space of the one before.
    let indexer = Order { instance: Some("one".into()), ..order(Work::Index, "index") };
    let merger = order(Work::Merge, "merge");
    let searcher = order(Work::Search, "search");
    let (mut planned, mut died) = (0, 0);
    // The first versions say where lanes begin.
    let begin = |side, random: &mut StdRng| Plan { call: Call::Publish, side, nth: random.random_range(1..=6) };
    let mut plans = vec![begin(Side::Before, &mut random), begin(Side::After, &mut random)];
    for (call, side) in [(Call::Upload, Side::Before), (Call::Upload, Side::After), (Call::Publish, Side::After)] {
        plans.extend((0..each).map(|_| Plan { call, side, nth: 1 }));
    }
    for plan in plans {
        world.log.load(6, 700).await;
        planned += 1;
        died += u32::from(dies(&indexer, plan).await);
    }
    // One that lives has all the rest.
    let one = Member::start(&indexer);
    let settled = check(&world, place).await;
    one.leave().await;

    let merges = [
        (Call::Upload, Side::Before),
        (Call::Publish, Side::Before),
        (Call::Publish, Side::After),
        (Call::Delete, Side::After),
    ];
    for (call, side) in merges.into_iter().cycle().take(merges.len() * each.div_ceil(2) as usize) {
        // There may be nothing left to merge.
        world.log.load(4, 300).await;
        let one = Member::start(&indexer);
        assert!(check(&world, place).await > settled);
        one.leave().await;
        planned += 1;
        died += u32::from(dies(&merger, Plan { call, side, nth: 1 }).await);
    }
    println!("search kills: {died} of {planned} came to where they were to die");
    assert!(died * 4 >= planned * 3, "{died} of {planned}");
    let mut merging = Member::start(&merger);
    while merging.told(COMES).await.expect("it comes to an end") != "idle" {}
    let entries = check(&world, place).await;
    check_alone(&world, place).await;

    // Copies that were being written when a searcher was killed are not taken for whole ones.
    let batches = Batches::read(&world.log).await;
    let (request, mut cut) = (requests().remove(0), 0);
    for (nth, side) in [(1, Side::Halfway), (2, Side::Before), (1, Side::Halfway), (1, Side::After)] {
        let plan = Some(Plan { call: Call::Download, nth, side });
        let mut dying = Member::start(&Order { plan, ..searcher.clone() });
        // The first may just be told that what it reads broke off.
        cut += u32::from(dying.ask(&request).await.is_none() || dying.ask(&request).await.is_none());
        dying.kill_9().await;
    }
    assert!(cut > 0, "none was killed while it wrote copies");
    let mut searching = Member::start(&searcher);
    for request in requests() {
        let found = searching.ask(&request).await.expect("it lives").unwrap();
        if let Some(difference) = difference(&found, &expected(&batches, &request)) {
            panic!("AGENTWORKS_SEED={}: {}: {difference}", world.seed, request.query);
        }
    }
    searching.leave().await;
    merging.leave().await;
    println!("search kills: {entries} entries, each once; {cut} searchers killed while they wrote copies");
}

/// Starts a member with a plan, and waits until it has died of it; or kills it, if it doesn't come to that.
async fn dies(order: &Order, plan: Plan) -> bool {
    let begun = Instant::now();
    let mut member = Member::start(&Order { plan: Some(plan), ..order.clone() });
    let died = member.dies(COMES).await;
    if died {
        println!("  {:?} died: {plan}, after {:.1?}", order.work, begun.elapsed());
    } else {
        println!("  {:?} killed, for it didn't come to: {plan}", order.work);
        member.kill_9().await;
    }
    died
}
