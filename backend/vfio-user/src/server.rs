//! The listening socket of one function.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::attendant::Watch;
use crate::connection::{self, End};
use crate::device::{Device, DeviceInfo};
use crate::ratelimit::RateLimit;

/// Why a function's socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system refuses what the socket needs.
    #[error("{name}: the socket cannot be served: {source}")]
    System {
        /// The function's name.
        name: String,
        /// What the system said.
        source: Errno,
    },
}

/// Ends [`serve`], from any thread; one for as many sockets as wanted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// A stop that has not been asked for.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// All [`serve`] calls with this stop return soon. Cannot be taken back.
    pub fn stop(&self) {
        // The counter can only be at its limit if it was stopped before.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// Whether it has been asked for.
    pub fn is_stopped(&self) -> bool {
        let mut polled = [PollFd::new(&*self.0, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Serves one function on `listener`, on the calling thread, until `stop`. One client at a time; a second one is
/// refused (its connection is closed at once) while the first is there. A client that leaves makes place for another,
/// after [`Device::disconnected`].
///
/// # Errors
/// [`ServeError`] if the listener itself cannot be used.
pub fn serve(listener: UnixListener, device: &Arc<dyn Device>, stop: &Stop) -> Result<(), ServeError> {
    let info = device.info();
    let failed = |source: Errno| ServeError::System { name: info.name.clone(), source };
    rustix::io::ioctl_fionbio(&listener, true).map_err(failed)?;
    let log = RateLimit::new();
    loop {
        if wait_for_client(&listener, stop).map_err(failed)? {
            return Ok(());
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if serve_client(stream, &listener, device.as_ref(), &info, stop, &log) == End::Stop {
                    return Ok(());
                }
            }
            Err(e) => accept_failed(&info, &e, stop, &log),
        }
    }
}

/// Waits until a client knocks; true if it is time to stop instead.
fn wait_for_client(listener: &UnixListener, stop: &Stop) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => Ok(!fds[1].revents().is_empty()),
        Err(e) => Err(e),
    }
}

fn accept_failed(info: &DeviceInfo, e: &std::io::Error, stop: &Stop, log: &RateLimit) {
    use std::io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    if matches!(e.kind(), WouldBlock | Interrupted | ConnectionAborted) {
        return;
    }
    log.warn(format_args!("{}: a client cannot be accepted: {e}", info.name));
    // Out of descriptors or memory: the listener stays readable, so do not spin.
    let pause = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let _ = poll(&mut [PollFd::new(stop, PollFlags::IN)], Some(&pause));
}

fn serve_client(
    stream: UnixStream,
    listener: &UnixListener,
    device: &dyn Device,
    info: &DeviceInfo,
    stop: &Stop,
    log: &RateLimit,
) -> End {
    let refuse_other = || match listener.accept() {
        Ok(_) => log.warn(format_args!("{}: refusing a second client", info.name)),
        Err(e) => accept_failed(info, &e, stop, log),
    };
    log::info!("{}: client connected", info.name);
    let connected = Cell::new(false);
    let watch = Watch { stop: stop.as_fd(), listener: listener.as_fd(), refuse_other: &refuse_other };
    // A panic in the device is a bug, but one function's: its client is disconnected, the others go on.
    let end = catch_unwind(AssertUnwindSafe(|| connection::run(&stream, device, info, &watch, &connected)));
    let end = end.unwrap_or_else(|_| {
        log::error!("{}: the function panicked: disconnecting its client", info.name);
        End::Client
    });
    if connected.get() && catch_unwind(AssertUnwindSafe(|| device.disconnected())).is_err() {
        log::error!("{}: the function panicked while its client left", info.name);
    }
    log::info!("{}: client disconnected", info.name);
    end
}
