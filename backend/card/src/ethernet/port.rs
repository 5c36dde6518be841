//! The ports: administrative and link state, MTU, counters, and the way of a frame over the wire.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::event::PortChange;

use super::Traffic;
use super::fec::{self, Fec};
use super::loopback::{Source, Way};
use super::uplink::Uplink;
use crate::card::{Card, FunctionIndex, PortSetup};

/// The largest MTU of a port (`max_mtu` of PMTU): Ethernet header, VLAN tag and FCS included, as the register counts.
pub const MAX_MTU: u16 = 9978;
/// The MTU after power-on: 1500 bytes of payload, with header, VLAN tag and FCS.
const DEFAULT_MTU: u16 = 1522;
/// Length of the frame check sequence, which MTU counts and frames here don't have.
const FCS: usize = 4;
/// Link modes from the fastest to the slowest: Mbit/s and the bit of `eth_proto` (`MLX5E_*` link modes): 100GBASE-CR4,
/// 50GBASE-CR2, 40GBASE-CR4, 25GBASE-CR, 10GBASE-CR.
const BY_SPEED: [(u32, u32); 5] = [(100_000, 20), (50_000, 30), (40_000, 6), (25_000, 27), (10_000, 12)];

/// What a port counts.
#[derive(Debug, Default)]
pub struct PortCounters {
    /// Frames sent to the wire.
    pub sent: Traffic,
    /// Frames that came from the wire.
    pub received: Traffic,
    /// Frames that came and were longer than the MTU.
    pub too_long: AtomicU64,
    /// Frames sent while the link was down.
    pub lost: AtomicU64,
    /// Multicast frames sent and received, broadcast frames sent and received.
    pub groups: [AtomicU64; 4],
    /// Frames sent and received by priority: that of the VLAN tag, else 0.
    pub priorities: [[Traffic; 2]; 8],
    /// Frames received by length, see [`SIZES`].
    pub sizes: [AtomicU64; SIZES.len()],
    /// How often the link went down.
    pub link_downs: AtomicU64,
}

/// The longest frame of each class of RFC 2819, FCS included; the last four are not in the RFC.
pub const SIZES: [usize; 10] = [64, 127, 255, 511, 1023, 1518, 2047, 4095, 8191, 10239];

impl PortCounters {
    fn count(&self, frame: &[u8], sent: bool) {
        let traffic = if sent { &self.sent } else { &self.received };
        traffic.count(frame.len());
        if frame.first().is_some_and(|b| b & 1 == 1) {
            let broadcast = frame.starts_with(&[0xff; 6]);
            self.groups[usize::from(broadcast) * 2 + usize::from(!sent)].fetch_add(1, Relaxed);
        }
        let priority = match frame.get(12..15) {
            Some(&[0x81, 0x00, tci]) => usize::from(tci >> 5),
            _ => 0,
        };
        self.priorities[priority][usize::from(!sent)].count(frame.len());
        if !sent && let Some(class) = SIZES.iter().position(|longest| frame.len() + FCS <= *longest) {
            self.sizes[class].fetch_add(1, Relaxed);
        }
    }
}

/// One port.
pub struct Port {
    /// Administrative state (PAOS).
    pub admin_up: bool,
    /// Link modes that it has (`eth_proto_capability` of PTYS).
    pub modes: u32,
    /// Link modes asked for (PTYS).
    pub admin_modes: u32,
    /// Autonegotiation is off (PTYS): the driver asks for one link mode, and shows that.
    pub an_disable: bool,
    /// Forward error correction asked for (PPLM), by [`fec::SPEEDS`].
    pub fec: [Fec; fec::SPEEDS.len()],
    /// MTU asked for (PMTU).
    pub mtu: u16,
    /// The port at the other end of the wire.
    pub peer: Option<usize>,
    /// The wire to the outside, in place of a peer.
    pub uplink: Option<Arc<dyn Uplink>>,
    /// Whether the other end of the wire to the outside is there.
    pub carrier: bool,
    /// Whether the link is up.
    pub link: bool,
    /// What it counts.
    pub counters: PortCounters,
}

impl Port {
    pub(crate) fn new(setup: &PortSetup) -> Self {
        let modes = modes_up_to(setup.speed_mbps);
        Self {
            admin_up: false,
            modes,
            admin_modes: modes,
            an_disable: false,
            fec: [Fec::AUTO; fec::SPEEDS.len()],
            mtu: DEFAULT_MTU,
            peer: setup.peer,
            uplink: None,
            carrier: false,
            link: false,
            counters: PortCounters::default(),
        }
    }
}

/// The link modes of a port that runs at `mbps` at most.
fn modes_up_to(mbps: u32) -> u32 {
    BY_SPEED.iter().filter(|(speed, _)| *speed <= mbps).fold(0, |modes, (_, bit)| modes | 1 << bit)
}

