//! The match key: what a flow entry compares, laid out as `fte_match_param` of the PRM.
//!
//! [`MatchParam`] serves three times: as the mask of a group, as the value of an entry, and as the key of a packet. The key
//! has every supported field of the packet filled in, so that `key & mask == value & mask` is all there is to a match.
//! No offset is written here: each place is a [`Slot`] computed from a field of `prm`.

use mlx5emu_prm::layouts::{
    fte_match_param, fte_match_set_lyr_2_4 as lyr_2_4, fte_match_set_misc as misc, fte_match_set_misc2 as misc2,
    fte_match_set_misc3 as misc3, ipv4_layout, ipv6_simple_layout,
};
use mlx5emu_prm::{Area, Field};

use crate::packet::{Headers, Net, Transport, VlanTag, ethertype, ip_protocol, tcp, udp};

/// Size of `fte_match_param` in bytes.
pub const MATCH_PARAM_BYTES: usize = fte_match_param::SIZE;
/// Size of `fte_match_param` in dwords.
pub const MATCH_PARAM_DWORDS: usize = MATCH_PARAM_BYTES / 4;

/// `fte_match_param`: 512 bytes, as decoded dwords.
#[derive(Clone, PartialEq, Eq)]
pub struct MatchParam(pub [u32; MATCH_PARAM_DWORDS]);

/// `match_criteria_enable` of a flow group: which parts of the mask count (`MLX5_MATCH_*` of the kernel's `fs.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MatchCriteria(pub u8);

impl MatchCriteria {
    /// `outer_headers`.
    pub const OUTER: u8 = 1 << 0;
    /// `misc_parameters`.
    pub const MISC: u8 = 1 << 1;
    /// `inner_headers`.
    pub const INNER: u8 = 1 << 2;
    /// `misc_parameters_2`.
    pub const MISC_2: u8 = 1 << 3;
    /// `misc_parameters_3`.
    pub const MISC_3: u8 = 1 << 4;
    /// `misc_parameters_4`.
    pub const MISC_4: u8 = 1 << 5;
    /// `misc_parameters_5`.
    pub const MISC_5: u8 = 1 << 6;

    /// The part that each bit stands for.
    const PARTS: [(u8, Area); 7] = [
        (Self::OUTER, fte_match_param::outer_headers),
        (Self::MISC, fte_match_param::misc_parameters),
        (Self::INNER, fte_match_param::inner_headers),
        (Self::MISC_2, fte_match_param::misc_parameters_2),
        (Self::MISC_3, fte_match_param::misc_parameters_3),
        (Self::MISC_4, fte_match_param::misc_parameters_4),
        (Self::MISC_5, fte_match_param::misc_parameters_5),
    ];

    /// The mask with the parts that are not enabled cleared.
    pub fn apply(self, mask: &MatchParam) -> MatchParam {
        let mut out = MatchParam::ZERO;
        for (bit, part) in Self::PARTS {
            if self.0 & bit != 0 {
                let dwords = part.offset / 4..(part.offset + part.len) / 4;
                if let (Some(to), Some(from)) = (out.0.get_mut(dwords.clone()), mask.0.get(dwords)) {
                    to.copy_from_slice(from);
                }
            }
        }
        out
    }
}

/// Where a field lies in a [`MatchParam`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    dword: u8,
    shift: u8,
    mask: u32,
}

impl Slot {
    /// `field` of the structure that begins at `part`. Evaluated at compile time: a field of more than 32 bits, or one that
    /// crosses a dword, fails the build.
    pub const fn new(part: Area, field: Field) -> Self {
        Self::at(part.offset, field)
    }

    /// `field` of the structure that begins at `inner` of the structure that begins at `part`.
    pub const fn nested(part: Area, inner: Area, field: Field) -> Self {
        Self::at(part.offset + inner.offset, field)
    }

