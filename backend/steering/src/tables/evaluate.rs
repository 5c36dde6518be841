//! The walk of one packet through the tables.
//!
//! Read [`Steering::evaluate`] downwards: it starts at the root, looks up one entry per table ([`Steering::visit`]), does
//! what the entry says ([`act`]) and ends with verdicts.

use smallvec::SmallVec;

use super::Steering;
use super::table::Entry;
use super::types::{Actions, DefaultMiss, Destination, Miss, Namespace, TableId, TableType};
use crate::key::{MatchParam, Metadata, Registers};
use crate::packet::{Headers, VlanTag, ethernet};

/// Tables that one packet visits at most, all copies together.
pub const MAX_HOPS: u32 = 64;
/// VLAN tags that tables can push on one packet. A packet with more is dropped.
pub const MAX_PUSHED: usize = 4;

/// What a packet may still cost. The caller keeps it across several evaluations of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Tables to visit.
    pub hops: u32,
    /// Verdicts to give.
    pub copies: u32,
}

impl Budget {
    /// [`MAX_HOPS`] tables and `copies` verdicts.
    pub const fn new(copies: u32) -> Self {
        Self { hops: MAX_HOPS, copies }
    }
}

/// Where a copy of the packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// On, as if there were no tables of this type.
    Allow,
    /// To a vport; 0xffff is the uplink.
    Vport {
        /// The vport.
        vport: u16,
        /// `destination_eswitch_owner_vhca_id`, if valid.
        vhca_id: Option<u16>,
    },
    /// To the wire.
    Uplink {
        /// `destination_eswitch_owner_vhca_id`, if valid.
        vhca_id: Option<u16>,
    },
    /// To a TIR.
    Tir(u32),
    /// To the receive side of the function with this vhca_id.
    VhcaRx(u16),
    /// To the root of another type.
    TableType(TableType),
    /// A table with `table_miss_action` SWITCH_DOMAIN missed: to the other domain's root.
    SwitchDomain,
}

/// How the VLAN tags of a packet changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VlanEdit {
    popped: u8,
    pushed: [VlanTag; MAX_PUSHED],
    pushed_count: u8,
}

impl VlanEdit {
    /// Number of the frame's own tags that are gone, outermost first.
    pub fn popped(&self) -> usize {
        usize::from(self.popped)
    }

    /// The new tags, innermost first.
    pub fn pushed(&self) -> &[VlanTag] {
        self.pushed.get(..usize::from(self.pushed_count)).unwrap_or(&[])
    }

    /// Whether the frame goes on as it is.
    pub fn is_none(&self) -> bool {
        self.popped == 0 && self.pushed_count == 0
    }

    /// The frame's new beginning (addresses and new tags; the bytes, and how many), and the offset in the frame where the
    /// rest continues.
    pub fn head(&self, frame: &[u8]) -> ([u8; ethernet::ADDRESSES + MAX_PUSHED * ethernet::VLAN_LEN], usize, usize) {
        let mut head = [0; ethernet::ADDRESSES + MAX_PUSHED * ethernet::VLAN_LEN];
        if let (Some(to), Some(from)) = (head.get_mut(..ethernet::ADDRESSES), frame.get(..ethernet::ADDRESSES)) {
            to.copy_from_slice(from);
        }
        let mut len = ethernet::ADDRESSES;
        for tag in self.pushed().iter().rev() {
            if let Some(to) = head.get_mut(len..len + ethernet::VLAN_LEN) {
                to.copy_from_slice(&tag.to_bytes());
            }
            len += ethernet::VLAN_LEN;
        }
        (head, len, (ethernet::ADDRESSES + self.popped() * ethernet::VLAN_LEN).min(frame.len()))
    }

    /// The edited frame in `out`, which is emptied first.
    pub fn apply(&self, frame: &[u8], out: &mut Vec<u8>) {
        let (head, len, rest) = self.head(frame);
        out.clear();
        out.extend_from_slice(head.get(..len).unwrap_or(&[]));
        out.extend_from_slice(frame.get(rest..).unwrap_or(&[]));
    }

    /// The packet's tags now, outermost first.
    fn tags(&self, own: &[VlanTag]) -> SmallVec<[VlanTag; MAX_PUSHED + 2]> {
        let left = own.get(self.popped()..).unwrap_or(&[]);
        self.pushed().iter().rev().chain(left).copied().collect()
    }

