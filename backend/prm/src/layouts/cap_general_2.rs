//! General capabilities, second page (capability type 0x20).

crate::layouts! {
    /// General device capabilities, second page.
    cmd_hca_cap_2(0x100, Ifc) {
        migratable @0x10[31:1], dp_ordering_force @0x10[23:1], query_vuid @0x10[13:1],
        umr_log_entity_size_5 @0x10[7:1], max_reformat_insert_size @0x14[31:8],
        max_reformat_insert_offset @0x14[23:8], max_reformat_remove_size @0x14[15:8],
        max_reformat_remove_offset @0x14[7:8], migration_multi_load @0x18[23:1], migration_tracking_state @0x18[22:1],
        multiplane_qp_ud @0x18[21:1], migration_in_chunks @0x18[15:1], sf_eq_usage @0x18[13:1], multiplane @0x18[7:1],
        migration_state @0x18[6:1], cross_vhca_object_to_object_supported @0x1c[31:32],
        allowed_object_for_other_vhca_access @0x20[31:64], flow_table_type_2_type @0x34[31:8],
        format_select_dw_8_6_ext @0x34[21:1], log_min_mkey_entity_size @0x34[20:5],
        general_obj_types_127_64 @0x38[31:64], sw_vhca_id_valid @0x44[30:1], sw_vhca_id @0x44[29:14],
        ts_cqe_metadata_size2wqe_counter @0x48[20:5], format_select_dw_gtpu_dw_0 @0x50[31:8],
        format_select_dw_gtpu_dw_1 @0x50[23:8], format_select_dw_gtpu_dw_2 @0x50[15:8],
        format_select_dw_gtpu_first_ext_dw_0 @0x50[7:8], generate_wqe_type @0x54[31:32],
        min_mkey_log_entity_size_fixed_buffer @0x70[20:5], ec_vf_vport_base @0x70[15:16],
        max_mkey_log_entity_size_fixed_buffer @0x74[29:6], max_mkey_log_entity_size_mtt @0x74[21:6],
        max_rqt_vhca_id @0x74[15:16], pcc_ifa2 @0x7c[15:1], min_mkey_log_entity_size_fixed_buffer_valid @0x80[30:1],
        return_reg_id @0x80[15:16], flow_table_hash_type @0x84[3:4], max_num_eqs_24b @0x88[23:24],
        load_balance_id @0xb4[27:4], query_adjacent_functions_id @0xb8[31:1],
        ingress_egress_esw_vport_connect @0xb8[30:1], function_id_type_vhca_id @0xb8[29:1],
        lag_per_mp_group @0xb8[27:1], delegate_vhca_management_profiles @0xb8[15:16], delegated_vhca_max @0xbc[31:16],
        delegate_vhca_max @0xbc[15:16],
    }
}
