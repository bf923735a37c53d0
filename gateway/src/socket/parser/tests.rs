#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocket, WebSocketConfig};

use super::*;

/// All that a parser makes of bytes that come in these pieces.
fn parse(pieces: &[&[u8]], max: usize) -> (Vec<Inbound>, Result<(), Fault>) {
    let mut parser = Parser::new(max);
    let mut seen = Vec::new();
    for piece in pieces {
        if let Err(fault) = parser.feed(piece, |inbound| seen.push(inbound)) {
            return (seen, Err(fault));
        }
    }
    assert!(parser.closed || !parser.partial.is_empty() || parser.partial.capacity() == 0, "memory is given back");
    (seen, Ok(()))
}

/// A frame as a client sends it, with a length in its shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65536 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn text(text: &str) -> Inbound {
    Inbound::Text(text.to_owned())
}

fn fault(bytes: &[u8]) -> Fault {
    parse(&[bytes], 1000).1.unwrap_err()
}

#[test]
fn the_rfcs_own_examples() {
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(parse(&[&masked], 1000).0, [text("Hello")]);
    let ping = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(parse(&[&ping], 1000).0, [Inbound::Ping(b"Hello".to_vec())]);
}

#[test]
fn fragments_make_one_message_with_control_frames_between() {
    // "né", cut in the middle of its last character.
    let bytes = [frame(0x01, b"n\xc3"), frame(0x8a, b""), frame(0x00, b""), frame(0x80, b"\xa9")].concat();
    let expected = vec![Inbound::Fragment, Inbound::Pong, Inbound::Fragment, text("né")];
    assert_eq!(parse(&[&bytes], 1000), (expected, Ok(())));
}

#[test]
fn after_a_close_nothing_counts() {
    let bytes = [frame(0x88, b"\x03\xe8bye"), frame(0x81, b"late")].concat();
    assert_eq!(parse(&[&bytes, b"garbage"], 1000), (vec![Inbound::Close(Some(1000))], Ok(())));
    assert_eq!(parse(&[&frame(0x88, b"")], 1000).0, [Inbound::Close(None)]);
}

#[test]
fn what_the_rfc_forbids_is_a_fault() {
    assert_eq!(fault(b"\x81\x01a"), Fault::Unmasked);
    assert_eq!(fault(&frame(0xc1, b"a")), Fault::Reserved);
    assert_eq!(fault(&frame(0x83, b"a")), Fault::Opcode);
    assert_eq!(fault(&frame(0x8b, b"a")), Fault::Opcode);
    assert_eq!(fault(&frame(0x09, b"a")), Fault::Control);
    assert_eq!(fault(&frame(0x89, &[b'a'; 126])), Fault::Control);
    assert_eq!(fault(&frame(0x80, b"a")), Fault::Fragment);
    assert_eq!(fault(&[frame(0x01, b"a"), frame(0x81, b"b")].concat()), Fault::Fragment);
    assert_eq!(fault(&frame(0x82, b"a")), Fault::Binary);
    assert_eq!(fault(&frame(0x81, b"\xff")), Fault::Utf8);
    assert_eq!(fault(&frame(0x88, b"a")), Fault::Close);
    assert_eq!(fault(&frame(0x88, &1005u16.to_be_bytes())), Fault::Close);
    assert_eq!(fault(&frame(0x88, b"\x03\xe8\xff")), Fault::Utf8);
    assert_eq!(fault(b"\x81\xfe\x00\x01\0\0\0\0a"), Fault::Length);
}

#[test]
fn the_limit_is_on_messages_and_seen_before_they_are_there() {
    let header = &frame(0x81, &[b'a'; 1001])[..8];
    assert_eq!(fault(header), Fault::TooBig);
    assert_eq!(fault(b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"), Fault::TooBig);
    let fragments = [frame(0x01, &[b'a'; 600]), frame(0x80, &[b'a'; 401])].concat();
    assert_eq!(fault(&fragments), Fault::TooBig);
    let whole = [frame(0x01, &[b'a'; 600]), frame(0x80, &[b'a'; 400])].concat();
    assert_eq!(parse(&[&whole], 1000).0, [Inbound::Fragment, text(&"a".repeat(1000))]);
}

#[test]
fn faults_have_their_codes() {
    assert_eq!(Fault::Binary.code().number(), 1003);
    assert_eq!(Fault::Utf8.code().number(), 1007);
    assert_eq!(Fault::TooBig.code().number(), 1009);
    assert_eq!(Fault::Unmasked.code().number(), 1002);
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        4 => ".{0,300}".prop_map(Message::text),
        1 => "[a-z]{65500,66000}".prop_map(Message::text),
        2 => proptest::collection::vec(any::<u8>(), 0..=125).prop_map(|bytes| Message::Ping(bytes.into())),
        1 => Just(Message::Pong(Default::default())),
    ]
}

/// What tungstenite's client puts on the wire.
fn wire(messages: &[Message]) -> Vec<u8> {
    let config = WebSocketConfig::default();
    let mut client = WebSocket::from_raw_socket(std::io::Cursor::new(Vec::new()), Role::Client, Some(config));
    for message in messages {
        client.write(message.clone()).unwrap();
    }
    client.close(Some(CloseFrame { code: 1000.into(), reason: "bye".into() })).unwrap();
    client.flush().unwrap();
    client.into_inner().into_inner()
}

fn expected(messages: &[Message]) -> Vec<Inbound> {
    let inbound = |message: &Message| match message {
        Message::Text(text) => Inbound::Text(text.to_string()),
        Message::Ping(payload) => Inbound::Ping(payload.to_vec()),
        Message::Pong(_) => Inbound::Pong,
        _ => unreachable!("no others are made"),
    };
    messages.iter().map(inbound).chain([Inbound::Close(Some(1000))]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_reads_what_tungstenite_writes(messages in proptest::collection::vec(any_message(), 0..6), cut in 1usize..5000) {
        let bytes = wire(&messages);
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        prop_assert_eq!(parse(&pieces, 1 << 20), (expected(&messages), Ok(())));
    }

    #[test]
    fn arbitrary_bytes_never_panic_however_they_come(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let whole = parse(&[&bytes], 100);
        for cut in 0..bytes.len() {
            prop_assert_eq!(&parse(&[&bytes[..cut], &bytes[cut..]], 100), &whole);
        }
    }

    #[test]
    fn frames_of_arbitrary_shape_never_panic_however_they_come(
        frames in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..130)), 0..5),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(first & 0x8f, payload)).collect();
        let whole = parse(&[&bytes], 200);
        for cut in 0..bytes.len() {
            prop_assert_eq!(&parse(&[&bytes[..cut], &bytes[cut..]], 200), &whole);
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&parse(&single, 200), &whole);
    }
}
