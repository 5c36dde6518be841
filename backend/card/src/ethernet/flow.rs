//! Flow steering commands: tables, groups, entries and roots of the receive side and of the e-switch.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    create_flow_group_in, create_flow_group_out, create_flow_table_in, create_flow_table_out, delete_fte_in,
    dest_format_struct, destroy_flow_group_in, destroy_flow_table_in, flow_context, flow_counter_list,
    flow_table_context, modify_flow_table_in, query_flow_group_in, query_flow_group_out, query_flow_table_in,
    query_flow_table_out, query_fte_in, query_fte_out, set_flow_table_root_in, set_fte_in, vlan,
};
use mlx5emu_prm::opcode::Status;
use mlx5emu_steering::key::{MatchCriteria, MatchParam};
use mlx5emu_steering::packet::VlanTag;
use mlx5emu_steering::tables::{
    Actions, CounterId, Destination, Error, FlowContext, GroupId, GroupSpec, Miss, ModifyHeaderId, ModifyMask,
    Namespace, RawDestination, Steering, TableId, TableSpec, TableType,
};

use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Refusal, Stop, Syndrome, bad_param, refuse};
use crate::eswitch::UPLINK;

/// op_mod of SET_FLOW_TABLE_ROOT: 0 connects a table, 1 disconnects.
const ROOT_DISCONNECT: u16 = 1;
/// op_mod of SET_FTE: 0 adds an entry, 1 modifies one.
const FTE_MODIFY: u16 = 1;
/// Bit of `modify_field_select` of MODIFY_FLOW_TABLE: the miss table.
const MODIFY_MISS: u32 = 1;
/// Actions that every table takes.
const ACTIONS: u32 = Actions::ALLOW | Actions::DROP | Actions::FWD_DEST | Actions::COUNT;
/// Those that need an e-switch.
const MANAGERS_ACTIONS: u32 = ACTIONS | Actions::MOD_HDR;
/// Those of the e-switch's tables.
const ESWITCH_ACTIONS: u32 =
    MANAGERS_ACTIONS | Actions::VLAN_POP | Actions::VLAN_PUSH | Actions::VLAN_POP_2 | Actions::VLAN_PUSH_2;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        use mlx5emu_steering::tables::Status as S;
        let status = match error.status() {
            S::BadParam => Status::BAD_PARAM,
            S::BadResource => Status::BAD_RESOURCE,
            S::ResourceBusy => Status::RESOURCE_BUSY,
            S::ExceedLimit => Status::EXCEED_LIM,
            S::BadResourceState => Status::BAD_RES_STATE,
            S::BadIndex => Status::BAD_INDEX,
            S::NoResources => Status::NO_RESOURCES,
        };
        Self::Refused(Refusal { status, syndrome: Syndrome::BadSteering, why: error.to_string().into() })
    }
}

/// Reads the namespace of a command whose layout has `other_vport`, `vport_number` and `table_type`.
macro_rules! namespace_of {
    ($card:expr, $call:expr, $cmd:ident) => {
        $card.namespace(
            $call,
            $cmd::other_vport.is_set($call.input).then(|| $call.get($cmd::vport_number)),
            $call.get($cmd::table_type),
        )?
    };
}

