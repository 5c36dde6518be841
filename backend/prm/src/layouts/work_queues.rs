//! Send and receive queues.

crate::layouts! {
    /// The address of a 4 KiB page.
    cmd_pas(0x8, Ifc) { pa_h @0x0[31:32], pa_l @0x4[31:20] }

    /// Work queue, part of the SQ, RQ and RMP contexts.
    wq(0xc0, Ifc) {
        wq_type @0x0[31:4], wq_signature @0x0[27:1], end_padding_mode @0x0[26:2], cd_slave @0x0[24:1],
        hds_skip_first_sge @0x4[31:1], log2_hds_buf_size @0x4[30:3], page_offset @0x4[20:5], lwm @0x4[15:16],
        pd @0x8[23:24], uar_page @0xc[23:24], dbr_addr @0x10[31:64], hw_counter @0x18[31:32], sw_counter @0x1c[31:32],
        log_wq_stride @0x20[19:4], log_wq_pg_sz @0x20[12:5], log_wq_sz @0x20[4:5], dbr_umem_valid @0x24[31:1],
        wq_umem_valid @0x24[30:1], log_hairpin_num_packets @0x24[28:5], log_hairpin_data_sz @0x24[20:5],
        log_wqe_num_of_strides @0x24[11:4], two_byte_shift_en @0x24[7:1], log_wqe_stride_size @0x24[2:3],
        dbr_umem_id @0x28[31:32], wq_umem_id @0x2c[31:32], wq_umem_offset @0x30[31:64], headers_mkey @0x38[31:32],
        shampo_enable @0x3c[31:1], shampo_mode @0x3c[29:2], log_reservation_size @0x3c[26:3],
        log_max_num_of_packets_per_reservation @0x3c[18:3], log_headers_entry_size @0x3c[9:2],
        log_headers_buffer_entry_num @0x3c[3:4],
    } { pas @0xc0 list(cmd_pas) }

    /// Send queue context.
    sqc(0xf0, Ifc) {
        rlky @0x0[31:1], cd_master @0x0[30:1], fre @0x0[29:1], flush_in_error_en @0x0[28:1],
        allow_multi_pkt_send_wqe @0x0[27:1], min_wqe_inline_mode @0x0[26:3], state @0x0[23:4], reg_umr @0x0[19:1],
        allow_swp @0x0[18:1], hairpin @0x0[17:1], non_wire @0x0[16:1], ts_format @0x0[5:2], user_index @0x4[23:24],
        cqn @0x8[23:24], hairpin_peer_rq @0xc[23:24], hairpin_peer_vhca @0x10[15:16], ts_cqe_to_dest_cqn @0x18[23:24],
        packet_pacing_rate_limit_index @0x1c[15:16], tis_lst_sz @0x20[31:16], qos_queue_group_id @0x20[15:16],
        tis_num_0 @0x2c[23:24],
    } { wq @0x30 open(wq) }

    /// Receive queue context.
    rqc(0xf0, Ifc) {
        rlky @0x0[31:1], delay_drop_en @0x0[30:1], scatter_fcs @0x0[29:1], vsd @0x0[28:1], mem_rq_type @0x0[27:4],
        state @0x0[23:4], flush_in_error_en @0x0[18:1], hairpin @0x0[17:1], ts_format @0x0[5:2],
        user_index @0x4[23:24], cqn @0x8[23:24], counter_set_id @0xc[31:8], rmpn @0x10[23:24],
        hairpin_peer_sq @0x14[23:24], hairpin_peer_vhca @0x18[15:16],
        shampo_no_match_alignment_granularity @0x24[25:2], shampo_match_criteria_type @0x24[17:2],
        reservation_timeout @0x24[15:16],
    } { wq @0x30 open(wq) }

    /// Receive memory pool context.
    rmpc(0xf0, Ifc) { state @0x0[23:4], basic_cyclic_rcv_wqe @0x4[31:1] } { wq @0x30 open(wq) }

    /// CREATE_SQ input.
    create_sq_in(0x110, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] } { ctx @0x20 open(sqc) }

    /// CREATE_SQ output.
    create_sq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], sqn @0x8[23:24] }

    /// MODIFY_SQ input.
    modify_sq_in(0x110, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], sq_state @0x8[31:4], sqn @0x8[23:24],
        modify_bitmask @0x10[31:64],
    } { ctx @0x20 open(sqc) }

    /// MODIFY_SQ output.
    modify_sq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// DESTROY_SQ input.
    destroy_sq_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], sqn @0x8[23:24],
    }

    /// DESTROY_SQ output.
    destroy_sq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_SQ input.
    query_sq_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], sqn @0x8[23:24] }

    /// QUERY_SQ output.
    query_sq_out(0x110, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } { sq_context @0x20 open(sqc) }

    /// CREATE_RQ input.
    create_rq_in(0x110, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] } { ctx @0x20 open(rqc) }

    /// CREATE_RQ output.
    create_rq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], rqn @0x8[23:24] }

    /// MODIFY_RQ input.
    modify_rq_in(0x110, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], rq_state @0x8[31:4], rqn @0x8[23:24],
        modify_bitmask @0x10[31:64],
    } { ctx @0x20 open(rqc) }

    /// MODIFY_RQ output.
    modify_rq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// DESTROY_RQ input.
    destroy_rq_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], rqn @0x8[23:24],
    }

    /// DESTROY_RQ output.
    destroy_rq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_RQ input.
    query_rq_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], rqn @0x8[23:24] }

    /// QUERY_RQ output.
    query_rq_out(0x110, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } { rq_context @0x20 open(rqc) }

    /// CREATE_RMP input.
    create_rmp_in(0x110, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] } { ctx @0x20 open(rmpc) }

    /// CREATE_RMP output.
    create_rmp_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], rmpn @0x8[23:24] }

    /// What MODIFY_RMP changes.
    rmp_bitmask(0x8, Ifc) { lwm @0x4[0:1] }

    /// MODIFY_RMP input.
    modify_rmp_in(0x110, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], rmp_state @0x8[31:4], rmpn @0x8[23:24],
    } { bitmask @0x10 one(rmp_bitmask), ctx @0x20 open(rmpc) }

    /// MODIFY_RMP output.
    modify_rmp_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// DESTROY_RMP input.
    destroy_rmp_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], rmpn @0x8[23:24],
    }

    /// DESTROY_RMP output.
    destroy_rmp_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_RMP input.
    query_rmp_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], rmpn @0x8[23:24] }

    /// QUERY_RMP output.
    query_rmp_out(0x110, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } { rmp_context @0x20 open(rmpc) }
}
