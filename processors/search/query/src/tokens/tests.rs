#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[track_caller]
fn cut(text: &str, expected: &[&str]) {
    assert_eq!(tokenize(text), expected, "{text:?}");
}

#[test]
fn words_are_cut_into_parts() {
    cut("", &[]);
    cut(" -- ... ✅ ", &[]);
    cut("Rate limit exceeded!", &["rate", "limit", "exceeded"]);
    cut("tool_runner tool-runner ToolRunner toolRunner", &["tool", "runner"].repeat(4));
    cut(
        "HTTPServer parseJSONFile getURL iPhone",
        &["http", "server", "parse", "json", "file", "get", "url", "i", "phone"],
    );
    cut("ABC Abc aBC A", &["abc", "abc", "a", "bc", "a"]);
    cut("don't", &["don", "t"]);
    cut("ÉcoleNormale ÉTÉÉcole", &["école", "normale", "été", "école"]);
}

#[test]
fn ids_stay_whole_between_separators() {
    cut("550e8400-e29b-41d4-a716-446655440000", &["550e8400", "e29b", "41d4", "a716", "446655440000"]);
    cut("E1042 err42Code v2beta1 0xDEADbeef", &["e1042", "err42code", "v2beta1", "0xdeadbeef"]);
    cut("ERR_CONN_RESET HTTP/1.1 429", &["err", "conn", "reset", "http", "1", "1", "429"]);
    cut("12ab 5d", &["12ab", "5d"]);
    cut("10.0.0.7:9092", &["10", "0", "0", "7", "9092"]);
}

#[test]
fn numbers_and_units_are_two() {
    cut("182ms 5GB 3.5s 10µs 1200tokens", &["182", "ms", "5", "gb", "3", "5", "s", "10", "µs", "1200", "tokens"]);
    cut("5GBps", &["5", "gbps"]);
    cut("8x7b", &["8x7b"]);
}

#[test]
fn paths_and_urls() {
    cut("/var/log/agent-7/run.log", &["var", "log", "agent", "7", "run", "log"]);
    cut(
        "https://api.example.com:8443/v1/chat?model=gpt-4o#top",
        &["https", "api", "example", "com", "8443", "v1", "chat", "model", "gpt", "4", "o", "top"],
    );
    cut("std::io::ErrorKind", &["std", "io", "error", "kind"]);
}

#[test]
fn arabic_is_bare() {
    cut("العَرَبِيَّة", &["العربية"]);
    cut("مـــرحبا", &["مرحبا"]);
    cut("أحمد إحمد آحمد ٱحمد", &["احمد", "احمد", "احمد", "احمد"]);
    cut("خطأ ٤٢٩", &["خطا", "429"]);
    cut("ـــ", &[]);
}

#[test]
fn scripts_without_spaces_go_by_character() {
    cut("数据库连接失败", &["数", "据", "库", "连", "接", "失", "败"]);
    cut("API调用error", &["api", "调", "用", "error"]);
    cut("エラー、です。", &["エ", "ラ", "ー", "で", "す"]);
    cut("ไทย", &["ไ", "ท", "ย"]);
    cut("한국어 오류", &["한국어", "오류"]);
    cut("हिन्दी", &["हिन्दी"]);
    cut("ＡＢＣ１２３", &["abc123"]);
}

#[test]
fn tokens_are_cut_at_a_character() {
    cut(&"a".repeat(100), &[&"a".repeat(64)]);
    cut(&"é".repeat(100), &[&"é".repeat(32)]);
    cut(&format!("a{}", "é".repeat(100)), &[&format!("a{}", "é".repeat(31))]);
    cut(&format!("a{} b", "1".repeat(100)), &[&format!("a{}", "1".repeat(63)), "b"]);
}

#[test]
fn offsets_are_those_of_the_text() {
    let text = "é ToolRunner 182ms";
    let mut found = Vec::new();
    for_each(text, |_, bytes, position| found.push((&text[bytes], position)));
    assert_eq!(found, [("é", 0), ("Tool", 1), ("Runner", 2), ("182", 3), ("ms", 4)]);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".*",
        "[a-zA-Z0-9_. -]{0,80}",
        "[a-cA-C0-1ـأاé数ไ\u{301}\u{64b} -]{0,40}",
        proptest::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter),
    ]
}

proptest! {
    #[test]
    fn any_text_has_tokens_in_its_order(text in text()) {
        let (mut last, mut next) = (0, 0);
        for_each(&text, |token, bytes, position| {
            assert!(!token.is_empty() && token.len() <= MAX_TOKEN);
            assert!(bytes.start >= last && bytes.end > bytes.start && text.is_char_boundary(bytes.end));
            assert_eq!(position, next);
            (last, next) = (bytes.end, next + 1);
        });
    }

    /// What is found is found again by what it is called: a token's own tokens are itself.
    #[test]
    fn tokens_are_stable(text in text()) {
        for token in tokenize(&text) {
            let again = tokenize(&token);
            // Cut, or with a character whose lower case is several, it may be another.
            if token.len() < MAX_TOKEN - 4 && token.is_ascii() {
                prop_assert_eq!(again, [token]);
            }
        }
    }

    /// A part of the text that stands between separators has the same tokens there as by itself.
    #[test]
    fn separators_make_independent(left in text(), right in text()) {
        let mut both = tokenize(&left);
        both.extend(tokenize(&right));
        prop_assert_eq!(tokenize(&format!("{left} {right}")), both);
    }

    #[test]
    fn letters_and_digits_are_all_there(text in "[a-z0-9 _-]{0,60}") {
        let all: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        prop_assert_eq!(tokenize(&text).concat(), all);
    }
}
