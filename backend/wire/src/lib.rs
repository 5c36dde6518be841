#![forbid(unsafe_code)]
//! What a port is plugged into.
//!
//! * [`Cabling`]: cables between two ports of the same card, which the card itself carries frames over.
//! * [`Plug`]: a wire to the outside, a file each: `stream` and `dgram` are QEMU's socket netdevs. It is bound before the
//!   card is confined, and runs on a thread of its own, the only one that waits for the socket. The card has its [`Line`],
//!   which never waits: frames to send go into a bounded queue and from there to the socket as far as it takes them, the
//!   rest is dropped and counted; frames that come wait in a bounded queue, and while that is full the socket is not read.
//!
//! An end that goes away is a link that is down; it may come back at any time.

mod dgram;
mod line;
mod plug;
mod poll;
mod queue;
mod stream;

pub use line::{Counters, Line, Notify};
pub use plug::{Plug, PlugError};
pub use queue::MAX_FRAME;

use mlx5emu_config::Wire;

/// A cable that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CablingError {
    /// The port at the other end does not exist.
    #[error("port p{port} is plugged into p{peer}, and the card has {count} ports: name one from p0 to p{}", .count - 1)]
    NoSuchPort {
        /// The port that is plugged in.
        port: usize,
        /// Where to.
        peer: usize,
        /// Ports of the card.
        count: usize,
    },
    /// Both ends of the cable are in one port.
    #[error("port p{port} is plugged into itself: a cable has two ends, name another port or \"none\"")]
    Itself {
        /// The port.
        port: usize,
    },
    /// The port at the other end says that it is plugged in elsewhere, or not at all.
    #[error("port p{port} is plugged into p{peer}, which is plugged into {other}: a port takes one cable")]
    OneSided {
        /// The port that is plugged in.
        port: usize,
        /// Where to.
        peer: usize,
        /// What the other port says: `p3` or `nothing`.
        other: String,
    },
}

/// The cables of a card: which port is at the other end of each port's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cabling {
    peers: Box<[Option<usize>]>,
}

impl Cabling {
    /// The cables that `wires`, one for each port in order, describe.
    ///
    /// # Errors
    /// [`CablingError`] names the first port whose cable cannot be.
    pub fn of(wires: &[Wire]) -> Result<Self, CablingError> {
        let peers: Box<[_]> = wires.iter().map(peer).collect();
        for (port, other) in peers.iter().enumerate() {
            let Some(other) = *other else { continue };
            match peers.get(other) {
                None => return Err(CablingError::NoSuchPort { port, peer: other, count: peers.len() }),
                Some(_) if other == port => return Err(CablingError::Itself { port }),
                Some(back) if *back == Some(port) => {}
                Some(back) => {
                    let back = back.map_or_else(|| "nothing".to_string(), |n| format!("p{n}"));
                    return Err(CablingError::OneSided { port, peer: other, other: back });
                }
            }
        }
        Ok(Self { peers })
    }

    /// The port that `port` is plugged into; `None` if it is open, leads outside or does not exist.
    pub fn peer(&self, port: usize) -> Option<usize> {
        self.peers.get(port).copied().flatten()
    }

    /// Number of ports.
    pub fn ports(&self) -> usize {
        self.peers.len()
    }
}

fn peer(wire: &Wire) -> Option<usize> {
    match wire {
        Wire::Port(n) => Some(usize::from(*n)),
        Wire::None | Wire::Stream { .. } | Wire::Dgram { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cable_has_two_ends() {
        let cabling = Cabling::of(&[Wire::Port(2), Wire::None, Wire::Port(0)]).unwrap();
        assert_eq!([0, 1, 2, 3].map(|n| cabling.peer(n)), [Some(2), None, Some(0), None]);
        assert_eq!(cabling.ports(), 3);
    }

    #[test]
    fn every_cable_of_a_parsed_card_can_be() {
        for text in ["", "ports = 1", "ports = 7", "ports = 4\n[wires]\np0 = \"p3\""] {
            let card = mlx5emu_config::Card::parse(text).unwrap();
            let wires: Vec<_> = card.ports.iter().map(|p| p.wire.clone()).collect();
            assert_eq!(Cabling::of(&wires).unwrap().ports(), card.ports.len());
        }
    }

    #[test]
    fn cables_that_cannot_be_are_refused_by_name() {
        let text = |wires: &[Wire]| Cabling::of(wires).unwrap_err().to_string();
        assert!(text(&[Wire::Port(1)]).contains("the card has 1 ports"));
        assert!(text(&[Wire::Port(0)]).contains("into itself"));
        assert!(text(&[Wire::Port(1), Wire::None]).contains("plugged into nothing"));
        assert!(text(&[Wire::Port(1), Wire::Port(2), Wire::Port(1)]).contains("p1, which is plugged into p2"));
    }
}
