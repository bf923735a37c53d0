//! A way to the gateway that can be cut.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Passes connections on to a gateway. Ends when it is dropped.
pub(super) struct Proxy {
    pub(super) address: String,
    connections: Arc<Mutex<JoinSet<()>>>,
    count: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let count = Arc::new(AtomicUsize::new(0));
        let (to, open, counted) = (to.to_owned(), Arc::clone(&connections), Arc::clone(&count));
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let to = to.clone();
                open.lock().unwrap().spawn(async move {
                    if let Ok(mut gateway) = TcpStream::connect(to).await {
                        let _ = copy_bidirectional(&mut client, &mut gateway).await;
                    }
                });
            }
        });
        Proxy { address, connections, count, accepting }
    }

    /// Cuts all connections, in the middle of whatever they carry.
    pub(super) fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }

    /// How many connections there have been.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
