//! The migrations that this build has.

use sha2::{Digest, Sha256};

/// A migration: a file of statements, which has a number and never changes once it was released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    /// The file's name.
    pub(crate) file: &'static str,
    text: &'static str,
}

macro_rules! migrations {
    ($($file:literal),* $(,)?) => {
        &[$(Migration { file: $file, text: include_str!(concat!("../migrations/", $file)) }),*]
    };
}

/// All of them, in order.
pub(crate) const ALL: &[Migration] = migrations!["0001_tables.cql", "0002_search_indexers.cql", "0003_log_tails.cql"];

impl Migration {
    /// A fingerprint of the text, in hexadecimal.
    pub(crate) fn checksum(&self) -> String {
        Sha256::digest(self.text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The statements, without comments. A semicolon ends one, wherever it stands.
    pub(crate) fn statements(&self) -> Vec<String> {
        let lines: Vec<_> = self.text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        lines.join("\n").split(';').map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;
    use crate::schema;

    /// Every table is made by exactly one statement, which says about its columns and its key what the constant says.
    #[test]
    fn the_migrations_make_the_tables_that_the_sinks_use() {
        let statements: Vec<_> = ALL.iter().flat_map(Migration::statements).collect();
        for table in agentworks_processors::TABLES {
            let wanted = schema::create_table(table.name, table);
            let made: Vec<_> = statements.iter().filter(|text| text.starts_with(&wanted)).collect();
            assert_eq!(made.len(), 1, "for table {} a migration should have\n\n{wanted}\n", table.name);
            // What lies in buckets of time expires; what carries versions as timestamps has no place in windows of time.
            let in_buckets = table.partition.iter().any(|column| column.name == "bucket");
            assert_eq!(made[0].contains("TimeWindowCompactionStrategy"), in_buckets, "{}", table.name);
            assert!(!in_buckets || !table.versioned, "{}", table.name);
        }
        assert_eq!(statements.len(), agentworks_processors::TABLES.len(), "a table that no sink uses");
    }

    #[test]
    fn they_are_numbered_and_can_be_repeated() {
        for (index, migration) in ALL.iter().enumerate() {
            let (number, name) = migration.file.split_once('_').unwrap();
            assert_eq!(number, format!("{:04}", index + 1));
            assert!(name.ends_with(".cql"));
            for statement in migration.statements() {
                assert!(statement.contains("IF NOT EXISTS"), "{statement}");
            }
        }
        let checksums: BTreeSet<_> = ALL.iter().map(Migration::checksum).collect();
        assert_eq!(checksums.len(), ALL.len());
    }

    #[test]
    fn statements_are_told_apart() {
        let migration =
            Migration { file: "0001_x.cql", text: "-- One; two.\nCREATE a (\n  b\n);\n\n  -- c\nCREATE d;\n" };
        assert_eq!(migration.statements(), ["CREATE a (\n  b\n)", "CREATE d"]);
        assert_eq!(migration.checksum().len(), 64);
    }
}
