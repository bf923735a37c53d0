//! A workspace and a card as one text, so that a map is searched by a buffer that is used again and not by a key made
//! anew for each record.

use std::fmt::Write;

/// Writes `workspace` and `card` to `joined`, over what is there.
pub(super) fn join(workspace: &str, card: &str, joined: &mut String) {
    joined.clear();
    // Writing to a string doesn't fail.
    let _ = write!(joined, "{}:{workspace}{card}", workspace.len());
}

/// The workspace and the card of a text that [`join`] made.
pub(super) fn split(joined: &str) -> (&str, &str) {
    let (length, names) = joined.split_once(':').unwrap_or(("0", joined));
    names.split_at_checked(length.parse().unwrap_or(0)).unwrap_or(("", names))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_survive(workspace: String, card: String) {
            let mut joined = "before".to_owned();
            join(&workspace, &card, &mut joined);
            prop_assert_eq!(split(&joined), (&workspace[..], &card[..]));
        }
    }
}
