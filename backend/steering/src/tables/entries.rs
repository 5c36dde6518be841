//! Commands about flow entries.

use std::sync::Arc;

use super::Steering;
use super::counter::CounterRef;
use super::error::Error;
use super::modify_header::ModifyHeader;
use super::table::{Entry, Hits};
use super::types::{Actions, CounterIds, Destination, FlowContext, ModifyHeaderId, ModifyMask, Namespace, TableId};
use crate::packet::{VlanTag, ethernet};

/// The largest flow tag, 24 bits.
const MAX_FLOW_TAG: u32 = 0xff_ffff;

/// What a flow context refers to, found and checked.
struct Resolved {
    counters: Box<[CounterRef]>,
    modify_header: Option<(ModifyHeaderId, Arc<ModifyHeader>)>,
}

impl Steering {
    /// SET_FTE with `op_mod` 0: a new entry at `index`.
    ///
    /// # Errors
    /// No such table or group; the index is outside the group or taken; an action, destination or counter that does not exist
    /// or is not supported; a forward that does not raise the level; a quota is used up. Nothing has changed then.
    pub fn set_entry(
        &mut self,
        namespace: Namespace,
        table: TableId,
        index: u32,
        context: &FlowContext,
    ) -> Result<(), Error> {
        let t = self.table(namespace, table)?;
        if index >= t.size() {
            return Err(Error::OutsideTable { index, size: t.size() });
        }
        if t.entries.contains_key(&index) {
            return Err(Error::EntryExists(index));
        }
        let group = self.group(table, context.group)?;
        if !(group.start..=group.end).contains(&index) {
            return Err(Error::OutsideGroup { index });
        }
        if self.entries.len() >= self.limits.entries {
            return Err(Error::Quota { what: "flow entries", max: self.limits.entries });
        }
        let resolved = self.check(namespace, table, context, 0)?;
        let mask = group.mask.clone();
        let entry = Entry {
            flow_index: index,
            flow_tag: context.flow_tag & MAX_FLOW_TAG,
            key: mask.key_of(&context.value),
            actions: context.action,
            hits: Hits::default(),
            destinations: context.destinations.clone(),
            counters: resolved.counters,
            modify_header: resolved.modify_header,
            push_vlan: context.push_vlan,
            push_vlan_2: context.push_vlan_2,
            group: context.group,
        };
        self.use_destinations(&context.destinations, true);
        let number = self.entries.insert(entry);
        let hash = self.hash;
        if let Some(t) = self.tables.get_mut(table.number()) {
            t.entries.insert(index, number);
            if let Some(matcher) = t.matcher_of(&mask) {
                matcher.insert(hash, &self.entries, number);
            }
        }
        Ok(())
    }

    /// SET_FTE with `op_mod` 1: changes what `mask` selects of the entry at `index`. Its group and match value stay; hits
    /// go on.
    ///
    /// # Errors
    /// No entry there, or it is of another group; else as [`Steering::set_entry`]. Nothing has changed then.
    pub fn modify_entry(
        &mut self,
        namespace: Namespace,
        table: TableId,
        index: u32,
        mask: ModifyMask,
        context: &FlowContext,
    ) -> Result<(), Error> {
        let number = self.entry_number(namespace, table, index)?;
        let mut wanted = self.query_entry(namespace, table, index)?;
        if wanted.group != context.group {
            return Err(Error::NoGroup(context.group));
        }
        if mask.has(ModifyMask::ACTION) {
            wanted.action = context.action;
            wanted.modify_header = context.modify_header;
            (wanted.push_vlan, wanted.push_vlan_2) = (context.push_vlan, context.push_vlan_2);
        }
        if mask.has(ModifyMask::FLOW_TAG) {
            wanted.flow_tag = context.flow_tag & MAX_FLOW_TAG;
        }
        let before = wanted.destinations.clone();
        if mask.has(ModifyMask::DESTINATION_LIST) {
            wanted.destinations = context.destinations.clone();
        }
        if mask.has(ModifyMask::FLOW_COUNTERS) {
            wanted.counters = context.counters.clone();
        }
        // Lists that the new action has no use for go with the old one.
        if !wanted.action.has(Actions::FWD_DEST) {
            wanted.destinations.clear();
        }
        if !wanted.action.has(Actions::COUNT) {
            wanted.counters.clear();
        }
        let resolved = self.check(namespace, table, &wanted, before.len())?;
        self.use_destinations(&wanted.destinations, true);
        self.use_destinations(&before, false);
        if let Some(entry) = self.entries.get_mut(number) {
            entry.flow_tag = wanted.flow_tag;
            entry.actions = wanted.action;
            entry.destinations = wanted.destinations;
            entry.counters = resolved.counters;
            entry.modify_header = resolved.modify_header;
            (entry.push_vlan, entry.push_vlan_2) = (wanted.push_vlan, wanted.push_vlan_2);
        }
        Ok(())
    }

