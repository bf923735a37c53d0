//! The configuration, as the command line reads it.

use crate::support::Scratch;
use crate::support::role::command;

async fn run(args: &[&str], variables: &[(&str, &str)]) -> (bool, String, String) {
    let output = command(args, variables).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn what_is_in_force_is_shown_with_its_source_and_without_secrets() {
    let folder = Scratch::new("config");
    let file = folder.path().join("agentworks.toml");
    std::fs::write(&file, "[kafka]\nbrokers = \"file:9092\"\n\n[runtime]\nmemory = \"300MiB\"\n").unwrap();
    let file = file.to_str().unwrap();
    let variables =
        [("AGENTWORKS__RUNTIME__DRAIN", "20s"), ("AGENTWORKS__AUTH__SECRET", "hunter2hunter2hunter2hunter2hunter2")];
    let (ok, shown, stderr) =
        run(&["config", "show", "--config", file, "--set", "gateway.readers=3", "--brokers", "flag:9092"], &variables)
            .await;
    assert!(ok, "{stderr}");
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap();
    assert!(line("brokers = \"flag:9092\"").ends_with("# the flag --brokers"), "{shown}");
    assert!(line("memory = \"300MiB\"").ends_with(&format!("# {file}:5")), "{shown}");
    assert!(line("drain = \"20s\"").ends_with("# the variable AGENTWORKS__RUNTIME__DRAIN"), "{shown}");
    assert!(line("readers = 3").ends_with("# the flag --set gateway.readers"), "{shown}");
    assert!(line("# secret = (secret)").ends_with("# the variable AGENTWORKS__AUTH__SECRET"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_role_says_everything_that_is_wrong_before_it_starts() {
    let variables = [("AGENTWORKS__RUNTIME__DRAIN", "5m"), ("AGENTWORKS__STORE__URL", "redis://there")];
    for args in [&["process"][..], &["serve", "--check"], &["config", "check"]] {
        let (ok, _, stderr) = run(args, &variables).await;
        assert!(!ok);
        for expected in [
            "runtime.drain = \"5m\" (the variable AGENTWORKS__RUNTIME__DRAIN): expected 0ms to 50s",
            "store.url = \"redis://there\" (the variable AGENTWORKS__STORE__URL): expected embedded:PATH or cql://",
        ] {
            assert!(stderr.contains(expected), "{args:?}: {expected} is not in\n{stderr}");
        }
    }
    let (ok, _, stderr) = run(&["ingest", "--check"], &[]).await;
    assert!(!ok && stderr.contains("auth.secret (default): needed to verify tokens"), "{stderr}");
    let (ok, _, stderr) = run(&["process", "--check"], &[]).await;
    assert!(ok, "{stderr}");
}
