//! Decoding: a thread between the consumer's and the driver, so that the one that polls only copies.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Weak};
use std::thread;

use agentworks_kafka::BatchBuilder;
use agentworks_schemas::codec::Schemas;
use tokio::sync::mpsc::UnboundedSender;

use super::message::{Assignment, ToDriver};
use super::room::Room;

/// The way from the consumer's thread to the driver. What goes in comes out in the same order.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    to_decoder: Sender<Piped>,
    driver: UnboundedSender<ToDriver>,
    /// Gone when the decoder's thread is.
    decoder: Weak<()>,
}

#[derive(Debug)]
enum Piped {
    Message(ToDriver),
    Records { assignment: Assignment, builder: BatchBuilder, room: Room },
}

impl Pipe {
    /// Starts the thread. It ends with the last clone of the pipe, or with the driver.
    pub(super) fn start(driver: UnboundedSender<ToDriver>) -> io::Result<Self> {
        let (to_decoder, from_consumer) = mpsc::channel();
        let alive = Arc::new(());
        let decoder = Arc::downgrade(&alive);
        let to_driver = driver.clone();
        thread::Builder::new().name("kafka-decode".into()).spawn(move || {
            decode(from_consumer, &to_driver);
            drop(alive);
        })?;
        Ok(Pipe { to_decoder, driver, decoder })
    }

    /// Tells the driver something. If it has ended, [`Pipe::is_closed`] says so.
    pub(super) fn tell(&self, message: ToDriver) {
        let _ = self.to_decoder.send(Piped::Message(message));
    }

    /// Sends records to be decoded. If the driver has ended, [`Pipe::is_closed`] says so.
    pub(super) fn ship(&self, assignment: Assignment, builder: BatchBuilder, room: Room) {
        let _ = self.to_decoder.send(Piped::Records { assignment, builder, room });
    }

    /// Whether nobody takes what goes in.
    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_closed() || self.decoder.strong_count() == 0
    }
}

fn decode(from_consumer: Receiver<Piped>, driver: &UnboundedSender<ToDriver>) {
    for piped in from_consumer {
        let message = match piped {
            Piped::Message(message) => message,
            Piped::Records { assignment, builder, mut room } => {
                let batch = Arc::new(builder.build(Schemas::builtin()));
                room.resize(batch.bytes());
                ToDriver::Batch { assignment, batch, room }
            }
        };
        if driver.send(message).is_err() {
            return;
        }
    }
}
