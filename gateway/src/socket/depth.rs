//! How deep a message is nested.

/// Whether objects and arrays are nested deeper than `limit` in a text of JSON. It takes no stack and no memory, and
/// says nothing of whether the text is JSON otherwise.
pub(crate) fn is_deeper(text: &str, limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_arrays_count_and_text_does_not() {
        assert!(!is_deeper(r#"{"a":[{"b":[]}],"c":{"d":[1,2]}}"#, 4));
        assert!(is_deeper(r#"{"a":[{"b":[[]]}]}"#, 4));
        assert!(!is_deeper(r#"{"a":"[[[[[[\"{{{{{","b":"\\"}"#, 1));
        assert!(is_deeper(r#"{"a":"\\","b":[]}"#, 1));
        assert!(is_deeper(&"[".repeat(65_536), 1000));
        assert!(!is_deeper("]]]]]][[", 2));
        assert!(!is_deeper("", 0));
    }
}
