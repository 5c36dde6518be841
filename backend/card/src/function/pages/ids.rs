//! By which ids a driver and the firmware name the functions that pages are for.
//!
//! From ENABLE_HCA on it is the function id: 0 is the function itself, n is VF n - 1 of a PF,
//! 0x8000 + n its SF n. An embedded CPU sets `embedded_cpu_function` for itself; without, 0 to n are its host's.
//! When the driver sets `icm_mng_function_id_mode` in SET_HCA_CAP it is the VHCA id from then on, in QUERY_PAGES, MANAGE_PAGES and page request
//! events, until DISABLE_HCA or a reset. QUERY_PAGES for boot pages keeps the function id in either mode.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::capability::{CapMode, CapType};
use mlx5emu_prm::layouts::cmd_hca_cap;

use super::books::Owner;
use crate::card::{Card, FunctionIndex};
use crate::error::{Stop, Syndrome, bad_param};
use crate::function::HcaState;

/// How functions are named (`MLX5_ID_MODE_FUNCTION_*` in mlx5_ifc.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdMode {
    /// By function id.
    FunctionId,
    /// By VHCA id.
    VhcaId,
}

impl IdMode {
    /// The name, as card files and `ctl inspect` have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::FunctionId => "func_id",
            Self::VhcaId => "vhca_id",
        }
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// How the driver of `giver` names functions now.
    pub fn page_id_mode(&self, giver: FunctionIndex) -> IdMode {
        let caps = &self.functions[giver].state.caps;
        let general = caps.area(CapType::GENERAL, CapMode::CUR);
        if general.is_some_and(|cur| cmd_hca_cap::icm_mng_function_id_mode.is_set(cur)) {
            IdMode::VhcaId
        } else {
            IdMode::FunctionId
        }
    }

    /// The id of `owner` for the driver of `giver`.
    pub(super) fn page_id(&self, giver: FunctionIndex, owner: Owner) -> u16 {
        match owner {
            Owner::Unknown(id) => id,
            Owner::Function(f) => match self.page_id_mode(giver) {
                IdMode::VhcaId => self.functions[f].setup.vhca_id,
                IdMode::FunctionId if f == giver => 0,
                IdMode::FunctionId => self.functions[f].setup.vport,
            },
        }
    }

    /// Whether `embedded_cpu_function` goes with the id of `owner` for the driver of `giver`.
    pub(super) fn is_embedded_id(&self, giver: FunctionIndex, mode: IdMode, owner: Owner) -> bool {
        mode == IdMode::FunctionId && owner == Owner::Function(giver) && self.functions[giver].setup.is_embedded_cpu()
    }

    /// The function that `id` names for the driver of `giver`: of two with one VHCA id, the first.
    pub(super) fn function_of_id(
        &self,
        giver: FunctionIndex,
        mode: IdMode,
        id: u16,
        embedded_cpu: bool,
    ) -> Option<FunctionIndex> {
        let functions = std::iter::once(&giver).chain(self.managed(giver));
        let named = |f: &&FunctionIndex| match mode {
            _ if embedded_cpu != self.is_embedded_id(giver, mode, Owner::Function(**f)) => false,
            IdMode::VhcaId => self.functions[**f].setup.vhca_id == id,
            IdMode::FunctionId if **f == giver => id == 0,
            IdMode::FunctionId => self.functions[**f].setup.vport == id,
        };
        functions.copied().collect::<Vec<_>>().iter().find(named).copied()
    }

    /// Whom a page command of `giver` names.
    pub(super) fn named_owner(
        &self,
        giver: FunctionIndex,
        mode: IdMode,
        id: u32,
        embedded_cpu: bool,
    ) -> Result<Owner, Stop> {
        let id = id as u16;
        if let Some(f) = self.function_of_id(giver, mode, id, embedded_cpu) {
            return Ok(Owner::Function(f));
        }
        if embedded_cpu {
            let why = match mode {
                IdMode::FunctionId if self.functions[giver].setup.is_embedded_cpu() => "the embedded CPU has no VFs",
                IdMode::FunctionId => "there is no embedded CPU",
                IdMode::VhcaId => "embedded_cpu_function is set, but the driver chose VHCA ids, which say it all",
            };
            return bad_param(Syndrome::WrongPageId, why);
        }
        if self.functions[giver].state.pages.book(Owner::Unknown(id)).is_some() {
            return Ok(Owner::Unknown(id));
        }
        let (kind, other, remark) = match mode {
            IdMode::FunctionId => ("function id", IdMode::VhcaId, "the driver has not set icm_mng_function_id_mode"),
            IdMode::VhcaId => ("VHCA id", IdMode::FunctionId, "the driver has set icm_mng_function_id_mode"),
        };
        let hint = match self.function_of_id(giver, other, id, false) {
            Some(f) => format!(": in the other mode it would be {}, but {remark}", self.function_name(f)),
            None => String::new(),
        };
        bad_param(Syndrome::WrongPageId, format!("{kind} {id:#x} is not this function's to name{hint}"))
    }

    /// Whether `id` is what QUERY_PAGES has answered with by mistake (`[firmware.slips]`): until INIT_HCA it is taken for
    /// the function itself by the command that gives.
    pub(super) fn is_slip(&self, giver: FunctionIndex, id: u32) -> bool {
        let manner = &self.personality.page_manner;
        let before_init = self.functions[giver].state.hca != HcaState::Initialized;
        before_init && [manner.boot_id, manner.init_id].into_iter().flatten().any(|slip| u32::from(slip) == id)
    }
}
