//! What fails in a round: one of the firmware commands that were recorded.

use std::collections::BTreeMap;

use mlx5emu_config::control::CommandRecord;

/// The name of the rule that makes a command fail.
pub(super) const RULE: &str = "sweep";
/// How names of commands that destroy something begin.
const DESTROYERS: [&str; 7] = ["DESTROY_", "DEALLOC_", "DELETE_", "DETACH_", "DISABLE_", "TEARDOWN_", "2RST_"];

/// A firmware command that is made to fail: the `nth` of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    opcode: String,
    function: String,
    nth: u64,
}

impl Target {
    /// What each record is the `nth` of. Opcodes without a name cannot be named in a rule.
    pub(super) fn of(records: &[CommandRecord]) -> Vec<Target> {
        let mut seen: BTreeMap<(String, String), u64> = BTreeMap::new();
        let named = records.iter().filter(|record| !record.opcode_name.is_empty());
        named
            .map(|record| {
                let key = (record.opcode_name.clone(), record.function.to_string());
                let nth = seen.entry(key).or_insert(0);
                *nth += 1;
                Target { opcode: record.opcode_name.clone(), function: record.function.to_string(), nth: *nth }
            })
            .collect()
    }

    /// The rule that makes it fail with `status`.
    pub(super) fn rule(&self, status: &str) -> String {
        format!("{RULE}: cmd op={} fn={} nth={} => status={status}", self.opcode, self.function, self.nth)
    }

    /// The name of its round.
    pub(super) fn name(&self) -> String {
        format!("{} of {}, number {}", self.opcode, self.function, self.nth)
    }

    /// Whether the command may be part of undoing something: a destruction, or a change that ends the use of an object, so that
    /// its destruction is refused.
    pub(super) fn undoes(&self) -> bool {
        self.opcode.starts_with("MODIFY_") || destroys(&self.opcode)
    }
}

fn destroys(opcode: &str) -> bool {
    DESTROYERS.iter().any(|beginning| opcode.starts_with(beginning))
}

/// Whether something was to be destroyed and is not.
pub(super) fn is_refused_destruction(record: &CommandRecord) -> bool {
    record.status != 0 && destroys(&record.opcode_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(function: &str, opcode: &str) -> CommandRecord {
        let text = format!(
            r#"{{"seq":1,"function":"{function}","opcode_name":"{opcode}","opcode":1,"op_mod":0,"fields":{{}},"status":0,
            "status_name":"OK","syndrome":0,"queued_ns":0,"time_ns":0}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn each_command_is_the_nth_of_its_kind_and_function() {
        let records =
            [record("pf0", "CREATE_EQ"), record("pf1", "CREATE_EQ"), record("pf0", ""), record("pf0", "CREATE_EQ")];
        let rules: Vec<String> = Target::of(&records).iter().map(|target| target.rule("INTERNAL")).collect();
        let rule = |function, nth| format!("sweep: cmd op=CREATE_EQ fn={function} nth={nth} => status=INTERNAL");
        assert_eq!(rules, [rule("pf0", 1), rule("pf1", 1), rule("pf0", 2)]);
        for text in &rules {
            mlx5emu_config::fault::FaultRule::parse(text).unwrap();
        }
    }

    #[test]
    fn only_who_refuses_to_destroy_may_keep_something() {
        let refused = |opcode| CommandRecord { status: 9, ..record("pf0", opcode) };
        assert!(is_refused_destruction(&refused("DESTROY_CQ")) && is_refused_destruction(&refused("DEALLOC_PD")));
        assert!(!is_refused_destruction(&record("pf0", "DESTROY_CQ")));
        assert!(!is_refused_destruction(&refused("CREATE_CQ")) && !is_refused_destruction(&refused("MANAGE_PAGES")));
        let target = |opcode: &str| Target { opcode: opcode.into(), function: "pf0".into(), nth: 1 };
        assert!(target("DESTROY_CQ").undoes() && target("MODIFY_RQT").undoes());
        assert!(!target("CREATE_CQ").undoes() && !target("QUERY_HCA_CAP").undoes());
    }
}
