//! A wire that leaves the card: what the card needs of it, and the way of its frames into the card.

use std::sync::Arc;

use mlx5emu_pci_model::DmaSpace;
use serde_json::Value;

use crate::card::{Card, FunctionIndex};

/// What a port is plugged into outside the card. No method waits for the other end.
pub trait Uplink: Send + Sync {
    /// Takes a frame to send; without room it is dropped, and the wire counts it (gate shared).
    fn send(&self, frame: &[u8]);

    /// Whether a burst can be sent without loss (gate shared). If not, it says when by [`Uplink::flush`], or has the functions
    /// of its port looked at.
    fn has_room(&self) -> bool;

    /// Sends what was taken, as far as it goes. Called outside the gate after each burst. True: there is room again, after
    /// [`Uplink::has_room`] has said that there was none.
    fn flush(&self) -> bool;

    /// Hands over the frames that came since the last time, oldest first, together or in parts: a bounded number (gate
    /// shared).
    fn receive(&self, deliver: &mut dyn FnMut(&[&[u8]]));

    /// What there is to look at.
    fn inspect(&self) -> Value;
}

impl<M: DmaSpace + 'static> Card<M> {
    /// Plugs `port` into `uplink` instead of another port. Its link stays down until [`Card::set_carrier`].
    pub fn plug(&mut self, port: usize, uplink: Arc<dyn Uplink>) {
        if let Some(p) = self.ports.get_mut(port) {
            p.peer = None;
            p.uplink = Some(uplink);
        }
    }

    /// The wire to the outside of `f`'s port.
    pub fn port_uplink(&self, f: FunctionIndex) -> Option<&Arc<dyn Uplink>> {
        self.ports.get(self.functions.get(f)?.port)?.uplink.as_ref()
    }

    /// The function that brings in the frames of a port's wire to the outside: the first one there.
    pub fn porter(&self, port: usize) -> Option<FunctionIndex> {
        self.functions_on(port).next()
    }

    /// Every function on a port.
    pub fn functions_on(&self, port: usize) -> impl Iterator<Item = FunctionIndex> {
        self.functions.iter().enumerate().filter(move |(_, function)| function.port == port).map(|(f, _)| f)
    }

    /// Whether what `f` sends must wait in its queues: the wire to the outside takes nothing more for now.
    pub(crate) fn is_held_off(&self, f: FunctionIndex) -> bool {
        self.port_uplink(f).is_some_and(|uplink| !uplink.has_room())
    }

    /// The other end of the wire to the outside came or went (gate exclusive).
    pub fn set_carrier(&mut self, port: usize, carrier: bool, now: u64) {
        if let Some(p) = self.ports.get_mut(port) {
            p.carrier = carrier;
            self.update_link(port, now);
        }
    }

    /// Delivers the frames that came over the wire of `f`'s port (gate shared).
    pub(crate) fn bring_in(&self, f: FunctionIndex, now: u64, wake: &mut Vec<FunctionIndex>) {
        let port = self.functions.get(f).map_or(0, |function| function.port);
        if let Some(uplink) = self.port_uplink(f)
            && self.porter(port) == Some(f)
        {
            uplink.receive(&mut |frames| self.arrive(port, frames, now, wake));
        }
    }
}
