//! Who manages whom: the function or vport that a command names.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::mlx5_eqe_vport_change;
use mlx5emu_prm::states::VhcaState;

use super::{ContextChange, VportAdmin};
use crate::card::{Card, FunctionIndex, Personality};
use crate::commands::queue::Call;
use crate::error::{Stop, Syndrome, bad_param};
use crate::function::State;

/// The functions of a port's e-switch.
#[derive(Debug, Default)]
pub(crate) struct Vports {
    /// The one that manages it.
    pub(crate) manager: Option<FunctionIndex>,
    /// All others, by vport.
    pub(crate) managed: Vec<FunctionIndex>,
}

/// Functions by port and vport.
pub(crate) fn vports_of(personality: &Personality) -> Vec<Vports> {
    let of_port = |port: usize| {
        let here = || personality.functions.iter().enumerate().filter(move |(_, f)| f.port == port);
        let mut managed: Vec<_> = here().filter(|(_, f)| !f.is_pf()).map(|(n, f)| (f.vport, n)).collect();
        managed.sort_unstable();
        Vports {
            manager: here().find(|(_, f)| f.is_pf()).map(|(n, _)| n),
            managed: managed.into_iter().map(|(_, index)| index).collect(),
        }
    };
    (0..personality.ports.len()).map(of_port).collect()
}

