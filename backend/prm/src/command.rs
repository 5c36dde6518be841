//! Which layouts a command's input and output have.

use crate::field::Layout;
use crate::layouts;
use crate::opcode::Opcode;

/// A command whose layouts the table has.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// Its opcode.
    pub opcode: Opcode,
    /// Layout of its input.
    pub input: &'static Layout,
    /// Layout of its output.
    pub output: &'static Layout,
}

macro_rules! commands {
    ($( $opcode:ident $input:ident $output:ident, )*) => {
        /// Every command whose layouts the table has, by opcode.
        pub static COMMANDS: &[Command] = &[ $( Command {
            opcode: Opcode::$opcode,
            input: &layouts::$input::LAYOUT,
            output: &layouts::$output::LAYOUT,
        } ),* ];
    };
}

commands! {
    QUERY_HCA_CAP query_hca_cap_in query_hca_cap_out,
    QUERY_ADAPTER query_adapter_in query_adapter_out,
    INIT_HCA init_hca_in init_hca_out,
    TEARDOWN_HCA teardown_hca_in teardown_hca_out,
    ENABLE_HCA enable_hca_in enable_hca_out,
    DISABLE_HCA disable_hca_in disable_hca_out,
    QUERY_PAGES query_pages_in query_pages_out,
    MANAGE_PAGES manage_pages_in manage_pages_out,
    SET_HCA_CAP set_hca_cap_in set_hca_cap_out,
    QUERY_ISSI query_issi_in query_issi_out,
    SET_ISSI set_issi_in set_issi_out,
    SET_DRIVER_VERSION set_driver_version_in set_driver_version_out,
    ALLOC_SF alloc_sf_in alloc_sf_out,
    DEALLOC_SF dealloc_sf_in dealloc_sf_out,
    CREATE_MKEY create_mkey_in create_mkey_out,
    QUERY_MKEY query_mkey_in query_mkey_out,
    DESTROY_MKEY destroy_mkey_in destroy_mkey_out,
    QUERY_SPECIAL_CONTEXTS query_special_contexts_in query_special_contexts_out,
    CREATE_EQ create_eq_in create_eq_out,
    DESTROY_EQ destroy_eq_in destroy_eq_out,
    QUERY_EQ query_eq_in query_eq_out,
    CREATE_CQ create_cq_in create_cq_out,
    DESTROY_CQ destroy_cq_in destroy_cq_out,
    QUERY_CQ query_cq_in query_cq_out,
    MODIFY_CQ modify_cq_in modify_cq_out,
    QUERY_DELEGATED_VHCA query_delegated_vhca_in query_delegated_vhca_out,
    CREATE_ESW_VPORT create_esw_vport_in create_esw_vport_out,
    DESTROY_ESW_VPORT destroy_esw_vport_in destroy_esw_vport_out,
    QUERY_ESW_FUNCTIONS query_esw_functions_in query_esw_functions_out,
    QUERY_VPORT_STATE query_vport_state_in query_vport_state_out,
    MODIFY_VPORT_STATE modify_vport_state_in modify_vport_state_out,
    QUERY_ESW_VPORT_CONTEXT query_esw_vport_context_in query_esw_vport_context_out,
    MODIFY_ESW_VPORT_CONTEXT modify_esw_vport_context_in modify_esw_vport_context_out,
    QUERY_NIC_VPORT_CONTEXT query_nic_vport_context_in query_nic_vport_context_out,
    MODIFY_NIC_VPORT_CONTEXT modify_nic_vport_context_in modify_nic_vport_context_out,
    QUERY_ROCE_ADDRESS query_roce_address_in query_roce_address_out,
    SET_ROCE_ADDRESS set_roce_address_in set_roce_address_out,
    QUERY_HCA_VPORT_CONTEXT query_hca_vport_context_in query_hca_vport_context_out,
    QUERY_HCA_VPORT_GID query_hca_vport_gid_in query_hca_vport_gid_out,
    QUERY_HCA_VPORT_PKEY query_hca_vport_pkey_in query_hca_vport_pkey_out,
    QUERY_VNIC_ENV query_vnic_env_in query_vnic_env_out,
    QUERY_VPORT_COUNTER query_vport_counter_in query_vport_counter_out,
    ALLOC_Q_COUNTER alloc_q_counter_in alloc_q_counter_out,
    DEALLOC_Q_COUNTER dealloc_q_counter_in dealloc_q_counter_out,
    QUERY_Q_COUNTER query_q_counter_in query_q_counter_out,
    CREATE_SCHEDULING_ELEMENT create_scheduling_element_in create_scheduling_element_out,
    DESTROY_SCHEDULING_ELEMENT destroy_scheduling_element_in destroy_scheduling_element_out,
    MODIFY_SCHEDULING_ELEMENT modify_scheduling_element_in modify_scheduling_element_out,
    ALLOC_PD alloc_pd_in alloc_pd_out,
    DEALLOC_PD dealloc_pd_in dealloc_pd_out,
    ALLOC_UAR alloc_uar_in alloc_uar_out,
    DEALLOC_UAR dealloc_uar_in dealloc_uar_out,
    ACCESS_REG access_register_in access_register_out,
    NOP nop_in nop_out,
    ALLOC_XRCD alloc_xrcd_in alloc_xrcd_out,
    DEALLOC_XRCD dealloc_xrcd_in dealloc_xrcd_out,
    ALLOC_TRANSPORT_DOMAIN alloc_transport_domain_in alloc_transport_domain_out,
    DEALLOC_TRANSPORT_DOMAIN dealloc_transport_domain_in dealloc_transport_domain_out,
    SET_L2_TABLE_ENTRY set_l2_table_entry_in set_l2_table_entry_out,
    QUERY_L2_TABLE_ENTRY query_l2_table_entry_in query_l2_table_entry_out,
    DELETE_L2_TABLE_ENTRY delete_l2_table_entry_in delete_l2_table_entry_out,
    CREATE_TIR create_tir_in create_tir_out,
    MODIFY_TIR modify_tir_in modify_tir_out,
    DESTROY_TIR destroy_tir_in destroy_tir_out,
    QUERY_TIR query_tir_in query_tir_out,
    CREATE_SQ create_sq_in create_sq_out,
    MODIFY_SQ modify_sq_in modify_sq_out,
    DESTROY_SQ destroy_sq_in destroy_sq_out,
    QUERY_SQ query_sq_in query_sq_out,
    CREATE_RQ create_rq_in create_rq_out,
    MODIFY_RQ modify_rq_in modify_rq_out,
    DESTROY_RQ destroy_rq_in destroy_rq_out,
    QUERY_RQ query_rq_in query_rq_out,
    CREATE_RMP create_rmp_in create_rmp_out,
    MODIFY_RMP modify_rmp_in modify_rmp_out,
    DESTROY_RMP destroy_rmp_in destroy_rmp_out,
    QUERY_RMP query_rmp_in query_rmp_out,
    CREATE_TIS create_tis_in create_tis_out,
    MODIFY_TIS modify_tis_in modify_tis_out,
    DESTROY_TIS destroy_tis_in destroy_tis_out,
    QUERY_TIS query_tis_in query_tis_out,
    CREATE_RQT create_rqt_in create_rqt_out,
    MODIFY_RQT modify_rqt_in modify_rqt_out,
    DESTROY_RQT destroy_rqt_in destroy_rqt_out,
    QUERY_RQT query_rqt_in query_rqt_out,
    SET_FLOW_TABLE_ROOT set_flow_table_root_in set_flow_table_root_out,
    CREATE_FLOW_TABLE create_flow_table_in create_flow_table_out,
    DESTROY_FLOW_TABLE destroy_flow_table_in destroy_flow_table_out,
    QUERY_FLOW_TABLE query_flow_table_in query_flow_table_out,
    CREATE_FLOW_GROUP create_flow_group_in create_flow_group_out,
    DESTROY_FLOW_GROUP destroy_flow_group_in destroy_flow_group_out,
    QUERY_FLOW_GROUP query_flow_group_in query_flow_group_out,
    SET_FLOW_TABLE_ENTRY set_fte_in set_fte_out,
    QUERY_FLOW_TABLE_ENTRY query_fte_in query_fte_out,
    DELETE_FLOW_TABLE_ENTRY delete_fte_in delete_fte_out,
    ALLOC_FLOW_COUNTER alloc_flow_counter_in alloc_flow_counter_out,
    DEALLOC_FLOW_COUNTER dealloc_flow_counter_in dealloc_flow_counter_out,
    QUERY_FLOW_COUNTER query_flow_counter_in query_flow_counter_out,
    MODIFY_FLOW_TABLE modify_flow_table_in modify_flow_table_out,
    ALLOC_MODIFY_HEADER_CONTEXT alloc_modify_header_context_in alloc_modify_header_context_out,
    DEALLOC_MODIFY_HEADER_CONTEXT dealloc_modify_header_context_in dealloc_modify_header_context_out,
    QUERY_VHCA_STATE query_vhca_state_in query_vhca_state_out,
    MODIFY_VHCA_STATE modify_vhca_state_in modify_vhca_state_out,
}

