//! What mlx5_ib asks for while it loads: XRC domains, RoCE addresses, port attributes.

crate::layouts! {
    /// ALLOC_XRCD input.
    alloc_xrcd_in(0x10, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] }

    /// ALLOC_XRCD output.
    alloc_xrcd_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], xrcd @0x8[23:24] }

    /// DEALLOC_XRCD input.
    dealloc_xrcd_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], xrcd @0x8[23:24],
    }

    /// DEALLOC_XRCD output.
    dealloc_xrcd_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// An entry of the RoCE address table.
    roce_addr_layout(0x20, Ifc) {
        vlan_valid @0x10[28:1], vlan_id @0x10[27:12], source_mac_47_32 @0x10[15:16], source_mac_31_0 @0x14[31:32],
        roce_l3_type @0x18[11:4], roce_version @0x18[7:8],
    } { source_l3_address @0x0 bytes(0x10) }

    /// SET_ROCE_ADDRESS input.
    set_roce_address_in(0x30, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], roce_address_index @0x8[31:16], vhca_port_num @0x8[3:4],
    } { roce_address @0x10 one(roce_addr_layout) }

    /// SET_ROCE_ADDRESS output.
    set_roce_address_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_ROCE_ADDRESS input.
    query_roce_address_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], roce_address_index @0x8[31:16], vhca_port_num @0x8[3:4],
    }

    /// QUERY_ROCE_ADDRESS output.
    query_roce_address_out(0x30, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        roce_address @0x10 one(roce_addr_layout),
    }

    /// A vport's InfiniBand context.
    hca_vport_context(0x200, Ifc) {
        field_select @0x0[31:32], sm_virt_aware @0x20[31:1], has_smi @0x20[30:1], has_raw @0x20[29:1],
        grh_required @0x20[28:1], num_port_plane @0x20[23:8], port_physical_state @0x20[15:4],
        vport_state_policy @0x20[11:4], port_state @0x20[7:4], vport_state @0x20[3:4], system_image_guid @0x28[31:64],
        port_guid @0x30[31:64], node_guid @0x38[31:64], cap_mask1 @0x40[31:32], cap_mask1_field_select @0x44[31:32],
        cap_mask2 @0x48[31:32], cap_mask2_field_select @0x4c[31:32], lid @0x60[31:16], init_type_reply @0x60[11:4],
        lmc @0x60[7:3], subnet_timeout @0x60[4:5], sm_lid @0x64[31:16], sm_sl @0x64[15:4],
        qkey_violation_counter @0x68[31:16], pkey_violation_counter @0x68[15:16],
    }

    /// QUERY_HCA_VPORT_CONTEXT input.
    query_hca_vport_context_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], port_num @0x8[19:4], vport_number @0x8[15:16],
    }

    /// QUERY_HCA_VPORT_CONTEXT output.
    query_hca_vport_context_out(0x210, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        hca_vport_context @0x10 one(hca_vport_context),
    }

    /// An entry of a partition key table.
    pkey(0x4, Ifc) { pkey @0x0[15:16] }

    /// QUERY_HCA_VPORT_PKEY input.
    query_hca_vport_pkey_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], port_num @0x8[19:4], vport_number @0x8[15:16],
        pkey_index @0xc[15:16],
    }

    /// QUERY_HCA_VPORT_PKEY output.
    query_hca_vport_pkey_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } { pkey @0x10 list(pkey) }

    /// QUERY_HCA_VPORT_GID input.
    query_hca_vport_gid_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], port_num @0x8[19:4], vport_number @0x8[15:16],
        gid_index @0xc[15:16],
    }

    /// 16 bytes, such as a GID.
    array128_auto(0x10, Ifc) {} { array128_auto @0x0 bytes(0x10) }

    /// QUERY_HCA_VPORT_GID output.
    query_hca_vport_gid_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], gids_num @0xc[31:16] } {
        gid @0x10 list(array128_auto),
    }
}
