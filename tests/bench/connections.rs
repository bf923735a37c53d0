//! What an idle connection costs in resident memory: the gateway's, authenticated and watching a card, beside Centrifugo's
//! and a bare tokio-tungstenite's. Then what ten thousand of them and a thousand paused replays come to in one gateway.

use std::time::Duration;

use crate::crowd::{Crowd, Opening};
use crate::proc::{raise_open_files, rss, threads};
use crate::servers::{Beside, Gateway};

/// Connections, those of them that are there before memory is first looked at, cards, and replays.
struct Scale {
    connections: usize,
    before: usize,
    cards: usize,
    replays: usize,
}

const FULL: Scale = Scale { connections: 10_000, before: 10, cards: 1_000, replays: 1_000 };
const SMALL: Scale = Scale { connections: 500, before: 10, cards: 50, replays: 50 };
/// What files a process has open besides its connections.
const OTHER_FILES: u64 = 500;
/// How long a server has to settle, for one that collects its garbage to do so.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures and prints.
pub fn run() {
    let scale = if crate::is_small() { SMALL } else { FULL };
    let (files, needed) = (raise_open_files(), (scale.connections + scale.replays) as u64 + OTHER_FILES);
    if files < needed {
        println!("skipped: {needed} open files are needed, and the hard limit is {files} (`ulimit -Hn`)");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("| {} idle connections | KiB each | RSS before | RSS | threads |", scale.connections);
        println!("|---|---|---|---|---|");
        let bare = Beside::bare().await;
        drop(measure("tokio-tungstenite", bare.pid(), &scale, |_| bare.client()).await);
        for (name, arguments) in [("Centrifuge", &[][..]), ("Centrifuge, write buffers pooled", &["-pooled"])] {
            if let Some(theirs) = Beside::centrifuge(arguments).await {
                let subscriber = |n: usize| theirs.subscriber(&format!("card-{}", n % scale.cards));
                drop(measure(name, theirs.pid(), &scale, subscriber).await);
            }
        }
        let cards: Vec<_> = (0..scale.cards).map(|n| format!("card-{n}")).collect();
        let ours = Gateway::start(&cards).await;
        let viewer = |n: usize| ours.viewer(&cards[n % scale.cards]);
        let idle = measure("gateway (≤ 16)", ours.pid(), &scale, viewer).await;

        let (before, name) = (rss(ours.pid()), format!("and {} paused replays", scale.replays));
        let replays = Crowd::gather((0..scale.replays).map(|_| ours.paused_replay()).collect());
        print(&name, ours.pid(), scale.replays, before).await;
        assert_eq!((idle.iter().map(Crowd::lost).sum(), replays.lost()), (0, 0));
    });
}

/// Connects clients, prints what they cost, and returns them.
async fn measure(name: &str, pid: u32, scale: &Scale, client: impl Fn(usize) -> Opening) -> [Crowd; 2] {
    // What is made once is there then.
    let first = Crowd::gather((0..scale.before).map(&client).collect());
    tokio::time::sleep(SETTLE).await;
    let before = rss(pid);
    let rest = Crowd::gather((scale.before..scale.connections).map(&client).collect());
    print(name, pid, scale.connections - scale.before, before).await;
    assert_eq!((first.lost(), rest.lost()), (0, 0), "{name}: connections have ended");
    [first, rest]
}

async fn print(name: &str, pid: u32, count: usize, before: u64) {
    tokio::time::sleep(SETTLE).await;
    let (after, mib) = (rss(pid), |bytes: u64| bytes as f64 / f64::from(1 << 20));
    let each = after.saturating_sub(before) as f64 / 1024.0 / count as f64;
    println!("| {name} | {each:.1} | {:.0} MiB | {:.0} MiB | {} |", mib(before), mib(after), threads(pid));
}
