//! Device life: enable, ISSI, pages, initialisation, capabilities' envelope, adapter.

use super::{be32, be64};

crate::layouts! {
    /// ENABLE_HCA input.
    enable_hca_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], embedded_cpu_function @0x8[31:1], function_id_type @0x8[28:1],
        function_id @0x8[15:16],
    }

    /// ENABLE_HCA output.
    enable_hca_out(0xc, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// DISABLE_HCA input.
    disable_hca_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], embedded_cpu_function @0x8[31:1], function_id_type @0x8[28:1],
        function_id @0x8[15:16],
    }

    /// DISABLE_HCA output.
    disable_hca_out(0xc, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// INIT_HCA input.
    init_hca_in(0x20, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], sw_vhca_id @0xc[29:14] } {
        sw_owner_id @0x10 array(be32, 4),
    }

    /// INIT_HCA output.
    init_hca_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// TEARDOWN_HCA input.
    teardown_hca_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], profile @0x8[15:16] }

    /// TEARDOWN_HCA output.
    teardown_hca_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], state @0xc[0:1] }

    /// QUERY_ISSI input.
    query_issi_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16] }

    /// QUERY_ISSI output.
    query_issi_out(0x70, Ifc) {
        status @0x0[31:8], syndrome @0x4[31:32], current_issi @0x8[15:16], supported_issi_dw0 @0x6c[31:32],
    }

    /// SET_ISSI input.
    set_issi_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], current_issi @0x8[15:16] }

    /// SET_ISSI output.
    set_issi_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_PAGES input.
    query_pages_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], embedded_cpu_function @0x8[31:1], function_id @0x8[15:16],
    }

    /// QUERY_PAGES output.
    query_pages_out(0x10, Ifc) {
        status @0x0[31:8], syndrome @0x4[31:32], embedded_cpu_function @0x8[31:1], function_id @0x8[15:16],
        num_pages @0xc[31:32],
    }

    /// MANAGE_PAGES input.
    manage_pages_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], embedded_cpu_function @0x8[31:1], function_id @0x8[15:16],
        input_num_entries @0xc[31:32],
    } { pas @0x10 list(be64) }

    /// MANAGE_PAGES output.
    manage_pages_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], output_num_entries @0x8[31:32] } {
        pas @0x10 list(be64),
    }

    /// QUERY_HCA_CAP input.
    query_hca_cap_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_function @0x8[31:1], ec_vf_function @0x8[30:1],
        function_id_type @0x8[28:1], function_id @0x8[15:16],
    }

    /// QUERY_HCA_CAP output.
    query_hca_cap_out(0x1010, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } { capability @0x10 bytes(0x1000) }

    /// SET_HCA_CAP input.
    set_hca_cap_in(0x1010, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_function @0x8[31:1], ec_vf_function @0x8[30:1],
        function_id_type @0x8[28:1], function_id @0x8[15:16],
    } { capability @0x10 bytes(0x1000) }

    /// SET_HCA_CAP output.
    set_hca_cap_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// SET_DRIVER_VERSION input.
    set_driver_version_in(0x50, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16] } { driver_version @0x10 bytes(0x40) }

    /// SET_DRIVER_VERSION output.
    set_driver_version_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_ADAPTER input.
    query_adapter_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16] }

    /// The adapter: vendor and board.
    query_adapter_param_block(0x100, Ifc) { ieee_vendor_id @0x18[23:24], vsd_vendor_id @0x1c[15:16] } {
        vsd @0x20 bytes(0xd0), vsd_contd_psid @0xf0 bytes(0x10),
    }

    /// QUERY_ADAPTER output.
    query_adapter_out(0x110, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        query_adapter_struct @0x10 one(query_adapter_param_block),
    }

    /// QUERY_SPECIAL_CONTEXTS input.
    query_special_contexts_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16] }

    /// QUERY_SPECIAL_CONTEXTS output.
    query_special_contexts_out(0x20, Ifc) {
        status @0x0[31:8], syndrome @0x4[31:32], dump_fill_mkey @0x8[31:32], resd_lkey @0xc[31:32],
        null_mkey @0x10[31:32], terminate_scatter_list_mkey @0x14[31:32], repeated_mkey @0x18[31:32],
    }

    /// NOP input.
    nop_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16] }

    /// NOP output.
    nop_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }
}
