//! What goes over the wire: numbers big-endian, texts and bytes after their length.

use std::collections::HashMap;
use std::ops::Bound;

use agentworks_store::{Column, Key, Kind, Order, Part, Row, Scan, StoreError, Table, Write};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;

/// A call.
#[derive(Debug)]
pub enum Request {
    Write(Vec<Write>),
    Get(&'static Table, Key),
    Scan(Scan),
    Delete(&'static Table, Key, i64),
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    Done,
    Row(Option<Row>),
    Rows(Vec<Row>),
    Fault(StoreError),
}

/// Tables as they come in by name. There are few of them, and they stay for as long as the process.
#[derive(Debug, Default)]
pub struct Tables(Mutex<HashMap<String, &'static Table>>);

impl Request {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Request::Write(writes) => {
                out.put_u8(0);
                out.put_u32(writes.len() as u32);
                for Write { table, key, version, expires, stats, payload } in writes {
                    put_table(&mut out, table);
                    put_key(&mut out, key);
                    out.put_i64(*version);
                    out.put_u8(expires.is_some().into());
                    out.put_i64(expires.unwrap_or_default());
                    put_bytes(&mut out, stats);
                    put_bytes(&mut out, payload);
                }
            }
            Request::Get(table, key) => {
                out.put_u8(1);
                put_table(&mut out, table);
                put_key(&mut out, key);
            }
            Request::Scan(Scan { table, partition, from, to, order, limit, payload }) => {
                out.put_u8(2);
                put_table(&mut out, table);
                put_parts(&mut out, partition);
                put_bound(&mut out, from);
                put_bound(&mut out, to);
                out.put_u8((*order == Order::Descending).into());
                out.put_u64(*limit as u64);
                out.put_u8((*payload).into());
            }
            Request::Delete(table, key, version) => {
                out.put_u8(3);
                put_table(&mut out, table);
                put_key(&mut out, key);
                out.put_i64(*version);
            }
        }
        out.freeze()
    }

    /// # Panics
    /// If the bytes are not what [`Request::encode`] made.
    pub fn decode(mut bytes: Bytes, tables: &Tables) -> Self {
        let bytes = &mut bytes;
        match bytes.get_u8() {
            0 => {
                let count = bytes.get_u32();
                let write = |bytes: &mut Bytes| Write {
                    table: tables.take(bytes),
                    key: take_key(bytes),
                    version: bytes.get_i64(),
                    expires: {
                        let is_some = bytes.get_u8() == 1;
                        Some(bytes.get_i64()).filter(|_| is_some)
                    },
                    stats: take_bytes(bytes),
                    payload: take_bytes(bytes),
                };
                Request::Write((0..count).map(|_| write(bytes)).collect())
            }
            1 => Request::Get(tables.take(bytes), take_key(bytes)),
            2 => Request::Scan(Scan {
                table: tables.take(bytes),
                partition: take_parts(bytes),
                from: take_bound(bytes),
                to: take_bound(bytes),
                order: if bytes.get_u8() == 1 { Order::Descending } else { Order::Ascending },
                limit: usize::try_from(bytes.get_u64()).unwrap(),
                payload: bytes.get_u8() == 1,
            }),
            3 => Request::Delete(tables.take(bytes), take_key(bytes), bytes.get_i64()),
            other => panic!("no call has number {other}"),
        }
    }
}

impl Answer {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Answer::Done => out.put_u8(0),
            Answer::Row(row) => {
                out.put_u8(1);
                put_rows(&mut out, row.as_slice());
            }
            Answer::Rows(rows) => {
                out.put_u8(2);
                put_rows(&mut out, rows);
            }
            Answer::Fault(error) => {
                let (code, reason) = match error {
                    StoreError::Unavailable(reason) => (3, reason.clone()),
                    other => (4, other.to_string()),
                };
                out.put_u8(code);
                put_bytes(&mut out, reason.as_bytes());
            }
        }
        out.freeze()
    }

    /// # Panics
    /// If the bytes are not what [`Answer::encode`] made.
    pub fn decode(mut bytes: Bytes) -> Self {
        let bytes = &mut bytes;
        match bytes.get_u8() {
            0 => Answer::Done,
            1 => Answer::Row(take_rows(bytes).pop()),
            2 => Answer::Rows(take_rows(bytes)),
            3 => Answer::Fault(StoreError::Unavailable(take_text(bytes))),
            4 => Answer::Fault(StoreError::Failed(take_text(bytes))),
            other => panic!("no answer has number {other}"),
        }
    }
}