/// The layouts of a command's input and output, if the table has them.
pub fn layouts(opcode: Opcode) -> Option<(&'static Layout, &'static Layout)> {
    let found = COMMANDS.binary_search_by_key(&opcode, |command| command.opcode).ok();
    found.and_then(|n| COMMANDS.get(n)).map(|command| (command.input, command.output))
}

/// Whether the table has the command's layouts, so that they are checked against the kernel. Every opcode that the card
/// handles must be covered.
pub fn covered(opcode: Opcode) -> bool {
    layouts(opcode).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_sorted_and_found() {
        assert!(COMMANDS.is_sorted_by(|a, b| a.opcode < b.opcode));
        for command in COMMANDS {
            assert!(covered(command.opcode), "{}", command.opcode);
        }
        assert!(!covered(Opcode(0xffff)));
    }

    #[test]
    fn every_input_has_an_opcode_and_every_output_a_status() {
        for Command { opcode, input, output } in COMMANDS {
            let place = |layout: &Layout, name| layout.field(name).map(|field| (field.bit, field.width));
            assert_eq!(place(input, "opcode"), Some((0, 16)), "{opcode}");
            assert_eq!(place(output, "status"), Some((0, 8)), "{opcode}");
            assert_eq!(place(output, "syndrome"), Some((32, 32)), "{opcode}");
            assert!(input.name.ends_with("_in") && output.name.ends_with("_out"), "{opcode}");
        }
    }

    #[test]
    fn every_layout_of_a_command_is_used() {
        for layout in layouts::ALL.iter().filter(|layout| layout.field("opcode").is_some_and(|f| f.bit == 0)) {
            let used = layout.name == "cmd_in" || COMMANDS.iter().any(|command| command.input.name == layout.name);
            assert!(used, "{} belongs to no command: add it to the table or take it out", layout.name);
        }
    }
}