    const fn at(offset: usize, field: Field) -> Self {
        let bit = offset as u32 * 8 + field.bit;
        assert!(field.width <= 32 && bit % 32 + field.width <= 32 && (bit / 32) < MATCH_PARAM_DWORDS as u32);
        Self { dword: (bit / 32) as u8, shift: (32 - bit % 32 - field.width) as u8, mask: field.max() as u32 }
    }

    /// The field's value.
    pub fn get(self, param: &MatchParam) -> u32 {
        param.0.get(usize::from(self.dword)).map_or(0, |d| (d >> self.shift) & self.mask)
    }

    /// Stores `value`, cut to the field's width.
    #[inline]
    pub fn set(self, param: &mut MatchParam, value: u32) {
        if let Some(d) = param.0.get_mut(usize::from(self.dword)) {
            *d = (*d & !(self.mask << self.shift)) | ((value & self.mask) << self.shift);
        }
    }

    /// The bits that the field occupies, in its dword.
    const fn bits(self) -> u32 {
        self.mask << self.shift
    }
}

/// The supported match fields. Names are those of `struct mlx5_ifc_fte_match_set_*_bits`.
pub mod fields {
    use super::*;

    /// Declares the slots, and the list of all of them.
    macro_rules! slots {
        ($( $name:ident = $value:expr; )*) => {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                #[allow(non_upper_case_globals)]
                pub const $name: Slot = $value;
            )*
            /// Every supported field, with its name.
            pub static ALL: &[(&str, Slot)] = &[$( (stringify!($name), $name) ),*];
        };
    }

    const OUTER: Area = fte_match_param::outer_headers;
    const MISC: Area = fte_match_param::misc_parameters;
    const MISC2: Area = fte_match_param::misc_parameters_2;
    const MISC3: Area = fte_match_param::misc_parameters_3;
    const SRC: Area = lyr_2_4::src_ipv4_src_ipv6;
    const DST: Area = lyr_2_4::dst_ipv4_dst_ipv6;

    slots! {
        smac_47_16 = Slot::new(OUTER, lyr_2_4::smac_47_16);
        smac_15_0 = Slot::new(OUTER, lyr_2_4::smac_15_0);
        ethertype = Slot::new(OUTER, lyr_2_4::ethertype);
        dmac_47_16 = Slot::new(OUTER, lyr_2_4::dmac_47_16);
        dmac_15_0 = Slot::new(OUTER, lyr_2_4::dmac_15_0);
        first_prio = Slot::new(OUTER, lyr_2_4::first_prio);
        first_cfi = Slot::new(OUTER, lyr_2_4::first_cfi);
        first_vid = Slot::new(OUTER, lyr_2_4::first_vid);
        ip_protocol = Slot::new(OUTER, lyr_2_4::ip_protocol);
        ip_dscp = Slot::new(OUTER, lyr_2_4::ip_dscp);
        ip_ecn = Slot::new(OUTER, lyr_2_4::ip_ecn);
        cvlan_tag = Slot::new(OUTER, lyr_2_4::cvlan_tag);
        svlan_tag = Slot::new(OUTER, lyr_2_4::svlan_tag);
        frag = Slot::new(OUTER, lyr_2_4::frag);
        ip_version = Slot::new(OUTER, lyr_2_4::ip_version);
        tcp_flags = Slot::new(OUTER, lyr_2_4::tcp_flags);
        tcp_sport = Slot::new(OUTER, lyr_2_4::tcp_sport);
        tcp_dport = Slot::new(OUTER, lyr_2_4::tcp_dport);
        l4_type = Slot::new(OUTER, lyr_2_4::l4_type);
        l4_type_ext = Slot::new(OUTER, lyr_2_4::l4_type_ext);
        ipv4_ihl = Slot::new(OUTER, lyr_2_4::ipv4_ihl);
        ttl_hoplimit = Slot::new(OUTER, lyr_2_4::ttl_hoplimit);
        udp_sport = Slot::new(OUTER, lyr_2_4::udp_sport);
        udp_dport = Slot::new(OUTER, lyr_2_4::udp_dport);
        src_ipv6_127_96 = Slot::nested(OUTER, SRC, ipv6_simple_layout::ipv6_127_96);
        src_ipv6_95_64 = Slot::nested(OUTER, SRC, ipv6_simple_layout::ipv6_95_64);
        src_ipv6_63_32 = Slot::nested(OUTER, SRC, ipv6_simple_layout::ipv6_63_32);
        src_ipv6_31_0 = Slot::nested(OUTER, SRC, ipv6_simple_layout::ipv6_31_0);
        src_ipv4 = Slot::nested(OUTER, SRC, ipv4_layout::ipv4);
        dst_ipv6_127_96 = Slot::nested(OUTER, DST, ipv6_simple_layout::ipv6_127_96);
        dst_ipv6_95_64 = Slot::nested(OUTER, DST, ipv6_simple_layout::ipv6_95_64);
        dst_ipv6_63_32 = Slot::nested(OUTER, DST, ipv6_simple_layout::ipv6_63_32);
        dst_ipv6_31_0 = Slot::nested(OUTER, DST, ipv6_simple_layout::ipv6_31_0);
        dst_ipv4 = Slot::nested(OUTER, DST, ipv4_layout::ipv4);
        source_sqn = Slot::new(MISC, misc::source_sqn);
        source_eswitch_owner_vhca_id = Slot::new(MISC, misc::source_eswitch_owner_vhca_id);
        source_port = Slot::new(MISC, misc::source_port);
        outer_second_prio = Slot::new(MISC, misc::outer_second_prio);
        outer_second_cfi = Slot::new(MISC, misc::outer_second_cfi);
        outer_second_vid = Slot::new(MISC, misc::outer_second_vid);
        outer_second_cvlan_tag = Slot::new(MISC, misc::outer_second_cvlan_tag);
        outer_second_svlan_tag = Slot::new(MISC, misc::outer_second_svlan_tag);
        vxlan_vni = Slot::new(MISC, misc::vxlan_vni);
        bth_opcode = Slot::new(MISC, misc::bth_opcode);
        outer_ipv6_flow_label = Slot::new(MISC, misc::outer_ipv6_flow_label);
        bth_dst_qp = Slot::new(MISC, misc::bth_dst_qp);
        outer_esp_spi = Slot::new(MISC, misc::outer_esp_spi);
        metadata_reg_c_7 = Slot::new(MISC2, misc2::metadata_reg_c_7);
        metadata_reg_c_6 = Slot::new(MISC2, misc2::metadata_reg_c_6);
        metadata_reg_c_5 = Slot::new(MISC2, misc2::metadata_reg_c_5);
        metadata_reg_c_4 = Slot::new(MISC2, misc2::metadata_reg_c_4);
        metadata_reg_c_3 = Slot::new(MISC2, misc2::metadata_reg_c_3);
        metadata_reg_c_2 = Slot::new(MISC2, misc2::metadata_reg_c_2);
        metadata_reg_c_1 = Slot::new(MISC2, misc2::metadata_reg_c_1);
        metadata_reg_c_0 = Slot::new(MISC2, misc2::metadata_reg_c_0);
        metadata_reg_a = Slot::new(MISC2, misc2::metadata_reg_a);
        outer_tcp_seq_num = Slot::new(MISC3, misc3::outer_tcp_seq_num);
        outer_tcp_ack_num = Slot::new(MISC3, misc3::outer_tcp_ack_num);
        icmp_header_data = Slot::new(MISC3, misc3::icmp_header_data);
        icmpv6_header_data = Slot::new(MISC3, misc3::icmpv6_header_data);
        icmp_type = Slot::new(MISC3, misc3::icmp_type);
        icmp_code = Slot::new(MISC3, misc3::icmp_code);
        icmpv6_type = Slot::new(MISC3, misc3::icmpv6_type);
        icmpv6_code = Slot::new(MISC3, misc3::icmpv6_code);
    }

    /// The slots of `metadata_reg_c_0` to `metadata_reg_c_7`.
    pub const METADATA_REG_C: [Slot; 8] = [
        metadata_reg_c_0,
        metadata_reg_c_1,
        metadata_reg_c_2,
        metadata_reg_c_3,
        metadata_reg_c_4,
        metadata_reg_c_5,
        metadata_reg_c_6,
        metadata_reg_c_7,
    ];
    pub(super) const SRC_IPV6: [Slot; 4] = [src_ipv6_127_96, src_ipv6_95_64, src_ipv6_63_32, src_ipv6_31_0];
    pub(super) const DST_IPV6: [Slot; 4] = [dst_ipv6_127_96, dst_ipv6_95_64, dst_ipv6_63_32, dst_ipv6_31_0];
}

