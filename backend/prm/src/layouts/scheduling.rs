//! Scheduling elements: who of several vports may send, and how much (`rl.c` and `esw/qos.c` of the driver).

crate::layouts! {
    /// What a TSAR (transmit scheduling arbiter) is.
    tsar_element(0x4, Ifc) { traffic_class @0x0[31:4], tsar_type @0x0[23:8] }

    /// Whose vport a leaf is.
    vport_element(0x4, Ifc) {
        eswitch_owner_vhca_id_valid @0x0[27:1], eswitch_owner_vhca_id @0x0[26:11], vport_number @0x0[15:16],
    }

    /// Whose vport's traffic class a leaf is.
    vport_tc_element(0x4, Ifc) {
        traffic_class @0x0[31:4], eswitch_owner_vhca_id_valid @0x0[27:1], eswitch_owner_vhca_id @0x0[26:11],
        vport_number @0x0[15:16],
    }

    /// By the element's type.
    element_attributes(0x4, Ifc) {} {
        tsar @0x0 one(tsar_element), vport @0x0 one(vport_element), vport_tc @0x0 one(vport_tc_element),
    }

    /// An element.
    scheduling_context(0x40, Ifc) {
        element_type @0x0[31:8], parent_element_id @0x8[31:32], bw_share @0x14[31:32], max_average_bw @0x18[31:32],
        max_bw_obj_id @0x1c[31:32],
    } { element_attributes @0x4 one(element_attributes) }

    /// CREATE_SCHEDULING_ELEMENT input.
    create_scheduling_element_in(0x80, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], scheduling_hierarchy @0x8[31:8],
    } { scheduling_context @0x20 one(scheduling_context) }

    /// CREATE_SCHEDULING_ELEMENT output.
    create_scheduling_element_out(0x40, Ifc) {
        status @0x0[31:8], syndrome @0x4[31:32], scheduling_element_id @0x10[31:32],
    }

    /// MODIFY_SCHEDULING_ELEMENT input.
    modify_scheduling_element_in(0x80, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], scheduling_hierarchy @0x8[31:8], scheduling_element_id @0xc[31:32],
        modify_bitmask @0x14[31:32],
    } { scheduling_context @0x20 one(scheduling_context) }

    /// MODIFY_SCHEDULING_ELEMENT output.
    modify_scheduling_element_out(0x40, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// DESTROY_SCHEDULING_ELEMENT input.
    destroy_scheduling_element_in(0x40, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], scheduling_hierarchy @0x8[31:8], scheduling_element_id @0xc[31:32],
    }

    /// DESTROY_SCHEDULING_ELEMENT output.
    destroy_scheduling_element_out(0x40, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }
}
