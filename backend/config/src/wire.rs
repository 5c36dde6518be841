//! What a port is plugged into, as `CARD.toml` writes it.

use std::path::{Path, PathBuf};

use crate::dir::MAX_SOCKET_PATH;

/// What a port is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Nothing: the link stays down.
    None,
    /// Another port of the same card. The other port names this one.
    Port(u8),
    /// A stream socket, as QEMU's `-netdev stream` has it: `stream:PATH[,connect|,server]`.
    Stream {
        /// The socket; relative to the directory of the card's sockets.
        path: PathBuf,
        /// Who listens.
        role: Role,
    },
    /// A pair of datagram sockets, as QEMU's `-netdev dgram` has them: `dgram:LOCAL,REMOTE`.
    Dgram {
        /// The card's own socket; relative to the directory of the card's sockets.
        local: PathBuf,
        /// The other end's socket; relative to the same directory.
        remote: PathBuf,
    },
}

/// Which end of a stream is this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The card connects, again and again until it succeeds: the other end says `server=on`.
    Connect,
    /// The card listens: the other end connects.
    Server,
}

/// What is wrong with the text of a wire to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Neither `stream:` nor `dgram:`.
    #[error("not a kind of wire")]
    Kind,
    /// The words after the kind.
    #[error("write stream:PATH, stream:PATH,connect or stream:PATH,server")]
    Stream,
    /// The words after the kind.
    #[error("write dgram:LOCAL,REMOTE, two different paths")]
    Dgram,
    /// A path that cannot be a socket's.
    #[error("a path of a unix socket has 1 to {MAX_SOCKET_PATH} bytes, none of them zero")]
    Path,
}

impl Wire {
    /// A wire to the outside from its text. Paths cannot contain a comma.
    ///
    /// # Errors
    /// What to write instead.
    pub fn outside(text: &str) -> Result<Wire, WireError> {
        let (kind, rest) = text.split_once(':').ok_or(WireError::Kind)?;
        let words: Vec<&str> = rest.split(',').collect();
        match (kind, words.as_slice()) {
            ("stream", [path] | [path, "connect"]) => Ok(Wire::Stream { path: socket(path)?, role: Role::Connect }),
            ("stream", [path, "server"]) => Ok(Wire::Stream { path: socket(path)?, role: Role::Server }),
            ("stream", _) => Err(WireError::Stream),
            ("dgram", [local, remote]) if local != remote => {
                Ok(Wire::Dgram { local: socket(local)?, remote: socket(remote)? })
            }
            ("dgram", _) => Err(WireError::Dgram),
            _ => Err(WireError::Kind),
        }
    }

    /// The socket that this wire makes, which no other can make: a port's own.
    pub fn own_socket(&self) -> Option<&Path> {
        match self {
            Wire::Stream { path, role: Role::Server } => Some(path),
            Wire::Dgram { local, .. } => Some(local),
            Wire::None | Wire::Port(_) | Wire::Stream { .. } => None,
        }
    }
}

fn socket(path: &str) -> Result<PathBuf, WireError> {
    if path.is_empty() || path.len() > MAX_SOCKET_PATH || path.contains('\0') {
        return Err(WireError::Path);
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wires_to_the_outside_have_two_kinds() {
        let stream = |role| Ok(Wire::Stream { path: "/a/b".into(), role });
        assert_eq!(Wire::outside("stream:/a/b"), stream(Role::Connect));
        assert_eq!(Wire::outside("stream:/a/b,connect"), stream(Role::Connect));
        assert_eq!(Wire::outside("stream:/a/b,server"), stream(Role::Server));
        let dgram = Wire::Dgram { local: "l".into(), remote: "/r".into() };
        assert_eq!(dgram.own_socket(), Some(Path::new("l")));
        assert_eq!(Wire::outside("dgram:l,/r"), Ok(dgram));
    }

    #[test]
    fn what_is_none_says_what_to_write() {
        for (text, error) in [
            ("", WireError::Kind),
            ("tap:t0", WireError::Kind),
            ("stream:", WireError::Path),
            ("stream:/a,listen", WireError::Stream),
            ("dgram:/a", WireError::Dgram),
            ("dgram:/a,/a", WireError::Dgram),
            ("dgram:/a,", WireError::Path),
            ("dgram:/a,/b,/c", WireError::Dgram),
        ] {
            assert_eq!(Wire::outside(text), Err(error), "{text}");
        }
        assert_eq!(Wire::outside(&format!("stream:/{}", "x".repeat(107))), Err(WireError::Path));
    }
}
