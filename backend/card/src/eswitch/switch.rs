//! The way of a frame through the e-switch: ingress ACL, FDB, egress ACL.
//!
//! Without an FDB the PF and the wire are connected, and VFs are not. With one, a frame that no rule is for leaves by the
//! wire if a vport sent it, and is dropped if it came from there.

use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::event::PortChange;
use mlx5emu_steering::key::Metadata;
use mlx5emu_steering::packet::Headers;
use mlx5emu_steering::tables::{
    Budget, Namespace, PacketContext, Packets, Steering, TableType, Target, Verdicts, VlanEdit,
};

use super::{AdminState, PF_VPORT, UPLINK};
use crate::capture::Direction::Outbound;
use crate::capture::{DropReason, Point};
use crate::card::{Card, FunctionIndex};
use crate::ethernet::loopback::{Source, Way};
use crate::ethernet::receive::{Fate, Fates, Lates};
use crate::faults::packet::{Ruled, Way as Route};

/// Copies that an FDB makes of one frame, at most.
const MAX_COPIES: u32 = 512;

/// Frames on their way through the e-switch.
struct Passage<'a> {
    port: usize,
    manager: FunctionIndex,
    /// The vport that they came from.
    from: u16,
    now: u64,
    /// Where what finds no receive WQE goes, if it may wait.
    late: Lates<'a>,
    wake: &'a mut Vec<FunctionIndex>,
}

