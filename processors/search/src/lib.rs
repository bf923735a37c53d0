//! The search index.
//!
//! - [`schema`], [`tokenizer`], [`document`]: what is kept of an entry, and how its text is cut.

pub mod document;
pub mod schema;
pub mod tokenizer;
