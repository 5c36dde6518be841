//! A recorded command, with names.

use std::collections::BTreeMap;

use mlx5emu_card::commands::record::Record;
use mlx5emu_config::FunctionName;
use mlx5emu_config::control::CommandRecord;
use mlx5emu_prm::command;
use mlx5emu_prm::decode::{Value, decode_input};

/// Fields shown of one command, at most.
const MAX_FIELDS: usize = 64;
/// Members of every command that a record shows in places of their own.
const ELSEWHERE: [&str; 3] = ["opcode", "op_mod", "uid"];

/// What the record says, with the names of the function and of the fields that are not zero.
pub(super) fn decode(record: &Record, function: FunctionName) -> CommandRecord {
    let uid = command::layouts(record.opcode).and_then(|(input, _)| input.field("uid"));
    CommandRecord {
        seq: record.seq,
        function,
        opcode_name: record.opcode.name().unwrap_or_default().to_string(),
        opcode: record.opcode.0,
        op_mod: record.op_mod,
        uid: uid.map_or(0, |uid| uid.get32(&record.input) as u16),
        slot: record.slot,
        names: names(&record.input),
        fields: fields(&record.input),
        status: record.status.0,
        status_name: record.status.to_string(),
        syndrome: record.syndrome,
        fault: record.fault.as_deref().map(str::to_string),
        queued_ns: record.started,
        time_ns: record.took,
    }
}

fn fields(input: &[u8]) -> Vec<(String, u64)> {
    // Bytes (register contents) are left out; `ctl` shows numbers.
    let numbers = decode_input(input).into_iter().filter_map(|(name, value)| match value {
        Value::Number(number, _) if !ELSEWHERE.contains(&name.as_str()) => Some((name, number)),
        _ => None,
    });
    numbers.take(MAX_FIELDS).collect()
}

fn names(input: &[u8]) -> BTreeMap<String, String> {
    let named = decode_input(input).into_iter().filter_map(|(field, value)| match value {
        Value::Number(_, Some(name)) if !ELSEWHERE.contains(&field.as_str()) => Some((field, name.to_string())),
        _ => None,
    });
    named.take(MAX_FIELDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx5emu_prm::layouts::{cmd_in, cqc, create_cq_in, manage_pages_in};
    use mlx5emu_prm::opcode::{Opcode, Status};

    fn record(opcode: Opcode, mut input: Vec<u8>) -> Record {
        cmd_in::opcode.set(&mut input, opcode.0.into());
        Record {
            seq: 3,
            function: 0,
            slot: 31,
            opcode,
            op_mod: 1,
            input_len: input.len(),
            input: input.into(),
            status: Status::BAD_PARAM,
            syndrome: 0x1007,
            output: [0; 16],
            fault: None,
            started: 10,
            took: 20,
        }
    }

    #[test]
    fn fields_have_the_kernels_names() {
        let mut input = vec![0; 0x10];
        manage_pages_in::function_id.set(&mut input, 7);
        let shown = decode(&record(Opcode::MANAGE_PAGES, input), FunctionName::pf(0));
        assert_eq!((shown.opcode_name.as_str(), shown.status_name.as_str()), ("MANAGE_PAGES", "BAD_PARAM"));
        assert_eq!(shown.fields, [("function_id".to_string(), 7)]);
    }

    #[test]
    fn contexts_show_what_is_set_in_them() {
        let mut input = vec![0; create_cq_in::SIZE];
        cqc::log_cq_size.set(create_cq_in::cq_context.of_mut(&mut input), 9);
        let shown = decode(&record(Opcode::CREATE_CQ, input), FunctionName::pf(0));
        assert_eq!(shown.fields, [("cq_context.log_cq_size".to_string(), 9)]);
    }

    #[test]
    fn rubbish_is_shown_as_it_is_and_bounded() {
        for opcode in (0..0xc00).map(Opcode) {
            let shown = decode(&record(opcode, vec![0xff; 0x400]), FunctionName::pf(0));
            assert!(shown.fields.len() <= MAX_FIELDS);
            decode(&record(opcode, Vec::new()), FunctionName::pf(0));
        }
        let unknown = decode(&record(Opcode(0xfff), vec![0; 8]), FunctionName::pf(0));
        assert_eq!((unknown.opcode_name.as_str(), unknown.fields.len()), ("", 0));
    }
}
