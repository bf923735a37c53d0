//! A workspace and a card or run as one text, so that a map is searched by a buffer that is used again and not by a key made
//! anew for each record.

use std::fmt::Write;

/// Writes `workspace` and `owner` to `joined`, over what is there.
pub(crate) fn join(workspace: &str, owner: &str, joined: &mut String) {
    joined.clear();
    // Writing to a string doesn't fail.
    let _ = write!(joined, "{}:{workspace}{owner}", workspace.len());
}

/// The workspace and the owner of a text that [`join`] made.
pub(crate) fn split(joined: &str) -> (&str, &str) {
    let (length, names) = joined.split_once(':').unwrap_or(("0", joined));
    names.split_at_checked(length.parse().unwrap_or(0)).unwrap_or(("", names))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_survive(workspace: String, owner: String) {
            let mut joined = "before".to_owned();
            join(&workspace, &owner, &mut joined);
            prop_assert_eq!(split(&joined), (&workspace[..], &owner[..]));
        }
    }
}
