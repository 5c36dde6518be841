//! The network interface: what `mlx5e` sets up when a netdev is made and opened, and undoes.

use mlx5emu_prm::layouts::fte_match_set_lyr_2_4 as outer;
use mlx5emu_prm::layouts::{
    be32, be64, create_cq_out, create_mkey_out, create_rq_out, create_sq_out, mac_address_layout,
    modify_nic_vport_context_in, modify_nic_vport_context_out, modify_nic_vport_field_select, nic_vport_context,
    paos_reg, pmtu_reg, query_nic_vport_context_in, query_nic_vport_context_out, query_vport_state_in,
    query_vport_state_out, rx_hash_field_select, tirc,
};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::register::{AccessRegMode, PortStatus, Register};
use mlx5emu_prm::states::{HashField, L3ProtType, L4ProtType, RqState, RxHashFn, SqState, TirDispType, VportState};
use mlx5emu_prm::steering::TableType;

use crate::command::input;
use crate::cq::{Cq, CqShape};
use crate::driver::Driver;
use crate::error::{Error, Result, misbehaves};
use crate::host::Host;
use crate::rq::{Rq, RqShape};
use crate::sq::{Sq, SqShape};
use crate::steering::{Action, Destination, Match, Table};
use crate::striding::{Striding, StridingShape};

const ETHERTYPE_IPV4: u64 = 0x0800;
const ETHERTYPE_IPV6: u64 = 0x86dd;
const IPPROTO_TCP: u64 = 6;
const IPPROTO_UDP: u64 = 17;
/// Ethernet header, VLAN tag and FCS: what the MTU of the hardware has more than the interface's.
const L2_OVERHEAD: u32 = 14 + 4 + 4;
/// Levels of the receive tables: any that rise and lie below the anchor's.
const LEVELS: [u32; 4] = [20, 21, 22, 23];
/// log2 of the sizes of the receive tables, as the kernel's pools have them.
const LOG_SIZES: [u32; 4] = [0, 16, 16, 7];

/// How VLAN tags are filtered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VlanFilter {
    /// No VLAN table: tags do not matter.
    Off,
    /// Untagged frames, and C-tagged ones with these VLAN ids.
    Only(Vec<u16>),
}

/// Shape of the interface.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// Send and receive queue pairs.
    pub channels: usize,
    /// Send queues.
    pub sq: SqShape,
    /// Receive queues.
    pub rq: RqShape,
    /// The receive queues are striding ones, of this shape; `rq` says only whether to keep VLAN tags.
    pub striding: Option<StridingShape>,
    /// Merge TCP segments (LRO); a packet waits this many microseconds. Striding queues only.
    pub lro: Option<u16>,
    /// Completion queues of the send queues.
    pub sq_cq: CqShape,
    /// Completion queues of the receive queues.
    pub rq_cq: CqShape,
    /// log2 of the entries of the completion EQs.
    pub log_comp_eq: u32,
    /// MTU of the interface in bytes, without Ethernet header.
    pub mtu: u32,
    /// Receive everything.
    pub promiscuous: bool,
    /// Receive all multicast.
    pub all_multicast: bool,
    /// VLAN filter.
    pub vlans: VlanFilter,
    /// Spread IP frames over the channels by Toeplitz hash; else all go to channel 0.
    pub rss: bool,
    /// `rx_hash_symmetric`.
    pub symmetric: bool,
    /// Toeplitz key.
    pub hash_key: [u8; 40],
    /// log2 of the indirection table's entries.
    pub log_rqt: u32,
    /// Match IP by `ip_version`; else by `ethertype`.
    pub match_ip_version: bool,
    /// Post a new receive WQE for each one consumed.
    pub refill: bool,
}

/// The key that Microsoft's RSS specification verifies implementations with.
pub const HASH_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            sq: SqShape { log_size: 6, log_page: 12, page_offset: 0, buffer: 2048, wrap: false },
            rq: RqShape {
                log_size: 6,
                log_stride: 4,
                frags: vec![2048],
                log_page: 12,
                page_offset: 0,
                keep_vlan: false,
            },
            striding: None,
            lro: None,
            sq_cq: CqShape::plain(6),
            rq_cq: CqShape::plain(6),
            log_comp_eq: 7,
            mtu: 1500,
            promiscuous: false,
            all_multicast: false,
            vlans: VlanFilter::Off,
            rss: true,
            symmetric: false,
            hash_key: HASH_KEY,
            log_rqt: 7,
            match_ip_version: true,
            refill: true,
        }
    }
}