/// `l4_type` and `l4_type_ext` (`MLX5_PACKET_L4_TYPE_*`, `MLX5_PACKET_L4_TYPE_EXT_*`).
mod l4_type {
    pub(super) const TCP: u32 = 1;
    pub(super) const UDP: u32 = 2;
    pub(super) const EXT_ICMP: u32 = 3;
}

/// The metadata registers that travel with a packet through the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Registers {
    /// `metadata_reg_a`: from the send WQE's `flow_table_metadata`.
    pub a: u32,
    /// `metadata_reg_b`: to the receive CQE's `ft_metadata`; cannot be matched.
    pub b: u32,
    /// `metadata_reg_c_0` to `metadata_reg_c_7`.
    pub c: [u32; 8],
}

/// Where a packet comes from: what is matched and is not in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata {
    /// `source_port`: the vport that sent the packet; 0xffff for the uplink.
    pub source_port: u16,
    /// `source_eswitch_owner_vhca_id`: the vhca_id of the e-switch manager that `source_port` belongs to.
    pub source_vhca_id: u16,
    /// `source_sqn`: the send queue; 0 for a packet that came from the wire.
    pub source_sqn: u32,
    /// The registers at the first table.
    pub regs: Registers,
}

impl Default for MatchParam {
    fn default() -> Self {
        Self::ZERO
    }
}

