//! Scheduling elements: the rates and shares that a PF gives the vports of its e-switch (devlink-rate, `ip link set … vf`).
//!
//! What a vport may not send yet stays in its send queues, as it does while its port is paused: nothing is dropped.

mod arbiter;

use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    create_scheduling_element_in, create_scheduling_element_out, destroy_scheduling_element_in, element_attributes,
    modify_scheduling_element_in, qos_cap, scheduling_context, tsar_element, vport_element,
};
use mlx5emu_prm::scheduling::{ModifySchedulingElement, SchedulingElementType, SchedulingHierarchy, TsarType};
use serde_json::{Value, json};

pub(crate) use arbiter::Scheduling;
use arbiter::{Element, Kind, Turn};

use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param};

/// log2 of the arbiters above each other: `log_esw_max_sched_depth`. The number is this firmware's own.
const LOG_MAX_DEPTH: u32 = 2;
/// The largest share: `max_tsar_bw_share`. The number is this firmware's own: the driver scales what its users say to it.
const MAX_SHARE: u32 = 100;

/// The scheduling of an e-switch, as capabilities (group `qos`).
pub(crate) fn offer(qos: &mut [u8]) {
    for (field, value) in [
        (qos_cap::esw_scheduling, 1),
        (qos_cap::esw_bw_share, 1),
        (qos_cap::esw_rate_limit, 1),
        (qos_cap::log_esw_max_sched_depth, LOG_MAX_DEPTH),
        (qos_cap::esw_element_type, 1 << SchedulingElementType::TSAR.0 | 1 << SchedulingElementType::VPORT.0),
        (qos_cap::esw_tsar_type, 1 << TsarType::DWRR.0),
        (qos_cap::max_tsar_bw_share, MAX_SHARE),
    ] {
        field.set(qos, value.into());
    }
}

/// Whether a function must let others go first, or let time pass.
#[derive(Default)]
pub(crate) struct Hold {
    on: AtomicBool,
    /// When it asks again, ns of the card's clock.
    ask_at: AtomicU64,
    /// What it may send in a burst.
    burst: AtomicU64,
}

impl Hold {
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Acquire)
    }

    /// When it asks again, if it was held when it was to send.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.is_on().then(|| self.ask_at.load(Acquire))
    }

    /// Bytes that it may send in a burst, 0 if nothing bounds it.
    pub(crate) fn burst(&self) -> u64 {
        self.burst.load(Acquire)
    }

    /// It does not hold.
    pub(crate) fn end(&self) {
        self.on.store(false, Release);
    }

    fn set(&self, turn: Turn) -> bool {
        if let Turn::Wait(at) = turn {
            self.ask_at.store(at, Release);
        }
        self.burst.store(if let Turn::Some(bytes) = turn { bytes } else { 0 }, Release);
        let on = matches!(turn, Turn::Wait(_));
        self.on.store(on, Release);
        on
    }
}

fn in_eswitch(hierarchy: u64) -> Done {
    match SchedulingHierarchy(hierarchy as u8) {
        SchedulingHierarchy::E_SWITCH => Ok(()),
        other => bad_param(Syndrome::BadCapability, format!("scheduling hierarchy {other} is not offered")),
    }
}

