//! What every store must do, as a suite of checks.
//!
//! The same suite runs against the embedded store in unit tests and against real databases in integration tests. It
//! needs its two [`TABLES`], and leaves its rows behind: give each run a `salt` of its own.

mod expiry;
mod rows;
mod scans;
mod versions;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::key::{Key, Part};
use crate::store::{Row, Store, StoreError, Write};
use crate::table::{Column, Table};

/// The tables that the suite uses.
pub const TABLES: [&Table; 2] = [&PLAIN, &VERSIONED];

const PLAIN: Table = Table {
    name: "contract_plain",
    partition: &[Column::text("scope"), Column::int("number")],
    clustering: &[Column::text("name"), Column::int("place")],
    versioned: false,
};

const VERSIONED: Table = Table {
    name: "contract_versioned",
    partition: &[Column::text("scope"), Column::int("number")],
    clustering: &[Column::text("name"), Column::int("place")],
    versioned: true,
};

/// The time by which the store's rows expire.
#[async_trait]
pub trait Time: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now(&self) -> i64;
    /// Returns when so many milliseconds have passed: a clock of the test's own is set, for any other one waits.
    async fn pass(&self, millis: i64);
}

/// What a store did that it must not, or failed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check.
    pub check: &'static str,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

/// Runs all checks, and returns what was violated.
pub async fn check(store: Arc<dyn Store>, time: &dyn Time, salt: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    macro_rules! run {
        ($($module:ident :: { $($check:ident),* $(,)? }),* $(,)?) => {$($({
            let scope = format!("{salt}/{}", stringify!($check));
            let bench = Bench { store: store.clone(), time, scope };
            if let Err(Broken(what)) = $module::$check(&bench).await {
                violations.push(Violation { check: concat!(stringify!($module), "::", stringify!($check)), what });
            }
        })*)*};
    }
    run! {
        rows::{
            a_row_is_read_as_written, a_later_write_replaces, an_absent_row_is_none, a_deleted_row_is_gone,
            any_text_is_a_key, any_integer_is_a_key, tables_are_apart, partitions_are_apart, a_mebibyte_survives,
            a_thousand_rows_in_one_call, the_last_of_equal_keys_in_one_call, wrong_keys_are_refused,
        },
        versions::{
            the_greater_version_wins, an_equal_version_replaces, equal_versions_are_not_mixed, an_older_delete_is_ignored,
            a_deletion_is_remembered, a_deletion_beats_its_version,
            the_greatest_in_one_call, concurrent_writers, negative_versions, large_and_small_payloads_take_turns,
        },
        scans::{
            in_order_of_the_key, backwards, bounds_of_whole_keys, bounds_of_prefixes, crossed_bounds_hold_nothing,
            a_limit, a_limit_skips_no_live_row, without_payloads, an_empty_partition, integers_in_order,
        },
        expiry::{
            an_expired_row_is_not_returned, a_rewritten_row_lives_on, what_never_expires_stays,
            what_is_written_expired_is_not_there,
        },
    }
    violations
}

/// What a check works with.
struct Bench<'a> {
    store: Arc<dyn Store>,
    time: &'a dyn Time,
    /// The first part of the partition keys, so that no check sees another's rows.
    scope: String,
}

/// Why a check has failed.
struct Broken(String);

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Broken(format!("unexpected: {error}"))
    }
}

type Outcome = Result<(), Broken>;

macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::contract::Broken(format!($($what)+)));
        }
    };
}

macro_rules! ensure_eq {
    ($got:expr, $wanted:expr) => {{
        let (got, wanted) = (&$got, &$wanted);
        if got != wanted {
            let what = format!("{} is {got:.300?} and not {wanted:.300?}", stringify!($got));
            return Err($crate::contract::Broken(what));
        }
    }};
}

use {ensure, ensure_eq};

impl Bench<'_> {
    fn partition(&self, number: i64) -> Vec<Part> {
        vec![self.scope.as_str().into(), number.into()]
    }

    fn key(&self, name: &str, place: i64) -> Key {
        Key { partition: self.partition(0), clustering: vec![name.into(), place.into()] }
    }

    fn write(&self, table: &'static Table, name: &str, place: i64, payload: &str) -> Write {
        Write {
            table,
            key: self.key(name, place),
            version: 0,
            expires: None,
            stats: format!("stats of {payload}").into(),
            payload: payload.to_owned().into(),
        }
    }

    async fn put(&self, name: &str, place: i64, payload: &str) -> Outcome {
        Ok(self.store.write(vec![self.write(&PLAIN, name, place, payload)]).await?)
    }

    async fn put_version(&self, name: &str, version: i64, payload: &str) -> Outcome {
        let write = self.write(&VERSIONED, name, 0, payload);
        Ok(self.store.write(vec![Write { version, ..write }]).await?)
    }

    async fn get(&self, table: &'static Table, name: &str, place: i64) -> Result<Option<Row>, Broken> {
        Ok(self.store.get(table, &self.key(name, place)).await?)
    }

    /// The payload and the version of a row of the versioned table.
    async fn version(&self, name: &str) -> Result<Option<(String, i64)>, Broken> {
        Ok(self.get(&VERSIONED, name, 0).await?.map(|row| (text(&row.payload), row.version)))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
