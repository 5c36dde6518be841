//! TIS, TIR, RQT and queue counters.

use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    alloc_q_counter_out, create_rqt_in, create_rqt_out, create_tir_in, create_tir_out, create_tis_in, create_tis_out,
    dealloc_q_counter_in, destroy_rqt_in, destroy_tir_in, destroy_tis_in, modify_rqt_in, modify_tir_bitmask,
    modify_tir_in, modify_tis_bitmask, modify_tis_in, query_q_counter_in, query_q_counter_out, query_rqt_in,
    query_rqt_out, query_tir_in, query_tir_out, query_tis_in, query_tis_out, rq_num, rqt_bitmask, rqtc,
    rx_hash_field_select, tirc, tisc,
};
use mlx5emu_prm::opcode::Status;
use mlx5emu_steering::hash::{HashFields, RxHash, RxHashFn, TOEPLITZ_KEY_LEN};

use super::lro::LroRule;
use super::{Ethernet, LOG_MAX_RQT_SIZE, QCounters, Queue};
use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, refuse};

/// A transport interface send: what a send queue inherits.
pub struct Tis {
    /// Transport domain.
    pub domain: u32,
    context: [u8; tisc::SIZE],
}

/// Where a TIR's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// One receive queue.
    Direct(u32),
    /// A queue of an RQT, by hash.
    Indirect(u32),
}

/// A transport interface receive: from a packet to a receive queue.
pub struct Tir {
    /// Where its packets go.
    pub dispatch: Dispatch,
    /// How packets spread over an RQT.
    pub hash: RxHash,
    /// What is merged.
    pub lro: Option<LroRule>,
    domain: u32,
    context: [u8; tirc::SIZE],
}

/// A receive queue table.
pub struct Rqt {
    max: usize,
    /// The queues, in order.
    pub rqns: Box<[u32]>,
}

impl Ethernet {
    fn hold_rq(&mut self, rqn: u32) -> Result<(), Stop> {
        match self.queues.get(rqn)? {
            Queue::Receive(_) => self.queues.hold(rqn),
            Queue::Send(_) => bad_param(Syndrome::NoSuchObject, format!("queue {rqn:#x} is not a receive queue")),
        }
    }

    fn hold_dispatch(&mut self, dispatch: Dispatch) -> Result<(), Stop> {
        match dispatch {
            Dispatch::Direct(rqn) => self.hold_rq(rqn),
            Dispatch::Indirect(rqtn) => self.rqts.hold(rqtn),
        }
    }

