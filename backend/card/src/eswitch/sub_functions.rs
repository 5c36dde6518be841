//! SFs and the states of functions: ALLOC_SF, DEALLOC_SF, QUERY_VHCA_STATE, MODIFY_VHCA_STATE.
//!
//! A PF's SFs are there from the beginning and can't be used until it allocates them. From there on an SF's way is a
//! VF's (the PF enables it, its own driver does, …), but the PF does not just end it: DISABLE_HCA asks the SF's driver to
//! leave, and the SF is free when that has disabled it itself. Each step is a state, and the PF is told of the next one
//! if it asked for that, once.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::capability::{CapMode, CapType};
use mlx5emu_prm::event::Event;
use mlx5emu_prm::field::Field;
use mlx5emu_prm::layouts::{
    alloc_sf_in, cmd_hca_cap, dealloc_sf_in, mlx5_eqe_vhca_state, modify_vhca_state_in, query_vhca_state_in,
    query_vhca_state_out, vhca_state_context, vhca_state_field_select,
};
use mlx5emu_prm::opcode::Status;
use mlx5emu_prm::states::VhcaState;

use super::VportAdmin;
use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, refuse};
use crate::function::HcaState;

/// States, and the capability by which a driver switches events of each on.
pub const EVENT_SWITCHES: [(VhcaState, Field); 5] = [
    (VhcaState::INVALID, cmd_hca_cap::event_on_vhca_state_invalid),
    (VhcaState::ALLOCATED, cmd_hca_cap::event_on_vhca_state_allocated),
    (VhcaState::ACTIVE, cmd_hca_cap::event_on_vhca_state_active),
    (VhcaState::IN_USE, cmd_hca_cap::event_on_vhca_state_in_use),
    (VhcaState::TEARDOWN_REQUEST, cmd_hca_cap::event_on_vhca_state_teardown_request),
];

/// What a PF says of a function's state, and was told of it.
#[derive(Debug, Default)]
pub struct Vhca {
    /// ALLOC_SF, or CREATE_ESW_VPORT; a VF needs none.
    pub allocated: bool,
    /// An SF that is disabled while its driver has it.
    pub leaving: bool,
    /// The number that its user gives it.
    pub sw_function_id: u32,
    /// The PF wants to be told of the next state.
    armed: bool,
    /// The last state that it knows.
    known: Option<VhcaState>,
}

