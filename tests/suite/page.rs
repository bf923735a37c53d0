//! The terminal page: its files, and the policy they come with.

mod browser;

use agentworks_schemas::access::Role;

use crate::support::stack::Stack;
use crate::support::unique_prefix;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_whole_and_keeps_to_itself() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let client = reqwest::Client::new();
    let get = async |path: &str| client.get(format!("http://{}{path}", stack.address)).send().await.unwrap();

    let page = get("/").await;
    assert_eq!(page.status(), 200);
    let headers = page.headers().clone();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    let policy = headers["content-security-policy"].to_str().unwrap();
    for directive in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    let html = page.text().await.unwrap();
    assert!(
        !html.contains("://") && !html.contains("<style") && !html.contains("style="),
        "nothing from elsewhere, nothing inline"
    );

    // Every file that it asks for, and those that they ask for, is there with the right type and the same policy.
    let mut wanted = vec!["/terminal.js".to_owned(), "/terminal.css".to_owned(), "/icon.svg".to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = wanted.pop() {
        let file = get(&path).await;
        assert_eq!(file.status(), 200, "{path}");
        let kind = file.headers()["content-type"].to_str().unwrap().to_owned();
        let expected = if path.ends_with(".js") {
            "text/javascript"
        } else if path.ends_with(".css") {
            "text/css"
        } else {
            "image/svg+xml"
        };
        assert!(kind.starts_with(expected), "{path}: {kind}");
        assert_eq!(file.headers()["content-security-policy"].to_str().unwrap(), policy);
        let text = file.text().await.unwrap();
        seen.push(path.clone());
        let folder = path.rsplit_once('/').unwrap().0;
        for module in text.split(" from '").skip(1).map(|rest| rest.split('\'').next().unwrap()) {
            let module = format!("{folder}/{}", module.trim_start_matches("./"));
            if !seen.contains(&module) && !wanted.contains(&module) {
                wanted.push(module);
            }
        }
    }
    assert!(seen.len() > 8, "{seen:?}");

    // A browser asks whether it has changed, and mostly it hasn't.
    assert_eq!(headers["cache-control"], "no-cache");
    let again = client.get(format!("http://{}/", stack.address)).header("if-none-match", &headers["etag"]);
    assert_eq!(again.send().await.unwrap().status(), 304);
    let head = client.head(format!("http://{}/terminal.js", stack.address)).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().len()), (200, 0));

    // Nothing else is there, and a token changes nothing about that.
    for path in
        ["/index.html", "/terminal/", "/terminal/../terminal.js%00", "/..%2f..%2fetc%2fpasswd", "/terminal/%2e%2e/x"]
    {
        let url = format!("http://{}{path}", stack.address);
        let answer = client.get(url).bearer_auth(stack.token("acme", Role::Operator)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    stack.stop().await;
}