    /// DELETE_FTE.
    ///
    /// # Errors
    /// No such table, or no entry there.
    pub fn delete_entry(&mut self, namespace: Namespace, table: TableId, index: u32) -> Result<(), Error> {
        let number = self.entry_number(namespace, table, index)?;
        let group = self.entries.get(number).map(|e| e.group).ok_or(Error::NoEntry(index))?;
        let mask = self.group(table, group)?.mask.clone();
        let hash = self.hash;
        if let Some(t) = self.tables.get_mut(table.number()) {
            t.entries.remove(&index);
            // The matcher needs the entries by index to bring a shadowed one to light.
            let by_index = std::mem::take(&mut t.entries);
            if let Some(matcher) = t.matcher_of(&mask) {
                matcher.remove(hash, &self.entries, number, |index| by_index.get(&index).copied());
            }
            t.entries = by_index;
        }
        if let Some(entry) = self.entries.remove(number) {
            self.use_destinations(&entry.destinations, false);
        }
        Ok(())
    }

    /// QUERY_FTE. The value is returned masked; the modify header is 0 if there is none.
    ///
    /// # Errors
    /// No such table, or no entry there.
    pub fn query_entry(&self, namespace: Namespace, table: TableId, index: u32) -> Result<FlowContext, Error> {
        let number = self.entry_number(namespace, table, index)?;
        let entry = self.entries.get(number).ok_or(Error::NoEntry(index))?;
        let group = self.group(table, entry.group)?;
        Ok(entry.context(group))
    }

    fn entry_number(&self, namespace: Namespace, table: TableId, index: u32) -> Result<u32, Error> {
        self.table(namespace, table)?.entries.get(&index).copied().ok_or(Error::NoEntry(index))
    }

    /// Counts the tables that destinations name, and the destinations.
    fn use_destinations(&mut self, destinations: &[Destination], up: bool) {
        for destination in destinations {
            if let Destination::Table(id) = destination {
                self.use_table(*id, up);
            }
        }
        let n = destinations.len();
        self.destinations = if up { self.destinations + n } else { self.destinations.saturating_sub(n) };
    }

    /// Checks all that a flow context says but its place. `replaced` destinations go when it is accepted.
    fn check(
        &self,
        namespace: Namespace,
        table: TableId,
        context: &FlowContext,
        replaced: usize,
    ) -> Result<Resolved, Error> {
        check_actions(context)?;
        self.check_destinations(namespace, table, context, replaced)?;
        Ok(Resolved {
            counters: self.resolve_counters(context.action, &context.counters)?,
            modify_header: self.resolve_modify_header(namespace, context)?,
        })
    }

    fn check_destinations(
        &self,
        namespace: Namespace,
        table: TableId,
        context: &FlowContext,
        replaced: usize,
    ) -> Result<(), Error> {
        let (count, max) = (context.destinations.len(), self.limits.destinations_per_entry);
        if count > max {
            return Err(Error::TooMany { what: "destinations", count, max });
        }
        if self.destinations - replaced.min(self.destinations) + count > self.limits.destinations {
            return Err(Error::Quota { what: "destinations", max: self.limits.destinations });
        }
        let from = self.table(namespace, table)?.spec.level;
        for destination in &context.destinations {
            if let Destination::Table(to) = *destination {
                let level = self.target_table(namespace, to)?.spec.level;
                if level <= from {
                    return Err(Error::LevelNotRaised { from, table: to, to: level });
                }
            }
        }
        Ok(())
    }

    fn resolve_counters(&self, action: Actions, ids: &CounterIds) -> Result<Box<[CounterRef]>, Error> {
        let (count, max) = (ids.len(), self.limits.counters_per_entry);
        if count > max {
            return Err(Error::TooMany { what: "flow counters", count, max });
        }
        if action.has(Actions::COUNT) == ids.is_empty() {
            return Err(Error::CounterCount { count, action: action.0 });
        }
        ids.iter().map(|id| self.counters.reference(*id)).collect()
    }

    fn resolve_modify_header(
        &self,
        namespace: Namespace,
        context: &FlowContext,
    ) -> Result<Option<(ModifyHeaderId, Arc<ModifyHeader>)>, Error> {
        if !context.action.has(Actions::MOD_HDR) {
            return Ok(None);
        }
        let id = context.modify_header;
        let header = self.modify_headers.get(id.0.wrapping_sub(1)).ok_or(Error::NoModifyHeader(id))?;
        if header.table_type != namespace.table_type {
            return Err(Error::ModifyHeaderType(id));
        }
        Ok(Some((id, header.clone())))
    }
}

fn check_actions(context: &FlowContext) -> Result<(), Error> {
    let action = context.action;
    if action.0 & !Actions::SUPPORTED != 0 {
        return Err(Error::UnsupportedAction(action.0 & !Actions::SUPPORTED));
    }
    let terminal = action.0 & (Actions::ALLOW | Actions::DROP | Actions::FWD_DEST);
    if terminal.count_ones() != 1 {
        return Err(Error::TerminalActions(action.0));
    }
    if action.has(Actions::FWD_DEST) == context.destinations.is_empty() {
        return Err(Error::DestinationCount { count: context.destinations.len(), action: action.0 });
    }
    let pushed: [(u32, VlanTag); 2] =
        [(Actions::VLAN_PUSH, context.push_vlan), (Actions::VLAN_PUSH_2, context.push_vlan_2)];
    for (bit, tag) in pushed {
        if action.has(bit) && !ethernet::is_tag(tag.tpid) {
            return Err(Error::NotVlan(tag.tpid));
        }
    }
    Ok(())
}