impl<M: DmaSpace + 'static> Card<M> {
    /// A function sends frames by a queue of transport domain `domain`: back to itself, or to the e-switch of its port.
    /// Functions that had to put frames aside are added to `wake`.
    pub(crate) fn transmit(
        &self,
        f: FunctionIndex,
        domain: Option<u32>,
        frames: &[&[u8]],
        now: u64,
        wake: &mut Vec<FunctionIndex>,
    ) {
        match self.by_rules(Route::FromVport(f, domain), frames, now) {
            None => self.send_out(f, domain, frames, now, wake),
            Some(frames) => self.send_out(f, domain, &frames, now, wake),
        }
    }

    /// A frame that fault rules made late goes on.
    pub(crate) fn go_on(&self, route: Route, frame: &[u8], now: u64, wake: &mut Vec<FunctionIndex>) {
        match route {
            Route::ToWire(port) => self.send_on_wire(port, &[frame], now, wake),
            Route::FromWire(port) => self.take_from_wire(port, &[frame], now, wake),
            Route::FromVport(f, domain) => self.send_out(f, domain, &[frame], now, wake),
            Route::ToVport(f, source) => {
                let Some(function) = self.functions.get(f) else { return };
                let mut fates = Fates::new();
                function.receive(source, &[frame], now, None, &mut fates);
                if fates.contains(&Fate::Aside) || function.take_failure() {
                    wake.push(f);
                }
            }
        }
    }

    fn send_out(
        &self,
        f: FunctionIndex,
        domain: Option<u32>,
        frames: &[&[u8]],
        now: u64,
        wake: &mut Vec<FunctionIndex>,
    ) {
        let Some(function) = self.functions.get(f) else { return };
        function.state.vport.counters.sent(frames);
        let (port, vport) = (function.port, function.setup.vport);
        let mut passage = Passage { port, manager: self.manager_of(f), from: vport, now, late: None, wake };
        let fdb = self.fdb(&passage);
        let connected = if fdb.is_some() { self.vport_connected(f) } else { self.is_wired(f) };
        // Where a frame goes, its destination address says.
        for run in frames.chunk_by(|a, b| a.get(..6) == b.get(..6)) {
            let way = run.first().map_or(Way::Out, |frame| function.state.vport.way_of(frame));
            let lost = way != Way::Back && !connected;
            for frame in run {
                self.taps.see(Point::Vport(f), Outbound, frame, now, || lost.then_some(DropReason::LinkDown));
            }
            if way != Way::Out {
                self.give(f, Source::Own(domain), run, &mut passage, &mut Fates::new());
            }
            if way == Way::Back {
                continue;
            }
            match fdb {
                Some(steering) if connected => self.send_from_vport(steering, f, run, &mut passage),
                // The port counts what it can't send.
                None if vport == PF_VPORT => self.to_wire(port, run, now, passage.wake),
                _ => self.drop_at(f, run.len()),
            }
        }
    }

    /// Frames that the port let in. Says what becomes of each; that a function puts one aside is not the last word. With
    /// `late`, what finds no receive WQE goes there.
    pub(crate) fn let_in(
        &self,
        port: usize,
        frames: &[&[u8]],
        now: u64,
        late: Lates<'_>,
        wake: &mut Vec<FunctionIndex>,
        fates: &mut Fates,
    ) {
        let Some(manager) = self.function_of_vport(port, PF_VPORT) else {
            return dropped(frames, DropReason::NotInitialized, fates);
        };
        let mut passage = Passage { port, manager, from: UPLINK, now, late, wake };
        match self.fdb(&passage) {
            None => self.hand_over(manager, frames, &mut passage, fates),
            Some(steering) => self.switch(steering, frames, &mut passage, fates),
        }
    }

    /// The tables of the e-switch, if it has an FDB.
    fn fdb(&self, passage: &Passage<'_>) -> Option<&Steering> {
        let steering = &self.functions.get(passage.manager)?.state.ethernet.steering;
        steering.root(Namespace::new(TableType::Fdb, PF_VPORT)).map(|_| steering)
    }

    fn send_from_vport(&self, steering: &Steering, f: FunctionIndex, frames: &[&[u8]], passage: &mut Passage<'_>) {
        let mut fates = Fates::new();
        let from = passage.from;
        through_acl(steering, TableType::EswIngressAcl, (from, from), frames, &mut fates, |frames, fates| {
            self.switch(steering, frames, passage, fates);
        });
        self.drop_at(f, fates.iter().filter(|fate| matches!(fate, Fate::Dropped(_))).count());
    }

    /// The FDB.
    fn switch(&self, steering: &Steering, frames: &[&[u8]], passage: &mut Passage<'_>, fates: &mut Fates) {
        let Some(manager) = self.functions.get(passage.manager) else {
            return dropped(frames, DropReason::NotInitialized, fates);
        };
        let meta = Metadata { source_port: passage.from, ..Metadata::default() };
        let root = Namespace::new(TableType::Fdb, PF_VPORT);
        let mut packets = manager.borrow_packets();
        let mut rest = frames;
        while let Some((first, behind)) = rest.split_first() {
            packets.clear();
            let (run, after) = rest.split_at(rest.iter().take_while(|frame| packets.push(frame, &meta)).count());
            if run.is_empty() {
                dropped(&[first], DropReason::Malformed, fates);
                rest = behind;
                continue;
            }
            rest = after;
            steering.evaluate_burst(root, &mut packets, Budget::new(MAX_COPIES));
            steering.count_burst(&packets, run.len());
            let mut from = 0;
            while let Some(alike) = packets.alike(from).and_then(|to| run.get(from..to)).filter(|run| !run.is_empty()) {
                self.follow(steering, alike, &packets, from, passage, fates);
                from += alike.len();
            }
        }
        manager.return_packets(packets);
    }

    /// Frames that go the same way, from number `n` of `packets` on.
    fn follow(
        &self,
        steering: &Steering,
        frames: &[&[u8]],
        packets: &Packets,
        n: usize,
        passage: &mut Passage<'_>,
        fates: &mut Fates,
    ) {
        let Some((verdicts, outcome)) = packets.decision(n) else { return };
        let before = fates.len();
        dropped(frames, DropReason::of_tables(outcome), fates);
        let mut copies = Fates::new();
        for verdict in verdicts {
            let to = match verdict.target {
                Target::Vport { vport, .. } => vport,
                Target::Uplink { .. } => UPLINK,
                _ => continue,
            };
            copies.clear();
            if verdict.vlan.is_none() {
                self.forward(steering, to, frames, passage, &mut copies);
            } else {
                let mut edited = Vec::new();
                for frame in frames {
                    verdict.vlan.apply(frame, &mut edited);
                    self.forward(steering, to, &[&edited], passage, &mut copies);
                }
            }
            for (fate, copy) in fates.iter_mut().skip(before).zip(&copies) {
                *fate = fate.and(*copy);
            }
        }
        if outcome.missed > 0 && passage.from != UPLINK {
            self.to_wire(passage.port, frames, passage.now, passage.wake);
            fates.iter_mut().skip(before).for_each(|fate| *fate = Fate::Taken);
        }
    }

    /// Copies go to vport `to`. What a vport sends does not come back to it: that was settled before the FDB.
    fn forward(&self, steering: &Steering, to: u16, frames: &[&[u8]], passage: &mut Passage<'_>, fates: &mut Fates) {
        if to == passage.from {
            return dropped(frames, DropReason::Loopback, fates);
        }
        if to == UPLINK {
            self.to_wire(passage.port, frames, passage.now, passage.wake);
            return fates.extend(frames.iter().map(|_| Fate::Taken));
        }
        let Some(f) = self.function_of_vport(passage.port, to).filter(|f| self.vport_connected(*f)) else {
            return dropped(frames, DropReason::LinkDown, fates);
        };
        let stopped =
            through_acl(steering, TableType::EswEgressAcl, (to, passage.from), frames, fates, |frames, fates| {
                self.hand_over(f, frames, passage, fates);
            });
        self.drop_at(f, stopped);
    }

    fn hand_over(&self, f: FunctionIndex, frames: &[&[u8]], passage: &mut Passage<'_>, fates: &mut Fates) {
        let source = if passage.from == UPLINK { Source::Wire } else { Source::Vport(passage.from) };
        self.give(f, source, frames, passage, fates);
    }

    /// Gives frames to a function, unless fault rules say something else.
    fn give(&self, f: FunctionIndex, source: Source, frames: &[&[u8]], passage: &mut Passage<'_>, fates: &mut Fates) {
        if !self.rules_on_frames() {
            return self.hand_in(f, source, frames, passage, fates);
        }
        for frame in frames {
            match self.rule_on_frame(Route::ToVport(f, source), frame, passage.now) {
                Ruled::Goes(1) => self.hand_in(f, source, &[frame], passage, fates),
                Ruled::Goes(times) => {
                    let mut copies = Fates::new();
                    (0..times).for_each(|_| self.hand_in(f, source, &[frame], passage, &mut copies));
                    fates.extend(copies.into_iter().reduce(Fate::and));
                }
                Ruled::Lost => fates.push(Fate::Dropped(DropReason::Fault)),
                Ruled::Later => fates.push(Fate::Taken),
            }
        }
    }

    /// Gives frames to a function; it is woken if it has to do something about them.
    fn hand_in(
        &self,
        f: FunctionIndex,
        source: Source,
        frames: &[&[u8]],
        passage: &mut Passage<'_>,
        fates: &mut Fates,
    ) {
        let Some(function) = self.functions.get(f) else {
            return dropped(frames, DropReason::NotInitialized, fates);
        };
        let before = fates.len();
        // Only what comes from the wire can wait there.
        let late = if passage.from == UPLINK { passage.late.as_deref_mut() } else { None };
        function.receive(source, frames, passage.now, late, fates);
        if fates.iter().skip(before).any(|fate| matches!(fate, Fate::Aside)) || function.take_failure() {
            passage.wake.push(f);
        }
    }

    fn drop_at(&self, f: FunctionIndex, frames: usize) {
        if frames > 0
            && let Some(function) = self.functions.get(f)
        {
            function.state.vport.counters.dropped.fetch_add(frames as u64, Relaxed);
        }
    }

    /// Whether a function has the port to itself, and that has a link.
    fn is_wired(&self, f: FunctionIndex) -> bool {
        self.functions.get(f).is_some_and(|f| f.is_pf() && self.ports.get(f.port).is_some_and(|port| port.link))
    }

    /// Whether the e-switch takes frames from and for a function's vport.
    fn vport_connected(&self, f: FunctionIndex) -> bool {
        self.functions.get(f).is_some_and(|function| function.is_pf())
            || self.admin(f).is_some_and(|admin| admin.enabled && admin.state != AdminState::Down)
    }

    /// The link as a function sees it: a PF that of its port, a VF what its PF says.
    pub(crate) fn vport_link(&self, f: FunctionIndex) -> bool {
        let Some(function) = self.functions.get(f) else { return false };
        let state =
            if function.is_pf() { AdminState::Auto } else { self.admin(f).map_or(AdminState::Auto, |a| a.state) };
        match state {
            AdminState::Down => false,
            AdminState::Up => true,
            AdminState::Auto => self.ports.get(function.port).is_some_and(|port| port.link),
        }
    }

    /// Tells a function of its link, if that is not what it was `before`.
    pub(crate) fn tell_vport_link(&self, f: FunctionIndex, before: bool) {
        let up = self.vport_link(f);
        if up != before {
            self.post_port_change(f, if up { PortChange::ACTIVE } else { PortChange::DOWN }.0);
        }
    }
}

