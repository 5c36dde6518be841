//! Numbered objects: what the firmware hands out numbers for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mlx5emu_prm::opcode::Status;

use crate::error::{Stop, Syndrome, no_such, refuse};

struct Slot<T> {
    value: T,
    users: u32,
}

/// Objects of one kind, by number. Numbers count from `base`; the lowest free one is handed out. Objects in use by others
/// can't be taken out.
pub struct Table<T> {
    kind: &'static str,
    base: u32,
    limit: u32,
    slots: Vec<Option<Slot<T>>>,
    free: BinaryHeap<Reverse<u32>>,
    live: u32,
}

impl<T> Table<T> {
    /// A table of at most `limit` objects, numbered from `base`. `kind` is for messages.
    pub const fn new(kind: &'static str, base: u32, limit: u32) -> Self {
        Self { kind, base, limit, slots: Vec::new(), free: BinaryHeap::new(), live: 0 }
    }

    /// What the objects are called.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Number of live objects.
    pub fn len(&self) -> u32 {
        self.live
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The number that the next [`Table::insert`] hands out.
    pub fn next_number(&self) -> Result<u32, Stop> {
        if let Some(Reverse(n)) = self.free.peek() {
            return Ok(*n + self.base);
        }
        if self.live >= self.limit {
            return refuse(
                Status::EXCEED_LIM,
                Syndrome::NoMoreObjects,
                format!("no more than {} objects of kind {}", self.limit, self.kind),
            );
        }
        Ok(self.slots.len() as u32 + self.base)
    }

    /// Adds an object and returns its number.
    pub fn insert(&mut self, value: T) -> Result<u32, Stop> {
        let number = self.next_number()?;
        self.free.pop();
        let index = (number - self.base) as usize;
        let slot = Some(Slot { value, users: 0 });
        if index == self.slots.len() {
            self.slots.push(slot)
        } else {
            self.slots[index] = slot
        }
        self.live += 1;
        Ok(number)
    }

    fn slot(&self, number: u32) -> Option<&Slot<T>> {
        self.slots.get(number.checked_sub(self.base)? as usize)?.as_ref()
    }

    fn slot_mut(&mut self, number: u32) -> Option<&mut Slot<T>> {
        self.slots.get_mut(number.checked_sub(self.base)? as usize)?.as_mut()
    }

    /// The object, if it exists.
    pub fn find(&self, number: u32) -> Option<&T> {
        self.slot(number).map(|s| &s.value)
    }

    /// The object, to change.
    pub fn find_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slot_mut(number).map(|s| &mut s.value)
    }

    /// The object, or the refusal that a command answers.
    pub fn get(&self, number: u32) -> Result<&T, Stop> {
        match self.find(number) {
            Some(value) => Ok(value),
            None => no_such(self.kind, number),
        }
    }

    /// As [`Table::get`], to change.
    pub fn get_mut(&mut self, number: u32) -> Result<&mut T, Stop> {
        let kind = self.kind;
        match self.find_mut(number) {
            Some(value) => Ok(value),
            None => no_such(kind, number),
        }
    }

    /// One more object uses `number`.
    pub fn hold(&mut self, number: u32) -> Result<(), Stop> {
        let kind = self.kind;
        match self.slot_mut(number) {
            Some(slot) => {
                slot.users = slot.users.saturating_add(1);
                Ok(())
            }
            None => no_such(kind, number),
        }
    }

    /// One object less uses `number`.
    pub fn release(&mut self, number: u32) {
        if let Some(slot) = self.slot_mut(number) {
            slot.users = slot.users.saturating_sub(1);
        }
    }

    /// Takes the object out.
    pub fn remove(&mut self, number: u32) -> Result<T, Stop> {
        let kind = self.kind;
        let Some(index) = number.checked_sub(self.base).map(|i| i as usize) else { return no_such(kind, number) };
        match self.slots.get(index).and_then(Option::as_ref).map(|s| s.users) {
            None => no_such(kind, number),
            Some(0) => {
                let Some(slot) = self.slots[index].take() else { return no_such(kind, number) };
                self.free.push(Reverse(index as u32));
                self.live -= 1;
                Ok(slot.value)
            }
            Some(users) => refuse(
                Status::BAD_RES_STATE,
                Syndrome::ObjectInUse,
                format!("{kind} {number:#x} is used by {users} other object(s)"),
            ),
        }
    }

    /// Every object with its number and the number of its users.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T, u32)> {
        let base = self.base;
        self.slots.iter().enumerate().filter_map(move |(i, s)| s.as_ref().map(|s| (i as u32 + base, &s.value, s.users)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reused_lowest_first_and_limited() {
        let mut table = Table::new("thing", 10, 3);
        assert_eq!([table.insert('a').unwrap(), table.insert('b').unwrap(), table.insert('c').unwrap()], [10, 11, 12]);
        assert!(matches!(table.insert('d'), Err(Stop::Refused(r)) if r.status == Status::EXCEED_LIM));
        assert_eq!(table.remove(11).unwrap(), 'b');
        assert_eq!(table.remove(10).unwrap(), 'a');
        assert_eq!(table.insert('e').unwrap(), 10);
        assert_eq!(table.iter().map(|(n, v, _)| (n, *v)).collect::<Vec<_>>(), [(10, 'e'), (12, 'c')]);
    }

    #[test]
    fn an_object_in_use_stays() {
        let mut table = Table::new("thing", 0, 3);
        let n = table.insert(()).unwrap();
        table.hold(n).unwrap();
        assert!(matches!(table.remove(n), Err(Stop::Refused(r)) if r.status == Status::BAD_RES_STATE));
        table.release(n);
        table.remove(n).unwrap();
        assert!(matches!(table.remove(n), Err(Stop::Refused(r)) if r.status == Status::BAD_RESOURCE));
        assert!(table.hold(n).is_err() && table.get(99).is_err());
    }
}
