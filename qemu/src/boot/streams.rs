//! The guest's ports on the host: unix sockets that QEMU connects to, each served by a thread.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use super::handle::Handle;
use super::status::{Message, Parser};

/// A port that nobody has connected to yet.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    listener: UnixListener,
}

/// Where a port's bytes go.
pub(crate) enum Sink {
    /// To a writer, usually our standard output or error.
    Copy(Box<dyn Write + Send>),
    /// To the run's loop, as messages.
    Status(Sender<Message>),
    /// Into a file of bounded size; what the other end hears is up to the handle.
    Log(File, Option<Handle>),
    /// Nowhere: the port is fed from our standard input.
    Feed,
}

impl Listening {
    /// Listens on `DIR/NAME`.
    pub(crate) fn new(dir: &Path, name: &str) -> io::Result<Self> {
        let path = dir.join(name);
        let listener = UnixListener::bind(&path)?;
        Ok(Self { name: name.to_owned(), path, listener })
    }

    /// Serves the one connection that QEMU makes, until it ends. The thread ends then; if QEMU never connects, it is
    /// released by [`release`].
    pub(crate) fn serve(self, sink: Sink) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let Ok((stream, _)) = self.listener.accept() else { return };
            match sink {
                Sink::Copy(mut to) => drain(stream, |bytes| {
                    // A closed standard output must not stop the guest: its words are dropped then.
                    let _ = to.write_all(bytes).and_then(|()| to.flush());
                }),
                Sink::Status(to) => {
                    let mut parser = Parser::default();
                    drain(stream, |bytes| parser.feed(bytes).into_iter().for_each(|message| drop(to.send(message))));
                }
                Sink::Log(file, handle) => {
                    if let (Some(handle), Ok(stream)) = (handle, stream.try_clone()) {
                        handle.set_console(stream);
                    }
                    let mut log = Log { file, written: 0, limit: LOG_LIMIT };
                    drain(stream, |bytes| log.write(bytes));
                }
                Sink::Feed => feed(io::stdin().lock(), stream),
            }
        })
    }
}

/// Ends the wait of a port that QEMU has not connected to.
pub(crate) fn release(path: &Path) {
    let _ = UnixStream::connect(path);
}

/// Bytes of the kernel console's log. A guest that prints without end must not fill the disk.
const LOG_LIMIT: u64 = 64 << 20;

/// A file that starts anew when it is full: the end is what tells why a guest died.
struct Log {
    file: File,
    written: u64,
    limit: u64,
}

impl Log {
    fn write(&mut self, bytes: &[u8]) {
        if self.written + bytes.len() as u64 > self.limit {
            // If it cannot be emptied it stays as it is.
            if self.file.set_len(0).and_then(|()| self.file.rewind()).is_err() {
                return;
            }
            self.written = 0;
            let _ = self.file.write_all(b"[earlier lines dropped: the console's log was full]\n");
        }
        self.written += bytes.len() as u64;
        let _ = self.file.write_all(bytes);
    }
}

fn drain(mut stream: UnixStream, mut with: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => with(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Copies our standard input to the guest; its end is the port's end.
fn feed(mut from: impl Read, mut stream: UnixStream) {
    let _ = io::copy(&mut from, &mut stream);
    let _ = stream.shutdown(Shutdown::Write);
    // QEMU drops what it has not read yet when this end closes; so it stays open until QEMU closes its own.
    drain(stream, |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, mpsc};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_arrives_whole_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let port = Listening::new(dir.path(), "out").unwrap();
        let path = port.path.clone();
        let seen = Shared::default();
        let thread = port.serve(Sink::Copy(Box::new(seen.clone())));
        let mut guest = UnixStream::connect(path).unwrap();
        let text: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        guest.write_all(&text).unwrap();
        drop(guest);
        thread.join().unwrap();
        assert_eq!(*seen.0.lock().unwrap(), text);
    }

    #[test]
    fn a_full_log_starts_anew_and_keeps_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut log = Log { file: file.reopen().unwrap(), written: 0, limit: 100 };
        for n in 0..30 {
            log.write(format!("line {n:04}\n").as_bytes());
        }
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.len() < 200 && text.starts_with("[earlier lines dropped"), "{text}");
        assert!(text.ends_with("line 0029\n"), "{text}");
    }

    #[test]
    fn the_status_port_turns_bytes_into_messages() {
        let dir = tempfile::tempdir().unwrap();
        let port = Listening::new(dir.path(), "status").unwrap();
        let path = port.path.clone();
        let (to, messages) = mpsc::channel();
        let thread = port.serve(Sink::Status(to));
        UnixStream::connect(path).unwrap().write_all(b"ready\nexit 5\n").unwrap();
        thread.join().unwrap();
        assert_eq!(messages.iter().collect::<Vec<_>>(), [Message::Ready, Message::Exit(5)]);
    }

    #[test]
    fn input_ends_with_an_end_and_not_with_a_loss() {
        let (ours, mut qemus) = UnixStream::pair().unwrap();
        let feeder = std::thread::spawn(move || feed(&[b'x'; 5000][..], ours));
        let mut seen = vec![0; 5000];
        qemus.read_exact(&mut seen).unwrap();
        // The end has been announced, and the connection still stands.
        assert_eq!(qemus.read(&mut [0]).unwrap(), 0);
        qemus.write_all(b"still there").unwrap();
        assert!(!feeder.is_finished());
        drop(qemus);
        feeder.join().unwrap();
    }

    #[test]
    fn a_port_that_nobody_uses_does_not_hold_its_thread() {
        let dir = tempfile::tempdir().unwrap();
        let port = Listening::new(dir.path(), "out").unwrap();
        let path = port.path.clone();
        let thread = port.serve(Sink::Copy(Box::new(io::sink())));
        release(&path);
        thread.join().unwrap();
    }
}
