//! Flow tables: the commands, and the structure that `mlx5e` builds.

use mlx5emu_prm::field::Field;
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::steering::{DestinationType, FlowAction, MatchCriteria, MissAction, TableType};

use crate::command::input;
use crate::driver::Driver;
use crate::error::Result;
use crate::host::Host;
use crate::objects::SHORT_OUT;

/// A mask and a value over the outer headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// `match_criteria`.
    pub mask: Vec<u8>,
    /// `match_value`.
    pub value: Vec<u8>,
}

impl Default for Match {
    fn default() -> Self {
        Self { mask: vec![0; fte_match_param::SIZE], value: vec![0; fte_match_param::SIZE] }
    }
}

impl Match {
    /// Matches everything.
    pub fn any() -> Self {
        Self::default()
    }

    /// And: `field` of the outer headers (`fte_match_set_lyr_2_4`) is `value` where `mask` has ones.
    #[must_use]
    pub fn outer_masked(mut self, field: Field, mask: u64, value: u64) -> Self {
        let area = fte_match_param::outer_headers;
        field.set(area.of_mut(&mut self.mask), mask);
        field.set(area.of_mut(&mut self.value), value);
        self
    }

    /// And: `field` of the outer headers is `value`.
    #[must_use]
    pub fn outer(self, field: Field, value: u64) -> Self {
        self.outer_masked(field, field.max(), value)
    }

    /// And: the destination address is `mac`, where `mask` has ones.
    #[must_use]
    pub fn dmac(self, mac: [u8; 6], mask: [u8; 6]) -> Self {
        use fte_match_set_lyr_2_4 as outer;
        let (high, high_mask) = (number(&mac[..4]), number(&mask[..4]));
        let (low, low_mask) = (number(&mac[4..]), number(&mask[4..]));
        self.outer_masked(outer::dmac_47_16, high_mask, high).outer_masked(outer::dmac_15_0, low_mask, low)
    }

    /// And: the IPv4 destination is `address`, where `mask` has ones.
    #[must_use]
    pub fn dst_ipv4(mut self, address: u32, mask: u32) -> Self {
        for (bytes, number) in [(&mut self.mask, mask), (&mut self.value, address)] {
            let outer = fte_match_param::outer_headers.of_mut(bytes);
            ipv4_layout::ipv4.set(fte_match_set_lyr_2_4::dst_ipv4_dst_ipv6.of_mut(outer), number.into());
        }
        self
    }

    /// `match_criteria_enable`.
    fn enable(&self) -> u8 {
        if self.mask.iter().all(|b| *b == 0) { 0 } else { MatchCriteria::OUTER_HEADERS.0 }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// Where a matching frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To another table.
    Table(u32),
    /// To a TIR.
    Tir(u32),
}

/// What a flow entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Drops.
    Drop,
    /// Forwards to every destination.
    Forward(Vec<Destination>),
}

/// A flow table with its groups and entries, so that all can be undone in reverse.
#[derive(Debug)]
pub struct Table {
    /// Its number.
    pub id: u32,
    groups: Vec<u32>,
    entries: Vec<u32>,
    next_index: u32,
}

impl<H: Host> Driver<H> {
    /// CREATE_FLOW_TABLE of `1 << log_size` entries; a miss goes to `miss`, or where the device's default is.
    ///
    /// # Errors
    /// The command failed.
    pub fn create_flow_table(&mut self, kind: TableType, level: u32, log_size: u32, miss: Option<u32>) -> Result<u32> {
        let mut cmd = input(Opcode::CREATE_FLOW_TABLE, create_flow_table_in::SIZE);
        create_flow_table_in::table_type.set(&mut cmd, kind.0.into());
        let context = create_flow_table_in::flow_table_context.of_mut(&mut cmd);
        flow_table_context::level.set(context, level.into());
        flow_table_context::log_size.set(context, log_size.into());
        if let Some(table) = miss {
            flow_table_context::table_miss_action.set(context, MissAction::FWD.0.into());
            flow_table_context::table_miss_id.set(context, table.into());
        }
        self.create(&cmd, create_flow_table_out::table_id)
    }

    /// DESTROY_FLOW_TABLE.
    ///
    /// # Errors
    /// The command failed.
    pub fn destroy_flow_table(&mut self, kind: TableType, id: u32) -> Result<()> {
        let mut cmd = input(Opcode::DESTROY_FLOW_TABLE, destroy_flow_table_in::SIZE);
        destroy_flow_table_in::table_type.set(&mut cmd, kind.0.into());
        destroy_flow_table_in::table_id.set(&mut cmd, id.into());
        self.command(&cmd, SHORT_OUT).map(drop)
    }

    /// SET_FLOW_TABLE_ROOT.
    ///
    /// # Errors
    /// The command failed.
    pub fn set_flow_table_root(&mut self, kind: TableType, id: u32) -> Result<()> {
        let mut cmd = input(Opcode::SET_FLOW_TABLE_ROOT, set_flow_table_root_in::SIZE);
        set_flow_table_root_in::table_type.set(&mut cmd, kind.0.into());
        set_flow_table_root_in::table_id.set(&mut cmd, id.into());
        self.command(&cmd, SHORT_OUT).map(drop)
    }

