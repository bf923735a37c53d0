//! What goes wrong: one clear line, and the exit code that says which kind it is.

use std::time::Duration;

use agentworks_schemas::access::Role;
use serde_json::{Value, json};

use super::{bare, command, said};
use crate::support::dev::free_port;
use crate::support::stack::{SECRET, Stack};
use crate::support::{Scratch, unique_prefix};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_has_its_exit_code() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let tail: &[&str] = &["tail", "card"];
    let replay: &[&str] = &["replay", "no-such-run"];
    let hour = Duration::from_secs(3600);
    let other_card = stack.token_with("acme", Role::Viewer, Some(&["another"]), hour);
    let url = format!("http://{}", stack.address);
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    for (args, url, token, code, named) in [
        (tail, url.as_str(), None, 3, "AGENTWORKS_TOKEN"),
        (replay, &url, None, 3, "AGENTWORKS_TOKEN"),
        (tail, &url, Some("garbage"), 3, "the token is not valid"),
        (replay, &url, Some("garbage"), 3, "the token is not valid"),
        (tail, &url, Some(other_card.as_str()), 3, "card"),
        (tail, &nowhere, Some("any"), 5, nowhere.as_str()),
        (replay, &nowhere, Some("any"), 5, "agentworks dev"),
        (tail, "gopher://x", Some("any"), 1, "gopher://x"),
    ] {
        let mut command = bare(args);
        command.env("AGENTWORKS_URL", url);
        if let Some(token) = token {
            command.env("AGENTWORKS_TOKEN", token);
        }
        let output = command.output().await.unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?} {url}: {said}");
        assert!(said.contains(named) && said.lines().count() == 1, "{args:?} {url}: {said}");
        assert!(output.stdout.is_empty());
        if let Some(token) = token.filter(|token| token.len() > 10) {
            assert!(!said.contains(token), "{said}");
        }
    }
    for args in [replay, &["tail", "card", "--run", "no-such-run"]] {
        let output = command(&stack, args).output().await.unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(said(&output).contains("no-such-run"));
    }
    // What clap refuses is a usage error, 2 as everywhere.
    let output = command(&stack, &["tail", "card", "--level", "loud"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minted_token_is_good_for_what_it_says() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let scratch = Scratch::new("token");
    let file = scratch.path().join("jwt.secret");
    std::fs::write(&file, format!("{}\n", SECRET)).unwrap();
    let mint = async |args: &[&str], secret: Option<&str>| {
        let mut command = bare(&[&["token", "--workspace", "acme"], args].concat());
        if let Some(secret) = secret {
            command.env("AGENTWORKS_JWT_SECRET", secret);
        }
        command.current_dir(scratch.path()).output().await.unwrap()
    };
    let me = async |output: std::process::Output| -> Value {
        assert!(output.status.success(), "{}", said(&output));
        let token = String::from_utf8(output.stdout).unwrap();
        crate::rest::get(&stack, token.trim_end(), "/v1/me").await.1
    };
    let file = file.to_str().unwrap();
    let of_file =
        me(mint(&["--secret-file", file, "--role", "writer", "--cards", "a,b/c", "--subject", "ann"], None).await)
            .await;
    assert_eq!(of_file["workspace"], "acme");
    assert_eq!(
        (&of_file["role"], &of_file["subject"], &of_file["cards"]),
        (&json!("writer"), &json!("ann"), &json!(["a", "b/c"]))
    );
    let of_variable = me(mint(&["--role", "viewer"], Some(SECRET)).await).await;
    assert_eq!((&of_variable["role"], of_variable.get("cards")), (&json!("viewer"), None));
    let of_folder = me(mint(&["--data", scratch.path().to_str().unwrap(), "--ttl", "1h"], None).await).await;
    assert_eq!(of_folder["role"], "viewer");

    for (args, secret, named) in [
        (&[][..], None, "AGENTWORKS_JWT_SECRET"),
        (&[][..], Some("short"), "at least 32"),
        (&["--secret-file", "/nowhere"][..], None, "/nowhere"),
    ] {
        let output = mint(args, secret).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(named) && !said(&output).contains("short\n"), "{}", said(&output));
    }
    stack.stop().await;
}