impl NetConfig {
    /// Receive WQEs of four fragments, for frames of up to 9 KiB and a bit.
    #[must_use]
    pub fn jumbo(mut self) -> Self {
        self.mtu = 9000;
        self.rq.log_stride = 6;
        self.rq.frags = vec![2048, 2048, 2048, 4096];
        self
    }
}

/// A pair of queues.
#[derive(Debug)]
pub struct Channel {
    /// Its send queue.
    pub sq: Sq,
    /// Its receive queue.
    pub rq: Rq,
    /// The TIR that leads to it alone.
    pub tirn: u32,
}

/// Everything that the interface is made of.
#[derive(Debug)]
pub struct Net {
    /// How it was opened.
    pub config: NetConfig,
    /// The port's permanent address.
    pub mac: [u8; 6],
    /// The queue pairs.
    pub channels: Vec<Channel>,
    /// The receive queues' counter set.
    pub counter_set: u32,
    /// Protection domain.
    pub pd: u32,
    /// Key of all memory.
    pub mkey: u32,
    /// The TIS of the send queues.
    pub tisn: u32,
    /// Receive errors, in all channels.
    pub receive_errors: u64,
    pub(crate) domain: u32,
    drop: Option<Rq>,
    rqtn: u32,
    indirect: Vec<u32>,
    tables: Vec<Table>,
    pub(crate) next_channel: usize,
}

impl Net {
    /// The completion queue of a number.
    pub(crate) fn cq_mut(&mut self, cqn: u32) -> Option<&mut Cq> {
        let number = |cq: &&mut Cq| cq.number == cqn;
        for channel in &mut self.channels {
            // One at a time: the two are parts of the same queue.
            if channel.rq.strides().is_some_and(|s| s.icosq.cq.number == cqn) {
                return channel.rq.strides_mut().map(|s| &mut s.icosq.cq);
            }
            if let Some(cq) = [&mut channel.sq.cq, &mut channel.rq.cq].into_iter().find(number) {
                return Some(cq);
            }
        }
        None.into_iter().chain(self.drop.as_mut().map(|rq| &mut rq.cq)).find(number)
    }

    /// Gives the memory back.
    pub(crate) fn free<H: Host>(self, host: &mut H) {
        for channel in self.channels {
            channel.sq.free(host);
            channel.rq.free(host);
        }
        if let Some(rq) = self.drop {
            rq.free(host);
        }
    }
}

impl<H: Host> Driver<H> {
    /// Makes the interface and takes it up.
    ///
    /// # Errors
    /// A command failed; it is open already.
    pub fn open(&mut self, config: NetConfig) -> Result<()> {
        if self.net.is_some() {
            return Err(Error::Usage("the interface is open already".into()));
        }
        self.create_resources(config)?;
        self.create_receive_side()?;
        self.build_tables()?;
        self.set_mtu()?;
        self.publish_address()?;
        for _ in 0..self.open_net()?.config.channels {
            self.add_channel()?;
        }
        if self.open_net()?.config.refill {
            self.wait_until("receive WQEs", |driver| {
                driver.net().is_none_or(|net| net.channels.iter().all(|c| c.rq.strides().is_none_or(Striding::is_full)))
            })?;
        }
        self.activate()?;
        self.set_port(PortStatus::UP)
    }

    /// The network part.
    ///
    /// # Errors
    /// It is not open.
    pub(crate) fn open_net(&mut self) -> Result<&mut Net> {
        self.net.as_deref_mut().ok_or_else(|| Error::Usage("the interface is not open".into()))
    }

    /// `mlx5e_create_mdev_resources`.
    fn create_resources(&mut self, config: NetConfig) -> Result<()> {
        let mac = self.permanent_address()?;
        let pd = self.alloc_pd()?;
        let domain = self.alloc_transport_domain()?;
        let mkey = self.create_pa_mkey(pd, 0x5a)?;
        let tisn = self.create_tis(domain, 0)?;
        let counter_set = self.alloc_q_counter()?;
        self.net = Some(Box::new(Net {
            config,
            mac,
            channels: Vec::new(),
            counter_set,
            pd,
            mkey,
            tisn,
            receive_errors: 0,
            domain,
            drop: None,
            rqtn: 0,
            indirect: Vec::new(),
            tables: Vec::new(),
            next_channel: 0,
        }));
        Ok(())
    }