impl<M: DmaSpace + 'static> Card<M> {
    /// The function behind a vport of a port's e-switch.
    pub(crate) fn function_of_vport(&self, port: usize, vport: u16) -> Option<FunctionIndex> {
        let Vports { manager, managed } = self.vports.get(port)?;
        let vport_of = |f: &FunctionIndex| self.functions.get(*f).map_or(vport, |f| f.setup.vport);
        if let Some(manager) = manager.filter(|f| vport_of(f) == vport) {
            return Some(manager);
        }
        let found = managed.binary_search_by_key(&vport, vport_of);
        found.ok().and_then(|n| managed.get(n)).copied()
    }

    /// The PF that has a port.
    pub(crate) fn pf_of_port(&self, port: usize) -> Option<FunctionIndex> {
        self.vports.get(port)?.manager
    }

    /// The PF on the port of `f`: `f` itself if it is one.
    pub(crate) fn manager_of(&self, f: FunctionIndex) -> FunctionIndex {
        self.functions.get(f).and_then(|function| self.pf_of_port(function.port)).unwrap_or(f)
    }

    /// The VFs and SFs of a PF, and its host's functions, by vport; none for others.
    pub(crate) fn managed(&self, f: FunctionIndex) -> &[FunctionIndex] {
        let pf = self.functions.get(f).filter(|function| function.is_pf());
        pf.and_then(|pf| self.vports.get(pf.port)).map_or(&[], |vports| &vports.managed)
    }

    /// The function behind another vport of the e-switch that the function which asks manages.
    fn other_vport(&self, call: &Call, id: u32) -> Option<FunctionIndex> {
        let function = &self.functions[call.f];
        let vport = u16::try_from(id).ok().filter(|_| function.is_pf())?;
        self.function_of_vport(function.port, vport)
    }

    /// Refuses an SF that nobody has allocated.
    fn there(&self, f: FunctionIndex, syndrome: Syndrome) -> Result<FunctionIndex, Stop> {
        if self.vhca_state(f) == VhcaState::INVALID {
            return bad_param(syndrome, format!("{} is not allocated", self.function_name(f)));
        }
        Ok(f)
    }

    /// The function that a command names with `other_vport` and `vport_number`.
    pub(crate) fn named_vport(&self, call: &Call, other: bool, number: u32) -> Result<FunctionIndex, Stop> {
        if !other {
            return Ok(call.f);
        }
        if !self.functions[call.f].is_pf() {
            return bad_param(Syndrome::WrongVport, "this function manages no other vport");
        }
        match self.other_vport(call, number) {
            Some(f) => self.there(f, Syndrome::WrongVport),
            None => bad_param(Syndrome::WrongVport, format!("vport {number:#x} does not exist")),
        }
    }

    /// The function that a command names with `function_id`: 0 is the one that asks, n is VF n - 1 of a PF, 0x8000 + n its
    /// SF n. For an embedded CPU, `embedded_cpu_function` says that it means its own function 0, and not the host's.
    pub(crate) fn named_function(&self, call: &Call, id: u32, embedded_cpu: bool) -> Result<FunctionIndex, Stop> {
        let f = self.known_function(call, id, embedded_cpu)?;
        if f == call.f { Ok(f) } else { self.there(f, Syndrome::WrongFunction) }
    }

    /// As [`Card::named_function`], also for an SF that nobody has allocated.
    pub(crate) fn known_function(&self, call: &Call, id: u32, embedded_cpu: bool) -> Result<FunctionIndex, Stop> {
        let named = match (self.functions[call.f].setup.is_embedded_cpu(), embedded_cpu, id) {
            (false, true, _) => return bad_param(Syndrome::WrongFunction, "there is no embedded CPU"),
            (true, true, 0) | (false, false, 0) => Some(call.f),
            // An embedded CPU has no VFs of its own.
            (true, true, _) => None,
            _ => self.other_vport(call, id),
        };
        match named {
            Some(f) => Ok(f),
            None => bad_param(Syndrome::WrongFunction, format!("function {id:#x} is not this function's to name")),
        }
    }

    /// What the PF of `f` says of its vport, to change it.
    pub(crate) fn admin_mut(&mut self, f: FunctionIndex) -> &mut VportAdmin {
        let (manager, vport) = (self.manager_of(f), self.functions[f].setup.vport);
        self.functions[manager].state.eswitch.vport_mut(vport)
    }

    /// What the PF of `f` says of its vport, if it said anything.
    pub(crate) fn admin(&self, f: FunctionIndex) -> Option<&VportAdmin> {
        let function = self.functions.get(f)?;
        self.functions.get(self.manager_of(f))?.state.eswitch.vports.get(&function.setup.vport)
    }

    /// Whether the PF of `f` has enabled it.
    pub(crate) fn is_enabled(&self, f: FunctionIndex) -> bool {
        self.admin(f).is_some_and(|admin| admin.enabled)
    }

    /// What was said of the vport of `f`, by its PF and by its own driver, is forgotten: whoever has it next finds nothing of
    /// its last life. `admin` is what the PF says from now on.
    pub(super) fn forget_vport(&mut self, f: FunctionIndex, admin: VportAdmin) {
        *self.admin_mut(f) = admin;
        let fresh = self.fresh_state(f);
        self.functions[f].state.caps = fresh.caps;
        self.functions[f].state.vport = fresh.vport;
        self.settle_vf_pages(f);
    }

    /// The state of `f` after a reset: new, but for what its PF says of it.
    pub(crate) fn fresh_state(&self, f: FunctionIndex) -> State {
        let function = &self.functions[f];
        let mut state = State::new(&function.setup, &self.personality);
        if !function.is_pf()
            && let Some(admin) = self.admin(f)
        {
            state.vport.administer(admin.mac, admin.node_guid);
        }
        state
    }

    /// The context of the vport of `f` changed: the PF is told if it asked for that.
    pub(crate) fn vport_changed(&mut self, f: FunctionIndex, change: ContextChange) {
        let (manager, vport) = (self.manager_of(f), self.functions[f].setup.vport);
        let Some(admin) = self.functions[manager].state.eswitch.vports.get_mut(&vport) else { return };
        if admin.armed.meets(change) {
            admin.armed = ContextChange::default();
            let mut data = [0u8; mlx5_eqe_vport_change::SIZE];
            mlx5_eqe_vport_change::vport_num.set(&mut data, u64::from(vport));
            self.post_event(manager, Event::NIC_VPORT_CHANGE, 0, &data);
        }
    }
}