impl std::fmt::Debug for MatchParam {
    /// The supported fields that are not zero, by name, and the dwords that hold other bits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        for (name, slot) in fields::ALL.iter().filter(|(_, slot)| slot.get(self) != 0) {
            map.entry(name, &format_args!("{:#x}", slot.get(self)));
        }
        for (n, (dword, known)) in self.0.iter().zip(SUPPORTED.0).enumerate().filter(|(_, (d, k))| *d & !k != 0) {
            map.entry(&format_args!("dword[{n}]"), &format_args!("{:#x}", dword & !known));
        }
        map.finish()
    }
}

/// All bits of all supported fields.
pub const SUPPORTED: MatchParam = supported();

const fn supported() -> MatchParam {
    let mut all = MatchParam::ZERO;
    let mut i = 0;
    while i < fields::ALL.len() {
        let slot = fields::ALL[i].1;
        all.0[slot.dword as usize] |= slot.bits();
        i += 1;
    }
    all
}

/// Behind so many dwords no field is supported.
const SUPPORTED_DWORDS: usize = {
    let mut end = MATCH_PARAM_DWORDS;
    while end > 0 && SUPPORTED.0[end - 1] == 0 {
        end -= 1;
    }
    end
};

impl MatchParam {
    /// All zero.
    pub const ZERO: Self = Self([0; MATCH_PARAM_DWORDS]);

    /// Decodes the big-endian bytes of a command. What `bytes` lacks of 512 reads as zero.
    pub fn from_be_bytes(bytes: &[u8]) -> Self {
        let mut out = Self::ZERO;
        for (dword, chunk) in out.0.iter_mut().zip(bytes.chunks_exact(4)) {
            *dword = chunk.first_chunk().map_or(0, |c| u32::from_be_bytes(*c));
        }
        out
    }

    /// The big-endian bytes, as commands carry them.
    pub fn to_be_bytes(&self) -> [u8; MATCH_PARAM_BYTES] {
        let mut out = [0; MATCH_PARAM_BYTES];
        for (chunk, dword) in out.chunks_exact_mut(4).zip(&self.0) {
            chunk.copy_from_slice(&dword.to_be_bytes());
        }
        out
    }

