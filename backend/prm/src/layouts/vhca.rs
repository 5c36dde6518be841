//! Subfunctions and the states of functions (`sf/mlx5_ifc_vhca_event.h` of the driver, and mlx5_ifc.h).

crate::layouts! {
    /// ALLOC_SF input.
    alloc_sf_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], function_id @0x8[15:16] }

    /// ALLOC_SF output.
    alloc_sf_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// DEALLOC_SF input.
    dealloc_sf_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], function_id @0x8[15:16] }

    /// DEALLOC_SF output.
    dealloc_sf_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// The state of a function, and whether its manager is told of the next one.
    vhca_state_context(0x10, Ifc) { arm_change_event @0x0[31:1], vhca_state @0x0[19:4], sw_function_id @0x4[31:32] }

    /// What of a state context is changed.
    vhca_state_field_select(0x4, Ifc) { sw_function_id @0x0[1:1], arm_change_event @0x0[0:1] }

    /// QUERY_VHCA_STATE input.
    query_vhca_state_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], embedded_cpu_function @0x8[31:1], function_id @0x8[15:16],
    }

    /// QUERY_VHCA_STATE output.
    query_vhca_state_out(0x20, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        vhca_state_context @0x10 one(vhca_state_context),
    }

    /// MODIFY_VHCA_STATE input.
    modify_vhca_state_in(0x20, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], embedded_cpu_function @0x8[31:1], function_id @0x8[15:16],
    } {
        vhca_state_field_select @0xc one(vhca_state_field_select),
        vhca_state_context @0x10 one(vhca_state_context),
    }

    /// MODIFY_VHCA_STATE output.
    modify_vhca_state_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }
}