    /// Removes the outermost tag, of `own` if none was pushed. A packet without tags stays as it is.
    fn pop(&mut self, own: usize) {
        if self.pushed_count > 0 {
            self.pushed_count -= 1;
        } else if self.popped() < own {
            self.popped += 1;
        }
    }

    /// Adds a tag outside the others; false if there is no room.
    fn push(&mut self, tag: VlanTag) -> bool {
        match self.pushed.get_mut(usize::from(self.pushed_count)) {
            Some(slot) => {
                *slot = tag;
                self.pushed_count += 1;
                true
            }
            None => false,
        }
    }
}

/// What tables change about a packet; every copy has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    regs: Registers,
    flow_tag: u32,
    vlan: VlanEdit,
}

/// A packet on its way: headers, key, and what tables have changed so far.
#[derive(Debug, Clone)]
pub struct PacketContext {
    headers: Headers,
    len: usize,
    key: MatchParam,
    state: State,
}

impl PacketContext {
    /// A packet at the first table. `frame` is without FCS, `headers` its parsed headers.
    pub fn new(frame: &[u8], headers: &Headers, meta: &Metadata) -> Self {
        Self {
            headers: *headers,
            len: frame.len(),
            key: MatchParam::of_packet(frame, headers, meta),
            state: State { regs: meta.regs, ..State::default() },
        }
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
    fn load(&mut self, state: &State) {
        if self.state.regs != state.regs {
            self.key.put_registers(&state.regs);
        }
        if self.state.vlan != state.vlan {
            self.key.put_vlans(&state.vlan.tags(self.headers.vlans()));
        }
        self.state = *state;
    }

    /// Length in bytes as the packet is now.
    fn current_len(&self) -> u64 {
        let vlan = &self.state.vlan;
        let pushed = vlan.pushed().len() * ethernet::VLAN_LEN;
        (self.len + pushed).saturating_sub(vlan.popped() * ethernet::VLAN_LEN) as u64
    }
}

/// One copy of the packet that leaves the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Where it goes.
    pub target: Target,
    /// The flow tag: the last one set that is not zero.
    pub flow_tag: u32,
    /// The metadata registers.
    pub regs: Registers,
    /// How its VLAN tags changed.
    pub vlan: VlanEdit,
}

/// The copies of a packet. Up to four need no allocation.
pub type Verdicts = SmallVec<[Verdict; 4]>;

/// What else happened on the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// There is no root: nothing was done, the caller decides.
    pub no_root: bool,
    /// Copies that an entry dropped.
    pub dropped: u32,
    /// Copies that no entry wanted, dropped by default.
    pub missed: u32,
    /// The budget was used up: copies are missing.
    pub over_budget: bool,
}

/// Copies that still have tables to visit.
type Pending = SmallVec<[(TableId, State); 2]>;

/// One walk: what its steps share.
struct Walk<'a> {
    packet: &'a mut PacketContext,
    budget: &'a mut Budget,
    out: &'a mut Verdicts,
    pending: Pending,
    outcome: Outcome,
}

impl Walk<'_> {
    fn emit(&mut self, target: Target) {
        if self.budget.copies == 0 {
            self.outcome.over_budget = true;
            return;
        }
        self.budget.copies -= 1;
        let State { regs, flow_tag, vlan } = self.packet.state;
        self.out.push(Verdict { target, flow_tag, regs, vlan });
    }
}

impl Steering {
    /// Sends a packet through the tables of `namespace`, from their root, and appends its copies to `out`.
    ///
    /// In each table the matching entry of the lowest index counts. Its actions apply in this order: count, flow tag, VLAN
    /// pop, modify header, VLAN push; then every destination gets a copy. Copies for other tables are followed after
    /// the entry's other destinations, in the order of the list. A copy ends with a verdict, or is dropped: by an entry, by a
    /// miss ([`TableType::default_miss`]), or because `budget` is used up. `packet` is as before afterwards: to send a
    /// verdict on to other tables, [`PacketContext::resume`] it.
    pub fn evaluate(
        &self,
        namespace: Namespace,
        packet: &mut PacketContext,
        budget: &mut Budget,
        out: &mut Verdicts,
    ) -> Outcome {
        let Some(root) = self.root(namespace) else { return Outcome { no_root: true, ..Outcome::default() } };
        let state = packet.state;
        let pending = Pending::from_slice(&[(root, state)]);
        let mut walk = Walk { packet, budget, out, pending, outcome: Outcome::default() };
        while let Some((table, state)) = walk.pending.pop() {
            walk.packet.load(&state);
            let mut next = Some(table);
            while let Some(table) = next {
                next = self.visit(table, &mut walk);
            }
        }
        let outcome = walk.outcome;
        packet.load(&state);
        outcome
    }