fn miss(context: &[u8]) -> Result<Miss, Stop> {
    match flow_table_context::table_miss_action.get(context) {
        0 => Ok(Miss::Default),
        1 => Ok(Miss::Table(TableId(flow_table_context::table_miss_id.get32(context)))),
        other => bad_param(Syndrome::BadField, format!("table_miss_action {other}")),
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// The tables that a command is about: the receive side of the function that asks; for a PF with an e-switch also the
    /// FDB and the ACLs of a vport, its own or the one named.
    pub(super) fn namespace(&self, call: &Call, other_vport: Option<u32>, table_type: u32) -> Result<Namespace, Stop> {
        let kind = TableType::from_raw(table_type as u8)?;
        let manages = !self.managed(call.f).is_empty();
        let vport = match (kind, other_vport) {
            (TableType::NicRx, None) => 0,
            // There is one FDB, whichever vport is named.
            (TableType::Fdb, _) if manages => 0,
            // What comes from the wire passes an ACL, too.
            (TableType::EswIngressAcl, Some(named)) if manages && named == u32::from(UPLINK) => UPLINK,
            (TableType::EswIngressAcl | TableType::EswEgressAcl, named) if manages => {
                let f = self.named_vport(call, named.is_some(), named.unwrap_or(0))?;
                self.functions[f].setup.vport
            }
            (TableType::NicRx, Some(_)) => {
                return bad_param(Syndrome::WrongVport, "the receive tables of a vport are its function's own");
            }
            _ => return bad_param(Syndrome::BadTableType, format!("tables of type {kind:?} are not offered")),
        };
        Ok(Namespace::new(kind, vport))
    }

    fn steering(&mut self, call: &Call) -> &mut Steering {
        &mut self.functions[call.f].state.ethernet.steering
    }

    pub(crate) fn create_flow_table(&mut self, call: &mut Call) -> Done {
        use create_flow_table_in as cmd;
        use flow_table_context as ctx;
        let namespace = namespace_of!(self, call, cmd);
        let context = cmd::flow_table_context.of(call.input);
        if [ctx::decap_en, ctx::sw_owner, ctx::termination_table].iter().any(|f| f.is_set(context)) {
            return bad_param(Syndrome::BadCapability, "decap, software-owned and termination tables are not offered");
        }
        let (level, log_size) = (ctx::level.get(context) as u8, ctx::log_size.get(context) as u8);
        // The driver's bridge offload asks that entries may reformat packets, whether or not any ever will: none can.
        let reformat_en = ctx::reformat_en.is_set(context);
        if reformat_en && namespace.table_type != TableType::Fdb {
            return bad_param(Syndrome::BadCapability, "reformat is not offered");
        }
        let spec = TableSpec { miss: miss(context)?, reformat_en, ..TableSpec::new(namespace, level, log_size) };
        let id = self.steering(call).create_table(&spec)?;
        call.reply(create_flow_table_out::table_id, id.0);
        Ok(())
    }

    pub(crate) fn destroy_flow_table(&mut self, call: &mut Call) -> Done {
        use destroy_flow_table_in as cmd;
        let (namespace, table) = (namespace_of!(self, call, cmd), TableId(call.get(cmd::table_id)));
        Ok(self.steering(call).destroy_table(namespace, table)?)
    }

    pub(crate) fn modify_flow_table(&mut self, call: &mut Call) -> Done {
        use modify_flow_table_in as cmd;
        let (namespace, table) = (namespace_of!(self, call, cmd), TableId(call.get(cmd::table_id)));
        let select = call.get(cmd::modify_field_select);
        if select & !MODIFY_MISS != 0 {
            return bad_param(Syndrome::BadField, format!("modify_field_select {select:#x}"));
        }
        if select & MODIFY_MISS != 0 {
            let miss = miss(cmd::flow_table_context.of(call.input))?;
            self.steering(call).modify_table_miss(namespace, table, miss)?;
        }
        Ok(())
    }

    pub(crate) fn query_flow_table(&mut self, call: &mut Call) -> Done {
        use query_flow_table_in as cmd;
        let (namespace, table) =
            (self.namespace(call, None, call.get(cmd::table_type))?, TableId(call.get(cmd::table_id)));
        let spec = self.steering(call).query_table(namespace, table)?;
        let context = query_flow_table_out::flow_table_context.of_mut(call.output);
        flow_table_context::level.set(context, u64::from(spec.level));
        flow_table_context::log_size.set(context, u64::from(spec.log_size));
        flow_table_context::reformat_en.set(context, u64::from(spec.reformat_en));
        if let Miss::Table(id) = spec.miss {
            flow_table_context::table_miss_action.set(context, 1);
            flow_table_context::table_miss_id.set(context, u64::from(id.0));
        }
        Ok(())
    }

    pub(crate) fn set_flow_table_root(&mut self, call: &mut Call) -> Done {
        use set_flow_table_root_in as cmd;
        let (namespace, table) = (namespace_of!(self, call, cmd), TableId(call.get(cmd::table_id)));
        match call.op_mod() {
            0 => Ok(self.steering(call).set_root(namespace, table)?),
            ROOT_DISCONNECT => {
                self.steering(call).disconnect_root(namespace);
                Ok(())
            }
            other => refuse(Status::BAD_PARAM, Syndrome::UnknownOpMod, format!("op_mod {other}")),
        }
    }

    pub(crate) fn create_flow_group(&mut self, call: &mut Call) -> Done {
        use create_flow_group_in as cmd;
        let (namespace, table) = (namespace_of!(self, call, cmd), TableId(call.get(cmd::table_id)));
        if cmd::group_type.is_set(call.input) || cmd::match_definer_id.is_set(call.input) {
            return bad_param(Syndrome::BadCapability, "hash-split groups and match definers are not offered");
        }
        let spec = GroupSpec {
            start: call.get(cmd::start_flow_index),
            end: call.get(cmd::end_flow_index),
            criteria: MatchCriteria(cmd::match_criteria_enable.get(call.input) as u8),
            mask: MatchParam::from_be_bytes(cmd::match_criteria.of(call.input)),
        };
        let id = self.steering(call).create_group(namespace, table, &spec)?;
        call.reply(create_flow_group_out::group_id, id.0);
        Ok(())
    }

    pub(crate) fn destroy_flow_group(&mut self, call: &mut Call) -> Done {
        use destroy_flow_group_in as cmd;
        let (namespace, table) = (namespace_of!(self, call, cmd), TableId(call.get(cmd::table_id)));
        let group = GroupId(call.get(cmd::group_id));
        Ok(self.steering(call).destroy_group(namespace, table, group)?)
    }

    pub(crate) fn query_flow_group(&mut self, call: &mut Call) -> Done {
        use query_flow_group_in as cmd;
        use query_flow_group_out as out;
        let (namespace, table) =
            (self.namespace(call, None, call.get(cmd::table_type))?, TableId(call.get(cmd::table_id)));
        let group = GroupId(call.get(cmd::group_id));
        let spec = self.steering(call).query_group(namespace, table, group)?;
        call.reply(out::start_flow_index, spec.start);
        call.reply(out::end_flow_index, spec.end);
        call.reply(out::match_criteria_enable, spec.criteria.0);
        out::match_criteria.of_mut(call.output).copy_from_slice(&spec.mask.to_be_bytes());
        Ok(())
    }

    pub(crate) fn set_flow_table_entry(&mut self, call: &mut Call) -> Done {
        use set_fte_in as cmd;
        let (namespace, table) = (namespace_of!(self, call, cmd), TableId(call.get(cmd::table_id)));
        if cmd::ignore_flow_level.is_set(call.input) {
            return bad_param(Syndrome::BadCapability, "ignore_flow_level is not offered");
        }
        let index = call.get(cmd::flow_index);
        let actions = match namespace.table_type {
            TableType::NicRx if self.managed(call.f).is_empty() => ACTIONS,
            TableType::NicRx => MANAGERS_ACTIONS,
            _ => ESWITCH_ACTIONS,
        };
        let context = read_flow_context(namespace.table_type, actions, cmd::flow_context.of(call.input))?;
        self.check_destinations(call, &context)?;
        let steering = self.steering(call);
        match call.op_mod() {
            0 => {
                steering.set_entry(namespace, table, index, &context)?;
                self.hold_tirs(call, &context)
            }
            FTE_MODIFY => {
                let old = steering.query_entry(namespace, table, index)?;
                let mask = ModifyMask(cmd::modify_enable_mask.get(call.input) as u8);
                steering.modify_entry(namespace, table, index, mask, &context)?;
                let new = steering.query_entry(namespace, table, index)?;
                self.hold_tirs(call, &new)?;
                self.release_tirs(call, &old);
                Ok(())
            }
            other => refuse(Status::BAD_PARAM, Syndrome::UnknownOpMod, format!("op_mod {other}")),
        }
    }

    /// Destinations that are TIRs or vports must exist when an entry names them.
    fn check_destinations(&self, call: &Call, context: &FlowContext) -> Done {
        let function = &self.functions[call.f];
        for destination in &context.destinations {
            match destination {
                Destination::Vport { vport, vhca_id } if vhca_id.is_some_and(|id| id != function.setup.vhca_id) => {
                    let why = format!("vport {vport:#x} of another e-switch, that of VHCA {vhca_id:?}");
                    return bad_param(Syndrome::WrongVport, why);
                }
                Destination::Vport { vport, .. } if *vport != UPLINK => {
                    self.named_vport(call, true, u32::from(*vport))?;
                }
                Destination::Tir(tirn) => drop(function.state.ethernet.tirs.get(*tirn)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// A TIR that an entry names can't be destroyed.
    fn hold_tirs(&mut self, call: &Call, context: &FlowContext) -> Done {
        tirs(context).try_for_each(|tirn| self.functions[call.f].state.ethernet.tirs.hold(tirn))
    }

    fn release_tirs(&mut self, call: &Call, context: &FlowContext) {
        tirs(context).for_each(|tirn| self.functions[call.f].state.ethernet.tirs.release(tirn));
    }

    pub(crate) fn delete_flow_table_entry(&mut self, call: &mut Call) -> Done {
        use delete_fte_in as cmd;
        let (namespace, table) = (namespace_of!(self, call, cmd), TableId(call.get(cmd::table_id)));
        let index = call.get(cmd::flow_index);
        let old = self.steering(call).query_entry(namespace, table, index)?;
        self.steering(call).delete_entry(namespace, table, index)?;
        self.release_tirs(call, &old);
        Ok(())
    }

    pub(crate) fn query_flow_table_entry(&mut self, call: &mut Call) -> Done {
        use query_fte_in as cmd;
        let (namespace, table) =
            (self.namespace(call, None, call.get(cmd::table_type))?, TableId(call.get(cmd::table_id)));
        let index = call.get(cmd::flow_index);
        let entry = self.steering(call).query_entry(namespace, table, index)?;
        let out = query_fte_out::flow_context.of_mut(call.output);
        flow_context::group_id.set(out, u64::from(entry.group.0));
        flow_context::flow_tag.set(out, u64::from(entry.flow_tag));
        flow_context::action.set(out, u64::from(entry.action.0));
        flow_context::modify_header_id.set(out, u64::from(entry.modify_header.0));
        put_tag(flow_context::push_vlan.of_mut(out), entry.push_vlan);
        put_tag(flow_context::push_vlan_2.of_mut(out), entry.push_vlan_2);
        flow_context::match_value.of_mut(out).copy_from_slice(&entry.value.to_be_bytes());
        flow_context::destination_list_size.set(out, entry.destinations.len() as u64);
        flow_context::flow_counter_list_size.set(out, entry.counters.len() as u64);
        // The list is one: first the destinations, then the counters.
        let mut list = flow_context::destination.of_mut(out).chunks_exact_mut(dest_format_struct::SIZE);
        for (destination, raw) in entry.destinations.iter().zip(&mut list) {
            let (kind, id) = match destination {
                Destination::Tir(id) => (Destination::TIR, *id),
                Destination::Table(id) => (Destination::FLOW_TABLE, id.0),
                Destination::Vport { vport, .. } => (Destination::VPORT, u32::from(*vport)),
                Destination::Uplink { .. } => (Destination::UPLINK, 0),
                _ => continue,
            };
            dest_format_struct::destination_type.set(raw, u64::from(kind));
            dest_format_struct::destination_id.set(raw, u64::from(id));
        }
        for (counter, raw) in entry.counters.iter().zip(&mut list) {
            flow_counter_list::flow_counter_id.set(raw, u64::from(counter.0));
        }
        Ok(())
    }
}

/// A tag that an entry pushes.
fn tag(raw: &[u8]) -> VlanTag {
    let tci = vlan::prio.get(raw) << 13 | vlan::cfi.get(raw) << 12 | vlan::vid.get(raw);
    VlanTag { tpid: vlan::ethtype.get(raw) as u16, tci: tci as u16 }
}

fn put_tag(raw: &mut [u8], tag: VlanTag) {
    vlan::ethtype.set(raw, tag.tpid.into());
    vlan::prio.set(raw, (tag.tci >> 13).into());
    vlan::cfi.set(raw, (tag.tci >> 12 & 1).into());
    vlan::vid.set(raw, tag.vid().into());
}

fn tirs(context: &FlowContext) -> impl Iterator<Item = u32> {
    context.destinations.iter().filter_map(|d| if let Destination::Tir(tirn) = d { Some(*tirn) } else { None })
}

fn read_flow_context(table: TableType, actions: u32, raw: &[u8]) -> Result<FlowContext, Stop> {
    let action = flow_context::action.get32(raw);
    if action & !actions != 0 {
        return bad_param(Syndrome::BadCapability, format!("actions {:#x} are not offered", action & !actions));
    }
    if flow_context::extended_destination.is_set(raw) {
        return bad_param(Syndrome::BadCapability, "extended destinations are not offered");
    }
    let value = MatchParam::from_be_bytes(flow_context::match_value.of(raw));
    let mut context = FlowContext::new(GroupId(flow_context::group_id.get32(raw)), value, action);
    context.flow_tag = flow_context::flow_tag.get32(raw);
    context.push_vlan = tag(flow_context::push_vlan.of(raw));
    context.push_vlan_2 = tag(flow_context::push_vlan_2.of(raw));
    context.modify_header = ModifyHeaderId(flow_context::modify_header_id.get32(raw));
    let count = flow_context::destination_list_size.get(raw) as usize;
    let counters = flow_context::flow_counter_list_size.get(raw) as usize;
    let list = flow_context::destination.of(raw);
    if count + counters > list.len() / dest_format_struct::SIZE {
        let why = format!("{count} destinations and {counters} counters announced, fewer given");
        return bad_param(Syndrome::BadField, why);
    }
    // The list is one: first the destinations, then the counters.
    let mut list = list.chunks_exact(dest_format_struct::SIZE);
    for entry in list.by_ref().take(count) {
        use dest_format_struct as dest;
        let owned = dest::destination_eswitch_owner_vhca_id_valid.is_set(entry);
        let destination = Destination::from_raw(&RawDestination {
            destination_type: dest::destination_type.get(entry) as u8,
            destination_id: dest::destination_id.get32(entry),
            vhca_id: owned.then(|| dest::destination_eswitch_owner_vhca_id.get(entry) as u16),
            table_type: dest::destination_table_type.get(entry) as u8,
            packet_reformat: dest::packet_reformat.is_set(entry),
        })?;
        let fits = match destination {
            Destination::Table(_) => true,
            Destination::Tir(_) => table == TableType::NicRx,
            Destination::Vport { .. } | Destination::Uplink { .. } => table == TableType::Fdb,
            _ => false,
        };
        if !fits {
            return bad_param(Syndrome::BadCapability, format!("destination {destination:?} is not offered here"));
        }
        context.destinations.push(destination);
    }
    let counters = list.take(counters).map(|entry| CounterId(flow_counter_list::flow_counter_id.get32(entry)));
    context.counters.extend(counters);
    Ok(context)
}
