//! One firmware command as the card recorded it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::function::FunctionName;

/// One firmware command, recorded when it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// Counts the card's commands from 1, in the order in which they were answered.
    pub seq: u64,
    /// Who gave it.
    pub function: FunctionName,
    /// The opcode as the kernel spells it without `MLX5_CMD_OP_`, for example `CREATE_EQ`; empty for an unknown number.
    pub opcode_name: String,
    /// The opcode's number.
    pub opcode: u16,
    /// The operation modifier.
    pub op_mod: u16,
    /// The user context id, 0 for the kernel.
    #[serde(default)]
    pub uid: u16,
    /// The slot of the command queue.
    #[serde(default)]
    pub slot: u8,
    /// Input fields worth showing, in the order of the command's layout.
    #[serde(with = "ordered_map")]
    pub fields: Vec<(String, u64)>,
    /// What the values of some fields are called, by field: `register_id` is `PMTU`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// The status in the output, 0 for OK.
    pub status: u8,
    /// The status as the kernel spells it without `MLX5_CMD_STAT_`, for example `OK`, `BAD_PARAM_ERR`.
    pub status_name: String,
    /// The syndrome in the output.
    pub syndrome: u32,
    /// The fault rule that acted on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// When the doorbell for it was seen, in nanoseconds since the card started.
    pub queued_ns: u64,
    /// How long it took from the doorbell to the answer, in nanoseconds.
    pub time_ns: u64,
}

/// A list of pairs that is written as one JSON object, its order kept.
mod ordered_map {
    use super::*;

    pub(super) fn serialize<S: Serializer>(pairs: &[(String, u64)], to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(pairs.len()))?;
        for (name, value) in pairs {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, u64)>, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(String, u64)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        from.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_the_order_of_their_fields() {
        let record = CommandRecord {
            seq: 9,
            function: FunctionName::pf(0),
            opcode_name: "QUERY_PAGES".into(),
            opcode: 0x107,
            op_mod: 1,
            uid: 0,
            slot: 31,
            fields: vec![("function_id".into(), 0), ("embedded_cpu_function".into(), u64::MAX)],
            names: BTreeMap::new(),
            status: 0,
            status_name: "OK".into(),
            syndrome: 0,
            fault: None,
            queued_ns: 5,
            time_ns: 10,
        };
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains(r#""fields":{"function_id":0,"embedded_cpu_function":18446744073709551615}"#), "{text}");
        assert_eq!(serde_json::from_str::<CommandRecord>(&text).unwrap(), record);
    }
}