    /// The drop queue, the indirection table that points at it, and the TIRs over that.
    fn create_receive_side(&mut self) -> Result<()> {
        let net = self.open_net()?;
        let (pd, mkey, counter_set, log_rqt) = (net.pd, net.mkey, net.counter_set, net.config.log_rqt);
        let cq = self.make_cq(CqShape::plain(0), 0)?;
        let shape =
            RqShape { log_size: 0, log_stride: 4, frags: vec![], log_page: 12, page_offset: 0, keep_vlan: true };
        let mut rq = Rq::new(&mut self.host, shape, cq, mkey)?;
        rq.number = self.create(&rq.create_input(pd, counter_set), create_rq_out::rqn)?;
        let rqn = rq.number;
        self.modify_rq(rqn, RqState::RST.0, RqState::RDY.0)?;
        self.open_net()?.drop = Some(rq);
        let rqtn = self.create_rqt(1 << log_rqt, &vec![rqn; 1 << log_rqt])?;
        self.open_net()?.rqtn = rqtn;
        for kind in 0..6 {
            let tirn = self.create_indirect_tir(kind)?;
            self.open_net()?.indirect.push(tirn);
        }
        Ok(())
    }

    /// Kinds: TCP/IPv4, TCP/IPv6, UDP/IPv4, UDP/IPv6, IPv4, IPv6.
    fn create_indirect_tir(&mut self, kind: u32) -> Result<u32> {
        let net = self.open_net()?;
        let (domain, rqtn, key, symmetric) = (net.domain, net.rqtn, net.config.hash_key, net.config.symmetric);
        let lro = net.config.lro;
        let l3 = if kind.is_multiple_of(2) { L3ProtType::IPV4 } else { L3ProtType::IPV6 };
        let l4 = if kind / 2 == 1 { L4ProtType::UDP } else { L4ProtType::TCP };
        let mut fields = HashField::SRC_IP.0 | HashField::DST_IP.0;
        if kind < 4 {
            fields |= HashField::L4_SPORT.0 | HashField::L4_DPORT.0;
        }
        self.create_tir(|context| {
            tirc::disp_type.set(context, TirDispType::INDIRECT.0.into());
            tirc::indirect_table.set(context, rqtn.into());
            tirc::transport_domain.set(context, domain.into());
            merge(context, lro);
            tirc::rx_hash_fn.set(context, RxHashFn::TOEPLITZ.0.into());
            tirc::rx_hash_symmetric.set(context, symmetric.into());
            for (n, word) in key.as_chunks::<4>().0.iter().enumerate() {
                be32::value.set(tirc::rx_hash_toeplitz_key.at_mut(context, n), u32::from_be_bytes(*word).into());
            }
            let selector = tirc::rx_hash_field_selector_outer.of_mut(context);
            rx_hash_field_select::l3_prot_type.set(selector, l3.0.into());
            rx_hash_field_select::l4_prot_type.set(selector, l4.0.into());
            rx_hash_field_select::selected_fields.set(selector, fields.into());
        })
    }

    /// A completion queue with its events on a vector of the channel's.
    fn make_cq(&mut self, shape: CqShape, channel: usize) -> Result<Cq> {
        let (mut cq, command) = self.prepare_cq(shape, channel)?;
        cq.number = self.create(&command, create_cq_out::cqn)?;
        Ok(cq)
    }

    /// The memory of a completion queue and the CREATE_CQ for it, which tests may change before they give it.
    ///
    /// # Errors
    /// The interface is not open; no memory; the EQ can't be made.
    pub fn prepare_cq(&mut self, shape: CqShape, channel: usize) -> Result<(Cq, Vec<u8>)> {
        let log_comp_eq = self.open_net()?.config.log_comp_eq;
        let vectors = usize::from(self.host.vectors());
        let vector = if vectors > 1 { 1 + channel % (vectors - 1) } else { 0 };
        let eqn = self.completion_eq(vector as u16, log_comp_eq)?;
        let cq = Cq::new(&mut self.host, shape, self.uar)?;
        let command = cq.create_input(eqn);
        Ok((cq, command))
    }

