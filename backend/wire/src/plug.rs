//! A wire to the outside, from its description to its thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlx5emu_config::dir::{DirError, MAX_SOCKET_PATH, free_socket};
use mlx5emu_config::{Role, Wire};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::line::{Line, Notify};
use crate::{dgram, stream};

/// Why a wire to the outside cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// Somebody else has the socket.
    #[error("the wire of p{port}: the socket {} is in use: end the program that has it, or name another path", path.display())]
    InUse {
        /// The port.
        port: usize,
        /// The socket.
        path: PathBuf,
    },
    /// The path has too many bytes once the card's directory is before it.
    #[error(
        "the wire of p{port}: the path {} is longer than a unix socket's, {MAX_SOCKET_PATH} bytes: name a shorter one",
        path.display()
    )]
    TooLong {
        /// The port.
        port: usize,
        /// The socket.
        path: PathBuf,
    },
    /// The path cannot be had.
    #[error("the wire of p{port}: {source}")]
    Dir {
        /// The port.
        port: usize,
        /// Why not.
        source: DirError,
    },
    /// The system refuses.
    #[error("the wire of p{port}: cannot bind {}: {source}", path.display())]
    System {
        /// The port.
        port: usize,
        /// The socket.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

enum Kind {
    Stream(stream::Source),
    Dgram(dgram::Pair),
}

/// A wire to the outside with its own socket bound, not yet running.
pub struct Plug {
    line: Arc<Line>,
    kind: Kind,
    own: Option<PathBuf>,
}

impl Plug {
    /// The wire of port `port`; `None` if it does not lead outside. Paths that are not absolute are in `dir`. The socket
    /// of the wire's own is made and bound here; the other end is looked for by [`Plug::run`].
    ///
    /// # Errors
    /// The socket cannot be had.
    pub fn bind(port: usize, wire: &Wire, dir: &Path) -> Result<Option<Self>, PlugError> {
        let full = |path: &Path| {
            let path = dir.join(path);
            let fits = path.as_os_str().len() <= MAX_SOCKET_PATH;
            if fits { Ok(path) } else { Err(PlugError::TooLong { port, path }) }
        };
        let own = wire.own_socket().map(full).transpose()?;
        if let Some(path) = &own {
            free_socket(path).map_err(|source| match source {
                DirError::InUse { path } => PlugError::InUse { port, path },
                source => PlugError::Dir { port, source },
            })?;
        }
        let system = |path: &Path| {
            let path = path.to_owned();
            move |source: rustix::io::Errno| PlugError::System { port, path, source: source.into() }
        };
        let (text, kind) = match wire {
            Wire::None | Wire::Port(_) => return Ok(None),
            Wire::Stream { path, role } => {
                let path = full(path)?;
                let text = format!("stream:{}", path.display());
                let source = match role {
                    Role::Server => stream::Source::listen(&path).map_err(system(&path))?,
                    Role::Connect => stream::Source::Path(path),
                };
                (text, Kind::Stream(source))
            }
            Wire::Dgram { local, remote } => {
                let (local, remote) = (full(local)?, full(remote)?);
                let text = format!("dgram:{},{}", local.display(), remote.display());
                (text, Kind::Dgram(dgram::Pair::bind(&local, remote).map_err(system(&local))?))
            }
        };
        let line = Line::new(format!("p{port} {text}"));
        let line = line.map_err(|source| PlugError::System { port, path: own.clone().unwrap_or_default(), source })?;
        Ok(Some(Self { line: Arc::new(line), kind, own }))
    }

    /// The card's side of it.
    pub fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// The socket that was made for it, to be removed in the end.
    pub fn own_socket(&self) -> Option<&Path> {
        self.own.as_deref()
    }

    /// Whether it looks for its other end by connecting to it.
    pub fn connects(&self) -> bool {
        !matches!(self.kind, Kind::Stream(stream::Source::Listener(_)))
    }

    /// Runs the wire on the calling thread until `stop` can be read; the other end may come and go.
    pub fn run(&self, stop: impl AsFd, notify: &dyn Notify) {
        match &self.kind {
            Kind::Stream(source) => stream::run(source, &self.line, stop.as_fd(), notify),
            Kind::Dgram(pair) => dgram::run(pair, &self.line, stop.as_fd(), notify),
        }
    }
}

/// A socket of one's own at `path` that only its owner may connect or send to, from its first moment: the file inherits
/// the descriptor's mode.
pub(crate) fn own_socket(kind: SocketType, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}
