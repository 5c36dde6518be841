//! The words that each kind of rule has.

use super::FaultKind;

/// The words of one kind of rule.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The kind.
    pub kind: FaultKind,
    /// What there is to match beside `EVERYWHERE`: word, and what follows it.
    pub matches: &'static [(&'static str, &'static str)],
    /// The beginning of words for fields, if the kind has those.
    pub fields: Option<&'static str>,
    /// What can be done. Words with a value end in `=`.
    pub actions: &'static [&'static str],
}

/// What every kind matches.
pub(super) const EVERYWHERE: [(&str, &str); 4] = [("fn", "FUNCTION"), ("nth", "N"), ("every", "N"), ("p", "A/B")];

/// Every kind of rule.
pub const FORMS: [Form; 6] = [
    Form {
        kind: FaultKind::Cmd,
        matches: &[("op", "COMMAND"), ("op_mod", "N"), ("uid", "N")],
        fields: Some("in."),
        actions: &[
            "before",
            "after",
            "status=",
            "syndrome=",
            "delivery=",
            "out.",
            "drop",
            "hold",
            "delay=",
            "twice",
            "idle-slot=",
            "hang",
            "times=",
        ],
    },
    Form {
        kind: FaultKind::Event,
        matches: &[("type", "EVENT"), ("sub_type", "N"), ("eqn", "N")],
        fields: Some("data."),
        actions: &["drop", "hold", "delay=", "twice", "times="],
    },
    Form {
        kind: FaultKind::Wqe,
        matches: &[("op", "OPCODE"), ("queue", "N"), ("side", "send|receive")],
        fields: None,
        actions: &["before", "after", "syndrome=", "drop", "hold", "delay=", "hang", "times="],
    },
    Form {
        kind: FaultKind::Packet,
        matches: &[("port", "PORT"), ("dir", "in|out"), ("ethertype", "N"), ("min_len", "BYTES")],
        fields: None,
        actions: &["drop", "delay=", "twice", "times="],
    },
    Form {
        kind: FaultKind::Dma,
        matches: &[("dir", "read|write"), ("addr", "FIRST-LAST")],
        fields: None,
        actions: &["error=", "drop", "times="],
    },
    Form { kind: FaultKind::Health, matches: &[], fields: None, actions: &["syndrome=", "report", "hang", "times="] },
];

impl Form {
    /// That of `kind`.
    pub(super) fn of(kind: FaultKind) -> Form {
        FORMS.into_iter().find(|form| form.kind == kind).unwrap_or(FORMS[0])
    }

    /// Whether an action can be used with the kind.
    pub(super) fn has_action(&self, word: &str) -> bool {
        self.actions.contains(&word)
    }
}
