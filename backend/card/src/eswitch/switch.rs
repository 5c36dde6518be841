//! The way of a frame through the e-switch: ingress ACL, FDB, egress ACL.
//!
//! Without an FDB the PF and the wire are connected, and VFs are not. With one, a frame that no rule is for leaves by the
//! wire if a vport sent it, and is dropped if it came from there.

use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::event::PortChange;
use mlx5emu_steering::key::{Metadata, Registers};
use mlx5emu_steering::tables::{Budget, Namespace, Outcome, Steering, TableType, Target, Verdicts, VlanEdit};

use super::{AdminState, PF_VPORT, UPLINK, VportAdmin, context};
use crate::capture::Direction::Outbound;
use crate::capture::{DropReason, Point};
use crate::card::{Card, FunctionIndex};
use crate::ethernet::loopback::{Origin, Sender, Source, Way};
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
    /// The queue that sent them.
    sender: Sender,
    now: u64,
    /// Where what finds no receive WQE goes, if it may wait.
    late: Lates<'a>,
    wake: &'a mut Vec<FunctionIndex>,
}

/// Tables on that way.
#[derive(Clone, Copy)]
struct Stage<'a> {
    steering: &'a Steering,
    namespace: Namespace,
    /// Copies that they make of one frame, at most.
    copies: u32,
}

impl<'a> Stage<'a> {
    fn fdb(steering: &'a Steering) -> Self {
        Self { steering, namespace: Namespace::new(TableType::Fdb, PF_VPORT), copies: MAX_COPIES }
    }

    fn acl(steering: &'a Steering, kind: TableType, vport: u16) -> Self {
        Self { steering, namespace: Namespace::new(kind, vport), copies: 1 }
    }
}

