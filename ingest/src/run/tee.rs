//! Passing a program's output through, and listening to it.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

use super::queue::{Listener, OwnedLine, Stream};
use crate::ship::input::{Stop, waiting};
use crate::ship::lines::{LongLines, Splitter};

/// One output on its way.
pub(super) struct Tee {
    pub(super) stream: Stream,
    pub(super) from: File,
    pub(super) to: File,
    pub(super) listener: Listener,
}

impl Tee {
    /// Copies `from` to `to` on a thread, byte for byte and at once, and puts its lines into the queue. Ends, and drops
    /// `running`, at the end of `from`, when nobody reads `to` any more, or when it is told to stop: then with what lies in
    /// the pipe.
    pub(super) fn start(
        mut self,
        stop: Stop,
        long_lines: LongLines,
        running: mpsc::Sender<Infallible>,
    ) -> io::Result<()> {
        let name = match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        std::thread::Builder::new().name(name.into()).spawn(move || {
            let mut splitter = Splitter::new(Splitter::LIMIT, long_lines, 0);
            if let Err(error) = self.run(&stop, &mut splitter) {
                // As without us: `from` is closed now, and the next write tells the program so.
                tracing::debug!("{name} is no longer passed through: {error}");
            }
            if let Some(line) = splitter.finish() {
                self.listener.put(OwnedLine::new(self.stream, &line));
            }
            drop(self);
            drop(running);
        })?;
        Ok(())
    }

    fn run(&mut self, stop: &Stop, splitter: &mut Splitter) -> io::Result<()> {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            if stop.wait(Some(self.from.as_fd()), None)? {
                let mut left = waiting(&self.from);
                while left > 0 && self.piece(&mut bytes, splitter)? {
                    left = left.saturating_sub(bytes.len() as u64);
                }
                return Ok(());
            }
            if !self.piece(&mut bytes, splitter)? {
                return Ok(());
            }
        }
    }

    /// Handles what can be read now; false at the end.
    fn piece(&mut self, bytes: &mut [u8], splitter: &mut Splitter) -> io::Result<bool> {
        let length = loop {
            match self.from.read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        let passed = write_all(&mut self.to, &bytes[..length]);
        let mut rest = &bytes[..length];
        while let Some(line) = splitter.next(&mut rest) {
            self.listener.put(OwnedLine::new(self.stream, &line));
        }
        passed.map(|()| length > 0)
    }
}

/// Writes all, also to a file that somebody else has made non-blocking.
fn write_all(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&*to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{PipeReader, PipeWriter};
    use std::os::fd::OwnedFd;

    use super::super::queue::{Heard, Queue, queue};
    use super::*;
    use crate::ship::input::Go;

    struct Running {
        program: PipeWriter,
        screen: PipeReader,
        heard: Queue,
        go: Go,
        ended: mpsc::Receiver<Infallible>,
    }

    fn start() -> Running {
        let (from, program) = io::pipe().unwrap();
        let (screen, to) = io::pipe().unwrap();
        let (listener, heard) = queue(1 << 20);
        let (stop, go) = Stop::new().unwrap();
        let (running, ended) = mpsc::channel(1);
        let (from, to) = (OwnedFd::from(from).into(), OwnedFd::from(to).into());
        Tee { stream: Stream::Stderr, from, to, listener }.start(stop, LongLines::Split, running).unwrap();
        Running { program, screen, heard, go, ended }
    }

    #[tokio::test]
    async fn bytes_pass_unchanged_and_lines_are_heard() {
        let Running { mut program, mut screen, mut heard, go: _go, mut ended } = start();
        program.write_all(b"prompt> ").unwrap();
        let mut shown = [0; 8];
        screen.read_exact(&mut shown).unwrap();
        assert_eq!(&shown, b"prompt> ", "before the line has ended");
        program.write_all(b"\xff\r\nend").unwrap();
        drop(program);
        let mut rest = Vec::new();
        screen.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"\xff\r\nend");
        ended.recv().await;
        let mut lines = Vec::new();
        while let Some(Heard::Line(line)) = heard.next().await {
            lines.push(line.line().bytes.to_vec());
        }
        assert_eq!(lines, [&b"prompt> \xff"[..], b"end"]);
    }

    #[tokio::test]
    async fn a_screen_that_is_closed_closes_the_program_s_pipe() {
        let Running { mut program, screen, heard: _heard, go: _go, mut ended } = start();
        drop(screen);
        program.write_all(b"nobody reads this\n").unwrap();
        ended.recv().await;
        assert_eq!(program.write_all(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn told_to_stop_it_passes_what_lies_in_the_pipe() {
        let Running { mut program, mut screen, heard: _heard, go, mut ended } = start();
        program.write_all(b"last words").unwrap();
        drop(go);
        ended.recv().await;
        let mut shown = String::new();
        screen.read_to_string(&mut shown).unwrap();
        assert_eq!(shown, "last words");
    }
}
