//! Reading, on a thread of its own: neither a pipe nor a file can be read without blocking, and a read that blocks must
//! not hold up the end of the program.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use tokio::sync::mpsc;

use super::checkpoint::{Head, History, Place};

/// What a reader hands over.
#[derive(Debug)]
pub enum Input {
    /// Bytes that follow the ones before.
    Bytes(Vec<u8>),
    /// What follows is from here, and of the other files so much was read; a line that has begun ends.
    Place(Place, Arc<History>),
    /// The beginning of the file is known better now; what makes it so comes next.
    Head(Head),
    /// The stream has ended.
    End,
    /// It was told to stop, and has handed over all that it had read.
    Stopped,
    /// It can't be read any more.
    Failed(io::Error),
}

/// Bytes are read in pieces of at most so many.
pub(super) const PIECE: usize = 64 * 1024;

/// A thread that reads.
#[derive(Debug)]
pub struct Reader {
    /// What it has read; a few pieces at most wait here.
    pub inputs: mpsc::Receiver<Input>,
    go: Option<Go>,
}

impl Reader {
    pub(super) fn start(
        name: &str,
        read: impl FnOnce(&Stop, &mpsc::Sender<Input>) -> io::Result<Input> + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, go) = Stop::new()?;
        let (sender, inputs) = mpsc::channel(4);
        std::thread::Builder::new().name(name.into()).spawn(move || {
            let last = read(&stop, &sender).unwrap_or_else(Input::Failed);
            // Nobody listens when the program is ending.
            let _ = sender.blocking_send(last);
        })?;
        Ok(Reader { inputs, go: Some(go) })
    }

    /// Reads `stream` to its end. When it is told to stop, what lies in a pipe at that moment is still read: its writer was
    /// told that it was written.
    pub fn stream(stream: impl Into<OwnedFd>) -> io::Result<Self> {
        let file = File::from(stream.into());
        Reader::start("read", move |stop, inputs| {
            loop {
                if stop.wait(Some(file.as_fd()), None)? {
                    for _ in 0..waiting(&file).div_ceil(PIECE as u64) {
                        if !piece(&file, inputs)? {
                            return Ok(Input::End);
                        }
                    }
                    return Ok(Input::Stopped);
                }
                if !piece(&file, inputs)? {
                    return Ok(Input::End);
                }
            }
        })
    }

    /// Tells it to stop: [`Input::Stopped`] will be the last that comes.
    pub fn stop(&mut self) {
        self.go = None;
    }

    /// Whether it was told to.
    pub fn is_told_to_stop(&self) -> bool {
        self.go.is_none()
    }
}

/// Reads a piece and hands it over; false at the end of the file, or when nobody wants it.
fn piece(mut file: &File, inputs: &mpsc::Sender<Input>) -> io::Result<bool> {
    let mut bytes = vec![0; PIECE];
    let length = loop {
        match file.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    bytes.truncate(length);
    Ok(length > 0 && inputs.blocking_send(Input::Bytes(bytes)).is_ok())
}

/// How many bytes lie in a pipe or socket; 0 for anything else.
pub(crate) fn waiting(file: &File) -> u64 {
    let kind = rustix::fs::fstat(file).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::Fifo | FileType::Socket) => rustix::io::ioctl_fionread(file).unwrap_or(0),
        _ => 0,
    }
}

/// Tells a thread when to stop: when its [`Go`] is dropped.
#[derive(Debug)]
pub(crate) struct Stop(PipeReader);

/// As long as it is there, the thread goes on.
#[derive(Debug)]
pub(crate) struct Go(#[expect(dead_code, reason = "dropping it closes the pipe")] PipeWriter);

impl Stop {
    pub(crate) fn new() -> io::Result<(Stop, Go)> {
        let (stop, go) = io::pipe()?;
        Ok((Stop(stop), Go(go)))
    }

    /// Waits until `file` can be read, the time is over, or it is told to stop: then the answer is true.
    pub(crate) fn wait(&self, file: Option<BorrowedFd<'_>>, time: Option<Duration>) -> io::Result<bool> {
        let time = time.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut fds = vec![PollFd::new(&self.0, PollFlags::IN)];
        fds.extend(file.map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN)));
        loop {
            match poll(&mut fds, time.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(!fds[0].revents().is_empty()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use super::*;

    async fn rest(mut reader: Reader) -> (Vec<u8>, Input) {
        let mut all = Vec::new();
        loop {
            match reader.inputs.recv().await.unwrap() {
                Input::Bytes(bytes) => all.extend(bytes),
                last => return (all, last),
            }
        }
    }

    #[tokio::test]
    async fn a_stream_is_read_to_its_end() {
        let (read, mut write) = io::pipe().unwrap();
        let reader = Reader::stream(read).unwrap();
        let text = "a line\n".repeat(100_000);
        let writing = std::thread::spawn(move || write.write_all(text.as_bytes()).unwrap());
        let (all, last) = rest(reader).await;
        assert_eq!((all.len(), matches!(last, Input::End)), (700_000, true));
        writing.join().unwrap();
    }

    #[tokio::test]
    async fn what_lies_in_the_pipe_when_it_is_told_to_stop_is_read() {
        let (read, mut write) = io::pipe().unwrap();
        write.write_all(b"before").unwrap();
        let mut reader = Reader::stream(read).unwrap();
        reader.stop();
        let (all, last) = rest(reader).await;
        assert_eq!((all.as_slice(), matches!(last, Input::Stopped)), (&b"before"[..], true));
    }

    #[tokio::test]
    async fn a_read_that_blocks_can_be_stopped() {
        let (read, write) = io::pipe().unwrap();
        let mut reader = Reader::stream(read).unwrap();
        tokio::task::yield_now().await;
        reader.stop();
        assert!(matches!(rest(reader).await.1, Input::Stopped));
        drop(write);
    }

    #[tokio::test]
    async fn a_file_that_is_a_folder_fails() {
        let reader = Reader::stream(File::open("/").unwrap()).unwrap();
        assert!(matches!(rest(reader).await.1, Input::Failed(_)));
    }
}