fn share_of(context: &[u8]) -> Result<u32, Stop> {
    match scheduling_context::bw_share.get32(context) {
        share if share <= MAX_SHARE => Ok(share),
        share => bad_param(Syndrome::BadField, format!("bw_share {share}, at most {MAX_SHARE}")),
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    fn scheduling_mut(&mut self, call: &Call) -> Result<&mut Scheduling, Stop> {
        if self.managed(call.f).is_empty() {
            return bad_param(Syndrome::BadCapability, "scheduling is offered to who manages an e-switch only");
        }
        Ok(&mut self.functions[call.f].state.eswitch.scheduling)
    }

    pub(crate) fn create_scheduling_element(&mut self, call: &mut Call) -> Done {
        use create_scheduling_element_in as cmd;
        use scheduling_context as ctx;
        in_eswitch(cmd::scheduling_hierarchy.get(call.input))?;
        let context = cmd::scheduling_context.of(call.input);
        if ctx::max_bw_obj_id.is_set(context) {
            return bad_param(Syndrome::BadCapability, "elements that only limit (max_bw_obj_id) are not offered");
        }
        let kind = self.kind_of(call, context)?;
        let parent = Some(ctx::parent_element_id.get32(context)).filter(|n| *n != 0);
        let (share, max_mbps) = (share_of(context)?, ctx::max_average_bw.get32(context));
        let scheduling = self.scheduling_mut(call)?;
        if kind == Kind::Tsar && scheduling.depth(parent) >= 1 << LOG_MAX_DEPTH {
            return bad_param(
                Syndrome::BadField,
                format!("more than {} arbiters above each other", 1 << LOG_MAX_DEPTH),
            );
        }
        let number = scheduling.create(Element { kind, parent, share, max_mbps })?;
        call.reply(create_scheduling_element_out::scheduling_element_id, number);
        Ok(())
    }

    fn kind_of(&self, call: &Call, context: &[u8]) -> Result<Kind, Stop> {
        use vport_element as vport;
        let attributes = scheduling_context::element_attributes.of(context);
        match SchedulingElementType(scheduling_context::element_type.get(context) as u8) {
            SchedulingElementType::TSAR => {
                match TsarType(tsar_element::tsar_type.get(element_attributes::tsar.of(attributes)) as u8) {
                    TsarType::DWRR => Ok(Kind::Tsar),
                    other => bad_param(Syndrome::BadCapability, format!("TSAR type {other} is not offered")),
                }
            }
            SchedulingElementType::VPORT => {
                let raw = element_attributes::vport.of(attributes);
                let own = u64::from(self.functions[call.f].setup.vhca_id);
                if vport::eswitch_owner_vhca_id_valid.is_set(raw) && vport::eswitch_owner_vhca_id.get(raw) != own {
                    return bad_param(Syndrome::BadCapability, "vports of other e-switches are not offered");
                }
                let f = self.named_vport(call, true, vport::vport_number.get32(raw))?;
                Ok(Kind::Vport(self.functions[f].setup.vport))
            }
            other => bad_param(Syndrome::BadCapability, format!("scheduling elements of type {other} are not offered")),
        }
    }

    pub(crate) fn modify_scheduling_element(&mut self, call: &mut Call) -> Done {
        use modify_scheduling_element_in as cmd;
        in_eswitch(cmd::scheduling_hierarchy.get(call.input))?;
        let (number, bits) = (call.get(cmd::scheduling_element_id), call.get(cmd::modify_bitmask));
        let has = |bit: ModifySchedulingElement| bits & bit.0 != 0;
        let known = ModifySchedulingElement::BW_SHARE.0 | ModifySchedulingElement::MAX_AVERAGE_BW.0;
        if bits & !known != 0 {
            return bad_param(Syndrome::BadField, format!("modify_bitmask {bits:#x}, {known:#x} can be changed"));
        }
        let context = cmd::scheduling_context.of(call.input);
        let share = has(ModifySchedulingElement::BW_SHARE).then(|| share_of(context)).transpose()?;
        let max = scheduling_context::max_average_bw.get32(context);
        let max = has(ModifySchedulingElement::MAX_AVERAGE_BW).then_some(max);
        self.scheduling_mut(call)?.modify(number, share, max)
    }

    pub(crate) fn destroy_scheduling_element(&mut self, call: &mut Call) -> Done {
        use destroy_scheduling_element_in as cmd;
        in_eswitch(cmd::scheduling_hierarchy.get(call.input))?;
        let number = call.get(cmd::scheduling_element_id);
        self.scheduling_mut(call)?.destroy(number)
    }

    /// The scheduling that `f`'s vport is part of.
    fn scheduling(&self, f: FunctionIndex) -> Option<&Scheduling> {
        self.functions.get(self.manager_of(f)).map(|manager| &manager.state.eswitch.scheduling)
    }

    /// Whether `f`, which has something to send, must wait; if so, it asks again later.
    pub(crate) fn must_wait(&self, f: FunctionIndex, now: u64) -> bool {
        let (Some(function), Some(scheduling)) = (self.functions.get(f), self.scheduling(f)) else { return false };
        function.state.ethernet.hold.set(scheduling.ask(function.setup.vport, now))
    }

    /// `f` has sent `bytes`.
    pub(crate) fn account(&self, f: FunctionIndex, bytes: usize, now: u64) {
        if let (Some(function), Some(scheduling)) = (self.functions.get(f), self.scheduling(f)) {
            scheduling.sent(function.setup.vport, bytes as u64, now);
        }
    }

    /// The elements of the e-switch that `pf` manages.
    pub(super) fn inspect_scheduling(&self, pf: FunctionIndex) -> Value {
        let elements = self.scheduling(pf).map(Scheduling::inspect).unwrap_or_default();
        let shown = elements.into_iter().map(|(number, element, bytes)| {
            let of = match element.kind {
                Kind::Tsar => "TSAR".to_string(),
                Kind::Vport(vport) => self.name_of_vport(pf, vport),
            };
            json!({
                "element": number, "of": of, "parent": element.parent, "bw_share": element.share,
                "max_mbps": element.max_mbps, "bytes": bytes,
            })
        });
        shown.collect()
    }
}