/// All of `frames` are dropped.
fn dropped(frames: &[&[u8]], reason: DropReason, fates: &mut Fates) {
    fates.extend(frames.iter().map(|_| Fate::Dropped(reason)));
}

/// What an ACL says.
enum Acl {
    Pass,
    Edit(VlanEdit),
    Drop,
}

/// Sends frames from vport `from` through the ACL of `vport`, and those that pass, with their tags as it wants them, on to
/// `next`. Says how many it dropped.
fn through_acl(
    steering: &Steering,
    table: TableType,
    (vport, from): (u16, u16),
    frames: &[&[u8]],
    fates: &mut Fates,
    mut next: impl FnMut(&[&[u8]], &mut Fates),
) -> usize {
    let namespace = Namespace::new(table, vport);
    if steering.root(namespace).is_none() {
        next(frames, fates);
        return 0;
    }
    let (mut edited, mut count) = (Vec::new(), 0);
    for frame in frames {
        match acl(steering, namespace, from, frame) {
            Acl::Pass => next(&[frame], fates),
            Acl::Edit(edit) => {
                edit.apply(frame, &mut edited);
                next(&[&edited], fates);
            }
            Acl::Drop => {
                count += 1;
                fates.push(Fate::Dropped(DropReason::Rule(None)));
            }
        }
    }
    count
}

fn acl(steering: &Steering, namespace: Namespace, from: u16, frame: &[u8]) -> Acl {
    let Some(headers) = Headers::parse(frame) else { return Acl::Drop };
    let meta = Metadata { source_port: from, ..Metadata::default() };
    let mut packet = PacketContext::new(frame, &headers, &meta);
    let mut verdicts = Verdicts::new();
    steering.evaluate(namespace, &mut packet, &mut Budget::new(1), &mut verdicts);
    match verdicts.iter().find(|verdict| verdict.target == Target::Allow) {
        Some(verdict) if verdict.vlan.is_none() => Acl::Pass,
        Some(verdict) => Acl::Edit(verdict.vlan),
        None => Acl::Drop,
    }
}
