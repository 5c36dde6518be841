//! Commands about whole tables, roots, counters and modify-header objects.

use std::sync::Arc;

use super::counter::{CounterValue, Counters};
use super::error::Error;
use super::index::HashKey;
use super::modify_header::{ModifyAction, ModifyHeader, RawModifyAction};
use super::slab::Slab;
use super::table::Table;
use super::types::{CounterId, Limits, Miss, ModifyHeaderId, Namespace, TableId, TableSpec, TableType};
use super::{Counts, Steering};

impl TableId {
    /// Table numbers start at 1, so that a field left zero names no table.
    pub(super) fn from_number(n: u32) -> Self {
        Self(n + 1)
    }

    pub(super) fn number(self) -> u32 {
        self.0.wrapping_sub(1)
    }
}

impl Steering {
    /// No objects. `hash` is the key of the hash indexes: secret from guests, or derived from the seed.
    pub fn new(hash: HashKey, limits: Limits) -> Self {
        Self {
            hash,
            limits,
            tables: Slab::default(),
            groups: Slab::default(),
            entries: Slab::default(),
            modify_headers: Slab::default(),
            counters: Counters::default(),
            roots: std::collections::BTreeMap::new(),
            destinations: 0,
        }
    }

    /// The quotas.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many objects there are: all zero after a clean teardown.
    pub fn counts(&self) -> Counts {
        Counts {
            tables: self.tables.len(),
            groups: self.groups.len(),
            entries: self.entries.len(),
            counters: self.counters.allocated(),
            modify_headers: self.modify_headers.len(),
        }
    }

    /// The table, if it belongs to `namespace`.
    pub(super) fn table(&self, namespace: Namespace, id: TableId) -> Result<&Table, Error> {
        self.tables.get(id.number()).filter(|t| t.spec.namespace == namespace).ok_or(Error::NoTable(id))
    }

    pub(super) fn table_mut(&mut self, namespace: Namespace, id: TableId) -> Result<&mut Table, Error> {
        self.tables.get_mut(id.number()).filter(|t| t.spec.namespace == namespace).ok_or(Error::NoTable(id))
    }

    /// A table that an entry or a miss of `namespace` names.
    pub(super) fn target_table(&self, namespace: Namespace, id: TableId) -> Result<&Table, Error> {
        let table = self.tables.get(id.number()).ok_or(Error::NoTable(id))?;
        if table.spec.namespace != namespace {
            let (found, expected) = (table.spec.namespace.table_type, namespace.table_type);
            return Err(Error::OtherNamespace { table: id, found, expected });
        }
        Ok(table)
    }

    /// Counts a destination or miss that names table `id` (`up`), or is gone.
    pub(super) fn use_table(&mut self, id: TableId, up: bool) {
        if let Some(table) = self.tables.get_mut(id.number()) {
            table.users = if up { table.users + 1 } else { table.users.saturating_sub(1) };
        }
    }

    /// CREATE_FLOW_TABLE.
    ///
    /// # Errors
    /// Size, level or quota exceeded; a miss table that does not exist or is in another namespace.
    pub fn create_table(&mut self, spec: &TableSpec) -> Result<TableId, Error> {
        if spec.log_size > self.limits.log_table_size {
            return Err(Error::TableTooLarge { log_size: spec.log_size, max: self.limits.log_table_size });
        }
        if spec.level > self.limits.level {
            return Err(Error::LevelTooHigh { level: spec.level, max: self.limits.level });
        }
        if self.tables.len() >= self.limits.tables {
            return Err(Error::Quota { what: "flow tables", max: self.limits.tables });
        }
        if let Miss::Table(to) = spec.miss {
            self.target_table(spec.namespace, to)?;
            self.use_table(to, true);
        }
        Ok(TableId::from_number(self.tables.insert(Table::new(*spec))))
    }

    /// MODIFY_FLOW_TABLE with `table_miss_action` selected. A miss may go to any table of the namespace but the table
    /// itself; unlike a forward it need not raise the level, as the walk is bounded anyway.
    ///
    /// # Errors
    /// No such table, no such miss table, or a miss to itself.
    pub fn modify_table_miss(&mut self, namespace: Namespace, id: TableId, miss: Miss) -> Result<(), Error> {
        let before = self.table(namespace, id)?.spec.miss;
        if let Miss::Table(to) = miss {
            if to == id {
                return Err(Error::MissToSelf);
            }
            self.target_table(namespace, to)?;
            self.use_table(to, true);
        }
        if let Miss::Table(to) = before {
            self.use_table(to, false);
        }
        self.table_mut(namespace, id)?.spec.miss = miss;
        Ok(())
    }

    /// QUERY_FLOW_TABLE.
    ///
    /// # Errors
    /// No such table.
    pub fn query_table(&self, namespace: Namespace, id: TableId) -> Result<TableSpec, Error> {
        Ok(self.table(namespace, id)?.spec)
    }

