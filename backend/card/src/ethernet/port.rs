//! The ports: administrative and link state, MTU, counters, and the way of a frame over the wire.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::event::PortChange;

use super::Traffic;
use super::fec::{self, Fec};
use super::loopback::is_multicast;
use super::pause::{Pause, is_mac_control};
use super::uplink::Uplink;
use crate::capture::Direction::{Inbound, Outbound};
use crate::capture::{DropReason, Point};
use crate::card::{Card, FunctionIndex, PortSetup};
use crate::eswitch::AdminState;
use crate::faults::packet::Way;
use crate::notices::Module;

/// The largest MTU of a port (`max_mtu` of PMTU): Ethernet header, VLAN tag and FCS included, as the register counts.
pub const MAX_MTU: u16 = 9978;
/// The MTU after power-on: 1500 bytes of payload, with header, VLAN tag and FCS.
const DEFAULT_MTU: u16 = 1522;
/// Length of the frame check sequence, which MTU counts and frames here don't have.
pub(super) const FCS: usize = 4;
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
    fn count(&self, frames: &[&[u8]], sent: bool) {
        let traffic = if sent { &self.sent } else { &self.received };
        traffic.count(frames);
        for frame in frames.iter().filter(|frame| is_multicast(frame)) {
            let broadcast = frame.starts_with(&[0xff; 6]);
            self.groups[usize::from(broadcast) * 2 + usize::from(!sent)].fetch_add(1, Relaxed);
        }
        for run in frames.chunk_by(|a, b| priority(a) == priority(b)) {
            let priority = run.first().map_or(0, |frame| priority(frame));
            self.priorities[priority][usize::from(!sent)].count(run);
        }
        if sent {
            return;
        }
        for run in frames.chunk_by(|a, b| a.len() == b.len()) {
            let len = run.first().map_or(0, |frame| frame.len()) + FCS;
            if let Some(class) = SIZES.iter().position(|longest| len <= *longest) {
                self.sizes[class].fetch_add(run.len() as u64, Relaxed);
            }
        }
    }
}

/// The priority that a frame is counted by.
fn priority(frame: &[u8]) -> usize {
    match frame.get(12..15) {
        Some(&[0x81, 0x00, tci]) => usize::from(tci >> 5),
        _ => 0,
    }
}

/// One port.
pub struct Port {
    /// Its cable is cut (`ctl inject link`).
    pub cut: bool,
    /// What is in its cage.
    pub module: Module,
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
    /// Flow control.
    pub pause: Pause,
    /// Address of the port, the source of pause frames.
    pub mac: [u8; 6],
    /// What it counts.
    pub counters: PortCounters,
}

impl Port {
    /// Whether there is a cable in its cage, to another port or to a socket.
    pub(super) fn has_cable(&self) -> bool {
        (self.peer.is_some() || self.uplink.is_some()) && self.module != Module::Unplugged
    }

    pub(crate) fn new(setup: &PortSetup) -> Self {
        let modes = modes_up_to(setup.speed_mbps);
        Self {
            cut: false,
            module: Module::Plugged,
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
            pause: Pause::default(),
            mac: setup.mac,
            counters: PortCounters::default(),
        }
    }
}

