//! Whoever erases is killed at its writes and deletions, one after the other, each going on where the one before died. What
//! was erased is hidden from the moment when the first call has returned, and in the end it is in no table; all else equals
//! the topics, and the receipts are true.
//!
//! - `member`: a process that makes an erasure, or clears the tiers of those that were made.
//! - `gate`: has several processes wait until it is their turn, so that they wait for leases at the same time.
//! - `rows`: which rows were ever written, and which of them are left.
//! - `expected`: what is to be left of what the topics hold.

mod expected;
mod gate;
mod member;
mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::erasure::{Eraser, Receipt, Target, Tier};
use agentworks_schemas::Timestamp;
use agentworks_store::{EmbeddedStore, Key, Store};
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{RngExt, SeedableRng};

use crate::checker::Checker;
use crate::child::Child;
use crate::failpoint::{Plan, Side};
use crate::log::{Log, WORKSPACES};
use crate::member::{Member, Pace};
use crate::support::cassandra::cassandra;
use crate::support::{Scratch, eventually};
use crate::world::{PATIENCE, World, is_chaos, seed};
use expected::{Erased, entries_of};
use member::{Order, Work, launch};
use rows::Rows;

/// How long one that clears may take until it comes to where it is to die.
const COMES: Duration = Duration::from_secs(20);

/// So many wait for their turn at a time.
const WAITING: usize = 8;