    /// `self & mask`.
    pub fn masked(&self, mask: &MatchParam) -> Self {
        let mut out = self.clone();
        for (dword, mask) in out.0.iter_mut().zip(&mask.0) {
            *dword &= mask;
        }
        out
    }

    /// The key of a packet.
    pub fn of_packet(frame: &[u8], headers: &Headers, meta: &Metadata) -> Self {
        let mut key = Self::ZERO;
        key.put_packet(frame, headers, meta);
        key
    }

    /// Turns the key of a packet into that of another one.
    pub(crate) fn become_packet(&mut self, frame: &[u8], headers: &Headers, meta: &Metadata) {
        // Behind these, the key of a packet is zero.
        if let Some(used) = self.0.get_mut(..SUPPORTED_DWORDS) {
            used.fill(0);
        }
        self.put_packet(frame, headers, meta);
    }

    fn put_packet(&mut self, frame: &[u8], headers: &Headers, meta: &Metadata) {
        self.put_metadata(meta);
        self.put_ethernet(headers);
        self.put_vlans(headers.vlans());
        self.put_ip(headers);
        self.put_transport(frame, headers);
    }

    fn put_metadata(&mut self, meta: &Metadata) {
        fields::source_port.set(self, u32::from(meta.source_port));
        fields::source_eswitch_owner_vhca_id.set(self, u32::from(meta.source_vhca_id));
        fields::source_sqn.set(self, meta.source_sqn);
        self.put_registers(&meta.regs);
    }

    /// Replaces the registers, after a header modification.
    pub fn put_registers(&mut self, regs: &Registers) {
        fields::metadata_reg_a.set(self, regs.a);
        for (slot, value) in fields::METADATA_REG_C.iter().zip(regs.c) {
            slot.set(self, value);
        }
    }

    fn put_ethernet(&mut self, h: &Headers) {
        let (dmac, smac) = (h.dmac.0, h.smac.0);
        fields::dmac_47_16.set(self, u32::from_be_bytes([dmac[0], dmac[1], dmac[2], dmac[3]]));
        fields::dmac_15_0.set(self, u32::from(u16::from_be_bytes([dmac[4], dmac[5]])));
        fields::smac_47_16.set(self, u32::from_be_bytes([smac[0], smac[1], smac[2], smac[3]]));
        fields::smac_15_0.set(self, u32::from(u16::from_be_bytes([smac[4], smac[5]])));
        fields::ethertype.set(self, u32::from(h.ethertype));
    }

    /// Replaces the VLAN fields (outermost tag first), after a push or pop. Tags beyond the second are not matched.
    pub fn put_vlans(&mut self, tags: &[VlanTag]) {
        let first = tags.first().copied().unwrap_or_default();
        fields::first_vid.set(self, u32::from(first.vid()));
        fields::first_cfi.set(self, u32::from(first.cfi()));
        fields::first_prio.set(self, u32::from(first.prio()));
        fields::cvlan_tag.set(self, u32::from(first.tpid == ethertype::CVLAN));
        fields::svlan_tag.set(self, u32::from(first.tpid == ethertype::SVLAN));
        let second = tags.get(1).copied().unwrap_or_default();
        fields::outer_second_vid.set(self, u32::from(second.vid()));
        fields::outer_second_cfi.set(self, u32::from(second.cfi()));
        fields::outer_second_prio.set(self, u32::from(second.prio()));
        fields::outer_second_cvlan_tag.set(self, u32::from(second.tpid == ethertype::CVLAN));
        fields::outer_second_svlan_tag.set(self, u32::from(second.tpid == ethertype::SVLAN));
    }

