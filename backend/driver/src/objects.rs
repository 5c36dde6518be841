//! One method a command for the objects that a network interface is made of.

use mlx5emu_prm::field::Field;
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::Opcode;

use crate::command::input;
use crate::driver::Driver;
use crate::error::{Result, misbehaves};
use crate::host::Host;

/// Length of the output of most commands.
pub const SHORT_OUT: usize = 0x10;

impl<H: Host> Driver<H> {
    /// Sends a command that makes an object; its number.
    pub(crate) fn create(&mut self, cmd: &[u8], number: Field) -> Result<u32> {
        let out = self.command(cmd, SHORT_OUT)?;
        let n = number.get32(&out);
        // Number 0 is legal for few objects, but a card that reports it for any of these forgot to fill the field in.
        if n == 0 && number.width > 8 {
            return Err(misbehaves!("{} of a new object is 0", number.name));
        }
        Ok(n)
    }

    /// Sends a command whose only argument is the number of an object.
    pub(crate) fn by_number(&mut self, opcode: Opcode, field: Field, number: u32, len: usize) -> Result<Vec<u8>> {
        let mut cmd = input(opcode, len);
        field.set(&mut cmd, number.into());
        self.command(&cmd, SHORT_OUT)
    }

    pub(crate) fn create_eq(&mut self, cmd: &[u8]) -> Result<u32> {
        self.create(cmd, create_eq_out::eq_number)
    }

    pub(crate) fn destroy_eq(&mut self, number: u32) -> Result<()> {
        self.by_number(Opcode::DESTROY_EQ, destroy_eq_in::eq_number, number, destroy_eq_in::SIZE).map(drop)
    }

    /// ALLOC_UAR.
    ///
    /// # Errors
    /// The command failed.
    pub fn alloc_uar(&mut self) -> Result<u32> {
        let index = self.create(&input(Opcode::ALLOC_UAR, alloc_uar_in::SIZE), alloc_uar_out::uar)?;
        if index < 3 {
            return Err(misbehaves!("UAR {index} lies in the initialization segment"));
        }
        Ok(index)
    }

    /// DEALLOC_UAR.
    ///
    /// # Errors
    /// The command failed.
    pub fn dealloc_uar(&mut self, uar: u32) -> Result<()> {
        self.by_number(Opcode::DEALLOC_UAR, dealloc_uar_in::uar, uar, dealloc_uar_in::SIZE).map(drop)
    }

    /// ALLOC_PD.
    ///
    /// # Errors
    /// The command failed.
    pub fn alloc_pd(&mut self) -> Result<u32> {
        self.create(&input(Opcode::ALLOC_PD, alloc_pd_in::SIZE), alloc_pd_out::pd)
    }

    /// DEALLOC_PD.
    ///
    /// # Errors
    /// The command failed.
    pub fn dealloc_pd(&mut self, pd: u32) -> Result<()> {
        self.by_number(Opcode::DEALLOC_PD, dealloc_pd_in::pd, pd, dealloc_pd_in::SIZE).map(drop)
    }

    /// ALLOC_TRANSPORT_DOMAIN.
    ///
    /// # Errors
    /// The command failed.
    pub fn alloc_transport_domain(&mut self) -> Result<u32> {
        let cmd = input(Opcode::ALLOC_TRANSPORT_DOMAIN, alloc_transport_domain_in::SIZE);
        self.create(&cmd, alloc_transport_domain_out::transport_domain)
    }

    /// DEALLOC_TRANSPORT_DOMAIN.
    ///
    /// # Errors
    /// The command failed.
    pub fn dealloc_transport_domain(&mut self, domain: u32) -> Result<()> {
        use dealloc_transport_domain_in as layout;
        self.by_number(Opcode::DEALLOC_TRANSPORT_DOMAIN, layout::transport_domain, domain, layout::SIZE).map(drop)
    }

