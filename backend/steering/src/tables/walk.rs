//! The walk of one packet through the tables.
//!
//! Read [`Steering::evaluate`] downwards: it starts at the root, looks up one entry per table ([`Steering::visit`]), does
//! what the entry says ([`Walk::act`]) and ends with verdicts. What is to be counted is written down on the way and
//! counted at the end ([`Steering::count`]): for all packets that take the same way at once.

use smallvec::SmallVec;

use super::Steering;
use super::packet::{PacketContext, State};
use super::table::{Entry, Hashes, Table};
use super::types::{Actions, DefaultMiss, Destination, Miss, Namespace, TableId};
use super::verdict::{Budget, Outcome, Target, Verdict, Verdicts};
use crate::packet::ethernet;

/// Copies that still have tables to visit.
type Pending = SmallVec<[(TableId, State); 2]>;

/// A table that was visited.
#[derive(Debug, Clone, Copy)]
struct Visit {
    table: TableId,
    /// The number of the entry that matched.
    entry: Option<u32>,
    /// By how many bytes of tags the packet was longer then than when it came.
    longer: i64,
}

/// A walk: where it is, and what came of it so far.
#[derive(Debug, Default)]
pub(super) struct Walk {
    budget: Budget,
    next: Option<TableId>,
    pending: Pending,
    trace: SmallVec<[Visit; 8]>,
    pub(super) verdicts: Verdicts,
    pub(super) outcome: Outcome,
}

impl Walk {
    /// Starts anew at `root`.
    pub(super) fn start(&mut self, root: TableId, budget: Budget) {
        (self.budget, self.next, self.outcome) = (budget, Some(root), Outcome::default());
        self.pending.clear();
        self.trace.clear();
        self.verdicts.clear();
    }

    /// There was no root, and nothing to walk.
    pub(super) fn end_without_root(&mut self) {
        self.trace.clear();
        self.verdicts.clear();
        self.outcome = Outcome { no_root: true, ..Outcome::default() };
    }

    /// The table that is to be visited next.
    pub(super) fn next(&self) -> Option<TableId> {
        self.next
    }

    fn emit(&mut self, packet: &PacketContext, target: Target) {
        if self.budget.copies == 0 {
            self.outcome.over_budget = true;
            return;
        }
        self.budget.copies -= 1;
        let State { regs, flow_tag, vlan } = packet.state;
        self.verdicts.push(Verdict { target, flow_tag, regs, vlan });
    }

    /// Does what an entry says. Returns the table where this copy goes on, if that is its only destination.
    fn act(&mut self, entry: &Entry, packet: &mut PacketContext) -> Option<TableId> {
        if !edit(entry, packet) || entry.actions.has(Actions::DROP) {
            self.outcome.dropped += 1;
            return None;
        }
        if entry.actions.has(Actions::ALLOW) {
            self.emit(packet, Target::Allow);
            return None;
        }
        if let [Destination::Table(to)] = entry.destinations.as_slice() {
            return Some(*to);
        }
        for destination in &entry.destinations {
            match *destination {
                Destination::Table(_) => {}
                Destination::Vport { vport, vhca_id } => self.emit(packet, Target::Vport { vport, vhca_id }),
                Destination::Uplink { vhca_id } => self.emit(packet, Target::Uplink { vhca_id }),
                Destination::Tir(tir) => self.emit(packet, Target::Tir(tir)),
                Destination::VhcaRx(vhca_id) => self.emit(packet, Target::VhcaRx(vhca_id)),
                Destination::TableType(table_type) => self.emit(packet, Target::TableType(table_type)),
            }
        }
        // The last pushed is followed first. More than the hops that are left could never be followed.
        let tables = entry.destinations.iter().filter_map(|d| match d {
            Destination::Table(to) => Some(*to),
            _ => None,
        });
        let first = self.pending.len();
        let room = (self.budget.hops as usize).saturating_sub(first);
        self.outcome.over_budget |= tables.clone().count() > room;
        let state = packet.state;
        self.pending.extend(tables.take(room).map(|to| (to, state)));
        if let Some(new) = self.pending.get_mut(first..) {
            new.reverse();
        }
        None
    }
}

