//! What a table is: its name and the columns of its key. The rest of every row is `stats` and `payload`.

/// A table. Tables are constants of the sinks that own them; a store creates what is missing when it opens.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// Its name, in snake case.
    pub name: &'static str,
    /// The columns that say where a row lies. Rows with equal values lie together and are scanned in order.
    pub partition: &'static [Column],
    /// The columns that order the rows within a partition.
    pub clustering: &'static [Column],
    /// Whether writes carry a version, of which the newest wins. The versions of such a table come from the log, never
    /// from a clock. In other tables equal keys hold equal contents, so that any write may win.
    pub versioned: bool,
}

/// A column of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name, in snake case.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

impl Column {
    /// A column of text.
    pub const fn text(name: &'static str) -> Self {
        Column { name, kind: Kind::Text }
    }

    /// A column of 64-bit integers.
    pub const fn int(name: &'static str) -> Self {
        Column { name, kind: Kind::Int }
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text, ordered by its bytes.
    Text,
    /// A signed 64-bit integer.
    Int,
}