    fn release_dispatch(&mut self, dispatch: Dispatch) {
        match dispatch {
            Dispatch::Direct(rqn) => self.queues.release(rqn),
            Dispatch::Indirect(rqtn) => self.rqts.release(rqtn),
        }
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn create_tis(&mut self, call: &mut Call) -> Done {
        let context = create_tis_in::ctx.of(call.input);
        if tisc::tls_en.is_set(context) {
            return bad_param(Syndrome::BadCapability, "TLS is not offered");
        }
        let state = &mut self.functions[call.f].state;
        let domain = tisc::transport_domain.get32(context);
        state.memory.domains.get(domain)?;
        let mut kept = [0u8; tisc::SIZE];
        kept.copy_from_slice(&context[..tisc::SIZE]);
        let tisn = state.ethernet.tis.insert(Tis { domain, context: kept })?;
        state.memory.domains.hold(domain)?;
        call.reply(create_tis_out::tisn, tisn);
        Ok(())
    }

    pub(crate) fn modify_tis(&mut self, call: &mut Call) -> Done {
        let mask = modify_tis_in::bitmask.of(call.input);
        let tis = self.functions[call.f].state.ethernet.tis.get_mut(call.get(modify_tis_in::tisn))?;
        if modify_tis_bitmask::prio.is_set(mask) {
            tisc::prio.set(&mut tis.context, tisc::prio.get(modify_tis_in::ctx.of(call.input)));
        }
        Ok(())
    }

    pub(crate) fn destroy_tis(&mut self, call: &mut Call) -> Done {
        let state = &mut self.functions[call.f].state;
        let tis = state.ethernet.tis.remove(call.get(destroy_tis_in::tisn))?;
        state.memory.domains.release(tis.domain);
        Ok(())
    }

    pub(crate) fn query_tis(&mut self, call: &mut Call) -> Done {
        let tis = self.functions[call.f].state.ethernet.tis.get(call.get(query_tis_in::tisn))?;
        query_tis_out::tis_context.of_mut(call.output).copy_from_slice(&tis.context);
        Ok(())
    }

    pub(crate) fn create_tir(&mut self, call: &mut Call) -> Done {
        let mut tir = Tir::new(create_tir_in::ctx.of(call.input))?;
        tir.read_hash()?;
        let state = &mut self.functions[call.f].state;
        state.memory.domains.get(tir.domain)?;
        state.ethernet.tirs.next_number()?;
        state.ethernet.hold_dispatch(tir.dispatch)?;
        state.memory.domains.hold(tir.domain)?;
        let tirn = state.ethernet.tirs.insert(tir)?;
        call.reply(create_tir_out::tirn, tirn);
        Ok(())
    }

    pub(crate) fn modify_tir(&mut self, call: &mut Call) -> Done {
        use modify_tir_bitmask as bits;
        let (mask, new) = (modify_tir_in::bitmask.of(call.input), modify_tir_in::ctx.of(call.input));
        let lro = merge_rule(new)?;
        let tir = self.functions[call.f].state.ethernet.tirs.get_mut(call.get(modify_tir_in::tirn))?;
        if bits::packet_merge.is_set(mask) {
            tir.lro = lro;
            for field in [tirc::packet_merge_mask, tirc::lro_timeout_period_usecs, tirc::lro_max_ip_payload_size] {
                field.set(&mut tir.context, field.get(new));
            }
        }
        if bits::self_lb_en.is_set(mask) {
            tirc::self_lb_block.set(&mut tir.context, tirc::self_lb_block.get(new));
        }
        if bits::hash.is_set(mask) {
            let mut changed = tir.context;
            for field in [tirc::rx_hash_fn, tirc::rx_hash_symmetric] {
                field.set(&mut changed, field.get(new));
            }
            for area in
                [tirc::rx_hash_toeplitz_key, tirc::rx_hash_field_selector_outer, tirc::rx_hash_field_selector_inner]
            {
                area.of_mut(&mut changed).copy_from_slice(area.of(new));
            }
            let old = std::mem::replace(&mut tir.context, changed);
            if let Err(stop) = tir.read_hash() {
                tir.context = old;
                return Err(stop);
            }
        }
        Ok(())
    }

    pub(crate) fn destroy_tir(&mut self, call: &mut Call) -> Done {
        let state = &mut self.functions[call.f].state;
        let tirn = call.get(destroy_tir_in::tirn);
        let tir = state.ethernet.tirs.remove(tirn)?;
        state.ethernet.release_dispatch(tir.dispatch);
        state.memory.domains.release(tir.domain);
        Ok(())
    }

    pub(crate) fn query_tir(&mut self, call: &mut Call) -> Done {
        let tir = self.functions[call.f].state.ethernet.tirs.get(call.get(query_tir_in::tirn))?;
        query_tir_out::tir_context.of_mut(call.output).copy_from_slice(&tir.context);
        Ok(())
    }

    pub(crate) fn create_rqt(&mut self, call: &mut Call) -> Done {
        let context = create_rqt_in::rqt_context.of(call.input);
        let max = rqtc::rqt_max_size.get(context) as usize;
        if max == 0 || max > 1 << LOG_MAX_RQT_SIZE {
            return bad_param(Syndrome::BadGeometry, format!("rqt_max_size {max}"));
        }
        let rqns = read_rqns(context, max)?;
        let ethernet = &mut self.functions[call.f].state.ethernet;
        ethernet.rqts.next_number()?;
        hold_all(ethernet, &rqns)?;
        let rqtn = ethernet.rqts.insert(Rqt { max, rqns })?;
        call.reply(create_rqt_out::rqtn, rqtn);
        Ok(())
    }

    pub(crate) fn modify_rqt(&mut self, call: &mut Call) -> Done {
        if !rqt_bitmask::rqn_list.is_set(modify_rqt_in::bitmask.of(call.input)) {
            return Ok(());
        }
        let number = call.get(modify_rqt_in::rqtn);
        let ethernet = &mut self.functions[call.f].state.ethernet;
        let max = ethernet.rqts.get(number)?.max;
        let rqns = read_rqns(modify_rqt_in::ctx.of(call.input), max)?;
        hold_all(ethernet, &rqns)?;
        let old = std::mem::replace(&mut ethernet.rqts.get_mut(number)?.rqns, rqns);
        old.iter().for_each(|rqn| ethernet.queues.release(*rqn));
        Ok(())
    }

    pub(crate) fn destroy_rqt(&mut self, call: &mut Call) -> Done {
        let ethernet = &mut self.functions[call.f].state.ethernet;
        let rqt = ethernet.rqts.remove(call.get(destroy_rqt_in::rqtn))?;
        rqt.rqns.iter().for_each(|rqn| ethernet.queues.release(*rqn));
        Ok(())
    }

    pub(crate) fn query_rqt(&mut self, call: &mut Call) -> Done {
        let rqt = self.functions[call.f].state.ethernet.rqts.get(call.get(query_rqt_in::rqtn))?;
        let context = query_rqt_out::rqt_context.of_mut(call.output);
        rqtc::rqt_max_size.set(context, rqt.max as u64);
        rqtc::rqt_actual_size.set(context, rqt.rqns.len() as u64);
        for (n, rqn) in rqt.rqns.iter().enumerate() {
            rq_num::rq_num.set(rqtc::rq_num.at_mut(context, n), u64::from(*rqn));
        }
        Ok(())
    }

    pub(crate) fn alloc_q_counter(&mut self, call: &mut Call) -> Done {
        let id = self.functions[call.f].state.ethernet.counters.insert(QCounters::default())?;
        call.reply(alloc_q_counter_out::counter_set_id, id);
        Ok(())
    }

    pub(crate) fn dealloc_q_counter(&mut self, call: &mut Call) -> Done {
        let id = call.get(dealloc_q_counter_in::counter_set_id);
        self.functions[call.f].state.ethernet.counters.remove(id).map(drop)
    }

    pub(crate) fn query_q_counter(&mut self, call: &mut Call) -> Done {
        use query_q_counter_in as cmd;
        if cmd::other_vport.is_set(call.input) || cmd::aggregate.is_set(call.input) {
            return bad_param(Syndrome::BadCapability, "counters of other vports and sums are not offered");
        }
        let counters = &self.functions[call.f].state.ethernet.counters;
        let set = counters.get(call.get(cmd::counter_set_id))?;
        let value = if cmd::clear.is_set(call.input) {
            set.out_of_buffer.swap(0, Relaxed)
        } else {
            set.out_of_buffer.load(Relaxed)
        };
        call.reply(query_q_counter_out::out_of_buffer, value);
        Ok(())
    }
}

impl Tir {
    /// The transport domain.
    pub(crate) fn domain(&self) -> u32 {
        self.domain
    }