impl Steering {
    /// Sends a packet through the tables of `namespace`, from their root, and appends its copies to `out`.
    ///
    /// In each table the matching entry of the lowest index counts. Its actions apply in this order: count, flow tag, VLAN
    /// pop, modify header, VLAN push; then every destination gets a copy. Copies for other tables are followed after
    /// the entry's other destinations, in the order of the list. A copy ends with a verdict, or is dropped: by an entry, by a
    /// miss ([`TableType::default_miss`](super::TableType::default_miss)), or because `budget` is used up. `packet` is as
    /// before afterwards: to send a verdict on to other tables, [`PacketContext::resume`] it.
    pub fn evaluate(
        &self,
        namespace: Namespace,
        packet: &mut PacketContext,
        budget: &mut Budget,
        out: &mut Verdicts,
    ) -> Outcome {
        let Some(root) = self.root(namespace) else { return Outcome { no_root: true, ..Outcome::default() } };
        let state = packet.state;
        let mut walk = Walk::default();
        walk.start(root, *budget);
        self.advance(packet, &mut walk, |_| false);
        self.count(&walk, 1, packet.len as u64);
        packet.load(&state);
        *budget = walk.budget;
        out.append(&mut walk.verdicts);
        walk.outcome
    }

    /// Goes on until the walk is over (false), or to a table at which it is to `stop`.
    #[inline]
    pub(super) fn advance(&self, packet: &mut PacketContext, walk: &mut Walk, stop: impl Fn(&Table) -> bool) -> bool {
        loop {
            if walk.next.is_none() {
                let Some((table, state)) = walk.pending.pop() else { return false };
                packet.load(&state);
                walk.next = Some(table);
            }
            if walk.next.and_then(|id| self.tables.get(id.number())).is_some_and(&stop) {
                return true;
            }
            self.visit(packet, walk, &Hashes::default());
        }
    }

    /// The next table of a walk: finds the entry, or misses.
    pub(super) fn visit(&self, packet: &mut PacketContext, walk: &mut Walk, hashes: &Hashes) {
        let Some(id) = walk.next.take() else { return };
        if walk.budget.hops == 0 {
            walk.outcome.over_budget = true;
            return;
        }
        walk.budget.hops -= 1;
        let Some(table) = self.tables.get(id.number()) else { return };
        let found = table.lookup(self.hash, &self.entries, &packet.key, hashes);
        let tags = |count: usize| (count * ethernet::VLAN_LEN) as i64;
        let longer = tags(packet.state.vlan.pushed().len()) - tags(packet.state.vlan.popped());
        walk.trace.push(Visit { table: id, entry: found.map(|(number, _)| number), longer });
        if let Some((_, entry)) = found {
            let dropped = walk.outcome.dropped;
            walk.next = walk.act(entry, packet);
            if walk.outcome.dropped != dropped {
                walk.outcome.ended_in = Some(id);
            }
            return;
        }
        match (table.spec.miss, table.spec.namespace.table_type.default_miss()) {
            (Miss::Table(to), _) => walk.next = Some(to),
            (Miss::SwitchDomain, _) => walk.emit(packet, Target::SwitchDomain),
            (Miss::Default, DefaultMiss::Allow) => walk.emit(packet, Target::Allow),
            (Miss::Default, DefaultMiss::Drop) => {
                walk.outcome.missed += 1;
                walk.outcome.ended_in = Some(id);
            }
        }
    }

    /// Counts `packets` packets with `octets` bytes together, when they came, that took this way.
    pub(super) fn count(&self, walk: &Walk, packets: u64, octets: u64) {
        for visit in &walk.trace {
            let Some(table) = self.tables.get(visit.table.number()) else { continue };
            table.packets.raise(packets);
            let Some(entry) = visit.entry.and_then(|number| self.entries.get(number)) else {
                table.misses.raise(packets);
                continue;
            };
            entry.hits.raise(packets);
            for counter in &entry.counters {
                counter.count(packets, octets.saturating_add_signed(visit.longer.saturating_mul(packets as i64)));
            }
        }
    }

    /// Whether `other` takes the way that `packet` took, which is as it came: they agree in all that the tables on it
    /// look at.
    pub(super) fn same_way(&self, walk: &Walk, packet: &PacketContext, other: &PacketContext) -> bool {
        packet.state == other.state
            && packet.headers.vlans() == other.headers.vlans()
            && walk.trace.iter().all(|visit| {
                self.tables.get(visit.table.number()).is_some_and(|t| t.looks_at.agree(&packet.key, &other.key))
            })
    }
}

/// Applies an entry's changes to the packet. False if the packet cannot carry them.
fn edit(entry: &Entry, packet: &mut PacketContext) -> bool {
    let actions = entry.actions;
    if entry.flow_tag == 0 && entry.modify_header.is_none() && !actions.has(Actions::VLAN) {
        return true;
    }
    let mut state = packet.state;
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
