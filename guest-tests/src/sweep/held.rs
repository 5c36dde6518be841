//! What the functions of a card hold: objects and pages.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// What each function has alive, by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held(BTreeMap<String, OfFunction>);

/// Of one function, as `inspect functions` tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct OfFunction {
    /// How many objects, by kind.
    objects: BTreeMap<String, u64>,
    pages: Pages,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Pages {
    held: u64,
}

impl Held {
    /// From the answer to `inspect functions`.
    pub(super) fn from_tree(tree: Value) -> serde_json::Result<Held> {
        serde_json::from_value(tree).map(Held)
    }

    /// What differs now: `pf0: CQ 7 before, 8 now`.
    pub(super) fn difference(&self, now: &Held) -> String {
        let mut told = Vec::new();
        let none = OfFunction::default();
        let names: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        for name in names {
            let (before, now) = (self.0.get(name).unwrap_or(&none), now.0.get(name).unwrap_or(&none));
            let mut tell = |what: &str, before: u64, now: u64| {
                if before != now {
                    told.push(format!("{name}: {what} {before} before, {now} now"));
                }
            };
            let kinds: BTreeSet<&String> = before.objects.keys().chain(now.objects.keys()).collect();
            let count = |of: &OfFunction, kind: &String| of.objects.get(kind).copied().unwrap_or(0);
            kinds.into_iter().for_each(|kind| tell(kind, count(before, kind), count(now, kind)));
            tell("pages", before.pages.held, now.pages.held);
        }
        told.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn held(tree: Value) -> Held {
        Held::from_tree(tree).unwrap()
    }

    #[test]
    fn what_stays_is_told() {
        let before = held(json!({
            "pf0": {"objects": {"CQ": 7, "EQ": 5}, "pages": {"held": 512, "given": 600}},
            "pf1": {"objects": {}, "pages": {"held": 3}},
            "pf0vf0": {"objects": {"PD": 1}, "pages": {"held": 9}},
        }));
        let now = held(json!({
            "pf0": {"objects": {"CQ": 8, "EQ": 5, "PD": 1}, "pages": {"held": 512}},
            "pf1": {"objects": {}, "pages": {"held": 2}},
        }));
        let told = "pf0: CQ 7 before, 8 now; pf0: PD 0 before, 1 now; pf0vf0: PD 1 before, 0 now; \
                    pf0vf0: pages 9 before, 0 now; pf1: pages 3 before, 2 now";
        assert_eq!(before.difference(&now), told);
        assert_eq!(before.difference(&before), "");
    }

    #[test]
    fn an_answer_of_another_kind_is_refused() {
        assert!(Held::from_tree(json!({"pf0": {"objects": 3}})).is_err() && Held::from_tree(json!([])).is_err());
    }
}