    /// The send queue for UMR, and the key that it changes.
    fn make_striding(&mut self, shape: StridingShape, index: usize) -> Result<Striding> {
        let net = self.open_net()?;
        let (pd, mkey) = (net.pd, net.mkey);
        let cq = self.make_cq(CqShape::plain(7), index)?;
        let sq_shape = SqShape { log_size: 7, log_page: 12, page_offset: 0, buffer: 64, wrap: true };
        let mut icosq = Sq::new(&mut self.host, sq_shape, cq, self.uar, mkey)?;
        icosq.umr = true;
        icosq.number = self.create(&icosq.create_input(pd, None), create_sq_out::sqn)?;
        self.modify_sq(icosq.number, SqState::RST.0, SqState::RDY.0)?;
        let mut striding = Striding::new(&mut self.host, shape, icosq, mkey)?;
        let number = self.create(&striding.mkey_input(pd), create_mkey_out::mkey_index)?;
        striding.set_mkey(number << 8);
        if let Some(split) = &mut striding.split {
            let command = split.mkey_input(pd);
            let number = self.create(&command, create_mkey_out::mkey_index)?;
            split.set_mkey(number << 8);
        }
        Ok(striding)
    }

    fn add_channel(&mut self) -> Result<()> {
        let net = self.open_net()?;
        let (config, index) = (net.config.clone(), net.channels.len());
        let (pd, mkey, tisn, domain, counter_set) = (net.pd, net.mkey, net.tisn, net.domain, net.counter_set);
        let sq_cq = self.make_cq(config.sq_cq, index)?;
        let mut sq = Sq::new(&mut self.host, config.sq, sq_cq, self.uar, mkey)?;
        sq.number = self.create(&sq.create_input(pd, Some(tisn)), create_sq_out::sqn)?;
        self.modify_sq(sq.number, SqState::RST.0, SqState::RDY.0)?;
        let rq_cq = self.make_cq(config.rq_cq, index)?;
        let mut rq = match config.striding {
            None => Rq::new(&mut self.host, config.rq.clone(), rq_cq, mkey)?,
            Some(shape) => {
                let striding = self.make_striding(shape, index)?;
                Rq::striding(&mut self.host, striding, config.rq.keep_vlan, rq_cq)?
            }
        };
        rq.number = self.create(&rq.create_input(pd, counter_set), create_rq_out::rqn)?;
        self.modify_rq(rq.number, RqState::RST.0, RqState::RDY.0)?;
        sq.cq.arm(&mut self.host);
        rq.cq.arm(&mut self.host);
        if let Some(striding) = rq.strides() {
            striding.icosq.cq.arm(&mut self.host);
        }
        let rqn = rq.number;
        let tirn = self.create_tir(|context| {
            tirc::disp_type.set(context, TirDispType::DIRECT.0.into());
            tirc::inline_rqn.set(context, rqn.into());
            merge(context, config.lro);
            tirc::transport_domain.set(context, domain.into());
        })?;
        self.open_net()?.channels.push(Channel { sq, rq, tirn });
        // Events find the queues now: those of UMR come at once.
        if config.refill {
            self.refill(index, usize::MAX)?;
        }
        Ok(())
    }

    /// Points the indirection table and the last TTC rule at the live queues.
    fn activate(&mut self) -> Result<()> {
        let net = self.open_net()?;
        let (rqtn, entries) = (net.rqtn, 1usize << net.config.log_rqt);
        let rqns: Vec<u32> = net.channels.iter().map(|c| c.rq.number).collect();
        let Some(first) = net.channels.first().map(|c| c.tirn) else { return Ok(()) };
        self.modify_rqt(rqtn, &rqns.iter().copied().cycle().take(entries).collect::<Vec<_>>())?;
        self.add_catch_all(first)
    }

    /// The receive tables: [promiscuous →] [VLAN →] L2 → TTC.
    fn build_tables(&mut self) -> Result<()> {
        let config = self.open_net()?.config.clone();
        let ttc = self.build_ttc(&config)?;
        let l2 = self.build_l2(&config, ttc.id)?;
        let mut first = l2.id;
        let mut tables = vec![ttc, l2];
        if let VlanFilter::Only(vids) = &config.vlans {
            let vlan = self.build_vlan(vids, first)?;
            first = vlan.id;
            tables.push(vlan);
        }
        if config.promiscuous {
            let mut table = self.add_table(LEVELS[0], LOG_SIZES[0])?;
            let action = Action::Forward(vec![Destination::Table(tables[0].id)]);
            self.add_group(&mut table, 1, &Match::any(), &[(Match::any(), action)])?;
            first = table.id;
            tables.push(table);
        }
        self.set_flow_table_root(TableType::NIC_RX, first)?;
        self.open_net()?.tables = tables;
        Ok(())
    }