    /// CREATE_MKEY of all memory by physical address, for local read and write: the key.
    ///
    /// # Errors
    /// The command failed.
    pub fn create_pa_mkey(&mut self, pd: u32, variant: u8) -> Result<u32> {
        let mut cmd = input(Opcode::CREATE_MKEY, create_mkey_in::SIZE);
        let context = create_mkey_in::memory_key_mkey_entry.of_mut(&mut cmd);
        mkc::lw.set(context, 1);
        mkc::lr.set(context, 1);
        mkc::length64.set(context, 1);
        mkc::qpn.set(context, 0xff_ffff);
        mkc::mkey_7_0.set(context, variant.into());
        mkc::pd.set(context, pd.into());
        let index = self.create(&cmd, create_mkey_out::mkey_index)?;
        Ok(index << 8 | u32::from(variant))
    }

    /// DESTROY_MKEY.
    ///
    /// # Errors
    /// The command failed.
    pub fn destroy_mkey(&mut self, mkey: u32) -> Result<()> {
        let field = destroy_mkey_in::mkey_index;
        self.by_number(Opcode::DESTROY_MKEY, field, mkey >> 8, destroy_mkey_in::SIZE).map(drop)
    }

    /// CREATE_TIS of traffic class `tc`.
    ///
    /// # Errors
    /// The command failed.
    pub fn create_tis(&mut self, domain: u32, tc: u32) -> Result<u32> {
        let mut cmd = input(Opcode::CREATE_TIS, create_tis_in::SIZE);
        let context = create_tis_in::ctx.of_mut(&mut cmd);
        tisc::transport_domain.set(context, domain.into());
        tisc::prio.set(context, u64::from(tc << 1));
        self.create(&cmd, create_tis_out::tisn)
    }

    /// DESTROY_TIS.
    ///
    /// # Errors
    /// The command failed.
    pub fn destroy_tis(&mut self, tisn: u32) -> Result<()> {
        self.by_number(Opcode::DESTROY_TIS, destroy_tis_in::tisn, tisn, destroy_tis_in::SIZE).map(drop)
    }

    /// ALLOC_Q_COUNTER.
    ///
    /// # Errors
    /// The command failed.
    pub fn alloc_q_counter(&mut self) -> Result<u32> {
        let cmd = input(Opcode::ALLOC_Q_COUNTER, alloc_q_counter_in::SIZE);
        self.create(&cmd, alloc_q_counter_out::counter_set_id)
    }

    /// DEALLOC_Q_COUNTER.
    ///
    /// # Errors
    /// The command failed.
    pub fn dealloc_q_counter(&mut self, id: u32) -> Result<()> {
        use dealloc_q_counter_in as layout;
        self.by_number(Opcode::DEALLOC_Q_COUNTER, layout::counter_set_id, id, layout::SIZE).map(drop)
    }

    /// QUERY_Q_COUNTER: `out_of_buffer`.
    ///
    /// # Errors
    /// The command failed.
    pub fn out_of_buffer(&mut self, id: u32) -> Result<u32> {
        let mut cmd = input(Opcode::QUERY_Q_COUNTER, query_q_counter_in::SIZE);
        query_q_counter_in::counter_set_id.set(&mut cmd, id.into());
        let out = self.command(&cmd, query_q_counter_out::SIZE)?;
        Ok(query_q_counter_out::out_of_buffer.get32(&out))
    }

    /// QUERY_VPORT_COUNTER: the whole output.
    ///
    /// # Errors
    /// The command failed.
    pub fn vport_counters(&mut self) -> Result<Vec<u8>> {
        self.command(&input(Opcode::QUERY_VPORT_COUNTER, query_vport_counter_in::SIZE), query_vport_counter_out::SIZE)
    }

    /// DESTROY_CQ.
    ///
    /// # Errors
    /// The command failed.
    pub fn destroy_cq(&mut self, cqn: u32) -> Result<()> {
        self.by_number(Opcode::DESTROY_CQ, destroy_cq_in::cqn, cqn, destroy_cq_in::SIZE).map(drop)
    }

    /// DESTROY_SQ.
    ///
    /// # Errors
    /// The command failed.
    pub fn destroy_sq(&mut self, sqn: u32) -> Result<()> {
        self.by_number(Opcode::DESTROY_SQ, destroy_sq_in::sqn, sqn, destroy_sq_in::SIZE).map(drop)
    }

    /// DESTROY_RQ.
    ///
    /// # Errors
    /// The command failed.
    pub fn destroy_rq(&mut self, rqn: u32) -> Result<()> {
        self.by_number(Opcode::DESTROY_RQ, destroy_rq_in::rqn, rqn, destroy_rq_in::SIZE).map(drop)
    }

