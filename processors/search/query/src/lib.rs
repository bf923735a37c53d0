//! What a search of entries is. Nothing here does I/O, and nothing knows of an index.
//!
//! - [`tokens`], [`data`]: how text is cut into words, and which values `data` has; the same for what is written and for
//!   what is looked for.
//! - [`ast`], [`language`]: the query, and how people write it.
//! - [`near`]: words that differ by a letter or two.
//! - [`request`], [`answer`]: what a searcher is asked, and what it answers in parts that merge exactly.
//! - [`evaluate`], [`scan`]: whether a query finds an entry, and a search over entries that no index has.

pub mod answer;
pub mod ast;
pub mod data;
pub mod evaluate;
pub mod language;
pub mod near;
pub mod request;
pub mod scan;
pub mod tokens;

pub use answer::{Answer, PartialAnswer};
pub use ast::{Field, Keyword, Query, Test};
pub use evaluate::Evaluator;
pub use language::{ParseError, parse};
pub use request::SearchRequest;
pub use scan::Scan;
