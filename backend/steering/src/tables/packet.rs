//! A packet on its way through tables.

use super::verdict::{Verdict, VlanEdit};
use crate::key::{MatchParam, Metadata, Registers};
use crate::packet::Headers;

/// What tables change about a packet; every copy has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) regs: Registers,
    pub(super) flow_tag: u32,
    pub(super) vlan: VlanEdit,
}

/// A packet on its way: headers, key, and what tables have changed so far.
#[derive(Debug, Clone)]
pub struct PacketContext {
    pub(super) headers: Headers,
    pub(super) len: usize,
    pub(super) key: MatchParam,
    pub(super) state: State,
    /// The registers with which it came.
    came_with: Registers,
}

impl PacketContext {
    /// A packet at the first table. `frame` is without FCS, `headers` its parsed headers.
    pub fn new(frame: &[u8], headers: &Headers, meta: &Metadata) -> Self {
        Self {
            headers: *headers,
            len: frame.len(),
            key: MatchParam::of_packet(frame, headers, meta),
            state: State { regs: meta.regs, ..State::default() },
            came_with: meta.regs,
        }
    }

    /// Becomes another packet, at the first table. False, and the same as before, if `frame` has no Ethernet header.
    pub(super) fn become_packet(&mut self, frame: &[u8], meta: &Metadata) -> bool {
        let Some(headers) = Headers::parse(frame) else { return false };
        self.headers = headers;
        self.len = frame.len();
        self.key.become_packet(frame, &self.headers, meta);
        self.state = State { regs: meta.regs, ..State::default() };
        self.came_with = meta.regs;
        true
    }

    /// As it came.
    pub(super) fn restore(&mut self) {
        self.load(&State { regs: self.came_with, ..State::default() });
    }

    /// The key that tables match now.
    pub fn key(&self) -> &MatchParam {
        &self.key
    }

    /// Goes on from a verdict of other tables (NIC_TX before FDB, FDB before NIC_RX): registers, tag and edits are the
    /// verdict's, and `source_port` and the rest as they were.
    pub fn resume(&mut self, verdict: &Verdict) {
        self.load(&State { regs: verdict.regs, flow_tag: verdict.flow_tag, vlan: verdict.vlan });
    }

    /// Makes `state` the packet's, and the key agree with it.
    pub(super) fn load(&mut self, state: &State) {
        if self.state.regs != state.regs {
            self.key.put_registers(&state.regs);
        }
        if self.state.vlan != state.vlan {
            self.key.put_vlans(&state.vlan.tags(self.headers.vlans()));
        }
        self.state = *state;
    }
}
