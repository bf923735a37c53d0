//! The search index holds every entry of the topics once, whatever dies on the way, and whoever is asked says the same.
//!
//! - [`member`] is an indexer, a merger or a searcher as a process of its own; [`place`] is where its objects lie, and kills
//!   it at a call to them.
//! - [`truth`] reads what is to be found from the topics, and what there is from the splits.
//! - [`kills`] kills at every kind of call; in [`fleet`] several of each work at once, and die, and hang, and come back.

mod fleet;
mod kills;
mod member;
mod place;
mod truth;
