//! The page in a real browser, where there is a Chromium: driven by its DevTools protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>).

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::stack::Stack;
use crate::support::{Scratch, unique_prefix};

const PATIENCE: Duration = Duration::from_secs(60);

/// A page that is open.
struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    asked: u64,
    _parts: (Child, Scratch),
}

impl Page {
    /// Opens an address; `None` where there is no Chromium.
    async fn open(url: &str) -> Option<Page> {
        let program = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
        let Some(program) = program.into_iter().find(|path| Path::new(path).exists()) else {
            eprintln!("skipped: there is no Chromium here to try the page with");
            return None;
        };
        let folder = Scratch::new("browser");
        let mut command = Command::new(program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.arg(format!("--user-data-dir={}", folder.path().display()));
        command.args(["--remote-debugging-port=0", url]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the browser goes on");
                if let Some((_, address)) = line.split_once("DevTools listening on ws://") {
                    return address.split_once('/').unwrap().0.to_owned();
                }
            }
        };
        let address = timeout(PATIENCE, listening).await.expect("the browser starts in time");
        // What else it says is nobody's concern, but has to go somewhere.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let deadline = Instant::now() + PATIENCE;
        let target = loop {
            let listed = reqwest::get(format!("http://{address}/json/list")).await.unwrap().text().await.unwrap();
            let targets: Vec<Value> = serde_json::from_str(&listed).unwrap();
            if let Some(page) = targets.iter().find(|target| target["type"] == "page") {
                break page["webSocketDebuggerUrl"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < deadline, "no page: {listed}");
            sleep(Duration::from_millis(50)).await;
        };
        let (socket, _) = connect_async(target).await.unwrap();
        let mut page = Page { socket, asked: 0, _parts: (child, folder) };
        page.ask("Runtime.enable", json!({})).await;
        Some(page)
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let question = json!({"id": self.asked, "method": method, "params": params});
        self.socket.send(Message::text(question.to_string())).await.unwrap();
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("an answer in time");
            let Message::Text(text) = message.expect("the browser goes on").unwrap() else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            assert_ne!(message["method"], "Runtime.exceptionThrown", "{message}");
            if message["id"] == self.asked {
                assert!(message["error"].is_null(), "{message}");
                return message["result"].clone();
            }
        }
    }

    /// What an expression of JavaScript comes to.
    async fn says(&mut self, expression: &str) -> Value {
        let result = self.ask("Runtime.evaluate", json!({"expression": expression, "returnByValue": true})).await;
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    async fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.says(expression).await != true {
            if Instant::now() > deadline {
                let text = self.says("document.body.innerText").await;
                panic!("never: {expression}\n{}", text.as_str().unwrap());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a text is shown, or isn't any more.
    async fn shows(&mut self, place: &str, text: &str, wanted: bool) {
        // The page may still be on its way.
        let shown = format!("(document.querySelector('{place}')?.innerText ?? '').includes('{text}')");
        self.until(&format!("{shown} === {wanted}")).await;
    }

    async fn click(&mut self, place: &str) {
        self.says(&format!("document.querySelector('{place}').click()")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_lines_filters_and_replays() {
    let mut stack = Stack::start(&unique_prefix(), 1).await;
    let token = stack.token("acme", Role::Viewer);
    let Some(mut page) = Page::open(&format!("http://{}/#token={token}&card=alpha", stack.address)).await else {
        stack.stop().await;
        return;
    };
    page.shows("#connection", "live", true).await;
    assert_eq!(page.says("location.hash").await, "#card=alpha", "the token is gone from the address");

    // A card that nobody wrote to yet, and then somebody does. What is written is text and nothing else.
    let run = stack.producer.run("acme", "alpha", "run-one");
    run.started().send().await.unwrap().await.unwrap();
    for (level, line) in [(Level::Info, "a first line"), (Level::Error, "a <b>second</b> line")] {
        run.log(level, Source::Agent, "test", line).send().await.unwrap().await.unwrap();
    }
    page.shows("#live", "a first line", true).await;
    page.shows("#live", "a <b>second</b> line", true).await;
    assert_eq!(page.says("document.querySelector('#live b')").await, Value::Null);
    let counted = "document.querySelector('.is-info .chip-count').innerText === '1'";
    page.until(counted).await;

    // Without a level, and with it again: then the beginning comes once more, and is counted once.
    page.click(".is-info").await;
    page.shows("#live", "a first line", false).await;
    page.click(".is-info").await;
    page.shows("#live", "a first line", true).await;
    page.until(counted).await;

    page.until("document.querySelector('.replay-button') !== null").await;
    page.click(".replay-button").await;
    page.until("!document.querySelector('#replay').hidden").await;
    page.shows("#replayed", "a first line", true).await;
    page.click("#replay-stop").await;
    page.until("document.querySelector('#replay').hidden").await;

    stack.stop_gateway().await;
    page.shows("#live", "The connection was lost", true).await;
    page.shows("#connection", "retrying", true).await;
    stack.stop().await;
}
