//! Commands about flow groups.

use super::Steering;
use super::error::Error;
use super::matcher::{Mask, Matcher};
use super::table::Group;
use super::types::{GroupId, GroupSpec, Namespace, TableId};

impl GroupId {
    pub(super) fn from_number(n: u32) -> Self {
        Self(n + 1)
    }

    pub(super) fn number(self) -> u32 {
        self.0.wrapping_sub(1)
    }
}

impl Steering {
    pub(super) fn group(&self, table: TableId, id: GroupId) -> Result<&Group, Error> {
        self.groups.get(id.number()).filter(|g| g.table == table).ok_or(Error::NoGroup(id))
    }

    /// CREATE_FLOW_GROUP. Only the enabled parts of the mask count.
    ///
    /// # Errors
    /// No such table; the range is reversed, outside the table, or shares indexes with another group; the mask covers what
    /// this card does not match; a quota is used up.
    pub fn create_group(&mut self, namespace: Namespace, table: TableId, spec: &GroupSpec) -> Result<GroupId, Error> {
        let limits = self.limits;
        let groups = self.groups.len();
        let t = self.table_mut(namespace, table)?;
        let (start, end) = (spec.start, spec.end);
        if start > end {
            return Err(Error::GroupReversed { start, end });
        }
        if end >= t.size() {
            return Err(Error::OutsideTable { index: end, size: t.size() });
        }
        let before = t.groups.range(..=end).next_back().map(|(other, id)| (*other, *id));
        let mask = Mask::new(&spec.criteria.apply(&spec.mask))?;
        if groups >= limits.groups {
            return Err(Error::Quota { what: "flow groups", max: limits.groups });
        }
        if let Some((other, id)) = before
            && self.group(table, id)?.end >= start
        {
            return Err(Error::GroupOverlap { start: other });
        }
        self.add_to_matcher(namespace, table, &mask, start)?;
        let id = GroupId::from_number(self.groups.insert(Group { table, start, end, criteria: spec.criteria, mask }));
        self.table_mut(namespace, table)?.groups.insert(start, id);
        Ok(id)
    }

    fn add_to_matcher(&mut self, namespace: Namespace, table: TableId, mask: &Mask, start: u32) -> Result<(), Error> {
        let max = self.limits.masks_per_table;
        let t = self.table_mut(namespace, table)?;
        let masks = t.matchers.len();
        match t.matcher_of(mask) {
            Some(matcher) => matcher.add_group(start),
            None if masks >= max => return Err(Error::Quota { what: "different masks in one table", max }),
            None => t.matchers.push(Matcher::new(mask.clone(), start)),
        }
        t.arrange_matchers();
        Ok(())
    }

    /// QUERY_FLOW_GROUP. The mask is returned without the parts that are not enabled.
    ///
    /// # Errors
    /// No such table or group.
    pub fn query_group(&self, namespace: Namespace, table: TableId, id: GroupId) -> Result<GroupSpec, Error> {
        self.table(namespace, table)?;
        let group = self.group(table, id)?;
        let (start, end, criteria) = (group.start, group.end, group.criteria);
        Ok(GroupSpec { start, end, criteria, mask: group.mask.expand() })
    }

    /// DESTROY_FLOW_GROUP.
    ///
    /// # Errors
    /// No such table or group; it has entries.
    pub fn destroy_group(&mut self, namespace: Namespace, table: TableId, id: GroupId) -> Result<(), Error> {
        let t = self.table(namespace, table)?;
        let group = self.group(table, id)?;
        let (start, end) = (group.start, group.end);
        // Counted only as far as the message needs it: a full group would take long.
        let users = t.entries.range(start..=end).take(100).count();
        if users > 0 {
            return Err(Error::InUse { what: "the flow group", users, by: "flow entries" });
        }
        let Some(group) = self.groups.remove(id.number()) else { return Err(Error::NoGroup(id)) };
        let t = self.table_mut(namespace, table)?;
        t.groups.remove(&start);
        if t.matcher_of(&group.mask).is_some_and(|m| m.remove_group(start)) {
            t.matchers.retain(|m| m.mask != group.mask);
        }
        t.arrange_matchers();
        Ok(())
    }
}
