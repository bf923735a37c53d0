//! The README's tour, by its commands: what real programs print is in the terminal, in `tail` and in `replay`, every line and
//! in order, whoever wrote it and however; and it is all there after `kill -9`.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::support::dev::{Dev, free_port};
use crate::support::{Scratch, eventually};

const SOON: Duration = Duration::from_secs(30);

impl Dev {
    async fn ok(&self, args: &[&str], stdin: &[u8]) -> String {
        let output = self.command(args, stdin).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {}\n{stderr}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The messages of a card, as `tail` shows them.
    async fn tail(&self, card: &str) -> Vec<String> {
        messages(&self.ok(&["tail", card, "--no-follow", "--history", "5000", "--output", "json"], b"").await)
    }

    /// The newest run of a card.
    async fn run_of(&self, card: &str) -> Option<Value> {
        let url = format!("{}/v1/cards/{card}/runs", self.url());
        let answer = reqwest::Client::new().get(url).bearer_auth(self.token()).send().await.unwrap();
        let page: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        page["runs"].get(0).cloned()
    }

    async fn ended_run_of(&self, card: &str) -> Value {
        eventually(SOON, || async { self.run_of(card).await.filter(|run| run["status"] != "running") }).await
    }

    async fn python(&self, form: &str, card: &str, count: usize) {
        let python = std::env::var("AGENTWORKS_PYTHON").unwrap_or_else(|_| ".tools/venv/bin/python".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/produce.py");
        let status = Command::new(python)
            .arg(script)
            .args(["--brokers", self.brokers(), "--workspace", "default", "--card", card, "--run", "py-run"])
            .args(["--form", form, "--count", &count.to_string()])
            .status()
            .await;
        assert!(status.expect("`make test` sets Python up").success());
    }
}

fn messages(json_lines: &str) -> Vec<String> {
    let message = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        entry["message"].as_str().unwrap().to_owned()
    };
    json_lines.lines().map(message).collect()
}

fn numbered(count: usize, what: &str) -> Vec<String> {
    (0..count).map(|number| format!("{what} {number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_holds_and_survives_kill_9() {
    let scratch = Scratch::new("tour");
    let data = scratch.path().join("data");
    let ports = (free_port(), free_port());
    let dev = Dev::start(&data, ports).await;

    // ship: a program's output, through a pipe.
    let built = numbered(3000, "   Compiling crate");
    dev.ok(&["ship", "--card", "build"], built.join("\n").as_bytes()).await;

    // run: both outputs passed through, the run's end and status known.
    let script = "for i in $(seq 0 499); do echo line $i; done; echo it broke >&2; exit 3";
    let output = dev.command(&["run", "--card", "tests", "--", "sh", "-c", script], b"").await;
    assert_eq!(output.status.code(), Some(3));
    let printed: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(printed, numbered(500, "line"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it broke"));

    // HTTP.
    let line = r#"{"cardId":"curl","runId":"r1","level":"warn","message":"hello from curl"}"#;
    let logs = format!("{}/v1/logs", dev.url());
    let answer = reqwest::Client::new().post(logs).bearer_auth(dev.token()).body(line).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["accepted"], 1, "{answer}");

    // Strangers: JSON by librdkafka's own partitioner, which places by another hash, and Avro by Java's.
    dev.python("json", "python-json", 300).await;
    dev.python("avro", "python-avro", 300).await;

    check(&dev).await;
    dev.kill_9().await;
    let dev = Dev::start(&data, ports).await;
    check(&dev).await;
}

async fn check(dev: &Dev) {
    assert_eq!(dev.tail("build").await, numbered(3000, "   Compiling crate"));
    assert_eq!(dev.tail("curl").await, ["hello from curl"]);
    for form in ["json", "avro"] {
        let lines: Vec<_> = (0..300).map(|number| format!("line {number} from Python, über {form}")).collect();
        assert_eq!(dev.tail(&format!("python-{form}")).await, lines);
    }

    let run = dev.ended_run_of("tests").await;
    let id = run["runId"].as_str().unwrap();
    assert_eq!((&run["status"], &run["exitCode"]), (&Value::from("failed"), &Value::from(3)), "{run}");
    assert_eq!(run["logCount"], 501, "{run}");
    assert!(run["duration"].is_u64(), "{run}");
    // By its id alone a run is found once the store knows it, within seconds.
    let replayed = eventually(SOON, async || {
        let output = dev.command(&["replay", id, "--speed", "1000", "--output", "json"], b"").await;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    });
    let mut replayed = messages(&replayed.await);
    // The two outputs are two pipes: which of their lines came first is known only within each.
    let broke = replayed.iter().position(|line| line == "it broke").expect("what it wrote to standard error");
    replayed.remove(broke);
    assert_eq!(replayed, numbered(500, "line"));
    assert_eq!(dev.run_of("build").await.unwrap()["logCount"], 3000);
}

#[tokio::test]
async fn what_cannot_start_says_what_to_do() {
    let scratch = Scratch::new("refused");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = scratch.path().join("data");
    let output = Command::new(crate::support::agentworks())
        .args(["dev", "--http-port", &port, "--data", data.to_str().unwrap()])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&port) && said.contains("--http-port"), "{said}");
}
