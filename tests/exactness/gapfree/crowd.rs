//! Clients in a process of their own: this test binary, started again. So all of them can be stopped at once, as when a
//! laptop is closed.

use std::io::BufRead;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::check::Account;
use super::client::{Client, Last};
use crate::child::{self, Child, tell};
use crate::support::eventually;

const BEGUN: &str = "begun";
const ENDED: &str = "ended";
/// How long clients may take to catch up; where everything runs on two cores, that is as long as it was written.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The card of each client.
    pub cards: Vec<String>,
    pub seed: u64,
    /// Where it is to write what its clients were shown.
    pub file: PathBuf,
    pub news: News,
}

/// What clients have to know.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct News {
    /// Where gateways are, or were.
    pub gateways: Vec<String>,
    pub token: String,
    /// What there is, when it is known.
    pub last: Option<Last>,
    /// Whether the time is over.
    pub is_over: bool,
}

/// A running child. It is killed when this is dropped.
#[derive(Debug)]
pub struct Crowd {
    child: Child,
    file: PathBuf,
}

impl Crowd {
    pub fn start(order: &Order) -> Self {
        Crowd { child: Child::start("gapfree::crowd::process_of_other_tests", order), file: order.file.clone() }
    }

    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    pub async fn tell(&mut self, news: &News) {
        self.child.say(&serde_json::to_string(news).unwrap()).await.unwrap();
    }

    /// Waits until every client has been shown something.
    pub async fn has_begun(&mut self) {
        self.hears(BEGUN).await.expect("clients are shown something");
    }

    /// What its clients were shown, when they have been shown all; or what it was by then, if that takes too long. `news`
    /// says what there is.
    pub async fn accounts(mut self, mut news: News) -> Vec<Account> {
        self.tell(&news).await;
        if self.hears(ENDED).await.is_none() {
            news.is_over = true;
            self.tell(&news).await;
            self.hears(ENDED).await.expect("it answers");
        }
        serde_json::from_slice(&std::fs::read(&self.file).unwrap()).unwrap()
    }

    async fn hears(&mut self, words: &str) -> Option<()> {
        let heard = async { while self.child.told().await.expect("it lives") != words {} };
        timeout(PATIENCE, heard).await.ok()
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn process_of_other_tests() {
    let Some(order) = child::order::<Order>() else { return };
    let (sender, news) = watch::channel(order.news.clone());
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            sender.send_replace(serde_json::from_str(&line.unwrap()).unwrap());
        }
        // The parent is gone.
        std::process::exit(1);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work(order, news));
    std::process::exit(0);
}

async fn work(order: Order, mut news: watch::Receiver<News>) {
    let (mut clients, mut accounts) = (JoinSet::new(), Vec::new());
    for (index, card) in order.cards.iter().enumerate() {
        let (client, account) = Client::new(card, order.seed + index as u64);
        accounts.push(account);
        clients.spawn(client.watch(news.clone()));
    }
    let have_begun = async || accounts.iter().all(|account| !account.lock().seen.is_empty()).then_some(());
    eventually(PATIENCE, have_begun).await;
    tell(BEGUN);
    tokio::select! {
        _ = news.wait_for(|news| news.is_over) => {}
        () = async { while let Some(client) = clients.join_next().await { client.unwrap() } } => {}
    }
    let accounts: Vec<Account> = accounts.iter().map(|account| account.lock().clone()).collect();
    std::fs::write(&order.file, serde_json::to_vec(&accounts).unwrap()).unwrap();
    tell(ENDED);
}
