//! Flow tables, groups, entries and counters.

use super::{fte_match_param, traffic_counter, vlan};

crate::layouts! {
    /// Roots of a table that software steers.
    sw_owner_icm_root_params(0x10, Ifc) { sw_owner_icm_root_1 @0x0[31:64], sw_owner_icm_root_0 @0x8[31:64] }

    /// Roots of a table that hardware steering fills.
    rtc_params(0x10, Ifc) { rtc_id_0 @0x0[31:32], rtc_id_1 @0x4[31:32] }

    /// A flow table's context.
    flow_table_context(0x28, Ifc) {
        reformat_en @0x0[31:1], decap_en @0x0[30:1], sw_owner @0x0[29:1], termination_table @0x0[28:1],
        table_miss_action @0x0[27:4], level @0x0[23:8], rtc_valid @0x0[15:1], log_size @0x0[7:8],
        table_miss_id @0x4[23:24], lag_master_next_table_id @0x8[23:24],
    } { sws @0x18 one(sw_owner_icm_root_params), hws @0x18 one(rtc_params) }

    /// A flow entry: match value, actions, destinations.
    flow_context(0x300, Ifc) {
        group_id @0x4[31:32], flow_tag @0x8[23:24], action @0xc[15:16], extended_destination @0x10[31:1],
        uplink_hairpin_en @0x10[30:1], flow_source @0x10[29:2], encrypt_decrypt_type @0x10[27:4],
        destination_list_size @0x10[23:24], flow_counter_list_size @0x14[23:24], packet_reformat_id @0x18[31:32],
        modify_header_id @0x1c[31:32], encrypt_decrypt_obj_id @0x24[31:32],
    } {
        push_vlan @0x0 one(vlan), push_vlan_2 @0x20 one(vlan), match_value @0x40 one(fte_match_param),
        execute_aso @0x240 bytes(0x20), destination @0x300 list(bytes),
    }

    /// A destination of a flow entry.
    dest_format_struct(0x8, Ifc) {
        destination_type @0x0[31:8], destination_id @0x0[23:24], destination_eswitch_owner_vhca_id_valid @0x4[31:1],
        packet_reformat @0x4[30:1], destination_table_type @0x4[23:8], destination_eswitch_owner_vhca_id @0x4[15:16],
    }

    /// A destination of a flow entry with `extended_destination`.
    extended_dest_format(0x10, Ifc) { packet_reformat_id @0x8[31:32] } {
        destination_entry @0x0 one(dest_format_struct),
    }

    /// A counter of a flow entry.
    flow_counter_list(0x8, Ifc) { flow_counter_id @0x0[31:32] }

    /// CREATE_FLOW_TABLE input.
    create_flow_table_in(0x40, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], other_vport @0x8[31:1], other_eswitch @0x8[30:1],
        vport_number @0x8[15:16], table_type @0x10[31:8], eswitch_owner_vhca_id @0x10[15:16],
    } { flow_table_context @0x18 one(flow_table_context) }

    /// CREATE_FLOW_TABLE output.
    create_flow_table_out(0x10, Ifc) {
        status @0x0[31:8], icm_address_63_40 @0x0[23:24], syndrome @0x4[31:32], icm_address_39_32 @0x8[31:8],
        table_id @0x8[23:24], icm_address_31_0 @0xc[31:32],
    }

    /// DESTROY_FLOW_TABLE input.
    destroy_flow_table_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], other_eswitch @0x8[30:1],
        vport_number @0x8[15:16], table_type @0x10[31:8], eswitch_owner_vhca_id @0x10[15:16], table_id @0x14[23:24],
    }

    /// DESTROY_FLOW_TABLE output.
    destroy_flow_table_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// MODIFY_FLOW_TABLE input.
    modify_flow_table_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], other_eswitch @0x8[30:1],
        vport_number @0x8[15:16], modify_field_select @0xc[15:16], table_type @0x10[31:8],
        eswitch_owner_vhca_id @0x10[15:16], table_id @0x14[23:24],
    } { flow_table_context @0x18 one(flow_table_context) }

    /// MODIFY_FLOW_TABLE output.
    modify_flow_table_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_FLOW_TABLE input.
    query_flow_table_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], table_type @0x10[31:8], table_id @0x14[23:24],
    }

    /// QUERY_FLOW_TABLE output.
    query_flow_table_out(0x40, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        flow_table_context @0x18 one(flow_table_context),
    }

    /// SET_FLOW_TABLE_ROOT input.
    set_flow_table_root_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], other_eswitch @0x8[30:1],
        vport_number @0x8[15:16], eswitch_owner_vhca_id @0xc[15:16], table_type @0x10[31:8],
        table_of_other_vport @0x10[16:1], table_vport_number @0x10[15:16], table_id @0x14[23:24],
        underlay_qpn @0x18[23:24], table_eswitch_owner_vhca_id_valid @0x1c[31:1],
        table_eswitch_owner_vhca_id @0x1c[15:16],
    }

    /// SET_FLOW_TABLE_ROOT output.
    set_flow_table_root_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// CREATE_FLOW_GROUP input.
    create_flow_group_in(0x400, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], other_eswitch @0x8[30:1],
        vport_number @0x8[15:16], table_type @0x10[31:8], group_type @0x10[19:4], eswitch_owner_vhca_id @0x10[15:16],
        table_id @0x14[23:24], source_eswitch_owner_vhca_id_valid @0x18[31:1], start_flow_index @0x1c[31:32],
        end_flow_index @0x24[31:32], match_definer_id @0x28[15:16], match_criteria_enable @0x3c[7:8],
    } { match_criteria @0x40 one(fte_match_param) }

    /// CREATE_FLOW_GROUP output.
    create_flow_group_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], group_id @0x8[23:24] }

    /// DESTROY_FLOW_GROUP input.
    destroy_flow_group_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], other_eswitch @0x8[30:1],
        vport_number @0x8[15:16], table_type @0x10[31:8], eswitch_owner_vhca_id @0x10[15:16], table_id @0x14[23:24],
        group_id @0x18[31:32],
    }

    /// DESTROY_FLOW_GROUP output.
    destroy_flow_group_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_FLOW_GROUP input.
    query_flow_group_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], table_type @0x10[31:8], table_id @0x14[23:24], group_id @0x18[31:32],
    }

    /// QUERY_FLOW_GROUP output.
    query_flow_group_out(0x400, Ifc) {
        status @0x0[31:8], syndrome @0x4[31:32], start_flow_index @0x1c[31:32], end_flow_index @0x24[31:32],
        match_criteria_enable @0x3c[7:8],
    } { match_criteria @0x40 one(fte_match_param) }

    /// SET_FTE input.
    set_fte_in(0x340, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], other_eswitch @0x8[30:1],
        vport_number @0x8[15:16], table_type @0x10[31:8], eswitch_owner_vhca_id @0x10[15:16], table_id @0x14[23:24],
        ignore_flow_level @0x18[31:1], modify_enable_mask @0x18[7:8], flow_index @0x20[31:32],
    } { flow_context @0x40 open(flow_context) }

    /// SET_FTE output.
    set_fte_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_FTE input.
    query_fte_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], table_type @0x10[31:8], table_id @0x14[23:24],
        flow_index @0x20[31:32],
    }

    /// QUERY_FTE output.
    query_fte_out(0x340, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } { flow_context @0x40 open(flow_context) }

    /// DELETE_FTE input.
    delete_fte_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], other_eswitch @0x8[30:1],
        vport_number @0x8[15:16], table_type @0x10[31:8], eswitch_owner_vhca_id @0x10[15:16], table_id @0x14[23:24],
        flow_index @0x20[31:32],
    }

    /// DELETE_FTE output.
    delete_fte_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// ALLOC_FLOW_COUNTER input.
    alloc_flow_counter_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], flow_counter_bulk_log_size @0xc[12:5], flow_counter_bulk @0xc[7:8],
    }

    /// ALLOC_FLOW_COUNTER output.
    alloc_flow_counter_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], flow_counter_id @0x8[31:32] }

    /// DEALLOC_FLOW_COUNTER input.
    dealloc_flow_counter_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], flow_counter_id @0x8[31:32] }

    /// DEALLOC_FLOW_COUNTER output.
    dealloc_flow_counter_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_FLOW_COUNTER input.
    query_flow_counter_in(0x20, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], clear @0x18[31:1], num_of_counters @0x18[15:16],
        flow_counter_id @0x1c[31:32],
    }

    /// QUERY_FLOW_COUNTER output.
    query_flow_counter_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        flow_statistics @0x10 list(traffic_counter),
    }

    /// ALLOC_MODIFY_HEADER_CONTEXT input. An action is one of the three below.
    alloc_modify_header_context_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], table_type @0xc[31:8], num_of_actions @0xc[7:8],
    } { actions @0x10 list(bytes) }

    /// ALLOC_MODIFY_HEADER_CONTEXT output.
    alloc_modify_header_context_out(0x10, Ifc) {
        status @0x0[31:8], syndrome @0x4[31:32], modify_header_id @0x8[31:32],
    }

    /// DEALLOC_MODIFY_HEADER_CONTEXT input.
    dealloc_modify_header_context_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], modify_header_id @0x8[31:32],
    }

    /// DEALLOC_MODIFY_HEADER_CONTEXT output.
    dealloc_modify_header_context_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// A field is set.
    set_action_in(0x8, Ifc) {
        action_type @0x0[31:4], field @0x0[27:12], offset @0x0[12:5], length @0x0[4:5], data @0x4[31:32],
    }

    /// Something is added to a field.
    add_action_in(0x8, Ifc) { action_type @0x0[31:4], field @0x0[27:12], data @0x4[31:32] }

    /// A field is copied to another.
    copy_action_in(0x8, Ifc) {
        action_type @0x0[31:4], src_field @0x0[27:12], src_offset @0x0[12:5], length @0x0[4:5],
        dst_field @0x4[27:12], dst_offset @0x4[12:5],
    }
}
