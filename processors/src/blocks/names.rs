//! A workspace and a card or run as one text, so that a map is searched by a buffer that is used again and not by a key made
//! anew for each record.

/// Writes `workspace` and `owner` to `joined`, over what is there.
///
/// The length of the workspace comes first, in characters of six bits each, the lowest first; all but the last of them have
/// the seventh set.
pub(crate) fn join(workspace: &str, owner: &str, joined: &mut String) {
    joined.clear();
    append(workspace, owner, joined);
}

/// The same, after what is there.
pub(crate) fn append(workspace: &str, owner: &str, joined: &mut String) {
    let mut length = workspace.len();
    while length > LOW.into() {
        joined.push(char::from((length as u8 & LOW) | MORE));
        length >>= 6;
    }
    joined.push(char::from(length as u8));
    joined.push_str(workspace);
    joined.push_str(owner);
}

const LOW: u8 = 0x3f;
const MORE: u8 = 0x40;

/// The workspace and the owner of a text that [`join`] made.
pub(crate) fn split(joined: &str) -> (&str, &str) {
    let (mut length, mut digits) = (0, 0);
    for byte in joined.bytes() {
        length |= usize::from(byte & LOW) << (6 * digits);
        digits += 1;
        if byte & MORE == 0 {
            break;
        }
    }
    joined.get(digits..).and_then(|names| names.split_at_checked(length)).unwrap_or(("", joined))
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

        #[test]
        fn long_names_survive(length in 0..9000_usize) {
            let (workspace, mut joined) = ("w".repeat(length), String::new());
            join(&workspace, "owner", &mut joined);
            prop_assert_eq!(split(&joined), (&workspace[..], "owner"));
        }
    }
}
