//! A wire that leaves the card: what the card needs of it, and the way of its frames into the card.

use std::sync::Arc;

use mlx5emu_pci_model::DmaSpace;
use serde_json::Value;

use crate::card::{Card, FunctionIndex};

/// What a port is plugged into outside the card. No method waits for the other end.
pub trait Uplink: Send + Sync {
    /// Takes a frame to send; without room it is dropped, and the wire counts it (gate shared).
    fn send(&self, frame: &[u8]);

    /// Sends what was taken, as far as it goes. Called outside the gate after each burst.
    fn flush(&self);

    /// Hands over the frames that came since the last time, oldest first: a bounded number (gate shared).
    fn receive(&self, deliver: &mut dyn FnMut(&[u8]));

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
        self.functions.iter().position(|function| function.port == port)
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
            uplink.receive(&mut |frame| self.arrive(port, frame, now, wake));
        }
    }
}
