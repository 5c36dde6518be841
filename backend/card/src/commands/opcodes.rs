//! The opcode table: every command that this firmware knows, when it is allowed, and who handles it.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::Layout;
use mlx5emu_prm::command;
use mlx5emu_prm::opcode::Opcode;

use super::queue::Call;
use crate::card::Card;
use crate::error::Done;
use crate::function::HcaState;

/// When a command is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// From ENABLE_HCA on.
    Enabled,
    /// Between INIT_HCA and TEARDOWN_HCA.
    Initialized,
}

impl When {
    /// Whether the command is allowed in `state`.
    pub fn allows(self, state: HcaState) -> bool {
        match self {
            Self::Always => true,
            Self::Enabled => state >= HcaState::Enabled,
            Self::Initialized => state == HcaState::Initialized,
        }
    }
}

/// A handler.
pub type Handler<M> = fn(&mut Card<M>, &mut Call) -> Done;

/// One line of the table.
pub struct Line<M: 'static> {
    /// The opcode.
    pub opcode: Opcode,
    /// When it is allowed.
    pub when: When,
    /// Bytes of input that it needs at least.
    pub min_in: usize,
    /// Bytes of output that it needs at least.
    pub min_out: usize,
    /// Who does it.
    pub handler: Handler<M>,
}

/// Bytes that every input has; what is missing of the fixed part reads as zero.
const HEAD_IN: usize = 8;
/// Bytes that every output has: status and syndrome.
const HEAD_OUT: usize = 8;

macro_rules! table {
    ($($when:ident { $($opcode:ident => $handler:ident,)* })*) => {
        impl<M: DmaSpace + 'static> Card<M> {
            /// The table.
            pub const OPCODES: &'static [Line<M>] = &[$($(Line {
                opcode: Opcode::$opcode,
                when: When::$when,
                min_in: HEAD_IN,
                min_out: HEAD_OUT,
                handler: Card::<M>::$handler,
            },)*)*];
        }
    };
}