    fn put_ip(&mut self, h: &Headers) {
        match &h.net {
            Net::Ipv4(ip) => {
                fields::ip_version.set(self, 4);
                fields::ipv4_ihl.set(self, u32::from(ip.ihl));
                fields::src_ipv4.set(self, u32::from_be_bytes(ip.src));
                fields::dst_ipv4.set(self, u32::from_be_bytes(ip.dst));
                self.put_ip_common(h, ip.dscp, ip.ecn, ip.ttl);
            }
            Net::Ipv6(ip) => {
                fields::ip_version.set(self, 6);
                fields::outer_ipv6_flow_label.set(self, ip.flow_label);
                self.put_ipv6(fields::SRC_IPV6, &ip.src);
                self.put_ipv6(fields::DST_IPV6, &ip.dst);
                self.put_ip_common(h, ip.dscp, ip.ecn, ip.hop_limit);
            }
            Net::Arp | Net::Other => {}
        }
    }

    fn put_ip_common(&mut self, h: &Headers, dscp: u8, ecn: u8, ttl: u8) {
        fields::ip_protocol.set(self, u32::from(h.ip_protocol));
        fields::ip_dscp.set(self, u32::from(dscp));
        fields::ip_ecn.set(self, u32::from(ecn));
        fields::ttl_hoplimit.set(self, u32::from(ttl));
        fields::frag.set(self, u32::from(h.fragment));
    }

    fn put_ipv6(&mut self, slots: [Slot; 4], address: &[u8; 16]) {
        for (slot, part) in slots.iter().zip(address.chunks_exact(4)) {
            slot.set(self, part.first_chunk().map_or(0, |c| u32::from_be_bytes(*c)));
        }
    }

    fn put_transport(&mut self, frame: &[u8], h: &Headers) {
        match &h.transport {
            Transport::None | Transport::Ah { .. } => {}
            Transport::Tcp(tcp) => self.put_tcp(tcp),
            Transport::Udp(udp) => {
                fields::udp_sport.set(self, u32::from(udp.sport));
                fields::udp_dport.set(self, u32::from(udp.dport));
                fields::l4_type.set(self, l4_type::UDP);
                fields::l4_type_ext.set(self, l4_type::UDP);
                self.put_udp_payload(udp.dport, frame.get(h.payload_offset..h.ip_end).unwrap_or(&[]));
            }
            Transport::Icmp(icmp) => {
                let [data, kind, code] = if h.ip_protocol == ip_protocol::ICMP {
                    [fields::icmp_header_data, fields::icmp_type, fields::icmp_code]
                } else {
                    [fields::icmpv6_header_data, fields::icmpv6_type, fields::icmpv6_code]
                };
                data.set(self, icmp.data);
                kind.set(self, u32::from(icmp.kind));
                code.set(self, u32::from(icmp.code));
                fields::l4_type_ext.set(self, l4_type::EXT_ICMP);
            }
            Transport::Esp { spi } => fields::outer_esp_spi.set(self, *spi),
        }
    }

    fn put_tcp(&mut self, tcp: &tcp::Tcp) {
        fields::tcp_sport.set(self, u32::from(tcp.sport));
        fields::tcp_dport.set(self, u32::from(tcp.dport));
        fields::tcp_flags.set(self, u32::from(tcp.flags));
        fields::outer_tcp_seq_num.set(self, tcp.seq);
        fields::outer_tcp_ack_num.set(self, tcp.ack);
        fields::l4_type.set(self, l4_type::TCP);
        fields::l4_type_ext.set(self, l4_type::TCP);
    }

    /// RoCE v2's base transport header (opcode in byte 0, destination QP in bytes 5 to 7) and VXLAN's VNI (bytes 4 to 6).
    fn put_udp_payload(&mut self, dport: u16, payload: &[u8]) {
        let Some(p) = payload.first_chunk::<8>() else { return };
        match dport {
            udp::ROCE_V2_PORT => {
                fields::bth_opcode.set(self, u32::from(p[0]));
                fields::bth_dst_qp.set(self, u32::from_be_bytes([0, p[5], p[6], p[7]]));
            }
            udp::VXLAN_PORT => fields::vxlan_vni.set(self, u32::from_be_bytes([0, p[4], p[5], p[6]])),
            _ => {}
        }
    }
}