    fn build_ttc(&mut self, config: &NetConfig) -> Result<Table> {
        let mut table = self.add_table(LEVELS[3], LOG_SIZES[3])?;
        let indirect = self.open_net()?.indirect.clone();
        let ip = |n: usize| match (config.match_ip_version, n % 2) {
            (true, 0) => Match::any().outer(outer::ip_version, 4),
            (true, _) => Match::any().outer(outer::ip_version, 6),
            (false, 0) => Match::any().outer(outer::ethertype, ETHERTYPE_IPV4),
            (false, _) => Match::any().outer(outer::ethertype, ETHERTYPE_IPV6),
        };
        let to = |tirn: u32| Action::Forward(vec![Destination::Tir(tirn)]);
        let mut l4 = Vec::new();
        let mut l3 = Vec::new();
        if config.rss {
            for (n, tirn) in indirect.iter().enumerate() {
                match n / 2 {
                    0 => l4.push((ip(n).outer(outer::ip_protocol, IPPROTO_TCP), to(*tirn))),
                    1 => l4.push((ip(n).outer(outer::ip_protocol, IPPROTO_UDP), to(*tirn))),
                    _ => l3.push((ip(n), to(*tirn))),
                }
            }
        }
        self.add_group(&mut table, 32, &ip(0).outer(outer::ip_protocol, 0), &l4)?;
        self.add_group(&mut table, 16, &ip(0), &l3)?;
        Ok(table)
    }

    /// The TTC table's last group: everything else goes to one TIR.
    fn add_catch_all(&mut self, tirn: u32) -> Result<()> {
        let mut tables = std::mem::take(&mut self.open_net()?.tables);
        let action = Action::Forward(vec![Destination::Tir(tirn)]);
        let done = match tables.first_mut() {
            Some(ttc) => self.add_group(ttc, 1, &Match::any(), &[(Match::any(), action)]),
            None => Ok(()),
        };
        self.open_net()?.tables = tables;
        done
    }

    fn build_l2(&mut self, config: &NetConfig, next: u32) -> Result<Table> {
        let mac = self.open_net()?.mac;
        let mut table = self.add_table(LEVELS[2], LOG_SIZES[2])?;
        let action = Action::Forward(vec![Destination::Table(next)]);
        let exact = |mac| Match::any().dmac(mac, [0xff; 6]);
        let entries = [(exact(mac), action.clone()), (exact([0xff; 6]), action.clone())];
        self.add_group(&mut table, 1 << 15, &exact(mac), &entries)?;
        let multicast = Match::any().dmac([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]);
        let entries = [(multicast.clone(), action)];
        self.add_group(&mut table, 1, &multicast, if config.all_multicast { &entries } else { &[] })?;
        Ok(table)
    }

    fn build_vlan(&mut self, vids: &[u16], next: u32) -> Result<Table> {
        let mut table = self.add_table(LEVELS[1], LOG_SIZES[1])?;
        let action = Action::Forward(vec![Destination::Table(next)]);
        let tagged = |vid: u16| Match::any().outer(outer::cvlan_tag, 1).outer(outer::first_vid, vid.into());
        let entries: Vec<_> = vids.iter().map(|vid| (tagged(*vid), action.clone())).collect();
        self.add_group(&mut table, 1 << 12, &tagged(0), &entries)?;
        let untagged = Match::any().outer(outer::cvlan_tag, 0);
        self.add_group(&mut table, 1, &untagged, &[(untagged.clone(), action)])?;
        Ok(table)
    }

    /// QUERY_NIC_VPORT_CONTEXT: the context.
    ///
    /// # Errors
    /// The command failed.
    pub fn nic_vport_context(&mut self) -> Result<Vec<u8>> {
        let cmd = input(Opcode::QUERY_NIC_VPORT_CONTEXT, query_nic_vport_context_in::SIZE);
        let out = self.command(&cmd, query_nic_vport_context_out::SIZE)?;
        Ok(query_nic_vport_context_out::nic_vport_context.of(&out).to_vec())
    }