impl<M: DmaSpace + 'static> Card<M> {
    /// The state of a function: that of a PF is always in use.
    pub fn vhca_state(&self, f: FunctionIndex) -> VhcaState {
        let Some(function) = self.functions.get(f) else { return VhcaState::INVALID };
        let (enabled, allocated, leaving) =
            self.admin(f).map_or((false, false, false), |a| (a.enabled, a.vhca.allocated, a.vhca.leaving));
        match function.state.hca {
            _ if function.is_pf() => VhcaState::IN_USE,
            _ if (function.setup.is_sf() || function.setup.is_adjacent()) && !allocated => VhcaState::INVALID,
            // What else there is to know of it, its own PF knows.
            _ if function.setup.is_adjacent() => VhcaState::IN_USE,
            _ if leaving => VhcaState::TEARDOWN_REQUEST,
            _ if !enabled => VhcaState::ALLOCATED,
            HcaState::Disabled => VhcaState::ACTIVE,
            HcaState::Enabled | HcaState::Initialized => VhcaState::IN_USE,
        }
    }

    /// The state of `f` may be another one: its PF is told if it asked for that and listens to that state.
    pub(crate) fn vhca_state_changed(&mut self, f: FunctionIndex) {
        let (manager, vport, state) = (self.manager_of(f), self.functions[f].setup.vport, self.vhca_state(f));
        if self.functions[f].is_pf() || !self.tells_of(manager, state) {
            return;
        }
        let Some(admin) = self.functions[manager].state.eswitch.vports.get_mut(&vport) else { return };
        if !admin.vhca.armed || admin.vhca.known == Some(state) {
            return;
        }
        (admin.vhca.armed, admin.vhca.known) = (false, Some(state));
        let mut data = [0u8; mlx5_eqe_vhca_state::SIZE];
        mlx5_eqe_vhca_state::function_id.set(&mut data, u64::from(vport));
        self.post_event(manager, Event::VHCA_STATE_CHANGE, 0, &data);
    }

    /// The driver of `f` has it no more. Says whether it was asked to leave.
    pub(crate) fn has_left(&mut self, f: FunctionIndex) -> bool {
        let (manager, vport) = (self.manager_of(f), self.functions[f].setup.vport);
        let admin = self.functions[manager].state.eswitch.vports.get_mut(&vport);
        admin.is_some_and(|admin| std::mem::take(&mut admin.vhca.leaving))
    }

    /// Whether the driver of `manager` has switched events of this state on.
    fn tells_of(&self, manager: FunctionIndex, state: VhcaState) -> bool {
        let general = self.functions[manager].state.caps.area(CapType::GENERAL, CapMode::CUR);
        let switch = EVENT_SWITCHES.iter().find(|(of, _)| *of == state);
        general.zip(switch).is_some_and(|(cur, (_, switch))| cmd_hca_cap::vhca_state.is_set(cur) && switch.is_set(cur))
    }

    /// The function that a command about states names: one that this PF manages, allocated or not.
    fn stated_function(&self, call: &Call, id: u32, embedded_cpu: bool) -> Result<FunctionIndex, Stop> {
        match self.known_function(call, id, embedded_cpu)? {
            f if f == call.f => bad_param(Syndrome::WrongFunction, "the state of a PF is nobody's to ask"),
            f => Ok(f),
        }
    }

    /// The SF that ALLOC_SF and DEALLOC_SF name.
    fn named_sf(&self, call: &Call, id: u32) -> Result<FunctionIndex, Stop> {
        let f = self.stated_function(call, id, false)?;
        if !self.functions[f].setup.is_sf() {
            return bad_param(Syndrome::WrongFunction, format!("function {id:#x} is no SF"));
        }
        Ok(f)
    }

    pub(crate) fn alloc_sf(&mut self, call: &mut Call) -> Done {
        let f = self.named_sf(call, call.get(alloc_sf_in::function_id))?;
        let vhca = &mut self.admin_mut(f).vhca;
        if vhca.allocated {
            let why = format!("{} is allocated already", self.function_name(f));
            return refuse(Status::BAD_RES_STATE, Syndrome::WrongHcaState, why);
        }
        vhca.allocated = true;
        self.vhca_state_changed(f);
        Ok(())
    }

    pub(crate) fn dealloc_sf(&mut self, call: &mut Call) -> Done {
        let f = self.named_sf(call, call.get(dealloc_sf_in::function_id))?;
        let state = self.vhca_state(f);
        if state != VhcaState::ALLOCATED {
            let why = format!("{} is {state}, not ALLOCATED", self.function_name(f));
            return refuse(Status::BAD_RES_STATE, Syndrome::WrongHcaState, why);
        }
        // That somebody wants to know of its states stays.
        let armed = self.admin_mut(f).vhca.armed;
        let vhca = Vhca { armed, known: Some(VhcaState::INVALID), ..Vhca::default() };
        self.forget_vport(f, VportAdmin { vhca, ..VportAdmin::default() });
        self.vhca_state_changed(f);
        Ok(())
    }

    pub(crate) fn query_vhca_state(&mut self, call: &mut Call) -> Done {
        use query_vhca_state_in as cmd;
        use vhca_state_context as ctx;
        let f =
            self.stated_function(call, call.get(cmd::function_id), cmd::embedded_cpu_function.is_set(call.input))?;
        let state = self.vhca_state(f);
        let vhca = &mut self.admin_mut(f).vhca;
        vhca.known = Some(state);
        let out = query_vhca_state_out::vhca_state_context.of_mut(call.output);
        ctx::arm_change_event.set(out, u64::from(vhca.armed));
        ctx::vhca_state.set(out, u64::from(state.0));
        ctx::sw_function_id.set(out, u64::from(vhca.sw_function_id));
        Ok(())
    }

    pub(crate) fn modify_vhca_state(&mut self, call: &mut Call) -> Done {
        use modify_vhca_state_in as cmd;
        use vhca_state_context as ctx;
        use vhca_state_field_select as select;
        let f =
            self.stated_function(call, call.get(cmd::function_id), cmd::embedded_cpu_function.is_set(call.input))?;
        let (bits, new) = (cmd::vhca_state_field_select.of(call.input), cmd::vhca_state_context.of(call.input));
        let state = self.vhca_state(f);
        let vhca = &mut self.admin_mut(f).vhca;
        if select::sw_function_id.is_set(bits) {
            vhca.sw_function_id = ctx::sw_function_id.get32(new);
        }
        if select::arm_change_event.is_set(bits) {
            vhca.armed = ctx::arm_change_event.is_set(new);
            vhca.known.get_or_insert(state);
        }
        // A state that came between the last one known and this is not lost.
        self.vhca_state_changed(f);
        Ok(())
    }
}
