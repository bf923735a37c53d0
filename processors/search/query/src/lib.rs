//! What a search of entries is. Nothing here does I/O, and nothing knows of an index.
//!
//! - [`tokens`]: how text is cut into words, the same for what is written and for what is looked for.

pub mod tokens;
