//! Completion queues.

use super::be64;

crate::layouts! {
    /// Completion queue context.
    cqc(0x40, Ifc) {
        status @0x0[31:4], dbr_umem_valid @0x0[25:1], apu_cq @0x0[24:1], cqe_sz @0x0[23:3], cc @0x0[20:1],
        scqe_break_moderation_en @0x0[18:1], oi @0x0[17:1], cq_period_mode @0x0[16:2], cqe_comp_en @0x0[14:1],
        mini_cqe_res_format @0x0[13:2], st @0x0[11:4], cqe_compression_layout @0x0[1:2], page_offset @0x8[11:6],
        log_cq_size @0xc[28:5], uar_page @0xc[23:24], cq_period @0x10[27:12], cq_max_count @0x10[15:16],
        c_eqn_or_apu_element @0x14[31:32], log_page_size @0x18[28:5], last_notified_index @0x20[23:24],
        last_solicit_index @0x24[23:24], consumer_counter @0x28[23:24], producer_counter @0x2c[23:24],
        dbr_addr @0x38[31:64],
    }

    /// CREATE_CQ input.
    create_cq_in(0x110, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], cq_umem_valid @0x5c[31:1],
    } { cq_context @0x10 one(cqc), pas @0x110 list(be64) }

    /// CREATE_CQ output.
    create_cq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], cqn @0x8[23:24] }

    /// DESTROY_CQ input.
    destroy_cq_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], cqn @0x8[23:24],
    }

    /// DESTROY_CQ output.
    destroy_cq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_CQ input.
    query_cq_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], cqn @0x8[23:24] }

    /// QUERY_CQ output.
    query_cq_out(0x110, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        cq_context @0x10 one(cqc), pas @0x110 list(be64),
    }

    /// MODIFY_CQ input.
    modify_cq_in(0x110, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], cqn @0x8[23:24],
        modify_field_select_resize_field_select @0xc[31:32], cq_umem_valid @0x5c[31:1],
    } { cq_context @0x10 one(cqc), pas @0x110 list(be64) }

    /// MODIFY_CQ output.
    modify_cq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// What MODIFY_CQ changes.
    modify_field_select(0x4, Ifc) { modify_field_select @0x0[31:32] }

    /// What a CQ's resize changes.
    resize_field_select(0x4, Ifc) { resize_field_select @0x0[31:32] }
}
