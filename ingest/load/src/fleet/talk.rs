//! What agents say. The texts are made up, and meant to have the lengths, words and scripts of real ones.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

type Random = Xoshiro256PlusPlus;

/// One of `choices`.
pub(super) fn pick<'a, T: ?Sized>(random: &mut Random, choices: &[&'a T]) -> &'a T {
    choices[random.random_range(0..choices.len())]
}

/// Models, with their provider and the dollars for a million tokens read and written.
pub(super) const MODELS: [(&str, &str, f64, f64); 5] = [
    ("anthropic", "claude-sonnet-4-5", 3.0, 15.0),
    ("anthropic", "claude-opus-4-5", 5.0, 25.0),
    ("openai", "gpt-5.1", 1.25, 10.0),
    ("google", "gemini-3-pro", 2.0, 12.0),
    ("mistral", "mistral-large-3", 0.5, 1.5),
];

/// What cards are called, before their number.
pub(super) const CARDS: [&str; 12] = [
    "fix-login-timeout",
    "migrate-invoices",
    "upgrade-postgres",
    "triage-crash-reports",
    "draft-release-notes",
    "dedupe-customers",
    "audit-permissions",
    "speed-up-search",
    "translate-onboarding",
    "refactor-scheduler",
    "investigate-billing",
    "flaky-checkout-test",
];

pub(super) const TOOLS: [&str; 8] =
    ["http.get", "http.post", "fs.read", "fs.write", "git.diff", "shell.exec", "sql.query", "search.code"];

const SUBJECTS: [&str; 12] = [
    "The session middleware",
    "The retry loop in the payment client",
    "The second migration",
    "The failing test",
    "The customer's log excerpt",
    "The cache in front of the search service",
    "The nightly export",
    "The permission check for shared folders",
    "The scheduler's lease",
    "The translation of the onboarding mail",
    "The connection pool",
    "The invoice number sequence",
];

const FINDINGS: [&str; 12] = [
    "drops its deadline when the first attempt times out, so later attempts wait for ever",
    "reads the row before it takes the lock and writes back a stale value",
    "assumes that offsets never go back, which no longer holds after the topic was made again",
    "passes locally because the fixture's clock stands still, and fails where it doesn't",
    "compares byte lengths with character counts, which differ as soon as a name has an umlaut",
    "is called once per item instead of once per page; on large accounts that is 40,000 queries",
    "swallows the error and returns an empty list, which the caller takes for success",
    "holds two connections at a time, so a pool of ten is exhausted by five slow requests",
    "was right until March, when the upstream API began to page its answers",
    "logs the whole request body, among it fields that must not be logged",
    "sorts by creation time although two entries may share it, so pages overlap",
    "has no index for the new filter; the plan shows a sequential scan over nine million rows",
];

const NEXT_STEPS: [&str; 10] = [
    "I'll write a test that shows it before I change anything.",
    "Before going on I want to see the query plan with the real parameters.",
    "The smallest change is to pass the remaining time along instead of a fresh timeout.",
    "I'll read the three callers first, since two of them might rely on the old behaviour.",
    "Next: reproduce it with the recorded traffic from Tuesday.",
    "I'll ask for the schema's history; the answer may already be in a migration.",
    "A feature flag isn't needed, as the new path is only taken where the old one failed.",
    "I'll check the changelog of the dependency between the two pinned versions.",
    "If that holds, the fix is one line, and the rest of the work is the test.",
    "I'll leave the refactoring for a card of its own.",
];

const REFLECTIONS: [&str; 8] = [
    "My first guess was wrong: the lock is taken, only too late.",
    "That matches what the dashboard showed between 02:10 and 02:25.",
    "Two of the seven reports have another cause; I'm setting them aside.",
    "The diff is smaller than expected.",
    "I'm fairly sure now, but the evidence is one trace.",
    "This explains why restarting helped for an hour.",
    "Nothing in the tests covers it.",
    "The documentation says otherwise; the code is what runs.",
];