    /// MODIFY_SQ from one state to another.
    ///
    /// # Errors
    /// The command failed.
    pub fn modify_sq(&mut self, sqn: u32, from: u8, to: u8) -> Result<()> {
        let mut cmd = input(Opcode::MODIFY_SQ, modify_sq_in::SIZE);
        modify_sq_in::sqn.set(&mut cmd, sqn.into());
        modify_sq_in::sq_state.set(&mut cmd, from.into());
        sqc::state.set(modify_sq_in::ctx.of_mut(&mut cmd), to.into());
        self.command(&cmd, modify_sq_out::SIZE).map(drop)
    }

    /// MODIFY_RQ from one state to another.
    ///
    /// # Errors
    /// The command failed.
    pub fn modify_rq(&mut self, rqn: u32, from: u8, to: u8) -> Result<()> {
        let mut cmd = input(Opcode::MODIFY_RQ, modify_rq_in::SIZE);
        modify_rq_in::rqn.set(&mut cmd, rqn.into());
        modify_rq_in::rq_state.set(&mut cmd, from.into());
        rqc::state.set(modify_rq_in::ctx.of_mut(&mut cmd), to.into());
        self.command(&cmd, modify_rq_out::SIZE).map(drop)
    }

    /// CREATE_RQT of `max` entries that holds `rqns`.
    ///
    /// # Errors
    /// The command failed.
    pub fn create_rqt(&mut self, max: usize, rqns: &[u32]) -> Result<u32> {
        let list = rqtc::rq_num.offset + 4 * rqns.len();
        let mut cmd = input(Opcode::CREATE_RQT, create_rqt_in::rqt_context.offset + list);
        fill_rqt(create_rqt_in::rqt_context.of_mut(&mut cmd), max, rqns);
        self.create(&cmd, create_rqt_out::rqtn)
    }

    /// MODIFY_RQT: replaces the list.
    ///
    /// # Errors
    /// The command failed.
    pub fn modify_rqt(&mut self, rqtn: u32, rqns: &[u32]) -> Result<()> {
        let list = rqtc::rq_num.offset + 4 * rqns.len();
        let mut cmd = input(Opcode::MODIFY_RQT, modify_rqt_in::ctx.offset + list);
        modify_rqt_in::rqtn.set(&mut cmd, rqtn.into());
        rqt_bitmask::rqn_list.set(modify_rqt_in::bitmask.of_mut(&mut cmd), 1);
        fill_rqt(modify_rqt_in::ctx.of_mut(&mut cmd), 0, rqns);
        self.command(&cmd, modify_rqt_out::SIZE).map(drop)
    }

    /// DESTROY_RQT.
    ///
    /// # Errors
    /// The command failed.
    pub fn destroy_rqt(&mut self, rqtn: u32) -> Result<()> {
        self.by_number(Opcode::DESTROY_RQT, destroy_rqt_in::rqtn, rqtn, destroy_rqt_in::SIZE).map(drop)
    }

    /// CREATE_TIR with a `tirc` that `fill` writes.
    ///
    /// # Errors
    /// The command failed.
    pub fn create_tir(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<u32> {
        let mut cmd = input(Opcode::CREATE_TIR, create_tir_in::SIZE);
        fill(create_tir_in::ctx.of_mut(&mut cmd));
        self.create(&cmd, create_tir_out::tirn)
    }

    /// DESTROY_TIR.
    ///
    /// # Errors
    /// The command failed.
    pub fn destroy_tir(&mut self, tirn: u32) -> Result<()> {
        self.by_number(Opcode::DESTROY_TIR, destroy_tir_in::tirn, tirn, destroy_tir_in::SIZE).map(drop)
    }
}

fn fill_rqt(context: &mut [u8], max: usize, rqns: &[u32]) {
    rqtc::rqt_max_size.set(context, max as u64);
    rqtc::rqt_actual_size.set(context, rqns.len() as u64);
    for (n, rqn) in rqns.iter().enumerate() {
        rq_num::rq_num.set(rqtc::rq_num.at_mut(context, n), u64::from(*rqn));
    }
}
