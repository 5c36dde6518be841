//! Reaching a running machine from another thread.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mlx5emu_config::qmp::Qmp;

/// How long QEMU's monitor may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running machine, as other threads see it. Clones are the same machine.
#[derive(Debug, Clone, Default)]
pub struct Handle(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stop: AtomicBool,
    /// The guest's serial console.
    console: Mutex<Option<UnixStream>>,
    /// The socket of QEMU's monitor (QMP).
    monitor: Mutex<Option<PathBuf>>,
}

impl Handle {
    /// Ends the machine at once. Nothing happens if it has ended.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn set_monitor(&self, path: &Path) {
        *self.0.monitor.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_owned());
    }

    pub(crate) fn set_console(&self, stream: UnixStream) {
        *self.0.console.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    /// Has the guest's kernel carry out a magic SysRq `key`: a break on its serial console and the key. It works as long as
    /// the kernel takes interrupts, whatever its processes do; what it prints is in the console's log.
    ///
    /// # Errors
    /// The machine has ended or does not answer.
    pub fn sysrq(&self, key: u8) -> io::Result<()> {
        let monitor = self.0.monitor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let monitor = monitor.ok_or(ErrorKind::NotConnected)?;
        send_break(UnixStream::connect(monitor)?)?;
        let console = self.0.console.lock().unwrap_or_else(PoisonError::into_inner);
        let mut console = console.as_ref().ok_or(ErrorKind::NotConnected)?;
        console.write_all(&[key])
    }
}

/// Asks QEMU's monitor for a break condition on the serial line.
fn send_break(stream: UnixStream) -> io::Result<()> {
    Qmp::over(stream, PATIENCE)?.execute("chardev-send-break", &[("id", "console")]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    #[test]
    fn a_break_is_asked_for_as_the_monitor_wants_it() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qemu = std::thread::spawn(move || {
            let mut lines = BufReader::new(&theirs).lines();
            (&theirs).write_all(b"{\"QMP\":{}}\n").unwrap();
            let mut seen = Vec::new();
            for _ in 0..2 {
                seen.push(lines.next().unwrap().unwrap());
                (&theirs).write_all(b"{\"event\":\"X\"}\n{\"return\":{}}\n").unwrap();
            }
            seen
        });
        send_break(ours).unwrap();
        let seen = qemu.join().unwrap();
        assert!(seen[0].contains("qmp_capabilities") && seen[1].contains("chardev-send-break"), "{seen:?}");
    }

    #[test]
    fn a_machine_that_was_not_started_has_no_console() {
        assert!(Handle::default().sysrq(b'w').is_err());
    }
}