    /// The port's permanent address.
    ///
    /// # Errors
    /// The command failed; the address is zero.
    pub fn permanent_address(&mut self) -> Result<[u8; 6]> {
        let context = self.nic_vport_context()?;
        let raw = nic_vport_context::permanent_address.of(&context);
        let address = mac_address_layout::mac_addr_47_32.get(raw) << 32 | mac_address_layout::mac_addr_31_0.get(raw);
        if address == 0 {
            return Err(misbehaves!("the permanent address is zero"));
        }
        let mut mac = [0; 6];
        mac.copy_from_slice(&address.to_be_bytes()[2..]);
        Ok(mac)
    }

    /// PMTU and the vport's MTU, read back as `mlx5e_set_dev_port_mtu` does.
    fn set_mtu(&mut self) -> Result<()> {
        let wanted = self.open_net()?.config.mtu + L2_OVERHEAD;
        let mut register = vec![0; pmtu_reg::SIZE];
        pmtu_reg::local_port.set(&mut register, 1);
        let now = self.access_register(Register::PMTU, AccessRegMode::READ, 0, &register)?;
        let max = pmtu_reg::max_mtu.get32(&now);
        if wanted > max {
            return Err(Error::Unsupported(format!("an MTU of {wanted}; {max} at most")));
        }
        pmtu_reg::admin_mtu.set(&mut register, wanted.into());
        self.access_register(Register::PMTU, AccessRegMode::WRITE, 0, &register)?;
        let now = self.access_register(Register::PMTU, AccessRegMode::READ, 0, &register)?;
        if pmtu_reg::oper_mtu.get32(&now) != wanted {
            return Err(misbehaves!("MTU {wanted} was set, {} is read", pmtu_reg::oper_mtu.get(&now)));
        }
        self.modify_nic_vport(nic_vport_context::SIZE, |select, context| {
            modify_nic_vport_field_select::mtu.set(select, 1);
            nic_vport_context::mtu.set(context, wanted.into());
        })
    }

    /// The vport's unicast list, and its promiscuity.
    fn publish_address(&mut self) -> Result<()> {
        let net = self.open_net()?;
        let (mac, promiscuous, multicast) = (net.mac, net.config.promiscuous, net.config.all_multicast);
        let list = nic_vport_context::current_uc_mac_address.offset + be64::SIZE;
        self.modify_nic_vport(list, |select, context| {
            modify_nic_vport_field_select::addresses_list.set(select, 1);
            nic_vport_context::allowed_list_size.set(context, 1);
            nic_vport_context::current_uc_mac_address.at_mut(context, 0)[2..8].copy_from_slice(&mac);
        })?;
        self.modify_nic_vport(nic_vport_context::SIZE, |select, context| {
            modify_nic_vport_field_select::promisc.set(select, 1);
            nic_vport_context::promisc_all.set(context, promiscuous.into());
            nic_vport_context::promisc_mc.set(context, multicast.into());
        })
    }

    fn modify_nic_vport(&mut self, len: usize, fill: impl FnOnce(&mut [u8], &mut [u8])) -> Result<()> {
        use modify_nic_vport_context_in as layout;
        let mut cmd = input(Opcode::MODIFY_NIC_VPORT_CONTEXT, layout::nic_vport_context.offset + len);
        let (head, context) = cmd.split_at_mut(layout::nic_vport_context.offset);
        fill(layout::field_select.of_mut(head), context);
        self.command(&cmd, modify_nic_vport_context_out::SIZE).map(drop)
    }

    /// PAOS: asks the port to go up or down.
    ///
    /// # Errors
    /// The command failed.
    pub fn set_port(&mut self, status: PortStatus) -> Result<()> {
        let mut register = vec![0; paos_reg::SIZE];
        paos_reg::local_port.set(&mut register, 1);
        paos_reg::admin_status.set(&mut register, status.0.into());
        paos_reg::ase.set(&mut register, 1);
        self.access_register(Register::PAOS, AccessRegMode::WRITE, 0, &register).map(drop)
    }

