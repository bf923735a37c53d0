//! Searching, on all its routes: with words that only others have written, and with what they were given.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::names;
use super::principal::{Loot, Principal};

/// A query. It never names another's canary, which would come back as what was asked; but it finds them all.
pub(super) fn query(principal: &Principal, rng: &mut StdRng) -> String {
    let own = if principal.is_limited { &principal.canary } else { &principal.card_canary };
    let card = names::CARDS.choose(rng).unwrap();
    match rng.random_range(0..16) {
        0 | 1 => "*".to_owned(),
        2 => "canary*".to_owned(),
        3 => ["canaryleft*", "canaryright*", "CANARYLEFT*"].choose(rng).unwrap().to_string(),
        4 => "*wide* OR *card*".to_owned(),
        // Remembered among the popular ones.
        5 | 6 => format!("{own:?}"),
        7 => format!("card:{card:?}"),
        8 => format!("card:private OR NOT card:{card:?}"),
        9 => "NOT nothing".to_owned(),
        10 => "data.inner:* OR user:* OR tags:*".to_owned(),
        11 => "provider:Canary* model:*".to_owned(),
        12 => "run:*private OR run:*shared*".to_owned(),
        13 => "canaryleft~2 OR canaryright~2".to_owned(),
        14 => "workspace:other".to_owned(),
        _ => names::card(rng),
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A route, and a body if there is one.
pub(super) fn route(principal: &Principal, loot: &Loot, rng: &mut StdRng, which: usize) -> (String, Option<Value>) {
    let q = query(principal, rng);
    let asked = format!("q={}", encoded(&q));
    let fields = "card,run,level,source,component,provider,model";
    let get = |route: String| (route, None);
    match which {
        0 => get(format!("/v1/search?{asked}&limit=50&facets={fields}&explain=true")),
        1 => get(format!("/v1/search?{asked}&limit=5&cursor={}", encoded(&loot.cursor(rng)))),
        2 => {
            let card = names::card(rng);
            let body = json!({"q": q, "cardId": card, "limit": 20, "facets": ["provider"], "explain": true});
            ("/v1/search".to_owned(), Some(body))
        }
        3 => get(format!("/v1/facets?{asked}&fields={fields}&top=50")),
        4 => get(format!("/v1/histogram?{asked}")),
        5 => get("/v1/fields".to_owned()),
        6 => {
            let counted = ["card", "run", "component", "provider", "model", "level", "source"];
            let sampled = ["agent", "user", "tags", "id", "correlation", "trace", "span", "data.inner"];
            let field = counted.iter().chain(&sampled).copied().collect::<Vec<_>>();
            let field = field.choose(rng).unwrap();
            let prefix = ["", "Canary", "p", "run"].choose(rng).unwrap();
            get(format!("/v1/fields/{field}/values?prefix={prefix}&limit=100"))
        }
        7 => {
            let card = *names::CARDS.choose(rng).unwrap();
            let card = names::in_path(rng, card);
            get(format!("/v1/entries/{}/context?card={card}&before=20&after=20", loot.position(rng)))
        }
        8 => get("/v1/queries/popular?limit=100".to_owned()),
        9 => get("/v1/analytics".to_owned()),
        _ => {
            let card = encoded(names::CARDS.choose(rng).unwrap());
            get(format!("/v1/analytics?card={card}"))
        }
    }
}

/// How many routes there are.
pub(super) const ROUTES: usize = 11;
