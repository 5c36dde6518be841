//! Event queues and UARs.

use super::be64;

crate::layouts! {
    /// Event queue context.
    eqc(0x40, Ifc) {
        status @0x0[31:4], ec @0x0[18:1], oi @0x0[17:1], st @0x0[11:4], page_offset @0x8[11:6],
        log_eq_size @0xc[28:5], uar_page @0xc[23:24], intr @0x14[11:12], log_page_size @0x18[28:5],
        consumer_counter @0x28[23:24], producer_counter @0x2c[23:24],
    }

    /// CREATE_EQ input.
    create_eq_in(0x110, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] } {
        eq_context_entry @0x10 one(eqc), event_bitmask @0x58 array(be64, 4), pas @0x110 list(be64),
    }

    /// CREATE_EQ output.
    create_eq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], eq_number @0x8[7:8] }

    /// DESTROY_EQ input.
    destroy_eq_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], eq_number @0x8[7:8] }

    /// DESTROY_EQ output.
    destroy_eq_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_EQ input.
    query_eq_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], eq_number @0x8[7:8] }

    /// QUERY_EQ output.
    query_eq_out(0x110, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], event_bitmask @0x58[31:64] } {
        eq_context_entry @0x10 one(eqc), pas @0x110 list(be64),
    }

    /// ALLOC_UAR input.
    alloc_uar_in(0x10, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] }

    /// ALLOC_UAR output.
    alloc_uar_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], uar @0x8[23:24] }

    /// DEALLOC_UAR input.
    dealloc_uar_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], uar @0x8[23:24],
    }

    /// DEALLOC_UAR output.
    dealloc_uar_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }
}
