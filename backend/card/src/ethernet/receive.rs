//! From frames that arrive at a vport to the numbers of receive queues: flow tables, TIR, RQT. [`super::deliver`] goes on.

use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::{DmaError, DmaSpace};
use mlx5emu_steering::hash::HashResult;
use mlx5emu_steering::key::Metadata;
use mlx5emu_steering::packet::Headers;
use mlx5emu_steering::tables::{Budget, MAX_BURST, Namespace, Packets, TableType, Target, Verdict};
use smallvec::SmallVec;

use super::deliver::{Arrival, Open};
use super::loopback::{Origin, Source, is_multicast};
use super::objects::{Dispatch, Tir};
use crate::capture::Direction::Inbound;
use crate::capture::{DropReason, Point};
use crate::card::FunctionIndex;
use crate::eswitch::UPLINK;
use crate::function::{Function, HcaState};

/// Copies of one frame inside one function.
const MAX_COPIES: u32 = 64;

/// Where what finds no receive WQE goes, if it may wait.
pub(crate) type Lates<'a> = Option<&'a mut Vec<(FunctionIndex, Late)>>;

/// A packet that waits for a WQE of its receive queue.
pub(crate) struct Late {
    rqn: u32,
    pub(super) frame: Box<[u8]>,
    headers: Headers,
    hash: HashResult,
    flow_tag: u32,
    metadata: u32,
}

impl Late {
    fn new(rqn: u32, arrival: &Arrival) -> Self {
        let Arrival { headers, hash, flow_tag, metadata, .. } = *arrival;
        Self { rqn, frame: arrival.frame.into(), headers: *headers, hash, flow_tag, metadata }
    }
}

/// What becomes of frames, in their order.
pub(crate) type Fates = SmallVec<[Fate; MAX_BURST]>;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A receive queue has it.
    Taken,
    /// It waits for memory that only messages reach.
    Aside,
    /// It waits for a receive WQE, while the partner is held off.
    Late,
    /// It is dropped.
    Dropped(DropReason),
}

impl Fate {
    /// Why the frame is dropped, if it is.
    pub(crate) fn reason(self) -> Option<DropReason> {
        match self {
            Self::Dropped(reason) => Some(reason),
            Self::Taken | Self::Aside | Self::Late => None,
        }
    }

    /// What becomes of a frame of which there are two copies.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Taken, _) | (_, Self::Taken) => Self::Taken,
            (Self::Late, _) | (_, Self::Late) => Self::Late,
            (Self::Aside, _) | (_, Self::Aside) => Self::Aside,
            (_, dropped) => dropped,
        }
    }

    /// A copy of the frame was dropped: that says what becomes of it unless a queue has another.
    fn or(self, reason: DropReason) -> Self {
        if matches!(self, Self::Taken | Self::Late) { self } else { Self::Dropped(reason) }
    }

    /// A copy of the frame waits.
    fn or_late(self) -> Self {
        if self == Self::Taken { self } else { Self::Late }
    }
}