    /// QUERY_VPORT_STATE: whether the link is up.
    ///
    /// # Errors
    /// The command failed.
    pub fn link_up(&mut self) -> Result<bool> {
        let cmd = input(Opcode::QUERY_VPORT_STATE, query_vport_state_in::SIZE);
        let out = self.command(&cmd, query_vport_state_out::SIZE)?;
        Ok(query_vport_state_out::state.get(&out) == u64::from(VportState::UP.0))
    }

    /// Takes the interface down and undoes it. Nothing to do when it is not open.
    ///
    /// # Errors
    /// A command failed; sends that never complete.
    pub fn close(&mut self) -> Result<()> {
        if self.net.is_none() {
            return Ok(());
        }
        self.wait_until("the sends' completions", |driver| {
            let left = |c: &Channel| c.sq.outstanding() + c.rq.strides().map_or(0, |s| s.icosq.outstanding());
            driver.net().is_none_or(|net| net.channels.iter().all(|c| left(c) == 0))
        })?;
        self.set_port(PortStatus::DOWN)?;
        self.deactivate()?;
        self.set_flow_table_root(TableType::NIC_RX, self.anchor)?;
        let tables = std::mem::take(&mut self.open_net()?.tables);
        for table in tables.into_iter().rev() {
            self.drop_table(table)?;
        }
        while self.drop_channel()? {}
        self.destroy_rest()
    }

    fn deactivate(&mut self) -> Result<()> {
        let net = self.open_net()?;
        let (rqtn, entries) = (net.rqtn, 1usize << net.config.log_rqt);
        let Some(rqn) = net.drop.as_ref().map(|rq| rq.number) else { return Ok(()) };
        self.modify_rqt(rqtn, &vec![rqn; entries])
    }

    fn drop_channel(&mut self) -> Result<bool> {
        let Some(channel) = self.open_net()?.channels.last() else { return Ok(false) };
        let (tirn, sqn, rqn) = (channel.tirn, channel.sq.number, channel.rq.number);
        let cqs = [channel.sq.cq.number, channel.rq.cq.number];
        let striding = channel.rq.strides().map(|s| (s.mkeys(), s.icosq.number, s.icosq.cq.number));
        self.destroy_tir(tirn)?;
        self.modify_rq(rqn, RqState::RDY.0, RqState::ERR.0)?;
        self.destroy_rq(rqn)?;
        self.modify_sq(sqn, SqState::RDY.0, SqState::ERR.0)?;
        self.destroy_sq(sqn)?;
        for cqn in cqs {
            self.destroy_cq(cqn)?;
        }
        if let Some((mkeys, sqn, cqn)) = striding {
            self.modify_sq(sqn, SqState::RDY.0, SqState::ERR.0)?;
            self.destroy_sq(sqn)?;
            self.destroy_cq(cqn)?;
            for mkey in mkeys {
                self.destroy_mkey(mkey)?;
            }
        }
        if let Some(channel) = self.open_net()?.channels.pop() {
            channel.sq.free(&mut self.host);
            channel.rq.free(&mut self.host);
        }
        Ok(true)
    }

    fn destroy_rest(&mut self) -> Result<()> {
        let net = self.open_net()?;
        let (rqtn, indirect) = (net.rqtn, std::mem::take(&mut net.indirect));
        let (pd, domain, mkey, tisn, counter_set) = (net.pd, net.domain, net.mkey, net.tisn, net.counter_set);
        let drop = net.drop.as_ref().map(|rq| (rq.number, rq.cq.number));
        for tirn in indirect {
            self.destroy_tir(tirn)?;
        }
        self.destroy_rqt(rqtn)?;
        if let Some((rqn, cqn)) = drop {
            self.destroy_rq(rqn)?;
            self.destroy_cq(cqn)?;
        }
        self.dealloc_q_counter(counter_set)?;
        self.destroy_tis(tisn)?;
        self.destroy_mkey(mkey)?;
        self.dealloc_transport_domain(domain)?;
        self.dealloc_pd(pd)?;
        if let Some(net) = self.net.take() {
            net.free(&mut self.host);
        }
        self.drop_completion_eqs()
    }
}

/// LRO in a TIR, for IPv4 and IPv6, of packets of 64 KiB at most.
fn merge(context: &mut [u8], lro: Option<u16>) {
    if let Some(timeout) = lro {
        tirc::packet_merge_mask.set(context, 3);
        tirc::lro_timeout_period_usecs.set(context, timeout.into());
        tirc::lro_max_ip_payload_size.set(context, 0xff);
    }
}