    /// DESTROY_FLOW_TABLE. A root may be destroyed and stops to be the root: the kernel destroys the last table of a type
    /// without disconnecting it (`fs_core.c: update_root_ft_destroy`).
    ///
    /// # Errors
    /// No such table; it has groups; a destination or a miss names it.
    pub fn destroy_table(&mut self, namespace: Namespace, id: TableId) -> Result<(), Error> {
        let table = self.table(namespace, id)?;
        if !table.groups.is_empty() {
            return Err(Error::InUse { what: "the flow table", users: table.groups.len(), by: "flow groups" });
        }
        if table.users > 0 {
            return Err(Error::InUse { what: "the flow table", users: table.users, by: "destinations or misses" });
        }
        if let Miss::Table(to) = table.spec.miss {
            self.use_table(to, false);
        }
        self.roots.retain(|_, root| *root != id);
        self.tables.remove(id.number());
        Ok(())
    }

    /// SET_FLOW_TABLE_ROOT, `op_mod` 0. Replaces the root that there was.
    ///
    /// # Errors
    /// No such table.
    pub fn set_root(&mut self, namespace: Namespace, id: TableId) -> Result<(), Error> {
        self.table(namespace, id)?;
        self.roots.insert(namespace, id);
        Ok(())
    }

    /// SET_FLOW_TABLE_ROOT, `op_mod` 1 (which names no table). Without a root there is nothing to do.
    pub fn disconnect_root(&mut self, namespace: Namespace) {
        self.roots.remove(&namespace);
    }

    /// The root, if there is one.
    pub fn root(&self, namespace: Namespace) -> Option<TableId> {
        self.roots.get(&namespace).copied()
    }

    /// ALLOC_FLOW_COUNTER: `count` counters (1, or the size of the bulk) with consecutive numbers; returns the first.
    ///
    /// # Errors
    /// The quota is used up.
    pub fn alloc_counters(&mut self, count: usize) -> Result<CounterId, Error> {
        self.counters.alloc(count, self.limits.counters)
    }

    /// DEALLOC_FLOW_COUNTER of the number that [`Steering::alloc_counters`] returned: the whole bulk goes.
    ///
    /// # Errors
    /// No such counter; an entry uses it, or one of its bulk.
    pub fn dealloc_counters(&mut self, id: CounterId) -> Result<(), Error> {
        self.counters.dealloc(id)
    }

    /// QUERY_FLOW_COUNTER of one counter; `clear` sets it back to zero. Query a bulk number by number: consecutive numbers
    /// are consecutive counters.
    ///
    /// # Errors
    /// No such counter.
    pub fn query_counter(&self, id: CounterId, clear: bool) -> Result<CounterValue, Error> {
        self.counters.query(id, clear)
    }

    /// All counters: the first number and the size of each bulk.
    pub fn counters(&self) -> impl Iterator<Item = (CounterId, usize)> + '_ {
        self.counters.ids()
    }

    /// ALLOC_MODIFY_HEADER_CONTEXT, for entries of tables of this type.
    ///
    /// # Errors
    /// Too many actions, a malformed or unsupported one, or the quota is used up.
    pub fn create_modify_header(
        &mut self,
        table_type: TableType,
        actions: &[RawModifyAction],
    ) -> Result<ModifyHeaderId, Error> {
        let (count, max) = (actions.len(), self.limits.modify_actions);
        if count > max {
            return Err(Error::TooMany { what: "modify header actions", count, max });
        }
        if self.modify_headers.len() >= self.limits.modify_headers {
            return Err(Error::Quota { what: "modify headers", max: self.limits.modify_headers });
        }
        let actions = actions.iter().enumerate().map(|(n, raw)| ModifyAction::from_raw(n, raw));
        let header = ModifyHeader { table_type, actions: actions.collect::<Result<_, _>>()? };
        Ok(ModifyHeaderId(self.modify_headers.insert(Arc::new(header)) + 1))
    }

    /// DEALLOC_MODIFY_HEADER_CONTEXT.
    ///
    /// # Errors
    /// No such object; an entry uses it.
    pub fn destroy_modify_header(&mut self, id: ModifyHeaderId) -> Result<(), Error> {
        let n = id.0.wrapping_sub(1);
        let users = self.modify_headers.get(n).map(Arc::strong_count).ok_or(Error::NoModifyHeader(id))? - 1;
        if users > 0 {
            return Err(Error::InUse { what: "the modify header", users, by: "flow entries" });
        }
        self.modify_headers.remove(n);
        Ok(())
    }

    /// The modify-header object.
    ///
    /// # Errors
    /// No such object.
    pub fn query_modify_header(&self, id: ModifyHeaderId) -> Result<&ModifyHeader, Error> {
        self.modify_headers.get(id.0.wrapping_sub(1)).map(AsRef::as_ref).ok_or(Error::NoModifyHeader(id))
    }
}
