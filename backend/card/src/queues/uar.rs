//! ALLOC_UAR and DEALLOC_UAR: pages of BAR0 through which doorbells come.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{alloc_uar_out, dealloc_uar_in};

use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::Done;

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn alloc_uar(&mut self, call: &mut Call) -> Done {
        let function = &mut self.functions[call.f];
        let index = function.state.queues.uars.insert(())?;
        function.front.set_uar(index, true);
        call.reply(alloc_uar_out::uar, index);
        Ok(())
    }

    pub(crate) fn dealloc_uar(&mut self, call: &mut Call) -> Done {
        let function = &mut self.functions[call.f];
        let index = call.get(dealloc_uar_in::uar);
        function.state.queues.uars.remove(index)?;
        function.front.set_uar(index, false);
        Ok(())
    }
}
