//! What a search of entries is. Nothing here does I/O, and nothing knows of an index.
//!
//! - [`tokens`]: how text is cut into words, the same for what is written and for what is looked for.
//! - [`ast`], [`language`]: the query, and how people write it.

pub mod ast;
pub mod language;
pub mod tokens;

pub use ast::{Field, Keyword, Query, Test};
pub use language::{ParseError, parse};
