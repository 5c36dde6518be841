//! Flow tables: the objects that steering commands make, and the walk of a packet through them.

mod burst;
mod counter;
mod entries;
mod error;
mod groups;
mod index;
mod inspect;
mod matcher;
mod modify_header;
mod objects;
mod packet;
mod slab;
mod table;
mod types;
mod verdict;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use burst::{MAX_BURST, Packets};
pub use counter::CounterValue;
pub use error::{Error, Status};
pub use index::HashKey;
pub use inspect::{EntryView, GroupView, TableView};
pub use modify_header::{ModifyAction, ModifyHeader, RawModifyAction, Register};
pub use packet::PacketContext;
pub use types::{
    Actions, CounterId, CounterIds, DefaultMiss, Destination, Destinations, FlowContext, GroupId, GroupSpec, Limits,
    Miss, ModifyHeaderId, ModifyMask, Namespace, RawDestination, TableId, TableSpec, TableType,
};
pub use verdict::{Budget, MAX_HOPS, MAX_PUSHED, Outcome, Target, Verdict, Verdicts, VlanEdit};

use counter::Counters;
use slab::Slab;
use table::{Entry, Group, Table};

/// The steering objects of one function, all types of tables together.
///
/// Commands change it through `&mut self`; packets pass through `&self` ([`Steering::evaluate`]), from any number of threads
/// at once.
#[derive(Debug)]
pub struct Steering {
    hash: HashKey,
    limits: Limits,
    tables: Slab<Table>,
    groups: Slab<Group>,
    entries: Slab<Entry>,
    modify_headers: Slab<Arc<ModifyHeader>>,
    counters: Counters,
    roots: BTreeMap<Namespace, TableId>,
    /// Destinations in all entries.
    destinations: usize,
}

/// Packets of all workers pass through one `Steering` at a time.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Steering>();
};

/// How many objects there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Flow tables.
    pub tables: usize,
    /// Flow groups.
    pub groups: usize,
    /// Flow entries.
    pub entries: usize,
    /// Flow counters, those of bulks included.
    pub counters: usize,
    /// Modify-header objects.
    pub modify_headers: usize,
}