    /// One table: finds the entry, or misses. Returns the table where this copy goes on.
    fn visit(&self, id: TableId, walk: &mut Walk<'_>) -> Option<TableId> {
        if walk.budget.hops == 0 {
            walk.outcome.over_budget = true;
            return None;
        }
        walk.budget.hops -= 1;
        let table = self.tables.get(id.number())?;
        table.packets.raise();
        if let Some(entry) = table.lookup(self.hash, &self.entries, &walk.packet.key) {
            return act(entry, walk);
        }
        table.misses.raise();
        match (table.spec.miss, table.spec.namespace.table_type.default_miss()) {
            (Miss::Table(to), _) => return Some(to),
            (Miss::SwitchDomain, _) => walk.emit(Target::SwitchDomain),
            (Miss::Default, DefaultMiss::Allow) => walk.emit(Target::Allow),
            (Miss::Default, DefaultMiss::Drop) => walk.outcome.missed += 1,
        }
        None
    }
}

/// Does what an entry says. Returns the table where this copy goes on, if that is its only destination.
fn act(entry: &Entry, walk: &mut Walk<'_>) -> Option<TableId> {
    entry.hits.raise();
    for counter in &entry.counters {
        counter.count(walk.packet.current_len());
    }
    if !edit(entry, walk.packet) || entry.actions.has(Actions::DROP) {
        walk.outcome.dropped += 1;
        return None;
    }
    if entry.actions.has(Actions::ALLOW) {
        walk.emit(Target::Allow);
        return None;
    }
    if let [Destination::Table(to)] = entry.destinations.as_slice() {
        return Some(*to);
    }
    for destination in &entry.destinations {
        match *destination {
            Destination::Table(_) => {}
            Destination::Vport { vport, vhca_id } => walk.emit(Target::Vport { vport, vhca_id }),
            Destination::Uplink { vhca_id } => walk.emit(Target::Uplink { vhca_id }),
            Destination::Tir(tir) => walk.emit(Target::Tir(tir)),
            Destination::VhcaRx(vhca_id) => walk.emit(Target::VhcaRx(vhca_id)),
            Destination::TableType(table_type) => walk.emit(Target::TableType(table_type)),
        }
    }
    // The last pushed is followed first. More than the hops that are left could never be followed.
    let tables = entry.destinations.iter().filter_map(|d| match d {
        Destination::Table(to) => Some(*to),
        _ => None,
    });
    let first = walk.pending.len();
    let room = (walk.budget.hops as usize).saturating_sub(first);
    walk.outcome.over_budget |= tables.clone().count() > room;
    let state = walk.packet.state;
    walk.pending.extend(tables.take(room).map(|to| (to, state)));
    if let Some(new) = walk.pending.get_mut(first..) {
        new.reverse();
    }
    None
}

/// Applies an entry's changes to the packet. False if the packet cannot carry them.
fn edit(entry: &Entry, packet: &mut PacketContext) -> bool {
    let mut state = packet.state;
    let actions = entry.actions;
    if entry.flow_tag != 0 {
        state.flow_tag = entry.flow_tag;
    }
    let own_tags = packet.headers.vlans().len();
    for bit in [Actions::VLAN_POP, Actions::VLAN_POP_2] {
        if actions.has(bit) {
            state.vlan.pop(own_tags);
        }
    }
    if let Some((_, header)) = &entry.modify_header {
        header.apply(&mut state.regs);
    }
    for (bit, tag) in [(Actions::VLAN_PUSH, entry.push_vlan), (Actions::VLAN_PUSH_2, entry.push_vlan_2)] {
        if actions.has(bit) && !state.vlan.push(tag) {
            return false;
        }
    }
    packet.load(&state);
    true
}
