//! TIS, TIR and RQT.

use super::be32;

crate::layouts! {
    /// Transport interface send context.
    tisc(0xa0, Ifc) {
        strict_lag_tx_port_affinity @0x0[31:1], tls_en @0x0[30:1], lag_tx_port_affinity @0x0[27:4], prio @0x0[19:4],
        transport_domain @0x24[23:24], underlay_qpn @0x28[23:24], pd @0x2c[23:24],
    }

    /// Which packet fields a TIR hashes.
    rx_hash_field_select(0x4, Ifc) { l3_prot_type @0x0[31:1], l4_prot_type @0x0[30:1], selected_fields @0x0[29:30] }

    /// Transport interface receive context.
    tirc(0xf0, Ifc) {
        disp_type @0x4[31:4], tls_en @0x4[27:1], lro_timeout_period_usecs @0x10[27:16], packet_merge_mask @0x10[11:4],
        lro_max_ip_payload_size @0x10[7:8], inline_rqn @0x1c[23:24], rx_hash_symmetric @0x20[31:1],
        tunneled_offload_en @0x20[29:1], indirect_table @0x20[23:24], rx_hash_fn @0x24[31:4],
        self_lb_block @0x24[25:2], transport_domain @0x24[23:24],
    } {
        rx_hash_toeplitz_key @0x28 array(be32, 10), rx_hash_field_selector_outer @0x50 one(rx_hash_field_select),
        rx_hash_field_selector_inner @0x54 one(rx_hash_field_select),
    }

    /// An entry of an RQ table.
    rq_num(0x4, Ifc) { rq_num @0x0[23:24] }

    /// An entry of an RQ table that spans functions.
    rq_vhca(0x8, Ifc) { rq_num @0x0[23:24], rq_vhca_id @0x4[15:16] }

    /// Receive queue table context.
    rqtc(0xf0, Ifc) {
        list_q_type @0x14[26:3], rqt_max_size @0x14[15:16], rq_vhca_id_format @0x18[31:1],
        rqt_actual_size @0x18[15:16],
    } { rq_num @0xf0 list(rq_num), rq_vhca @0xf0 list(rq_vhca) }

    /// CREATE_TIS input.
    create_tis_in(0xc0, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] } { ctx @0x20 one(tisc) }

    /// CREATE_TIS output.
    create_tis_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], tisn @0x8[23:24] }

    /// What MODIFY_TIS changes.
    modify_tis_bitmask(0x8, Ifc) {
        lag_tx_port_affinity @0x4[2:1], strict_lag_tx_port_affinity @0x4[1:1], prio @0x4[0:1],
    }

    /// MODIFY_TIS input.
    modify_tis_in(0xc0, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], tisn @0x8[23:24],
    } { bitmask @0x10 one(modify_tis_bitmask), ctx @0x20 one(tisc) }

    /// MODIFY_TIS output.
    modify_tis_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// DESTROY_TIS input.
    destroy_tis_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], tisn @0x8[23:24],
    }

    /// DESTROY_TIS output.
    destroy_tis_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_TIS input.
    query_tis_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], tisn @0x8[23:24] }

    /// QUERY_TIS output.
    query_tis_out(0xb0, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } { tis_context @0x10 one(tisc) }

    /// CREATE_TIR input.
    create_tir_in(0x110, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] } { ctx @0x20 one(tirc) }

    /// CREATE_TIR output.
    create_tir_out(0x10, Ifc) {
        status @0x0[31:8], icm_address_63_40 @0x0[23:24], syndrome @0x4[31:32], icm_address_39_32 @0x8[31:8],
        tirn @0x8[23:24], icm_address_31_0 @0xc[31:32],
    }

    /// What MODIFY_TIR changes.
    modify_tir_bitmask(0x8, Ifc) { self_lb_en @0x4[4:1], hash @0x4[2:1], packet_merge @0x4[0:1] }

    /// MODIFY_TIR input.
    modify_tir_in(0x110, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], tirn @0x8[23:24],
    } { bitmask @0x10 one(modify_tir_bitmask), ctx @0x20 one(tirc) }

    /// MODIFY_TIR output.
    modify_tir_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// DESTROY_TIR input.
    destroy_tir_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], tirn @0x8[23:24],
    }

    /// DESTROY_TIR output.
    destroy_tir_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_TIR input.
    query_tir_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], tirn @0x8[23:24] }

    /// QUERY_TIR output.
    query_tir_out(0x110, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } { tir_context @0x20 one(tirc) }

    /// CREATE_RQT input.
    create_rqt_in(0x110, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] } {
        rqt_context @0x20 open(rqtc),
    }

    /// CREATE_RQT output.
    create_rqt_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], rqtn @0x8[23:24] }

    /// What MODIFY_RQT changes.
    rqt_bitmask(0x8, Ifc) { rqn_list @0x4[0:1] }

    /// MODIFY_RQT input.
    modify_rqt_in(0x110, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], rqtn @0x8[23:24],
    } { bitmask @0x10 one(rqt_bitmask), ctx @0x20 open(rqtc) }

    /// MODIFY_RQT output.
    modify_rqt_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// DESTROY_RQT input.
    destroy_rqt_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], rqtn @0x8[23:24],
    }

    /// DESTROY_RQT output.
    destroy_rqt_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_RQT input.
    query_rqt_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], rqtn @0x8[23:24] }

    /// QUERY_RQT output.
    query_rqt_out(0x110, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } { rqt_context @0x20 open(rqtc) }
}
