//! Vports: NIC and e-switch contexts, state, L2 table, e-switch functions.

use super::be64;

crate::layouts! {
    /// A MAC address in eight bytes.
    mac_address_layout(0x8, Ifc) { mac_addr_47_32 @0x0[15:16], mac_addr_31_0 @0x4[31:32] }

    /// A vport's NIC context: addresses, MTU, GUIDs, promiscuity, event arming.
    nic_vport_context(0x100, Ifc) {
        min_wqe_inline_mode @0x0[26:3], disable_mc_local_lb @0x0[2:1], disable_uc_local_lb @0x0[1:1],
        roce_en @0x0[0:1], arm_change_event @0x4[31:1], event_on_mtu @0x4[4:1], event_on_promisc_change @0x4[3:1],
        event_on_vlan_change @0x4[2:1], event_on_mc_address_change @0x4[1:1], event_on_uc_address_change @0x4[0:1],
        vhca_id_type @0x8[31:1], affiliation_criteria @0x8[19:4], affiliated_vhca_id @0x8[15:16],
        sd_group @0x20[30:3], sd_group_size @0x20[23:8], mtu @0x24[15:16], system_image_guid @0x28[31:64],
        port_guid @0x30[31:64], node_guid @0x38[31:64], qkey_violation_counter @0x68[31:16], promisc_uc @0xf0[31:1],
        promisc_mc @0xf0[30:1], promisc_all @0xf0[29:1], allowed_list_type @0xf0[26:3],
        allowed_list_size @0xf0[15:16],
    } {
        permanent_address @0xf4 one(mac_address_layout), current_uc_mac_address @0x100 list(be64),
    }

    /// An entry of a VLAN list.
    vlan_layout(0x8, Ifc) { vlan @0x0[11:12] }

    /// A VLAN tag that a flow pushes.
    vlan(0x4, Ifc) {
        ethtype @0x0[31:16], prio @0x0[15:3], cfi @0x0[12:1], vid @0x0[11:12],
    }

    /// QUERY_NIC_VPORT_CONTEXT input.
    query_nic_vport_context_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], vport_number @0x8[15:16],
        allowed_list_type @0xc[26:3],
    }

    /// QUERY_NIC_VPORT_CONTEXT output.
    query_nic_vport_context_out(0x110, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        nic_vport_context @0x10 open(nic_vport_context),
    }

    /// What MODIFY_NIC_VPORT_CONTEXT changes.
    modify_nic_vport_field_select(0x4, Ifc) {
        affiliation @0x0[13:1], disable_uc_local_lb @0x0[11:1], disable_mc_local_lb @0x0[10:1], node_guid @0x0[9:1],
        port_guid @0x0[8:1], min_inline @0x0[7:1], mtu @0x0[6:1], change_event @0x0[5:1], promisc @0x0[4:1],
        permanent_address @0x0[3:1], addresses_list @0x0[2:1], roce_en @0x0[1:1],
    }

    /// MODIFY_NIC_VPORT_CONTEXT input.
    modify_nic_vport_context_in(0x200, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], vport_number @0x8[15:16],
    } {
        field_select @0xc one(modify_nic_vport_field_select), nic_vport_context @0x100 open(nic_vport_context),
    }

    /// MODIFY_NIC_VPORT_CONTEXT output.
    modify_nic_vport_context_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_VPORT_STATE input.
    query_vport_state_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], vport_number @0x8[15:16],
    }

    /// QUERY_VPORT_STATE output.
    query_vport_state_out(0x10, Ifc) {
        status @0x0[31:8], syndrome @0x4[31:32], max_tx_speed @0xc[31:16], admin_state @0xc[7:4], state @0xc[3:4],
    }

    /// MODIFY_VPORT_STATE input.
    modify_vport_state_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], vport_number @0x8[15:16],
        max_tx_speed @0xc[31:16], ingress_connect @0xc[15:1], egress_connect @0xc[14:1],
        ingress_connect_valid @0xc[13:1], egress_connect_valid @0xc[12:1], admin_state @0xc[7:4],
    }

    /// MODIFY_VPORT_STATE output.
    modify_vport_state_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// A vport's e-switch context.
    esw_vport_context(0x100, Ifc) {
        fdb_to_vport_reg_c @0x0[31:1], vport_svlan_strip @0x0[28:1], vport_cvlan_strip @0x0[27:1],
        vport_svlan_insert @0x0[26:1], vport_cvlan_insert @0x0[25:2], fdb_to_vport_reg_c_id @0x0[23:8],
        svlan_cfi @0x8[31:1], svlan_pcp @0x8[30:3], svlan_id @0x8[27:12], cvlan_cfi @0x8[15:1], cvlan_pcp @0x8[14:3],
        cvlan_id @0x8[11:12], sw_steering_vport_icm_address_rx @0xf0[31:64],
        sw_steering_vport_icm_address_tx @0xf8[31:64],
    }

    /// QUERY_ESW_VPORT_CONTEXT input.
    query_esw_vport_context_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], vport_number @0x8[15:16],
    }

    /// QUERY_ESW_VPORT_CONTEXT output.
    query_esw_vport_context_out(0x110, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        esw_vport_context @0x10 one(esw_vport_context),
    }

    /// What MODIFY_ESW_VPORT_CONTEXT changes.
    esw_vport_context_fields_select(0x4, Ifc) {
        fdb_to_vport_reg_c_id @0x0[4:1], vport_cvlan_insert @0x0[3:1], vport_svlan_insert @0x0[2:1],
        vport_cvlan_strip @0x0[1:1], vport_svlan_strip @0x0[0:1],
    }

    /// MODIFY_ESW_VPORT_CONTEXT input.
    modify_esw_vport_context_in(0x110, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], vport_number @0x8[15:16],
    } {
        field_select @0xc one(esw_vport_context_fields_select), esw_vport_context @0x10 one(esw_vport_context),
    }

    /// MODIFY_ESW_VPORT_CONTEXT output.
    modify_esw_vport_context_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// SET_L2_TABLE_ENTRY input.
    set_l2_table_entry_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], table_index @0x14[23:24], silent_mode_valid @0x1c[15:1],
        silent_mode @0x1c[14:1], vlan_valid @0x1c[12:1], vlan @0x1c[11:12],
    } { mac_address @0x20 one(mac_address_layout) }

    /// SET_L2_TABLE_ENTRY output.
    set_l2_table_entry_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_L2_TABLE_ENTRY input.
    query_l2_table_entry_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], silent_mode_query @0x10[31:1], table_index @0x14[23:24],
    }

    /// QUERY_L2_TABLE_ENTRY output.
    query_l2_table_entry_out(0x40, Ifc) {
        status @0x0[31:8], syndrome @0x4[31:32], silent_mode @0x1c[14:1], vlan_valid @0x1c[12:1], vlan @0x1c[11:12],
    } { mac_address @0x20 one(mac_address_layout) }

    /// DELETE_L2_TABLE_ENTRY input.
    delete_l2_table_entry_in(0x40, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], table_index @0x14[23:24] }

    /// DELETE_L2_TABLE_ENTRY output.
    delete_l2_table_entry_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_DELEGATED_VHCA input.
    query_delegated_vhca_in(0x10, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] }

    /// QUERY_DELEGATED_VHCA output.
    query_delegated_vhca_out(0x20, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], functions_count @0xc[15:16] } {
        delegated_function_vhca_rid_info @0x20 list(delegated_function_vhca_rid_info),
    }

    /// A function of another PF that an e-switch may have.
    delegated_function_vhca_rid_info(0x20, Ifc) { manage_profile @0x10[7:8] } {
        function_vhca_rid_info @0x0 one(function_vhca_rid_info_reg),
    }

    /// Where a function is.
    function_vhca_rid_info_reg(0x10, Ifc) {
        host_number @0x0[31:8], host_pci_device_function @0x0[23:8], host_pci_bus @0x0[15:8],
        pci_bus_assigned @0x0[4:1], function_type @0x0[3:4], parent_pci_device_function @0x4[31:8],
        parent_pci_bus @0x4[23:8], vhca_id @0x4[15:16], function_id @0x8[15:16],
    }

    /// CREATE_ESW_VPORT input.
    create_esw_vport_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], managed_vhca_id @0x8[15:16] }

    /// CREATE_ESW_VPORT output.
    create_esw_vport_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], vport_num @0xc[15:16] }

    /// DESTROY_ESW_VPORT input.
    destroy_esw_vport_in(0x10, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], vport_num @0x8[15:16] }

    /// DESTROY_ESW_VPORT output.
    destroy_esw_vport_out(0xc, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_ESW_FUNCTIONS input.
    query_esw_functions_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16] }

    /// QUERY_ESW_FUNCTIONS output.
    query_esw_functions_out(0x80, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], net_function_num @0xc[31:8] } {
        net_function_params @0x10 list(bytes),
    }

    /// The host's PF and VFs, as an embedded CPU sees them.
    host_params_context(0x40, Ifc) {
        host_number @0x0[31:8], host_pf_not_exist @0x0[18:1], host_pf_disabled @0x0[16:1],
        host_num_of_vfs @0x0[15:16], host_total_vfs @0x4[31:16], host_pci_bus @0x4[15:16],
        host_pci_device @0x8[15:16], host_pci_function @0xc[15:16],
    }

    /// A PCI function, as an embedded CPU sees it.
    network_function_params(0x40, Ifc) {
        host_number @0x0[31:8], pci_pf_type @0x0[23:4], pci_num_vfs @0x0[15:16], pci_total_vfs @0x4[31:16],
        pci_bus @0x4[15:8], pci_device_function @0x4[7:8], vhca_id @0x8[31:16], vhca_state @0x8[15:4],
        esw_vport_manual @0xc[21:1], pci_bus_assigned @0xc[20:1], pci_vf_info_valid @0xc[19:1],
        pci_vf_stride @0x10[31:16], pci_first_vf_offset @0x10[15:16],
    }
}
