//! Protection and transport domains, memory keys.

use super::be32;

crate::layouts! {
    /// Memory key context.
    mkc(0x40, Ifc) {
        free @0x0[30:1], access_mode_4_2 @0x0[28:3], relaxed_ordering_write @0x0[18:1],
        small_fence_on_rdma_read_response @0x0[16:1], umr_en @0x0[15:1], a @0x0[14:1], rw @0x0[13:1], rr @0x0[12:1],
        lw @0x0[11:1], lr @0x0[10:1], access_mode_1_0 @0x0[9:2], ma_translation_mode @0x0[5:2], qpn @0x4[31:24],
        mkey_7_0 @0x4[7:8], length64 @0xc[31:1], bsf_en @0xc[30:1], sync_umr @0xc[29:1],
        expected_sigerr_count @0xc[26:1], en_rinval @0xc[24:1], pd @0xc[23:24], start_addr @0x10[31:64],
        len @0x18[31:64], bsf_octword_size @0x20[31:32], crossing_target_vhca_id @0x30[31:16],
        translations_octword_size @0x34[31:32], relaxed_ordering_read @0x38[6:1], log_page_size @0x38[5:6],
        pcie_tph_en @0x3c[26:1], pcie_tph_ph @0x3c[25:2], pcie_tph_steering_tag_index @0x3c[23:8],
    }

    /// CREATE_MKEY input.
    create_mkey_in(0x110, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], pg_access @0xc[31:1], mkey_umem_valid @0xc[30:1],
        data_direct @0xc[29:1], translations_octword_actual_size @0x60[31:32],
    } { memory_key_mkey_entry @0x10 one(mkc), klm_pas_mtt @0x110 list(be32) }

    /// CREATE_MKEY output.
    create_mkey_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], mkey_index @0x8[23:24] }

    /// DESTROY_MKEY input.
    destroy_mkey_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], mkey_index @0x8[23:24],
    }

    /// DESTROY_MKEY output.
    destroy_mkey_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_MKEY input.
    query_mkey_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], mkey_index @0x8[23:24], pg_access @0xc[31:1],
    }

    /// QUERY_MKEY output.
    query_mkey_out(0x130, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        memory_key_mkey_entry @0x10 one(mkc), bsf0_klm0_pas_mtt0_1 @0x110 bytes(0x10),
        bsf1_klm1_pas_mtt2_3 @0x120 bytes(0x10),
    }

    /// ALLOC_PD input.
    alloc_pd_in(0x10, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] }

    /// ALLOC_PD output.
    alloc_pd_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], pd @0x8[23:24] }

    /// DEALLOC_PD input.
    dealloc_pd_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], pd @0x8[23:24],
    }

    /// DEALLOC_PD output.
    dealloc_pd_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// ALLOC_TRANSPORT_DOMAIN input.
    alloc_transport_domain_in(0x10, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] }

    /// ALLOC_TRANSPORT_DOMAIN output.
    alloc_transport_domain_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], transport_domain @0x8[23:24] }

    /// DEALLOC_TRANSPORT_DOMAIN input.
    dealloc_transport_domain_in(0x10, Ifc) {
        opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16], transport_domain @0x8[23:24],
    }

    /// DEALLOC_TRANSPORT_DOMAIN output.
    dealloc_transport_domain_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }
}