table! {
    Always {
        ENABLE_HCA => enable_hca,
        NOP => nop,
    }
    Enabled {
        DISABLE_HCA => disable_hca,
        QUERY_ISSI => query_issi,
        SET_ISSI => set_issi,
        QUERY_PAGES => query_pages,
        MANAGE_PAGES => manage_pages,
        QUERY_HCA_CAP => query_hca_cap,
        SET_HCA_CAP => set_hca_cap,
        ACCESS_REG => access_register,
        INIT_HCA => init_hca,
        QUERY_ADAPTER => query_adapter,
        SET_DRIVER_VERSION => set_driver_version,
    }
    Initialized {
        TEARDOWN_HCA => teardown_hca,
        QUERY_SPECIAL_CONTEXTS => query_special_contexts,
        ALLOC_SF => alloc_sf,
        DEALLOC_SF => dealloc_sf,
        QUERY_VHCA_STATE => query_vhca_state,
        MODIFY_VHCA_STATE => modify_vhca_state,
        QUERY_DELEGATED_VHCA => query_delegated_vhca,
        CREATE_ESW_VPORT => create_esw_vport,
        DESTROY_ESW_VPORT => destroy_esw_vport,
        QUERY_ESW_FUNCTIONS => query_esw_functions,
        ALLOC_UAR => alloc_uar,
        DEALLOC_UAR => dealloc_uar,
        CREATE_EQ => create_eq,
        DESTROY_EQ => destroy_eq,
        QUERY_EQ => query_eq,
        CREATE_CQ => create_cq,
        DESTROY_CQ => destroy_cq,
        QUERY_CQ => query_cq,
        MODIFY_CQ => modify_cq,
        ALLOC_PD => alloc_pd,
        DEALLOC_PD => dealloc_pd,
        ALLOC_TRANSPORT_DOMAIN => alloc_transport_domain,
        DEALLOC_TRANSPORT_DOMAIN => dealloc_transport_domain,
        CREATE_MKEY => create_mkey,
        DESTROY_MKEY => destroy_mkey,
        QUERY_MKEY => query_mkey,
        CREATE_SQ => create_sq,
        MODIFY_SQ => modify_sq,
        DESTROY_SQ => destroy_sq,
        QUERY_SQ => query_sq,
        CREATE_RQ => create_rq,
        MODIFY_RQ => modify_rq,
        DESTROY_RQ => destroy_rq,
        QUERY_RQ => query_rq,
        CREATE_TIS => create_tis,
        MODIFY_TIS => modify_tis,
        DESTROY_TIS => destroy_tis,
        QUERY_TIS => query_tis,
        CREATE_TIR => create_tir,
        MODIFY_TIR => modify_tir,
        DESTROY_TIR => destroy_tir,
        QUERY_TIR => query_tir,
        CREATE_RQT => create_rqt,
        MODIFY_RQT => modify_rqt,
        DESTROY_RQT => destroy_rqt,
        QUERY_RQT => query_rqt,
        ALLOC_Q_COUNTER => alloc_q_counter,
        DEALLOC_Q_COUNTER => dealloc_q_counter,
        QUERY_Q_COUNTER => query_q_counter,
        CREATE_FLOW_TABLE => create_flow_table,
        DESTROY_FLOW_TABLE => destroy_flow_table,
        MODIFY_FLOW_TABLE => modify_flow_table,
        QUERY_FLOW_TABLE => query_flow_table,
        SET_FLOW_TABLE_ROOT => set_flow_table_root,
        CREATE_FLOW_GROUP => create_flow_group,
        DESTROY_FLOW_GROUP => destroy_flow_group,
        QUERY_FLOW_GROUP => query_flow_group,
        SET_FLOW_TABLE_ENTRY => set_flow_table_entry,
        DELETE_FLOW_TABLE_ENTRY => delete_flow_table_entry,
        QUERY_FLOW_TABLE_ENTRY => query_flow_table_entry,
        ALLOC_FLOW_COUNTER => alloc_flow_counter,
        DEALLOC_FLOW_COUNTER => dealloc_flow_counter,
        QUERY_FLOW_COUNTER => query_flow_counter,
        ALLOC_MODIFY_HEADER_CONTEXT => alloc_modify_header_context,
        DEALLOC_MODIFY_HEADER_CONTEXT => dealloc_modify_header_context,
        QUERY_NIC_VPORT_CONTEXT => query_nic_vport_context,
        MODIFY_NIC_VPORT_CONTEXT => modify_nic_vport_context,
        QUERY_ESW_VPORT_CONTEXT => query_esw_vport_context,
        MODIFY_ESW_VPORT_CONTEXT => modify_esw_vport_context,
        SET_L2_TABLE_ENTRY => set_l2_table_entry,
        QUERY_L2_TABLE_ENTRY => query_l2_table_entry,
        DELETE_L2_TABLE_ENTRY => delete_l2_table_entry,
        QUERY_VPORT_STATE => query_vport_state,
        MODIFY_VPORT_STATE => modify_vport_state,
        QUERY_VPORT_COUNTER => query_vport_counter,
        QUERY_VNIC_ENV => query_vnic_env,
        CREATE_SCHEDULING_ELEMENT => create_scheduling_element,
        MODIFY_SCHEDULING_ELEMENT => modify_scheduling_element,
        DESTROY_SCHEDULING_ELEMENT => destroy_scheduling_element,
        ALLOC_XRCD => alloc_xrcd,
        DEALLOC_XRCD => dealloc_xrcd,
        QUERY_HCA_VPORT_PKEY => query_hca_vport_pkey,
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// The line of `opcode`.
    pub fn opcode_line(opcode: Opcode) -> Option<&'static Line<M>> {
        Self::OPCODES.iter().find(|line| line.opcode == opcode)
    }

    /// The input layout of a command, for decoding.
    pub fn input_layout(opcode: Opcode) -> Option<&'static Layout> {
        command::layouts(opcode).map(|(input, _)| input)
    }
}

#[cfg(test)]
mod tests {
    use mlx5emu_pci_model::testing::TestSpace;

    use super::*;

    #[test]
    fn every_opcode_has_its_layouts_checked_and_stands_once() {
        let mut seen = std::collections::BTreeSet::new();
        for line in Card::<TestSpace>::OPCODES {
            assert!(command::covered(line.opcode), "{} has no layout in prm", line.opcode);
            assert!(seen.insert(line.opcode.0), "{} stands twice", line.opcode);
        }
    }
}
