//! Choosing a port that stays ours while Kafka is down.

use std::net::{Ipv4Addr, TcpListener};

use uuid::Uuid;

/// Below the range from which Linux (32768) and others (49152) take the ports of outgoing connections. A port from
/// that range could be given to any connection while Kafka restarts; even to a client of Kafka, trying to connect to
/// that very port, which would then be connected to itself.
const LOWEST: u16 = 16_000;
const COUNT: u16 = 16_000;
const ATTEMPTS: u32 = 64;

/// Whether nobody listens on this port of the loopback interface.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A free port other than `taken`, or `None` if this machine seems to have none.
pub(crate) fn choose(taken: Option<u16>) -> Option<u16> {
    (0..ATTEMPTS)
        .map(|_| LOWEST + (Uuid::new_v4().as_u128() % u128::from(COUNT)) as u16)
        .find(|&port| Some(port) != taken && is_free(port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_chosen_port_is_free_and_outside_the_range_of_outgoing_connections() {
        for _ in 0..100 {
            let port = choose(None).unwrap();
            assert!((LOWEST..LOWEST + COUNT).contains(&port));
        }
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        drop(listener);
        assert!(is_free(port));
    }
}
