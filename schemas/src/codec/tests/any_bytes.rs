//! Any bytes at all are a record or a reject.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::datum;
use super::strategies::{entry, event};
use super::*;

/// What may befall bytes.
#[derive(Clone, Debug)]
enum Damage {
    Cut(Index),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index),
}

impl Damage {
    fn any() -> impl Strategy<Value = Damage> {
        prop_oneof![
            1 => any::<Index>().prop_map(Damage::Cut),
            4 => any::<(Index, u8)>().prop_map(|(at, byte)| Damage::Set(at, byte)),
            2 => (any::<Index>(), vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
            2 => any::<Index>().prop_map(Damage::Remove),
        ]
    }

    fn apply(self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self {
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Set(at, byte) => bytes[at.index(length)] = byte,
            Damage::Insert(at, inserted) => {
                let at = at.index(length);
                bytes.splice(at..at, inserted);
            }
            Damage::Remove(at) => drop(bytes.remove(at.index(length))),
        }
    }
}

/// Decodes, and where that succeeds checks that the body is the record's.
fn decode_both(payload: &[u8]) {
    if let Ok(decoded) = decode_entry(Schemas::builtin(), None, payload, DEFAULTS) {
        check_entry(&decoded.record).unwrap();
        assert_eq!(decode_entry_body(&decoded.body).unwrap(), decoded.record);
    }
    if let Ok(decoded) = decode_event(Schemas::builtin(), None, payload, DEFAULTS) {
        check_event(&decoded.record).unwrap();
        assert_eq!(decode_event_body(&decoded.body).unwrap(), decoded.record);
    }
}

proptest! {
    #[test]
    fn random_bytes(mut tail in vec(any::<u8>(), 0..200), framing in 0..4usize) {
        let fingerprint = |record| [&b"\xC3\x01"[..], &Schemas::builtin().newest_fingerprint(record).to_le_bytes()].concat();
        let heads = [vec![], b"{\"".to_vec(), fingerprint(RecordType::LogEntry), fingerprint(RecordType::RunEvent)];
        let mut payload = heads[framing].clone();
        payload.append(&mut tail);
        decode_both(&payload);
    }

    #[test]
    fn damaged_records(
        entry in entry(),
        event in event(),
        json in any::<bool>(),
        damages in vec(Damage::any(), 1..4),
    ) {
        let framing = if json { Framing::Json } else { Framing::Avro };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        encode_entry(&entry, framing, &mut first);
        encode_event(&event, framing, &mut second);
        for payload in [&mut first, &mut second] {
            damages.iter().cloned().for_each(|damage| damage.apply(payload));
            decode_both(payload);
        }
    }

    /// The reader of bodies and the one that goes by the schema take and refuse the same.
    #[test]
    fn damaged_bodies_are_read_as_the_schema_says(
        entry in entry(),
        event in event(),
        damages in vec(Damage::any(), 0..4),
    ) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        encode_entry_body(&entry, &mut first);
        encode_event_body(&event, &mut second);
        for body in [&mut first, &mut second] {
            damages.iter().cloned().for_each(|damage| damage.apply(body));
        }
        let schemas = Schemas::builtin();
        let by_schema = datum::read_entry(schemas.newest(RecordType::LogEntry), &first);
        prop_assert_eq!(decode_entry_body(&first).ok(), by_schema.ok());
        let by_schema = datum::read_event(schemas.newest(RecordType::RunEvent), &second);
        prop_assert_eq!(decode_event_body(&second).ok(), by_schema.ok());
    }
}
