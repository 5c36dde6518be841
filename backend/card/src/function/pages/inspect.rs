//! What `ctl inspect FUNCTION/pages` shows.

use std::collections::BTreeMap;

use mlx5emu_pci_model::DmaSpace;
use serde_json::{Map, Value, json};

use super::{Book, Owner, PageTotals};
use crate::card::{Card, FunctionIndex};
use crate::function::Function;

/// Sums over owners of one type.
#[derive(Default)]
struct Sum {
    held: u64,
    asked: u64,
    recalled: u64,
    given: u64,
    returned: u64,
}

impl<M: DmaSpace + 'static> Card<M> {
    /// The pages of a function, and those that its driver gave for others.
    pub(crate) fn inspect_pages(&self, f: &Function<M>) -> Value {
        let mut shown = json!({
            "mode": self.page_id_mode(f.index).name(),
            "held": self.pages_held(f.index),
            "given": f.page_totals.given,
            "returned": f.page_totals.returned,
            "forgotten": f.page_totals.forgotten,
            "cannot_give": f.page_totals.cannot_give,
            "counts": self.page_counts(f),
            "icm_bytes": f.state.icm_bytes(),
            "canaries": canaries(f),
            "canaries_broken": f.canaries.lock().broken,
        });
        if f.is_pf() {
            let (by_type, by_id) = self.gifts(f.index);
            shown["total"] = json!(f.state.pages.held_by_all());
            shown["by_type"] = by_type;
            shown["by_id"] = by_id;
        }
        shown
    }

    fn page_counts(&self, f: &Function<M>) -> Value {
        if f.is_pf() {
            let counts = self.personality.pages;
            json!({ "boot": counts.boot, "init": counts.init, "event": counts.event })
        } else {
            let counts = self.personality.vf_pages;
            json!({ "enable": counts.enable, "init": counts.init })
        }
    }

    /// What the driver of `giver` gave, by the type of the function that it is for and by the id that names it now. A type
    /// is what the driver calls it if it knows the function: SELF, HOST_PF, VF, SF, NONE.
    fn gifts(&self, giver: FunctionIndex) -> (Value, Value) {
        let mut by_type: BTreeMap<&str, Sum> =
            ["self", "host_pf", "vf", "sf", "none"].into_iter().map(|name| (name, Sum::default())).collect();
        let mut by_id = Map::new();
        let function = &self.functions[giver];
        let nothing = Book::default();
        let own = std::iter::once(&giver).chain(self.managed(giver)).map(|f| Owner::Function(*f));
        let unknown = function.unknown_totals.keys().map(|id| Owner::Unknown(*id));
        let asked = function.state.pages.iter().map(|(owner, _)| owner);
        let owners: std::collections::BTreeSet<Owner> = own.chain(unknown).chain(asked).collect();
        for owner in owners {
            let book = function.state.pages.book(owner).unwrap_or(&nothing);
            let (name, totals) = match owner {
                Owner::Function(f) => (Some(self.function_name(f)), self.functions[f].page_totals),
                Owner::Unknown(id) => (None, function.unknown_totals.get(&id).copied().unwrap_or_default()),
            };
            let kind = match owner {
                Owner::Function(f) if f == giver => "self",
                Owner::Function(f) if self.functions[f].setup.is_sf() => "sf",
                Owner::Function(f) if self.functions[f].setup.is_host_pf() => "host_pf",
                Owner::Function(_) => "vf",
                Owner::Unknown(_) => "none",
            };
            by_type.entry(kind).or_default().add(book, &totals);
            let line = json!({
                "function": name, "type": kind, "held": book.held(),
                "page": book.some_page().map(|page| format!("{page:#x}")), "asked": book.asked, "recalled": book.recalled,
                "extra": book.extra, "for_objects": book.grown, "given": totals.given, "returned": totals.returned,
                "forgotten": totals.forgotten, "cannot_give": totals.cannot_give,
            });
            // Of two functions with one id the first has it, as in commands.
            by_id.entry(self.page_id(giver, owner).to_string()).or_insert(line);
        }
        let by_type = by_type.into_iter().map(|(name, sum)| (name.to_string(), sum.shown()));
        (by_type.collect::<Map<_, _>>().into(), by_id.into())
    }
}

impl Sum {
    fn add(&mut self, book: &Book, totals: &PageTotals) {
        self.held += u64::from(book.held());
        self.asked += u64::from(book.asked);
        self.recalled += u64::from(book.recalled);
        self.given += totals.given;
        self.returned += totals.returned;
    }

    fn shown(&self) -> Value {
        json!({ "held": self.held, "asked": self.asked, "recalled": self.recalled, "given": self.given,
                "returned": self.returned })
    }
}

fn canaries<M>(f: &Function<M>) -> Value {
    let log = f.canaries.lock();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let last: Vec<Value> = log
        .last
        .iter()
        .map(|b| json!({ "page": format!("{:#x}", b.page), "offset": b.offset, "found": hex(&b.found) }))
        .collect();
    json!({ "written": log.written, "whole": log.whole, "broken": log.broken, "by_message": log.by_message,
            "unreachable": log.unreachable, "last_broken": last })
}
