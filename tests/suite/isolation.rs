//! Two workspaces on one gateway, with the same names of cards and runs, and random requests on every surface: no byte of
//! one is ever seen by the other.
//!
//! Every entry and event carries its workspace's canary in all of its fields, and those of one card a second canary, which
//! bearers of tokens for other cards must not see either. All that anybody is sent, headers and error texts too, is
//! searched for the canaries that it must not have. Requests are made up from a printed seed (`AGENTWORKS_SEED` takes it
//! back), with names that look like others, and with positions, page tokens, replays and tokens stolen from others.
//! `AGENTWORKS_ISOLATION` says for how many seconds, if not 20.

mod http;
mod names;
mod principal;
mod search;
mod socket;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use agentworks_gateway::GatewayConfig;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use self::principal::{Loot, Principal};
use self::socket::Socket;
use crate::support::stack::{Stack, StackConfig};
use crate::support::{kafka, unique_prefix};

/// What an environment variable says, or else this.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_a_workspace_is_seen_by_another() {
    let seed = setting("AGENTWORKS_SEED", rand::rng().random_range(0..1 << 32));
    let length = Duration::from_secs(setting("AGENTWORKS_ISOLATION", 20));
    println!("AGENTWORKS_SEED={seed}");
    let gateway = GatewayConfig {
        max_pending: 64 * 1024,
        max_replays: 3,
        max_messages_per_second: 10_000,
        history: 20,
        ..GatewayConfig::default()
    };
    let config = StackConfig { gateway, search: true, ..StackConfig::default() };
    let stack = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 3, config).await;
    let principals: Vec<Arc<Principal>> = principal::all(&stack);
    let loot = Arc::new(Loot::default());
    writer::fill(&stack, &principals).await;
    let writing = writer::go_on(&stack, &principals);

    let mut rng = StdRng::seed_from_u64(seed);
    let mut sockets = Vec::new();
    for principal in principals.iter().cycle().take(2 * principals.len()) {
        sockets.push(Socket::open(&stack.address, principal, &loot, "shared", "").await);
    }
    let began = Instant::now();
    let (mut requests, mut messages) = (0, 0);
    while began.elapsed() < length {
        if rng.random_ratio(1, 3) {
            let principal = principals.choose(&mut rng).unwrap();
            http::any(&stack.address, principal, &principals, &loot, &mut rng).await;
            requests += 1;
        } else {
            let index = rng.random_range(0..sockets.len());
            let principal = Arc::clone(sockets[index].principal());
            if sockets[index].is_closed() || rng.random_ratio(1, 20) {
                sockets[index] = socket::any(&stack.address, &principal, &loot, &mut rng).await;
            } else {
                sockets[index].say(socket::message(&principal, &principals, &loot, &mut rng)).await;
            }
            messages += 1;
        }
    }
    http::everything(&stack.address, &principals, &loot, &mut rng).await;
    for socket in sockets {
        socket.close().await;
    }
    writing.abort();
    println!("{requests} requests, {messages} messages; seen of one's own: {:?}", principal::seen(&principals));
    // Else nothing was looked at.
    for principal in &principals {
        assert!(principal.own_seen() > 100, "{} has seen nothing of its own", principal.name);
    }
    assert!(loot.is_rich(), "nothing was stolen: {loot:?}");
    stack.stop().await;
}