/// The link mode that two ends agree on: the fastest that both want.
pub(crate) fn common_mode(a: u32, b: u32) -> Option<u32> {
    BY_SPEED.into_iter().map(|(_, bit)| bit).find(|bit| (a & b) >> bit & 1 == 1)
}

impl<M: DmaSpace + 'static> Card<M> {
    /// Sets a port's administrative state; links at both ends follow, and their functions are told.
    pub(crate) fn set_port_admin(&mut self, port: usize, up: bool, now: u64) {
        if let Some(p) = self.ports.get_mut(port)
            && p.admin_up != up
        {
            p.admin_up = up;
            self.update_link(port, now);
        }
    }

    /// Recomputes the link of `port` and of its peer.
    pub(crate) fn update_link(&mut self, port: usize, _now: u64) {
        let peer = self.ports.get(port).and_then(|p| p.peer);
        for end in [Some(port), peer.filter(|p| *p != port)].into_iter().flatten() {
            let up = self.link_should_be(end);
            let Some(p) = self.ports.get_mut(end) else { continue };
            if p.link == up {
                continue;
            }
            p.link = up;
            if !up {
                p.counters.link_downs.fetch_add(1, Relaxed);
            }
            log::debug!("port {end}: link {}", if up { "up" } else { "down" });
            let sub_type = if up { PortChange::ACTIVE } else { PortChange::DOWN };
            for f in 0..self.functions.len() {
                if self.functions[f].port == end {
                    self.post_port_change(f, sub_type.0);
                }
            }
        }
    }

    fn link_should_be(&self, port: usize) -> bool {
        let Some(this) = self.ports.get(port) else { return false };
        if this.uplink.is_some() {
            return this.admin_up && this.carrier && common_mode(this.admin_modes, this.modes).is_some();
        }
        let Some(other) = this.peer.and_then(|p| self.ports.get(p)) else { return false };
        let agreed = |bit: u32| fec::agree(1 << bit, &this.fec, &other.fec).is_some();
        this.admin_up && other.admin_up && common_mode(this.admin_modes, other.admin_modes).is_some_and(agreed)
    }

    /// The error correction that a port uses; none when the link is down.
    pub(crate) fn fec(&self, port: usize) -> Fec {
        let Some(this) = self.ports.get(port).filter(|p| p.link) else { return Fec::AUTO };
        let Some(other) = this.peer.and_then(|p| self.ports.get(p)) else { return Fec::AUTO };
        fec::agree(self.link_mode(port), &this.fec, &other.fec).unwrap_or(Fec::AUTO)
    }

    /// The link mode that a port runs at, as a bit of `eth_proto`; 0 when the link is down.
    pub(crate) fn link_mode(&self, port: usize) -> u32 {
        let Some(this) = self.ports.get(port).filter(|p| p.link) else { return 0 };
        let other = match this.peer.and_then(|p| self.ports.get(p)) {
            Some(other) => other.admin_modes,
            // What is outside takes any speed.
            None => this.modes,
        };
        common_mode(this.admin_modes, other).map_or(0, |bit| 1 << bit)
    }

    /// A function sends a frame by a queue of transport domain `domain`: to its port, over the wire, to the functions at
    /// the other end; or back to itself. Functions that had to put the frame aside are added to `wake`.
    pub(crate) fn transmit(
        &self,
        f: FunctionIndex,
        domain: Option<u32>,
        frame: &[u8],
        now: u64,
        wake: &mut Vec<FunctionIndex>,
    ) {
        let Some(function) = self.functions.get(f) else { return };
        function.state.vport.counters.sent(frame);
        let way = function.state.vport.way_of(frame);
        if way != Way::Out && function.receive(Source::Own(domain), frame, now) {
            wake.push(f);
        }
        if way == Way::Back {
            return;
        }
        let Some(port) = self.ports.get(function.port) else { return };
        match (port.peer, &port.uplink) {
            (Some(peer), _) if port.link => {
                port.counters.count(frame, true);
                self.arrive(peer, frame, now, wake);
            }
            (None, Some(uplink)) if port.link => {
                port.counters.count(frame, true);
                uplink.send(frame);
            }
            _ => {
                port.counters.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// A frame comes from the wire.
    pub(crate) fn arrive(&self, port: usize, frame: &[u8], now: u64, wake: &mut Vec<FunctionIndex>) {
        let Some(p) = self.ports.get(port).filter(|p| p.link) else { return };
        p.counters.count(frame, false);
        if frame.len() + FCS > usize::from(p.mtu) {
            p.counters.too_long.fetch_add(1, Relaxed);
            return;
        }
        for function in self.functions.iter().filter(|f| f.port == port) {
            if function.receive(Source::Wire, frame, now) {
                wake.push(function.index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_take_the_fastest_mode_that_both_want() {
        let all = modes_up_to(100_000);
        assert_eq!(common_mode(all, all), Some(20));
        assert_eq!(common_mode(all, modes_up_to(25_000)), Some(27));
        assert_eq!(common_mode(1 << 27, 1 << 12), None);
    }
}
