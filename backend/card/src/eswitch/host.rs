//! The host whose e-switch an embedded CPU manages: QUERY_ESW_FUNCTIONS, and its VFs, which come and go.
//!
//! Nobody drives the host's functions. Its PF is there from the beginning, and works when the embedded CPU has enabled it;
//! its VFs are there when somebody says that the host made them (`ctl inject host-functions`), all at once, as a host's
//! `sriov_numvfs` does.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::{host_params_context, query_esw_functions_out};
use mlx5emu_prm::opcode::Status;

use super::PF_VPORT;
use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Syndrome, refuse};

impl<M: DmaSpace + 'static> Card<M> {
    /// The host's PF, if `f` is an embedded CPU's.
    fn host_pf(&self, f: FunctionIndex) -> Option<FunctionIndex> {
        let ecpf = self.functions.get(f).filter(|function| function.setup.is_embedded_cpu())?;
        self.function_of_vport(ecpf.port, PF_VPORT)
    }

    /// The VFs that the host of `f` can have.
    fn possible_host_vfs(&self, f: FunctionIndex) -> Vec<FunctionIndex> {
        let is_vf = |f: &FunctionIndex| {
            let setup = &self.functions[*f].setup;
            setup.of_host && !setup.is_host_pf()
        };
        self.managed(f).iter().copied().filter(is_vf).collect()
    }

    pub(crate) fn query_esw_functions(&mut self, call: &mut Call) -> Done {
        use host_params_context as ctx;
        if call.op_mod() != 0 {
            return refuse(Status::BAD_OP, Syndrome::UnknownOpMod, format!("layout {} is not offered", call.op_mod()));
        }
        let Some(host) = self.host_pf(call.f) else {
            return refuse(Status::BAD_OP, Syndrome::WrongFunction, "only an embedded CPU has a host");
        };
        let vfs = self.possible_host_vfs(call.f);
        let there = vfs.iter().filter(|vf| self.is_enabled(**vf)).count();
        let disabled = !self.is_enabled(host);
        let out = query_esw_functions_out::net_function_params.of_mut(call.output);
        ctx::host_pf_disabled.set(out, u64::from(disabled));
        ctx::host_num_of_vfs.set(out, there as u64);
        ctx::host_total_vfs.set(out, vfs.len() as u64);
        Ok(())
    }

    /// The host of embedded CPU `f` has `count` VFs from now on. The embedded CPU is told, even if it had as many before.
    ///
    /// # Errors
    /// `f` is no embedded CPU's function, the host can't have so many or has others, or its PF does not work yet: a sentence.
    pub fn inject_host_vfs(&mut self, f: FunctionIndex, count: u16, now: u64) -> Result<(), String> {
        let name = self.function_name(f).to_string();
        let Some(host) = self.host_pf(f) else {
            return Err(format!("{name} is no embedded CPU's function: its card file needs embedded_cpu = true"));
        };
        let vfs = self.possible_host_vfs(f);
        if usize::from(count) > vfs.len() {
            return Err(format!("the host can have {} VFs (vfs in the card file), not {count}", vfs.len()));
        }
        if count > 0 && !self.is_enabled(host) {
            return Err(format!("the host's PF is not enabled: the driver of {name} does that in switchdev mode"));
        }
        let there = vfs.iter().filter(|vf| self.is_enabled(**vf)).count();
        if there > 0 && count > 0 && there != usize::from(count) {
            return Err(format!(
                "the host has {there} VFs: it gives them up (0) before it makes others, as sriov_numvfs does"
            ));
        }
        for (n, vf) in vfs.into_iter().enumerate() {
            match (n < usize::from(count), self.is_enabled(vf)) {
                (true, false) => self.admit(vf),
                (false, true) => self.dismiss(vf, now),
                _ => {}
            }
        }
        self.post_event(f, Event::ESW_FUNCTIONS_CHANGED, 0, &[]);
        Ok(())
    }

    /// The host's VFs that are there, if `f` is its PF: they go with it.
    pub(crate) fn vfs_of_host_pf(&self, f: FunctionIndex) -> Vec<FunctionIndex> {
        if !self.functions[f].setup.is_host_pf() {
            return Vec::new();
        }
        self.possible_host_vfs(self.manager_of(f)).into_iter().filter(|vf| self.is_enabled(*vf)).collect()
    }
}
