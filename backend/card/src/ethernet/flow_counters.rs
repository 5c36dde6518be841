//! Flow counters: single ones and bulks of consecutive numbers.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    alloc_flow_counter_in, alloc_flow_counter_out, dealloc_flow_counter_in, query_flow_counter_in,
    query_flow_counter_out, traffic_counter,
};
use mlx5emu_steering::tables::CounterId;

use super::{FLOW_COUNTER_BULK_ALLOC, LOG_MAX_FLOW_COUNTER_BULK};
use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Syndrome, bad_param};

/// Counters of a bulk per unit of `flow_counter_bulk` (`MLX5_FC_BULK_SIZE_FACTOR`).
const BULK_FACTOR: usize = 128;

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn alloc_flow_counter(&mut self, call: &mut Call) -> Done {
        use alloc_flow_counter_in as cmd;
        let bulk = cmd::flow_counter_bulk.get(call.input);
        if bulk & !FLOW_COUNTER_BULK_ALLOC != 0 || bulk.count_ones() > 1 {
            let why = format!("flow_counter_bulk {bulk:#x}, offered is one of {FLOW_COUNTER_BULK_ALLOC:#x}");
            return bad_param(Syndrome::BadCapability, why);
        }
        if cmd::flow_counter_bulk_log_size.is_set(call.input) {
            return bad_param(Syndrome::BadCapability, "flow_counter_bulk_log_size is not offered");
        }
        let count = (bulk as usize * BULK_FACTOR).max(1);
        let first = self.functions[call.f].state.ethernet.steering.alloc_counters(count)?;
        call.reply(alloc_flow_counter_out::flow_counter_id, first.0);
        Ok(())
    }

    pub(crate) fn dealloc_flow_counter(&mut self, call: &mut Call) -> Done {
        let id = CounterId(call.get(dealloc_flow_counter_in::flow_counter_id));
        Ok(self.functions[call.f].state.ethernet.steering.dealloc_counters(id)?)
    }

    /// One counter must exist. Of several, those that do not exist read as zero: the driver rounds the first number down to
    /// a multiple of four.
    pub(crate) fn query_flow_counter(&mut self, call: &mut Call) -> Done {
        use query_flow_counter_in as cmd;
        let first = call.get(cmd::flow_counter_id);
        let (count, clear) = (cmd::num_of_counters.get(call.input) as usize, cmd::clear.is_set(call.input));
        let most = 1 << LOG_MAX_FLOW_COUNTER_BULK;
        if count > most {
            return bad_param(Syndrome::BadField, format!("num_of_counters {count}, at most {most}"));
        }
        let steering = &self.functions[call.f].state.ethernet.steering;
        let room = query_flow_counter_out::flow_statistics.of_mut(call.output);
        if room.len() < count.max(1) * traffic_counter::SIZE {
            return bad_param(Syndrome::ShortOutput, format!("no room for {} counters", count.max(1)));
        }
        for (n, raw) in room.chunks_exact_mut(traffic_counter::SIZE).take(count.max(1)).enumerate() {
            let value = match steering.query_counter(CounterId(first.wrapping_add(n as u32)), clear) {
                Ok(value) => value,
                Err(error) if count == 0 => return Err(error.into()),
                Err(_) => Default::default(),
            };
            traffic_counter::packets.set(raw, value.packets);
            traffic_counter::octets.set(raw, value.octets);
        }
        Ok(())
    }
}