impl Port {
    /// Whether a cable that does its work leads out of here.
    fn is_connected(&self) -> bool {
        !self.cut && self.module == Module::Plugged
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
                p.pause.forget();
                p.counters.link_downs.fetch_add(1, Relaxed);
            }
            log::debug!("port {end}: link {}", if up { "up" } else { "down" });
            // What a PF says of a VF may have its link up or down in any case.
            let there = self.vports.get(end).into_iter();
            for f in there.flat_map(|vports| vports.manager.iter().chain(&vports.managed)) {
                if self.vport_link(*f) == up && self.admin(*f).is_none_or(|admin| admin.state == AdminState::Auto) {
                    self.post_port_change(*f, if up { PortChange::ACTIVE } else { PortChange::DOWN }.0);
                }
            }
        }
    }

    fn link_should_be(&self, port: usize) -> bool {
        let Some(this) = self.ports.get(port) else { return false };
        if this.uplink.is_some() {
            return this.is_connected()
                && this.admin_up
                && this.carrier
                && common_mode(this.admin_modes, this.modes).is_some();
        }
        let Some(other) = this.peer.and_then(|p| self.ports.get(p)) else { return false };
        let agreed = |bit: u32| fec::agree(1 << bit, &this.fec, &other.fec).is_some();
        let whole = this.is_connected() && other.is_connected();
        whole && this.admin_up && other.admin_up && common_mode(this.admin_modes, other.admin_modes).is_some_and(agreed)
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

    /// What a port runs at, in Mbit/s; 0 when the link is down.
    pub(crate) fn link_speed(&self, port: usize) -> u32 {
        let mode = self.link_mode(port);
        BY_SPEED.into_iter().find(|(_, bit)| mode >> bit & 1 == 1).map_or(0, |(speed, _)| speed)
    }

    /// Frames leave the e-switch by `port`: over the wire, to the other end, unless fault rules say something else.
    pub(crate) fn to_wire(&self, n: usize, frames: &[&[u8]], now: u64, wake: &mut Vec<FunctionIndex>) {
        match self.by_rules(Way::ToWire(n), frames, now) {
            None => self.send_on_wire(n, frames, now, wake),
            Some(frames) => self.send_on_wire(n, &frames, now, wake),
        }
    }

    /// Frames leave by `port`.
    pub(crate) fn send_on_wire(&self, n: usize, frames: &[&[u8]], now: u64, wake: &mut Vec<FunctionIndex>) {
        let Some(port) = self.ports.get(n) else { return };
        for frame in frames {
            self.taps.see(Point::Port(n), Outbound, frame, now, || (!port.link).then_some(DropReason::LinkDown));
        }
        match (port.peer, &port.uplink) {
            (Some(peer), _) if port.link => {
                port.counters.count(frames, true);
                self.arrive(peer, frames, now, wake);
            }
            (None, Some(uplink)) if port.link => {
                port.counters.count(frames, true);
                frames.iter().for_each(|frame| uplink.send(frame));
            }
            _ => {
                port.counters.lost.fetch_add(frames.len() as u64, Relaxed);
            }
        }
    }

    /// Frames come from the wire, unless fault rules say something else.
    pub(crate) fn arrive(&self, port: usize, frames: &[&[u8]], now: u64, wake: &mut Vec<FunctionIndex>) {
        match self.by_rules(Way::FromWire(port), frames, now) {
            None => self.take_from_wire(port, frames, now, wake),
            Some(frames) => self.take_from_wire(port, &frames, now, wake),
        }
    }

    /// Frames come to `port`.
    pub(crate) fn take_from_wire(&self, port: usize, frames: &[&[u8]], now: u64, wake: &mut Vec<FunctionIndex>) {
        let Some(p) = self.ports.get(port).filter(|p| p.link) else { return };
        let is_too_long = |frame: &[u8]| frame.len() + FCS > usize::from(p.mtu);
        let mut rest = frames;
        while let Some((frame, behind)) = rest.split_first() {
            if is_mac_control(frame) {
                self.taps.see(Point::Port(port), Inbound, frame, now, || None);
                self.control_frame_came(port, frame, now, wake);
                rest = behind;
            } else if is_too_long(frame) {
                p.counters.count(&[frame], false);
                p.counters.too_long.fetch_add(1, Relaxed);
                self.taps.see(Point::Port(port), Inbound, frame, now, || Some(DropReason::TooLong));
                rest = behind;
            } else {
                let usual = |frame: &&&[u8]| !is_mac_control(frame) && !is_too_long(frame);
                let (run, behind) = rest.split_at(rest.iter().take_while(usual).count());
                p.counters.count(run, false);
                self.receive_or_hold(port, run, now, wake);
                rest = behind;
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
