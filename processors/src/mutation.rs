//! What tests break on purpose, to see that they would notice. Release builds don't have it.

/// Whether readers take every block as it is, even if others hold the same entries: `AGENTWORKS_TEST_KEEP_DUPLICATES` is set.
#[cfg(debug_assertions)]
pub(crate) fn keeps_duplicates() -> bool {
    use std::sync::LazyLock;
    static KEEPS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("AGENTWORKS_TEST_KEEP_DUPLICATES").is_some());
    *KEEPS
}

#[cfg(not(debug_assertions))]
pub(crate) const fn keeps_duplicates() -> bool {
    false
}