/// Who goes on with frames about which tables decided the same.
type Decided<'a> = &'a mut dyn FnMut(&[&[u8]], &Verdicts, &Outcome, &mut Passage<'_>, &mut Fates);
/// Who goes on with frames that an ACL lets through, with these registers.
type Passed<'a> = &'a mut dyn FnMut(&[&[u8]], &Registers, &mut Passage<'_>, &mut Fates);

impl<M: DmaSpace + 'static> Card<M> {
    /// A function sends frames: back to itself, or to the e-switch of its port. Functions that had to put frames aside
    /// are added to `wake`.
    pub(crate) fn transmit(
        &self,
        f: FunctionIndex,
        sender: Sender,
        frames: &[&[u8]],
        now: u64,
        wake: &mut Vec<FunctionIndex>,
    ) {
        match self.by_rules(Route::FromVport(f, sender), frames, now) {
            None => self.send_out(f, sender, frames, now, wake),
            Some(frames) => self.send_out(f, sender, &frames, now, wake),
        }
    }

    /// A frame that fault rules made late goes on.
    pub(crate) fn go_on(&self, route: Route, frame: &[u8], now: u64, wake: &mut Vec<FunctionIndex>) {
        match route {
            Route::ToWire(port) => self.send_on_wire(port, &[frame], now, wake),
            Route::FromWire(port) => self.take_from_wire(port, &[frame], now, wake),
            Route::FromVport(f, sender) => self.send_out(f, sender, &[frame], now, wake),
            Route::ToVport(f, origin) => {
                let Some(function) = self.functions.get(f) else { return };
                let mut fates = Fates::new();
                function.receive(origin, &[frame], now, None, &mut fates);
                if fates.contains(&Fate::Aside) || function.take_failure() {
                    wake.push(f);
                }
            }
        }
    }

    fn send_out(&self, f: FunctionIndex, sender: Sender, frames: &[&[u8]], now: u64, wake: &mut Vec<FunctionIndex>) {
        let Some(function) = self.functions.get(f) else { return };
        function.state.vport.counters.sent(frames);
        let (port, vport) = (function.port, function.setup.vport);
        let mut passage = Passage { port, manager: self.manager_of(f), from: vport, sender, now, late: None, wake };
        if let Some(steering) = self.fdb(&passage) {
            let lost = !self.vport_connected(f);
            for frame in frames {
                self.taps.see(Point::Vport(f), Outbound, frame, now, || lost.then_some(DropReason::LinkDown));
            }
            if lost {
                self.drop_at(f, frames.len())
            } else {
                self.send_from_vport(steering, f, frames, &mut passage)
            }
            return;
        }
        let wired = self.is_wired(f);
        // Where a frame goes, its destination address says.
        for run in frames.chunk_by(|a, b| a.get(..6) == b.get(..6)) {
            let way = run.first().map_or(Way::Out, |frame| function.state.vport.way_of(frame));
            let lost = way != Way::Back && !wired;
            for frame in run {
                self.taps.see(Point::Vport(f), Outbound, frame, now, || lost.then_some(DropReason::LinkDown));
            }
            if way != Way::Out {
                self.give(f, Source::Own(sender.domain).into(), run, &mut passage, &mut Fates::new());
            }
            match way {
                Way::Back => {}
                // The port counts what it can't send.
                _ if function.is_pf() => self.to_wire(port, run, now, passage.wake),
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
        let Some(manager) = self.pf_of_port(port) else {
            return dropped(frames, DropReason::NotInitialized, fates);
        };
        let mut passage = Passage { port, manager, from: UPLINK, sender: Sender::default(), now, late, wake };
        match self.fdb(&passage) {
            None => self.hand_over(manager, Registers::default(), frames, &mut passage, fates),
            Some(steering) => self.enter(steering, frames, &mut passage, fates),
        }
    }

    /// The tables of the e-switch, if it has an FDB.
    fn fdb(&self, passage: &Passage<'_>) -> Option<&Steering> {
        let steering = &self.functions.get(passage.manager)?.state.ethernet.steering;
        steering.root(Stage::fdb(steering).namespace).map(|_| steering)
    }

    fn send_from_vport(&self, steering: &Steering, f: FunctionIndex, frames: &[&[u8]], passage: &mut Passage<'_>) {
        let mut fates = Fates::new();
        self.enter(steering, frames, passage, &mut fates);
        self.drop_at(f, fates.iter().filter(|fate| matches!(fate, Fate::Dropped(_))).count());
    }

    /// Frames come to the e-switch: by the ingress ACL of where they come from, and with the tag of their vport, to the FDB.
    fn enter(&self, steering: &Steering, frames: &[&[u8]], passage: &mut Passage<'_>, fates: &mut Fates) {
        let acl = Stage::acl(steering, TableType::EswIngressAcl, passage.from);
        let vport = self.function_of_vport(passage.port, passage.from).and_then(|f| self.admin(f));
        self.through_acl(acl, &Registers::default(), frames, passage, fates, &mut |frames, regs, passage, fates| {
            by_tag(vport, context::entering, frames, &mut |frames| {
                let fdb = Stage::fdb(steering);
                self.through(fdb, regs, frames, passage, fates, &mut |frames, verdicts, outcome, passage, fates| {
                    self.follow(steering, frames, (verdicts, outcome), passage, fates);
                });
            });
        });
    }

    /// Sends frames through tables, and on to `next` in runs about which the same is decided.
    fn through(
        &self,
        stage: Stage<'_>,
        regs: &Registers,
        frames: &[&[u8]],
        passage: &mut Passage<'_>,
        fates: &mut Fates,
        next: Decided<'_>,
    ) {
        let Some(manager) = self.functions.get(passage.manager) else {
            return dropped(frames, DropReason::NotInitialized, fates);
        };
        let meta = Metadata {
            source_port: passage.from,
            source_vhca_id: manager.setup.vhca_id,
            source_sqn: passage.sender.sqn,
            regs: *regs,
        };
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
            stage.steering.evaluate_burst(stage.namespace, &mut packets, Budget::new(stage.copies));
            stage.steering.count_burst(&packets, run.len());
            let mut from = 0;
            while let Some(alike) = packets.alike(from).and_then(|to| run.get(from..to)).filter(|run| !run.is_empty()) {
                if let Some((verdicts, outcome)) = packets.decision(from) {
                    next(alike, verdicts, outcome, passage, fates);
                }
                from += alike.len();
            }
        }
        manager.return_packets(packets);
    }

    /// Sends frames through an ACL, and those that pass, as it wants them, on to `next`. Says how many it dropped.
    fn through_acl(
        &self,
        stage: Stage<'_>,
        regs: &Registers,
        frames: &[&[u8]],
        passage: &mut Passage<'_>,
        fates: &mut Fates,
        next: Passed<'_>,
    ) -> usize {
        if stage.steering.root(stage.namespace).is_none() {
            next(frames, regs, passage, fates);
            return 0;
        }
        let mut count = 0;
        self.through(stage, regs, frames, passage, fates, &mut |frames, verdicts, outcome, passage, fates| {
            match verdicts.iter().find(|verdict| verdict.target == Target::Allow) {
                Some(verdict) => {
                    each_edited(&verdict.vlan, frames, &mut |frames| next(frames, &verdict.regs, passage, fates))
                }
                None => {
                    count += frames.len();
                    dropped(frames, DropReason::of_tables(outcome), fates);
                }
            }
        });
        count
    }

    /// Frames go where the FDB says.
    fn follow(
        &self,
        steering: &Steering,
        frames: &[&[u8]],
        (verdicts, outcome): (&Verdicts, &Outcome),
        passage: &mut Passage<'_>,
        fates: &mut Fates,
    ) {
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
            each_edited(&verdict.vlan, frames, &mut |frames| {
                self.forward(steering, (to, &verdict.regs), frames, passage, &mut copies);
            });
            for (fate, copy) in fates.iter_mut().skip(before).zip(&copies) {
                *fate = fate.and(*copy);
            }
        }
        if outcome.missed > 0 && passage.from != UPLINK {
            self.to_wire(passage.port, frames, passage.now, passage.wake);
            fates.iter_mut().skip(before).for_each(|fate| *fate = Fate::Taken);
        }
    }

    /// Copies go to vport `to`, with these registers.
    fn forward(
        &self,
        steering: &Steering,
        (to, regs): (u16, &Registers),
        frames: &[&[u8]],
        passage: &mut Passage<'_>,
        fates: &mut Fates,
    ) {
        if to == UPLINK {
            if passage.from == UPLINK {
                return dropped(frames, DropReason::Loopback, fates);
            }
            self.to_wire(passage.port, frames, passage.now, passage.wake);
            return fates.extend(frames.iter().map(|_| Fate::Taken));
        }
        let Some(f) = self.function_of_vport(passage.port, to).filter(|f| self.vport_connected(*f)) else {
            return dropped(frames, DropReason::LinkDown, fates);
        };
        let acl = Stage::acl(steering, TableType::EswEgressAcl, to);
        let vport = self.admin(f);
        let stopped = self.through_acl(acl, regs, frames, passage, fates, &mut |frames, regs, passage, fates| {
            let regs = vport.map_or_else(Registers::default, |admin| context::kept(&admin.context[..], regs));
            by_tag(vport, context::leaving, frames, &mut |frames| self.hand_over(f, regs, frames, passage, fates));
        });
        self.drop_at(f, stopped);
    }

    /// The e-switch gives frames to a function: its own ones only if it listens to them.
    fn hand_over(
        &self,
        f: FunctionIndex,
        regs: Registers,
        frames: &[&[u8]],
        passage: &mut Passage<'_>,
        fates: &mut Fates,
    ) {
        let source = match self.functions.get(f) {
            _ if passage.from == UPLINK => Source::Wire,
            Some(function) if function.setup.vport == passage.from => {
                for run in frames.chunk_by(|a, b| a.get(..6) == b.get(..6)) {
                    if run.first().is_some_and(|frame| function.state.vport.way_of(frame) == Way::Out) {
                        dropped(run, DropReason::Loopback, fates);
                    } else {
                        let source = Source::Own(passage.sender.domain);
                        self.give(f, Origin { source, regs }, run, passage, fates);
                    }
                }
                return;
            }
            _ => Source::Vport(passage.from),
        };
        self.give(f, Origin { source, regs }, frames, passage, fates);
    }

    /// Gives frames to a function, unless fault rules say something else.
    fn give(&self, f: FunctionIndex, origin: Origin, frames: &[&[u8]], passage: &mut Passage<'_>, fates: &mut Fates) {
        if !self.rules_on_frames() {
            return self.hand_in(f, origin, frames, passage, fates);
        }
        for frame in frames {
            match self.rule_on_frame(Route::ToVport(f, origin), frame, passage.now) {
                Ruled::Goes(1) => self.hand_in(f, origin, &[frame], passage, fates),
                Ruled::Goes(times) => {
                    let mut copies = Fates::new();
                    (0..times).for_each(|_| self.hand_in(f, origin, &[frame], passage, &mut copies));
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
        origin: Origin,
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
        function.receive(origin, frames, passage.now, late, fates);
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

/// Gives `next` the edited frames: all at once if they stay as they are.
fn each_edited(edit: &VlanEdit, frames: &[&[u8]], next: &mut dyn FnMut(&[&[u8]])) {
    if edit.is_none() {
        return next(frames);
    }
    let mut edited = Vec::new();
    for frame in frames {
        edit.apply(frame, &mut edited);
        next(&[&edited]);
    }
}

/// Gives `next` the frames with their tags as the context of `vport` has it.
fn by_tag(
    vport: Option<&VportAdmin>,
    edit: fn(&[u8], bool) -> VlanEdit,
    frames: &[&[u8]],
    next: &mut dyn FnMut(&[&[u8]]),
) {
    let Some(vport) = vport else { return next(frames) };
    for run in frames.chunk_by(|a, b| context::has_cvlan(a) == context::has_cvlan(b)) {
        let tagged = run.first().is_some_and(|frame| context::has_cvlan(frame));
        each_edited(&edit(&vport.context[..], tagged), run, next);
    }
}