/// What is deleted, about in the order in which it is, what there is little of before what there is much of; tables by how
/// their names begin.
const DELETED: [&str; 8] =
    ["cards", "hot_blocks", "warm_card_runs", "warm_blocks", "run_marks", "runs_by_card", "runs_by_day", "run_parts"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_while_it_erases_leaves_and_shows_nothing() {
    let seed = seed("erasing");
    let folder = Scratch::new("erasing");
    let store = Arc::new(EmbeddedStore::open(folder.path().join("store")).unwrap());
    erase(store, seed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_while_it_erases_from_cassandra_leaves_and_shows_nothing() {
    if !is_chaos() {
        return println!("this takes minutes: `make chaos` runs it");
    }
    let seed = seed("erasing on Cassandra");
    let (_, store) = cassandra().await.store().await;
    erase(Arc::new(store), seed).await;
}

/// Erases one of the two workspaces, and two runs of the other.
async fn erase(store: Arc<dyn Store>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let rows = Rows::over(store);
    let mut world = World::of(Log::new(2, seed).await, rows.clone(), seed).await;
    fill(&mut world).await;
    let checker = Checker::new(&world.log.settings, world.store.clone(), seed).await;
    let [gone, other] = WORKSPACES;
    let of_other = || checker.truth.runs.iter().filter(|((workspace, _), _)| workspace == other);
    let (long, _) = of_other().max_by_key(|(_, run)| run.entries.len()).unwrap();
    let (some, _) = of_other().filter(|(name, _)| *name != long).choose(&mut random).unwrap();
    let erased = Erased { workspace: gone.into(), runs: vec![long.clone(), some.clone()] };
    let scopes = erased.scopes(&checker.truth);
    let nothing: Vec<_> = scopes.iter().map(|scope| (scope.clone(), Vec::new())).collect();
    let eraser = Eraser::new(checker.reader.clone());

    // Who dies before it has written anything has done nothing.
    let order = |plan: Option<Plan>, work| Order::new(&world, plan, work);
    let workspace = || Work::Erase { workspace: gone.into(), run: None };
    let run =
        |(workspace, run): &(String, String)| Work::Erase { workspace: workspace.clone(), run: Some(run.clone()) };
    let of_journal =
        |nth, side, random: &mut StdRng| Plan { only: Some("erasures".into()), nth, side, ..Plan::drawn(random) };
    dies(launch(&order(Some(of_journal(1, Side::Before, &mut random)), workspace()))).await;
    assert_eq!(eraser.receipts(gone).await.unwrap(), []);
    // One that has told everybody and promised nothing, one that has promised some, and one that lives; of a run likewise.
    let promise = random.random_range(2..=1 + Tier::ALL.len() as u32);
    let side = Side::ALL[random.random_range(0..3)];
    let dying = [
        launch(&order(Some(of_journal(1, Side::After, &mut random)), workspace())),
        launch(&order(Some(of_journal(promise, side, &mut random)), workspace())),
        launch(&order(Some(of_journal(1, Side::After, &mut random)), run(long))),
    ];
    let living = [launch(&order(None, workspace())), launch(&order(None, run(some)))];
    let receipts = async || {
        let (of_gone, of_other) = (eraser.receipts(gone).await.unwrap(), eraser.receipts(other).await.unwrap());
        [of_gone, of_other].concat()
    };
    eventually(PATIENCE, async || (receipts().await.len() == 5).then_some(())).await;

    let mut plans = plans(&rows, gone, &mut random);
    let planned = plans.len();
    let mut waiting = plans.drain(..planned.min(WAITING)).map(|plan| clearer(&order, plan)).collect::<Vec<_>>();
    let last = launch(&order(None, Work::Clear));
    for mut child in living {
        let told = child.told().await.expect("it returns");
        serde_json::from_str::<Receipt>(&told).unwrap_or_else(|_| panic!("{told}"));
        checker.check_scopes(&nothing).await.unwrap_or_else(|faults| panic!("AGENTWORKS_SEED={seed}: {faults}"));
    }
    for child in dying {
        dies(child).await;
    }

    // What comes later under the same names is not erased, whatever is cleared meanwhile.
    let before = rows.keys();
    let mut sinks = Member::start(&sinks_of(&world, Pace::Brisk));
    let now = {
        world.log.load(3, 300).await;
        world.held(&world.ends().await).await;
        let mut now = Checker::new(&world.log.settings, world.store.clone(), seed).await;
        erased.take_from(&mut now.truth, &checker.truth);
        now
    };
    let order = |plan: Option<Plan>, work| Order::new(&world, plan, work);
    let later: Vec<_> = scopes.iter().map(|scope| (scope.clone(), entries_of(&now.truth, scope))).collect();
    let mut died = 0;
    loop {
        for (child, plan) in waiting.drain(..) {
            died += u32::from(is_killed(child, &plan).await);
            now.check_scopes(&later).await.unwrap_or_else(|faults| panic!("AGENTWORKS_SEED={seed}: {plan}: {faults}"));
        }
        if plans.is_empty() {
            break;
        }
        let next = plans.drain(..plans.len().min(WAITING));
        waiting.extend(next.map(|plan| clearer(&order, plan)));
    }
    println!("erasing: {died} of {planned} came to where they were to die");
    assert!(died as usize * 4 >= planned * 3, "{died} of {planned}");
    let mut last = begin(last).await;
    let receipts = eventually(PATIENCE, async || {
        let receipts = receipts().await;
        receipts.iter().all(is_done).then_some(receipts)
    })
    .await;
    last.leave().await;
    sinks.leave().await;
    sinks.ended(PATIENCE).await.expect("it leaves");

    are_true(&receipts, &rows, &before, &erased).await;
    match now.check().await {
        Ok(checked) => println!("erasing: {checked:?}"),
        Err(faults) => panic!("AGENTWORKS_SEED={seed}: {faults}"),
    }
}

/// Fills the store, with a process that is killed on the way, so that there are blocks that nobody relies on.
async fn fill(world: &mut World) {
    world.log.load(12, 800).await;
    // The runs of these have marks.
    world.log.load(2, 4_000).await;
    let first = Member::start(&sinks_of(world, Pace::Eager));
    let is_written = |name: &str| world.store.names().iter().any(|written| written.starts_with(name));
    eventually(PATIENCE, async || ["hot_blocks", "warm_blocks", "run_parts"].into_iter().all(is_written).then_some(()))
        .await;
    first.kill_9().await;
    let mut second = Member::start(&sinks_of(world, Pace::Brisk));
    world.held(&world.ends().await).await;
    second.leave().await;
    second.ended(PATIENCE).await.expect("it leaves");
}

/// An order for one that has all partitions back as soon as it is started again.
fn sinks_of(world: &World, pace: Pace) -> crate::member::Order {
    crate::member::Order { instance: Some("one".into()), ..world.order(pace) }
}

/// Where those are to die that clear: at a deletion in each table that has some, in the order in which tables are cleared;
/// anywhere among blocks; and last at what is said of it.
fn plans(rows: &Rows, gone: &str, random: &mut StdRng) -> Vec<Plan> {
    let tables = rows.deleted_of(gone);
    let kinds: Vec<_> = DELETED.iter().filter_map(|begin| tables.iter().find(|name| name.starts_with(begin))).collect();
    assert!(kinds.len() >= DELETED.len() - 2, "{tables:?}");
    let (chosen, between) = if is_chaos() { (kinds.len(), 20) } else { (4, 2) };
    let chosen: BTreeSet<_> = (0..kinds.len()).sample(random, chosen).into_iter().collect();
    // One row is deleted or isn't.
    let sides = [Side::Before, Side::After];
    let sides = |random: &mut StdRng| if is_chaos() { sides.to_vec() } else { vec![sides[random.random_range(0..2)]] };
    let (mut plans, mut blocks) = (Vec::new(), 0);
    for kind in chosen.into_iter().map(|kind| kinds[kind]) {
        for side in sides(random) {
            // There are many blocks, and of others a few.
            let nth = if kind.contains("blocks") { random.random_range(1..=4) } else { 1 };
            plans.push(Plan { only: Some(kind.clone()), deletions: true, nth, side, ..Plan::drawn(random) });
        }
        blocks = if kind.starts_with("run") { blocks } else { plans.len() };
    }
    for _ in 0..between {
        let (nth, side) = (random.random_range(1..=6), sides(random)[0]);
        plans.insert(random.random_range(0..=blocks), Plan { deletions: true, nth, side, ..Plan::drawn(random) });
    }
    for side in sides(random) {
        plans.push(Plan { only: Some("erasures".into()), deletions: true, side, ..Plan::drawn(random) });
    }
    plans
}

/// One that waits for its turn to clear, and is to die.
fn clearer(order: &impl Fn(Option<Plan>, Work) -> Order, plan: Plan) -> (Child, Plan) {
    (launch(&order(Some(plan.clone()), Work::Clear)), plan)
}

/// Has one that waits begin.
async fn begin(mut child: Child) -> Child {
    let told = tokio::time::timeout(PATIENCE, child.told()).await.expect("it comes to wait");
    assert_eq!(told.as_deref(), Some("waiting"));
    child.say("go").await.unwrap();
    child
}

/// Has one that waits begin, and waits until it has died; or kills it, if it doesn't come to that.
async fn is_killed(child: Child, plan: &Plan) -> bool {
    let mut child = begin(child).await;
    match child.ended(COMES).await {
        Some(told) => println!("  {}", told.unwrap_or_else(|| panic!("it ended without coming to: {plan}"))),
        None => {
            println!("  killed, for it didn't come to: {plan}");
            child.kill_9().await;
            return false;
        }
    }
    true
}

/// Waits until one has died that was to die as it made an erasure.
async fn dies(mut child: Child) {
    let told = child.ended(COMES).await.expect("it lives on").unwrap_or_default();
    assert!(told.starts_with("died: "), "{told}");
    println!("  {told}");
}

/// Whether all is deleted that can be.
fn is_done(receipt: &Receipt) -> bool {
    let is_cleared = |tier| receipt.tiers.iter().any(|state| state.tier == tier && state.cleared.is_some());
    let tiers: &[Tier] = match receipt.erasure.target {
        Target::Workspace => &[Tier::Hot, Tier::Warm, Tier::Runs],
        Target::Run(_) => &[Tier::Warm, Tier::Runs],
    };
    receipt.is_settled() && tiers.iter().all(|tier| is_cleared(*tier))
}

/// Holds the receipts to the rows that are left of those that were there `before`.
async fn are_true(receipts: &[Receipt], rows: &Rows, before: &[rows::Written], erased: &Erased) {
    let now = Timestamp::now();
    let expiring = |target: &dyn Fn(&Target) -> bool, tier| {
        let states =
            receipts.iter().filter(|receipt| target(&receipt.erasure.target)).flat_map(|receipt| &receipt.tiers);
        states.filter(|state| state.tier == tier).any(|state| state.gone_by > Some(now))
    };
    let of_workspace = rows.left(before, &|key: &Key| erased.is_of_workspace(key)).await;
    // In which partitions a card lay, and on which days there were runs, is kept; cards are looked at by the checker.
    let kept = ["card_lanes", "run_days", "cards"];
    for table in of_workspace.iter().filter(|name| !kept.contains(&name.as_str())) {
        let is_said = table == "warm_card_runs" && expiring(&|target| *target == Target::Workspace, Tier::Warm);
        assert!(is_said, "{table} has rows of the workspace, and no receipt says so: {receipts:#?}");
    }
    for run in &erased.runs {
        let is_it = |target: &Target| *target == Target::Run(run.1.clone());
        assert!(expiring(&is_it, Tier::Hot), "hot's blocks hold the run still: {receipts:#?}");
        for table in rows.left(before, &|key: &Key| erased.is_of_run(key, run)).await {
            let is_said = table == "warm_card_runs" && expiring(&is_it, Tier::Warm);
            assert!(is_said, "{table} has rows of run {run:?}, and no receipt says so: {receipts:#?}");
        }
    }
    let begun = rows.left(&rows.keys(), &rows::is_begun).await;
    assert!(begun.is_empty(), "what was begun is noted still");
    for receipt in receipts {
        let Receipt { erasure, tiers } = receipt;
        assert!(tiers.iter().all(|state| state.unreadable_since >= erasure.at), "{receipt:#?}");
    }
    let told: u64 = receipts.iter().flat_map(|receipt| &receipt.tiers).map(|state| state.rows).sum();
    assert!(told <= rows.deletions(), "{told} rows are said to be deleted, of {}", rows.deletions());
}
