//! How connections end.

use std::fmt;

/// Why the gateway closes a connection: every code that it sends, and what the client does about it.
///
/// | code | when | the client |
/// |---|---|---|
/// | 1000 | it answers the client's own close | is done |
/// | 1002 | frames that aren't by RFC 6455 | is at fault |
/// | 1003 | a binary message | is at fault |
/// | 1007 | text that isn't UTF-8 | is at fault |
/// | 1008 | no token, an invalid or expired one, no access to the card, too many messages for too long | gets a token, or slows down |
/// | 1009 | a message larger than the limit | is at fault |
/// | 1011 | the gateway's own fault | connects again, later |
/// | 1012 | the gateway restarts | connects again with its last `position` |
/// | 1013 | too many connections | connects again, later |
///
/// A client that doesn't read, or doesn't answer pings, is cut off without a code: there is no way to tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[allow(missing_docs, reason = "the table says it")]
pub enum CloseCode {
    Normal = 1000,
    Protocol = 1002,
    Unsupported = 1003,
    InvalidPayload = 1007,
    Policy = 1008,
    TooBig = 1009,
    Internal = 1011,
    Restart = 1012,
    TryLater = 1013,
}

impl CloseCode {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}