/// Frames on their way through one function.
struct Intake<'f, 'l, 'n> {
    source: Source,
    now: u64,
    late: Lates<'l>,
    /// The receive queue that the last one went to.
    open: Option<Open<'f>>,
    /// Those that a receive queue got, to be counted.
    received: SmallVec<[&'n [u8]; MAX_BURST]>,
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Frames arrive at this function's vport. With `late`, what finds no receive WQE goes there.
    pub(crate) fn receive(&self, origin: Origin, frames: &[&[u8]], now: u64, late: Lates<'_>, fates: &mut Fates) {
        let before = fates.len();
        if self.state.ethernet.backlog.is_empty() {
            // What can't be delivered yet is put aside, with all that comes behind it.
            let _ = self.receive_seen(origin, frames, now, late, fates);
        }
        for frame in frames.get(fates.len() - before..).unwrap_or(&[]) {
            fates.push(self.put_aside(origin, frame, now));
        }
    }

    fn put_aside(&self, origin: Origin, frame: &[u8], now: u64) -> Fate {
        if self.state.ethernet.backlog.push(origin, frame) {
            return Fate::Aside;
        }
        self.state.vport.counters.dropped.fetch_add(1, Relaxed);
        self.taps.see(Point::Vport(self.index), Inbound, frame, now, || Some(DropReason::Backlog));
        Fate::Dropped(DropReason::Backlog)
    }

    /// [`Function::try_receive`], seen by the taps of the vport.
    fn receive_seen(
        &self,
        origin: Origin,
        frames: &[&[u8]],
        now: u64,
        late: Lates<'_>,
        fates: &mut Fates,
    ) -> Result<(), DmaError> {
        let before = fates.len();
        let done = self.try_receive(origin, frames, now, late, fates);
        for (frame, fate) in frames.iter().zip(fates.get(before..).unwrap_or(&[])) {
            if *fate != Fate::Late {
                self.seen(frame, now, *fate);
            }
        }
        done
    }

    /// Shows a frame to the taps of the vport.
    fn seen(&self, frame: &[u8], now: u64, fate: Fate) {
        self.taps.see(Point::Vport(self.index), Inbound, frame, now, || fate.reason());
    }

    /// Delivers what was put aside; the first frame that still can't be delivered says what it needs.
    pub(crate) fn retry_backlog(&self, now: u64) -> Result<(), DmaError> {
        while let Some((origin, frame)) = self.state.ethernet.backlog.first() {
            self.receive_seen(origin, &[&frame], now, None, &mut Fates::new())?;
            self.state.ethernet.backlog.pop();
        }
        Ok(())
    }

    /// Delivers frames in order, and adds to `fates` what becomes of each. `Err(Fetch)`: the first one without a fate needs
    /// memory that only messages reach, and is to be given again.
    fn try_receive(
        &self,
        origin: Origin,
        frames: &[&[u8]],
        now: u64,
        late: Lates<'_>,
        fates: &mut Fates,
    ) -> Result<(), DmaError> {
        let counters = &self.state.vport.counters;
        if self.state.hca != HcaState::Initialized {
            fates.extend(frames.iter().map(|_| Fate::Dropped(DropReason::NotInitialized)));
            return Ok(());
        }
        let Origin { source, regs } = origin;
        let source_port = match source {
            Source::Wire => UPLINK,
            Source::Vport(vport) => vport,
            Source::Own(_) => self.setup.vport,
        };
        let meta = Metadata { source_port, regs, ..Metadata::default() };
        let root = Namespace::new(TableType::NicRx, 0);
        let mut packets = self.borrow_packets();
        let mut intake = Intake { source, now, late, open: None, received: SmallVec::new() };
        let (mut rest, mut done) = (frames, Ok(()));
        while !rest.is_empty() && done.is_ok() {
            packets.clear();
            let (run, after) = rest.split_at(rest.iter().take_while(|frame| packets.push(frame, &meta)).count());
            rest = after;
            if run.is_empty() {
                counters.dropped.fetch_add(1, Relaxed);
                fates.push(Fate::Dropped(DropReason::Malformed));
                rest = rest.get(1..).unwrap_or(&[]);
                continue;
            }
            let steering = &self.state.ethernet.steering;
            steering.evaluate_burst(root, &mut packets, Budget::new(MAX_COPIES));
            let before = fates.len();
            done = self.take_in(run, &packets, &mut intake, fates);
            // What comes again is counted then.
            steering.count_burst(&packets, fates.len() - before);
        }
        self.close(&mut intake.open, now);
        counters.received(&intake.received);
        if matches!(source, Source::Own(_)) {
            counters.looped.count(&intake.received);
        }
        self.return_packets(packets);
        done
    }

    /// Delivers frames about which the tables have decided.
    fn take_in<'f, 'n>(
        &'f self,
        frames: &[&'n [u8]],
        packets: &Packets,
        intake: &mut Intake<'f, '_, 'n>,
        fates: &mut Fates,
    ) -> Result<(), DmaError> {
        for (n, &frame) in frames.iter().enumerate() {
            let (Some((verdicts, outcome)), Some(headers)) = (packets.decision(n), packets.headers(n)) else { break };
            if verdicts.is_empty() {
                if !matches!(intake.source, Source::Own(_)) {
                    self.state.vport.counters.dropped.fetch_add(1, Relaxed);
                }
                fates.push(Fate::Dropped(DropReason::of_tables(outcome)));
                continue;
            }
            let mut fate = Fate::Dropped(DropReason::NoQueue);
            let mut reached = false;
            for verdict in verdicts {
                reached |= self.follow(verdict, frame, headers, intake, &mut fate)?;
            }
            if reached {
                intake.received.push(frame);
            }
            fates.push(fate);
        }
        Ok(())
    }

    /// One copy of a frame. Says whether it came as far as a receive queue.
    fn follow<'f>(
        &'f self,
        verdict: &Verdict,
        frame: &[u8],
        headers: &Headers,
        intake: &mut Intake<'f, '_, '_>,
        fate: &mut Fate,
    ) -> Result<bool, DmaError> {
        let Target::Tir(tirn) = verdict.target else { return Ok(false) };
        let Some(tir) = self.state.ethernet.tirs.find(tirn) else { return Ok(false) };
        if !tir.takes(intake.source, is_multicast(frame)) {
            *fate = fate.or(DropReason::Loopback);
            return Ok(false);
        }
        let hash = tir.hash.compute(headers);
        let Some(rqn) = self.choose_rq(tir, hash.hash) else { return Ok(false) };
        let mut edited = Vec::new();
        let edited_headers;
        let (frame, headers) = if verdict.vlan.is_none() {
            (frame, headers)
        } else {
            verdict.vlan.apply(frame, &mut edited);
            let Some(parsed) = Headers::parse(&edited) else { return Ok(false) };
            edited_headers = parsed;
            (edited.as_slice(), &edited_headers)
        };
        let patient = intake.late.is_some();
        let arrival = Arrival {
            frame,
            headers,
            hash,
            flow_tag: verdict.flow_tag,
            metadata: verdict.regs.b,
            // What grows in a queue may find no WQE later, when it can't wait any more.
            lro: tir.lro.filter(|_| !patient),
            merged: None,
        };
        *fate = match (self.deliver(&mut intake.open, rqn, &arrival, intake.now, patient)?, &mut intake.late) {
            (None, _) => Fate::Taken,
            (Some(DropReason::OutOfBuffer(_)), Some(late)) => {
                late.push((self.index, Late::new(rqn, &arrival)));
                fate.or_late()
            }
            (Some(reason), _) => fate.or(reason),
        };
        Ok(true)
    }

    /// Delivers a packet that has waited. `Err(Fetch)` only.
    pub(crate) fn receive_late(&self, late: &Late, now: u64, patient: bool) -> Result<Fate, DmaError> {
        let arrival = Arrival {
            frame: &late.frame,
            headers: &late.headers,
            hash: late.hash,
            flow_tag: late.flow_tag,
            metadata: late.metadata,
            lro: None,
            merged: None,
        };
        let mut open = None;
        let delivered = self.deliver(&mut open, late.rqn, &arrival, now, patient);
        self.close(&mut open, now);
        let fate = match delivered? {
            None => Fate::Taken,
            Some(DropReason::OutOfBuffer(_)) if patient => return Ok(Fate::Late),
            Some(DropReason::OutOfBuffer(rqn)) => Fate::Dropped(DropReason::PauseTooLong(rqn)),
            Some(reason) => Fate::Dropped(reason),
        };
        self.seen(&late.frame, now, fate);
        Ok(fate)
    }

    fn choose_rq(&self, tir: &Tir, hash: u32) -> Option<u32> {
        match tir.dispatch {
            Dispatch::Direct(rqn) => Some(rqn),
            Dispatch::Indirect(rqtn) => {
                let rqt = self.state.ethernet.rqts.find(rqtn)?;
                // An indirection table is a power of two of entries, indexed by the hash's low bits; others by remainder.
                rqt.rqns.get(hash as usize % rqt.rqns.len().max(1)).copied()
            }
        }
    }
}