impl Tables {
    fn take(&self, bytes: &mut Bytes) -> &'static Table {
        let name = take_text(bytes);
        let versioned = bytes.get_u8() == 1;
        let (partition, clustering) = (take_columns(bytes), take_columns(bytes));
        self.0.lock().entry(name).or_insert_with_key(|name| {
            let column = |(name, kind): (String, Kind)| Column { name: name.leak(), kind };
            let columns = |columns: Vec<_>| &*columns.into_iter().map(column).collect::<Vec<_>>().leak();
            let (partition, clustering) = (columns(partition), columns(clustering));
            Box::leak(Box::new(Table { name: name.clone().leak(), partition, clustering, versioned }))
        })
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

fn take_bytes(bytes: &mut Bytes) -> Bytes {
    let length = bytes.get_u32() as usize;
    bytes.split_to(length)
}

fn take_text(bytes: &mut Bytes) -> String {
    String::from_utf8(take_bytes(bytes).into()).unwrap()
}

fn put_table(out: &mut BytesMut, table: &Table) {
    put_bytes(out, table.name.as_bytes());
    out.put_u8(table.versioned.into());
    for columns in [table.partition, table.clustering] {
        out.put_u8(columns.len() as u8);
        for column in columns {
            put_bytes(out, column.name.as_bytes());
            out.put_u8((column.kind == Kind::Int).into());
        }
    }
}

fn take_columns(bytes: &mut Bytes) -> Vec<(String, Kind)> {
    let column = |bytes: &mut Bytes| {
        let name = take_text(bytes);
        (name, if bytes.get_u8() == 1 { Kind::Int } else { Kind::Text })
    };
    (0..bytes.get_u8()).map(|_| column(bytes)).collect()
}

fn put_key(out: &mut BytesMut, key: &Key) {
    put_parts(out, &key.partition);
    put_parts(out, &key.clustering);
}

fn take_key(bytes: &mut Bytes) -> Key {
    Key { partition: take_parts(bytes), clustering: take_parts(bytes) }
}

fn put_parts(out: &mut BytesMut, parts: &[Part]) {
    out.put_u8(parts.len() as u8);
    for part in parts {
        match part {
            Part::Text(text) => {
                out.put_u8(0);
                put_bytes(out, text.as_bytes());
            }
            Part::Int(number) => {
                out.put_u8(1);
                out.put_i64(*number);
            }
        }
    }
}

fn take_parts(bytes: &mut Bytes) -> Vec<Part> {
    let part = |bytes: &mut Bytes| match bytes.get_u8() {
        0 => Part::Text(take_text(bytes)),
        _ => Part::Int(bytes.get_i64()),
    };
    (0..bytes.get_u8()).map(|_| part(bytes)).collect()
}

fn put_bound(out: &mut BytesMut, bound: &Bound<Vec<Part>>) {
    let (code, parts) = match bound {
        Bound::Unbounded => (0, &[][..]),
        Bound::Included(parts) => (1, &parts[..]),
        Bound::Excluded(parts) => (2, &parts[..]),
    };
    out.put_u8(code);
    put_parts(out, parts);
}

fn take_bound(bytes: &mut Bytes) -> Bound<Vec<Part>> {
    let code = bytes.get_u8();
    let parts = take_parts(bytes);
    match code {
        0 => Bound::Unbounded,
        1 => Bound::Included(parts),
        _ => Bound::Excluded(parts),
    }
}

fn put_rows(out: &mut BytesMut, rows: &[Row]) {
    out.put_u32(rows.len() as u32);
    for Row { clustering, version, stats, payload } in rows {
        put_parts(out, clustering);
        out.put_i64(*version);
        put_bytes(out, stats);
        put_bytes(out, payload);
    }
}

fn take_rows(bytes: &mut Bytes) -> Vec<Row> {
    let row = |bytes: &mut Bytes| Row {
        clustering: take_parts(bytes),
        version: bytes.get_i64(),
        stats: take_bytes(bytes),
        payload: take_bytes(bytes),
    };
    (0..bytes.get_u32()).map(|_| row(bytes)).collect()
}
