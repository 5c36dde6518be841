//! `mlx5emu ctl commands`.

use std::io::Write;

use mlx5emu_config::control::{Client, ClientError, CommandRecord, Reply, Request};
use mlx5emu_config::printable;

use super::unexpected;
use crate::cli::Commands;
use crate::failure::Failure;

/// Prints recorded commands, and new ones as long as it is asked to follow.
pub(crate) fn run(client: &mut Client, args: &Commands) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    let mut since = 0;
    let ask = |since, follow| Request::Commands { since, follow, function: args.function };
    let mut first = true;
    let mut reply = client.call(ask(since, args.follow)).map_err(Failure::failed)?;
    loop {
        let Reply::Commands { records, next, lost, more } = reply else { return Err(unexpected()) };
        if lost > 0 {
            eprintln!("mlx5emu: {lost} older commands are no longer recorded");
        }
        if first && !args.json {
            writeln!(out, "{}", HEADING)?;
        }
        first = false;
        for record in &records {
            if args.json {
                let line = serde_json::to_string(record).map_err(Failure::failed)?;
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "{}", row(record))?;
            }
        }
        out.flush()?;
        let answer = if args.follow {
            client.follow()
        } else if more && next > since {
            since = next;
            client.call(ask(since, false))
        } else {
            return Ok(0);
        };
        reply = match answer {
            // The card has ended: so has what there was to follow.
            Err(ClientError::Gone) if args.follow => return Ok(0),
            answer => answer.map_err(Failure::failed)?,
        };
    }
}

// Fixed widths: with --follow the rows to come are not known.
const HEADING: &str = "     SEQ  FUNCTION  OPCODE                          OP_MOD  STATUS               TIME  FIELDS";

fn row(record: &CommandRecord) -> String {
    let opcode = match record.opcode_name.as_str() {
        "" => format!("{:#06x}", record.opcode),
        name => printable(name),
    };
    let mut status = printable(&record.status_name);
    if record.status != 0 && record.syndrome != 0 {
        status = format!("{status} {:#x}", record.syndrome);
    }
    let value = |name: &str, v: u64| record.names.get(name).map_or_else(|| number(v), |called| printable(called));
    let mut fields: Vec<String> =
        record.fields.iter().map(|(name, v)| format!("{}={}", printable(name), value(name, *v))).collect();
    fields.extend(record.fault.as_ref().map(|rule| format!("[rule {}]", printable(rule))));
    let text = format!(
        "{:>8}  {:8}  {opcode:30}  {:>6}  {status:14}  {:>9}  {}",
        record.seq,
        record.function,
        record.op_mod,
        time(record.time_ns),
        fields.join(" ")
    );
    text.trim_end().to_string()
}

/// Small numbers are counts and indices, large ones addresses and keys.
fn number(value: u64) -> String {
    if value < 65536 { value.to_string() } else { format!("{value:#x}") }
}

fn time(ns: u64) -> String {
    match ns {
        0..10_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx5emu_config::FunctionName;

    #[test]
    fn rows_line_up_with_the_heading() {
        let record = CommandRecord {
            seq: 12,
            function: FunctionName::pf(0),
            opcode_name: "CREATE_FLOW_TABLE".into(),
            opcode: 0x930,
            op_mod: 0,
            uid: 0,
            slot: 0,
            fields: vec![("table_type".into(), 1), ("pas".into(), 0x1234_5000)],
            names: [("table_type".to_string(), "NIC_TX".to_string())].into(),
            status: 3,
            status_name: "BAD_PARAM_ERR".into(),
            syndrome: 0,
            fault: Some("x".into()),
            queued_ns: 0,
            time_ns: 12_345,
        };
        let row = row(&record);
        for column in ["OPCODE", "STATUS", "FIELDS"] {
            let at = HEADING.find(column).unwrap();
            let before: String = row.chars().take(at).collect();
            assert!(before.ends_with("  "), "{column}: {row}");
        }
        assert!(row.ends_with("12.3 µs  table_type=NIC_TX pas=0x12345000 [rule x]"), "{row}");
        assert_eq!((time(25_000_000), time(20_000_000_000)), ("25.0 ms".into(), "20.0 s".into()));
    }

    #[test]
    fn unknown_opcodes_show_their_number() {
        let json = r#"{"seq":1,"function":"pf0","opcode_name":"","opcode":2748,"op_mod":0,"fields":{},"status":2,
            "status_name":"BAD_OP","syndrome":17,"queued_ns":0,"time_ns":0}"#;
        let row = row(&serde_json::from_str(json).unwrap());
        assert!(row.contains("0x0abc") && row.contains("BAD_OP 0x11"), "{row}");
    }
}
