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
/// | 1008 | no token; an invalid, expired or revoked one; no access to the card; too many messages or frames for too long | gets a token, or slows down |
/// | 1009 | a message larger than the limit | is at fault |
/// | 1011 | the gateway's own fault | connects again, later |
/// | 1012 | the gateway restarts | connects again with its last positions |
/// | 1013 | too many connections, or the keys of tokens can't be had | connects again, later |
/// | 4000 | it doesn't read what it is sent | connects again with its last positions |
/// | 4001 | it doesn't answer pings | likewise |
/// | 4002 | nothing was said or shown for long | likewise, when it needs to |
/// | 4004 | an operator has closed it | likewise |
///
/// Of our own codes, 4000 to 4499 mean that the client may connect again, and 4500 to 4999 that this won't help. A client
/// that doesn't read, or has gone, may never see its code: it then finds its connection cut.
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
    TooSlow = 4000,
    NoPong = 4001,
    Idle = 4002,
    Operator = 4004,
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
