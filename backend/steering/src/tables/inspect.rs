//! A view of all tables, groups and entries, for `ctl inspect`.

use super::Steering;
use super::table::{Entry, Group, Table};
use super::types::{FlowContext, GroupId, GroupSpec, TableId, TableSpec};

/// A flow table.
#[derive(Debug, Clone, Copy)]
pub struct TableView<'a> {
    /// Its number.
    pub id: TableId,
    /// How it was created (its miss as modified since).
    pub spec: &'a TableSpec,
    /// Whether it is its namespace's root.
    pub root: bool,
    /// Destinations and misses that name it.
    pub users: usize,
    /// Packets that visited it.
    pub packets: u64,
    /// Packets that matched no entry.
    pub misses: u64,
    steering: &'a Steering,
    table: &'a Table,
}

/// A flow group.
#[derive(Debug, Clone, Copy)]
pub struct GroupView<'a> {
    /// Its number.
    pub id: GroupId,
    /// Its first index.
    pub start: u32,
    /// Its last index.
    pub end: u32,
    steering: &'a Steering,
    table: &'a Table,
    group: &'a Group,
}

/// A flow entry.
#[derive(Debug, Clone, Copy)]
pub struct EntryView<'a> {
    /// Its index.
    pub index: u32,
    /// Packets that matched it.
    pub hits: u64,
    group: &'a Group,
    entry: &'a Entry,
}

impl Steering {
    /// All tables, by number.
    pub fn inspect(&self) -> impl Iterator<Item = TableView<'_>> {
        self.tables.iter().map(|(n, table)| {
            let id = TableId::from_number(n);
            TableView {
                id,
                spec: &table.spec,
                root: self.root(table.spec.namespace) == Some(id),
                users: table.users,
                packets: table.packets.get(),
                misses: table.misses.get(),
                steering: self,
                table,
            }
        })
    }
}

impl<'a> TableView<'a> {
    /// Its groups, by first index.
    pub fn groups(&self) -> impl Iterator<Item = GroupView<'a>> + use<'a> {
        let (steering, table) = (self.steering, self.table);
        table.groups.values().filter_map(move |id| {
            let group = steering.groups.get(id.number())?;
            Some(GroupView { id: *id, start: group.start, end: group.end, steering, table, group })
        })
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.table.entries.len()
    }
}

impl<'a> GroupView<'a> {
    /// How it was created.
    pub fn spec(&self) -> GroupSpec {
        let GroupView { start, end, .. } = *self;
        GroupSpec { start, end, criteria: self.group.criteria, mask: self.group.mask.expand() }
    }

    /// Its entries, by index.
    pub fn entries(&self) -> impl Iterator<Item = EntryView<'a>> + use<'a> {
        let (steering, group) = (self.steering, self.group);
        self.table.entries.range(self.start..=self.end).filter_map(move |(index, number)| {
            let entry = steering.entries.get(*number)?;
            Some(EntryView { index: *index, hits: entry.hits.get(), group, entry })
        })
    }
}

impl EntryView<'_> {
    /// What it matches and does.
    pub fn context(&self) -> FlowContext {
        self.entry.context(self.group)
    }
}