const LANGUAGES: [&str; 8] = [
    "Die Anmeldung schlägt nur fehl, wenn die Sitzung genau beim Wechsel der Stunde abläuft – das erklärt die Häufung.",
    "El segundo intento usa el mismo plazo que el primero; por eso la petición nunca termina a tiempo.",
    "ログを確認しました。再試行の間隔が固定されているため、障害時に全クライアントが同時に接続しています。",
    "我先写一个能重现问题的测试，然后再修改超时逻辑。预计影响三个调用方。",
    "تم العثور على السبب: يتم حفظ القيمة قبل الحصول على القفل، ولذلك تضيع بعض التحديثات.",
    "मैंने माइग्रेशन की जाँच की; दूसरा चरण खाली तालिका मान लेता है, जो उत्पादन में सच नहीं है।",
    "Тест падает только при параллельном запуске: два процесса пишут в один и тот же временный файл.",
    "Correctif prêt ✅ – il reste à vérifier l'export de nuit 🌙 et à prévenir l'équipe facturation.",
];

const SYSTEM_LINES: [&str; 8] = [
    "container started: image registry.local/agent-runner:2025.11.3, 2 vCPU, 4 GiB",
    "memory usage at 71 % of the limit",
    "pulled workspace snapshot, 214 MiB in 3.4 s",
    "lease renewed for 30 s",
    "egress policy: 3 hosts allowed, 0 denied",
    "disk: 12.4 GiB free of 20 GiB",
    "clock offset 1.2 ms",
    "checkpoint written",
];

const WARNINGS: [&str; 6] = [
    "rate limited by the provider, next attempt in 4 s",
    "the answer was cut at the token limit; asking for the rest",
    "the tool took longer than its soft limit",
    "the file changed since it was read; reading it again",
    "the context window is at 86 %; older turns are being summarised",
    "the sandbox denied a connection to an unlisted host",
];

const ERRORS: [(&str, &str); 5] = [
    ("ConnectionError: upstream closed the connection before the answer was complete", "billing/client.py"),
    ("TimeoutError: no answer within 30.0 s", "tools/http.py"),
    ("IntegrityError: duplicate key value violates unique constraint \"invoices_number_key\"", "db/session.py"),
    ("KeyError: 'nextPageToken'", "crm/pages.py"),
    ("PermissionError: [Errno 13] Permission denied: '/srv/exports/nightly.csv'", "export/job.py"),
];

const FRAMES: [&str; 7] = ["run_step", "call_tool", "execute", "send_request", "with_retry", "_commit", "dispatch"];

/// A few sentences of an agent that thinks aloud.
pub(super) fn thought(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.random_range(2..=8) {
        if !text.is_empty() {
            text.push(' ');
        }
        match random.random_range(0..4) {
            0 | 1 => {
                text.push_str(pick(random, &SUBJECTS));
                text.push(' ');
                text.push_str(pick(random, &FINDINGS));
                text.push('.');
            }
            2 => text.push_str(pick(random, &NEXT_STEPS)),
            _ => text.push_str(pick(random, &REFLECTIONS)),
        }
    }
    text
}

/// A numbered plan.
pub(super) fn plan(random: &mut Random) -> String {
    let mut text = String::from("Plan:");
    for step in 1..=random.random_range(3..=6) {
        text.push_str(&format!("\n{step}. {}", pick(random, &NEXT_STEPS)));
    }
    text
}

pub(super) fn other_language(random: &mut Random) -> &'static str {
    pick(random, &LANGUAGES)
}

pub(super) fn system_line(random: &mut Random) -> &'static str {
    pick(random, &SYSTEM_LINES)
}

pub(super) fn warning(random: &mut Random) -> &'static str {
    pick(random, &WARNINGS)
}

/// An exception with its stack trace, several lines in one message.
pub(super) fn stack_trace(random: &mut Random) -> String {
    let (error, file) = ERRORS[random.random_range(0..ERRORS.len())];
    let mut text = String::from("Traceback (most recent call last):\n");
    for _ in 0..random.random_range(4..=9) {
        let line = random.random_range(12..900);
        text.push_str(&format!("  File \"/srv/agent/{file}\", line {line}, in {}\n", pick(random, &FRAMES)));
        text.push_str("    result = self.inner.perform(request, deadline=deadline)\n");
    }
    text.push_str(error);
    text
}

/// The path of some file.
pub(super) fn path(random: &mut Random) -> String {
    let folder = pick(random, &["src", "services/billing", "web/components", "migrations", "tests/unit", "infra"]);
    let stem = pick(random, &["session", "invoice", "scheduler", "search_index", "permissions", "client", "export"]);
    let end = pick(random, &["rs", "py", "ts", "sql", "go"]);
    format!("/workspace/{folder}/{stem}.{end}")
}
