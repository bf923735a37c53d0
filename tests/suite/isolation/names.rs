//! Names of cards and runs, in paths and in messages.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::principal::SHARED;

/// Cards that both workspaces have; a token for [`SHARED`] is not for those that look like it.
pub(super) const CARDS: [&str; 9] = [
    SHARED,
    "private",
    "Shared",
    "shared ",
    "ѕhared",
    "shared\u{200b}",
    "ｓｈａｒｅｄ",
    "../shared",
    "a/b?c#d%2f..%00é\u{202e}🙂",
];

/// The run of a card, of the same name in both workspaces.
pub(super) fn run_of(card: &str) -> String {
    format!("run of {card}")
}

/// A card that somebody has, or that nobody has.
pub(super) fn card(rng: &mut StdRng) -> String {
    match rng.random_range(0..10) {
        0 => "x".repeat(rng.random_range(1..6000)),
        1 => "nul\0nul".to_owned(),
        2 => (0..rng.random_range(0..20)).map(|_| rng.random::<char>()).collect(),
        3 => ["", ".", "..", "*", "%", "{card}", "null", "shared/../private"].choose(rng).unwrap().to_string(),
        _ => CARDS.choose(rng).unwrap().to_string(),
    }
}

/// A run, likewise.
pub(super) fn run(rng: &mut StdRng) -> String {
    run_of(&card(rng))
}

/// A name in a path: encoded as it should be, or not.
pub(super) fn in_path(rng: &mut StdRng, name: &str) -> String {
    let encoded = percent_encoded(name);
    match rng.random_range(0..12) {
        0 => percent_encoded(&encoded),
        1 => encoded.to_lowercase(),
        2 => format!("..%2f{encoded}"),
        3 => format!("{encoded}/../private"),
        4 => format!("%2e%2e/cards/{encoded}"),
        5 => format!("{encoded}%00"),
        6 => format!("{encoded}%ff"),
        _ => encoded,
    }
}

fn percent_encoded(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}