    /// CREATE_FLOW_GROUP over the entries `start..=end`, with the mask of `criteria`.
    ///
    /// # Errors
    /// The command failed.
    pub fn create_flow_group(&mut self, table: u32, start: u32, end: u32, criteria: &Match) -> Result<u32> {
        let mut cmd = input(Opcode::CREATE_FLOW_GROUP, create_flow_group_in::SIZE);
        create_flow_group_in::table_type.set(&mut cmd, TableType::NIC_RX.0.into());
        create_flow_group_in::table_id.set(&mut cmd, table.into());
        create_flow_group_in::start_flow_index.set(&mut cmd, start.into());
        create_flow_group_in::end_flow_index.set(&mut cmd, end.into());
        create_flow_group_in::match_criteria_enable.set(&mut cmd, criteria.enable().into());
        create_flow_group_in::match_criteria.of_mut(&mut cmd).copy_from_slice(&criteria.mask);
        let out = self.command(&cmd, SHORT_OUT)?;
        Ok(create_flow_group_out::group_id.get32(&out))
    }

    /// DESTROY_FLOW_GROUP.
    ///
    /// # Errors
    /// The command failed.
    pub fn destroy_flow_group(&mut self, table: u32, group: u32) -> Result<()> {
        let mut cmd = input(Opcode::DESTROY_FLOW_GROUP, destroy_flow_group_in::SIZE);
        destroy_flow_group_in::table_type.set(&mut cmd, TableType::NIC_RX.0.into());
        destroy_flow_group_in::table_id.set(&mut cmd, table.into());
        destroy_flow_group_in::group_id.set(&mut cmd, group.into());
        self.command(&cmd, SHORT_OUT).map(drop)
    }

    /// SET_FLOW_TABLE_ENTRY: a new entry.
    ///
    /// # Errors
    /// The command failed.
    pub fn set_fte(&mut self, table: u32, group: u32, index: u32, value: &Match, action: &Action) -> Result<()> {
        let destinations: &[Destination] = match action {
            Action::Drop => &[],
            Action::Forward(list) => list,
        };
        let context_len = flow_context::destination.offset + dest_format_struct::SIZE * destinations.len();
        let mut cmd = input(Opcode::SET_FLOW_TABLE_ENTRY, set_fte_in::flow_context.offset + context_len);
        set_fte_in::table_type.set(&mut cmd, TableType::NIC_RX.0.into());
        set_fte_in::table_id.set(&mut cmd, table.into());
        set_fte_in::flow_index.set(&mut cmd, index.into());
        let context = set_fte_in::flow_context.of_mut(&mut cmd);
        flow_context::group_id.set(context, group.into());
        let bits = if destinations.is_empty() { FlowAction::DROP } else { FlowAction::FWD_DEST };
        flow_context::action.set(context, bits.0.into());
        flow_context::destination_list_size.set(context, destinations.len() as u64);
        flow_context::match_value.of_mut(context).copy_from_slice(&value.value);
        let list = flow_context::destination.of_mut(context);
        for (raw, destination) in list.chunks_mut(dest_format_struct::SIZE).zip(destinations) {
            let (kind, id) = match destination {
                Destination::Table(id) => (DestinationType::FLOW_TABLE, *id),
                Destination::Tir(id) => (DestinationType::TIR, *id),
            };
            dest_format_struct::destination_type.set(raw, kind.0.into());
            dest_format_struct::destination_id.set(raw, id.into());
        }
        self.command(&cmd, SHORT_OUT).map(drop)
    }

    /// DELETE_FLOW_TABLE_ENTRY.
    ///
    /// # Errors
    /// The command failed.
    pub fn delete_fte(&mut self, table: u32, index: u32) -> Result<()> {
        let mut cmd = input(Opcode::DELETE_FLOW_TABLE_ENTRY, delete_fte_in::SIZE);
        delete_fte_in::table_type.set(&mut cmd, TableType::NIC_RX.0.into());
        delete_fte_in::table_id.set(&mut cmd, table.into());
        delete_fte_in::flow_index.set(&mut cmd, index.into());
        self.command(&cmd, SHORT_OUT).map(drop)
    }

    /// A receive table that misses to the anchor.
    ///
    /// # Errors
    /// The command failed.
    pub fn add_table(&mut self, level: u32, log_size: u32) -> Result<Table> {
        let id = self.create_flow_table(TableType::NIC_RX, level, log_size, Some(self.anchor))?;
        Ok(Table { id, groups: Vec::new(), entries: Vec::new(), next_index: 0 })
    }

    /// A group of `size` entries in `table`, filled with `entries`, all of the mask of `criteria`.
    ///
    /// # Errors
    /// A command failed.
    pub fn add_group(
        &mut self,
        table: &mut Table,
        size: u32,
        criteria: &Match,
        entries: &[(Match, Action)],
    ) -> Result<()> {
        let start = table.next_index;
        let group = self.create_flow_group(table.id, start, start + size - 1, criteria)?;
        table.groups.push(group);
        table.next_index += size;
        for (index, (value, action)) in (start..).zip(entries) {
            self.set_fte(table.id, group, index, value, action)?;
            table.entries.push(index);
        }
        Ok(())
    }

    /// Undoes a table.
    ///
    /// # Errors
    /// A command failed.
    pub fn drop_table(&mut self, table: Table) -> Result<()> {
        for index in table.entries.into_iter().rev() {
            self.delete_fte(table.id, index)?;
        }
        for group in table.groups.into_iter().rev() {
            self.destroy_flow_group(table.id, group)?;
        }
        self.destroy_flow_table(TableType::NIC_RX, table.id)
    }
}