    /// The context, as the driver wrote it.
    pub(crate) fn context(&self) -> &[u8] {
        &self.context
    }

    fn new(context: &[u8]) -> Result<Self, Stop> {
        if tirc::tls_en.is_set(context) {
            return bad_param(Syndrome::BadCapability, "TLS is not offered");
        }
        let lro = merge_rule(context)?;
        let dispatch = match tirc::disp_type.get(context) {
            0 => Dispatch::Direct(tirc::inline_rqn.get32(context)),
            1 => Dispatch::Indirect(tirc::indirect_table.get32(context)),
            other => return bad_param(Syndrome::BadField, format!("disp_type {other}")),
        };
        let mut kept = [0u8; tirc::SIZE];
        kept.copy_from_slice(&context[..tirc::SIZE]);
        Ok(Self {
            dispatch,
            lro,
            hash: RxHash {
                function: RxHashFn::None,
                symmetric: false,
                key: [0; TOEPLITZ_KEY_LEN],
                l3_ipv6: false,
                l4_udp: false,
                fields: HashFields(0),
            },
            domain: tirc::transport_domain.get32(context),
            context: kept,
        })
    }

    /// Takes the hash's settings from the context.
    fn read_hash(&mut self) -> Done {
        let raw = tirc::rx_hash_fn.get(&self.context) as u8;
        let Some(function) = RxHashFn::from_raw(raw) else {
            return bad_param(Syndrome::BadField, format!("rx_hash_fn {raw}"));
        };
        let select = tirc::rx_hash_field_selector_outer.of(&self.context);
        self.hash = RxHash {
            function,
            symmetric: tirc::rx_hash_symmetric.is_set(&self.context),
            key: [0; TOEPLITZ_KEY_LEN],
            l3_ipv6: rx_hash_field_select::l3_prot_type.is_set(select),
            l4_udp: rx_hash_field_select::l4_prot_type.is_set(select),
            fields: HashFields(rx_hash_field_select::selected_fields.get32(select)),
        };
        for (to, from) in self.hash.key.iter_mut().zip(tirc::rx_hash_toeplitz_key.of(&self.context)) {
            *to = *from;
        }
        Ok(())
    }
}

fn merge_rule(context: &[u8]) -> Result<Option<LroRule>, Stop> {
    match LroRule::parse(context) {
        Ok(rule) => Ok(rule),
        Err(other) => bad_param(Syndrome::BadCapability, format!("packet_merge_mask {other:#x} is not offered")),
    }
}

fn read_rqns(context: &[u8], max: usize) -> Result<Box<[u32]>, Stop> {
    let actual = rqtc::rqt_actual_size.get(context) as usize;
    let given = rqtc::rq_num.of(context).len() / rq_num::SIZE;
    if actual == 0 || actual > max || actual > given {
        let why = format!("rqt_actual_size {actual}, rqt_max_size {max}, {given} queues given");
        return refuse(Status::BAD_PARAM, Syndrome::BadGeometry, why);
    }
    if rqtc::rq_vhca_id_format.is_set(context) {
        return bad_param(Syndrome::BadCapability, "queues of other functions are not offered");
    }
    Ok((0..actual).map(|n| rq_num::rq_num.get32(rqtc::rq_num.at(context, n))).collect())
}

/// Holds all queues of a list or none.
fn hold_all(ethernet: &mut Ethernet, rqns: &[u32]) -> Done {
    for (n, rqn) in rqns.iter().enumerate() {
        if let Err(stop) = ethernet.hold_rq(*rqn) {
            rqns[..n].iter().for_each(|rqn| ethernet.queues.release(*rqn));
            return Err(stop);
        }
    }
    Ok(())
}
