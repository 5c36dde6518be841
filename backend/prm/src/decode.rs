//! Takes structures apart into their fields, for `ctl commands` and logs.

use std::fmt;

use crate::command;
use crate::field::{Area, Layout};
use crate::layouts::{self, cmd_in, dest_format_struct, extended_dest_format, flow_context, flow_counter_list};
use crate::opcode::Opcode;
use crate::search::ends_in_list;
use crate::views::{names_of, view};

/// How many elements of a list are shown.
pub const SHOWN_ELEMENTS: usize = 16;

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number, and its name if it has one.
    Number(u64, Option<&'static str>),
    /// Bytes without structure, up to the last that is not zero.
    Bytes(Vec<u8>),
    /// So many more elements of a list, which are not shown.
    More(usize),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(_, Some(name)) => f.write_str(name),
            Self::Number(value, None) => write!(f, "{value:#x}"),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::More(count) => write!(f, "and {count} more"),
        }
    }
}

/// The fields of `buf` that are not zero, with their paths, in the order of the table. Bytes that `buf` lacks are zero.
pub fn decode(layout: &'static Layout, buf: &[u8]) -> Vec<(String, Value)> {
    decode_within(layout, buf, buf)
}

/// The fields of a command's input that are not zero. A command that the table lacks shows its head alone.
pub fn decode_input(input: &[u8]) -> Vec<(String, Value)> {
    let opcode = Opcode(cmd_in::opcode.get(input) as u16);
    decode(command::layouts(opcode).map_or(&cmd_in::LAYOUT, |(layout, _)| layout), input)
}

/// The fields of a command's output that are not zero; what they mean can depend on the input.
pub fn decode_output(input: &[u8], output: &[u8]) -> Vec<(String, Value)> {
    let opcode = Opcode(cmd_in::opcode.get(input) as u16);
    decode_within(command::layouts(opcode).map_or(&layouts::cmd_out::LAYOUT, |(_, layout)| layout), output, input)
}

fn decode_within(layout: &'static Layout, buf: &[u8], input: &[u8]) -> Vec<(String, Value)> {
    let mut decoder = Decoder { input, out: Vec::new() };
    decoder.structure(layout, buf, "");
    decoder.out
}

struct Decoder<'a> {
    /// Input of the command that all this belongs to.
    input: &'a [u8],
    out: Vec<(String, Value)>,
}

impl Decoder<'_> {
    fn structure(&mut self, layout: &'static Layout, buf: &[u8], head: &str) {
        for field in layout.fields {
            let value = field.get(buf);
            if value != 0 {
                let name = names_of(layout, field.name).and_then(|names| names.name(value));
                self.out.push((format!("{head}{}", field.name), Value::Number(value, name)));
            }
        }
        for area in layout.areas {
            let bytes = area.of(buf);
            let path = format!("{head}{}", area.name);
            if let Some(view) = view(layout, area.name, buf, self.input) {
                self.structure(view, bytes, &format!("{path}.{}.", view.name));
            } else if (layout.name, area.name) == ("flow_context", "destination") {
                self.destinations(buf, bytes, head);
            } else if area.layout.is_empty() {
                self.bytes(bytes, path);
            } else if area.count == 1 || (area.count == 0 && ends_in_list(area.layout)) {
                self.nested(area, bytes, &path);
            } else {
                self.elements(area, bytes, &path);
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8], path: String) {
        let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if len != 0 {
            self.out.push((path, Value::Bytes(bytes[..len].to_vec())));
        }
    }

    fn nested(&mut self, area: &Area, bytes: &[u8], path: &str) {
        match layouts::find(area.layout) {
            Some(nested) if crate::Source::Scalar == nested.source => {
                for field in nested.fields.iter().filter(|field| field.is_set(bytes)) {
                    self.out.push((path.to_owned(), Value::Number(field.get(bytes), None)));
                }
            }
            Some(nested) => self.structure(nested, bytes, &format!("{path}.")),
            None => {}
        }
    }

    fn elements(&mut self, area: &Area, bytes: &[u8], path: &str) {
        let elements = bytes.chunks(area.len.max(1));
        let count = elements.len();
        for (n, element) in elements.enumerate().take(SHOWN_ELEMENTS) {
            self.nested(area, element, &format!("{path}[{n}]"));
        }
        if count > SHOWN_ELEMENTS && bytes[SHOWN_ELEMENTS * area.len..].iter().any(|byte| *byte != 0) {
            self.out.push((path.to_owned(), Value::More(count - SHOWN_ELEMENTS)));
        }
    }

    /// The destinations of a flow entry, whose form `extended_destination` says, and then its counters.
    fn destinations(&mut self, flow: &[u8], bytes: &[u8], head: &str) {
        let extended = flow_context::extended_destination.is_set(flow);
        let layout = if extended { &extended_dest_format::LAYOUT } else { &dest_format_struct::LAYOUT };
        let destinations = flow_context::destination_list_size.get(flow) as usize;
        let counters = flow_context::flow_counter_list_size.get(flow) as usize;
        let (first, rest) = bytes.split_at(destinations.saturating_mul(layout.size).min(bytes.len()));
        let rest = &rest[..counters.saturating_mul(flow_counter_list::SIZE).min(rest.len())];
        for (list, layout, name) in [(first, layout, "destination"), (rest, &flow_counter_list::LAYOUT, "flow_counter")]
        {
            let elements = list.chunks(layout.size);
            if elements.len() > SHOWN_ELEMENTS {
                self.out.push((format!("{head}{name}"), Value::More(elements.len() - SHOWN_ELEMENTS)));
            }
            for (n, element) in elements.enumerate().take(SHOWN_ELEMENTS) {
                self.structure(layout, element, &format!("{head}{name}[{n}]."));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layouts::{
        access_register_in, cmd_hca_cap, create_sq_in, manage_pages_in, paos_reg, query_hca_cap_out, set_fte_in, sqc,
        wq,
    };
    use crate::register::Register;

    fn shown(values: &[(String, Value)]) -> Vec<String> {
        values.iter().map(|(path, value)| format!("{path}={value}")).collect()
    }

    fn command(opcode: Opcode, len: usize) -> Vec<u8> {
        let mut cmd = vec![0u8; len];
        cmd_in::opcode.set(&mut cmd, opcode.0.into());
        cmd
    }

    #[test]
    fn nested_fields_have_paths_and_names() {
        let mut cmd = command(Opcode::CREATE_SQ, create_sq_in::SIZE + 8);
        let ctx = create_sq_in::ctx.of_mut(&mut cmd);
        sqc::state.set(ctx, 1);
        sqc::cqn.set(ctx, 0x42);
        wq::dbr_addr.set(sqc::wq.of_mut(ctx), 0x1_2345_6000);
        let expected = ["opcode=CREATE_SQ", "ctx.state=RDY", "ctx.cqn=0x42", "ctx.wq.dbr_addr=0x123456000"];
        assert_eq!(shown(&decode_input(&cmd)), expected);
    }

    #[test]
    fn long_lists_are_cut() {
        let mut cmd = command(Opcode::MANAGE_PAGES, manage_pages_in::SIZE + 8 * 20);
        for n in 0..20 {
            layouts::be64::value.set(manage_pages_in::pas.at_mut(&mut cmd, n), 0x1000);
        }
        let shown = shown(&decode_input(&cmd));
        assert_eq!(shown.len(), 1 + SHOWN_ELEMENTS + 1);
        assert_eq!(shown[1], "pas[0]=0x1000");
        assert_eq!(shown.last().unwrap(), "pas=and 4 more");
    }

    #[test]
    fn the_output_of_query_hca_cap_is_the_group_asked_for() {
        let input = command(Opcode::QUERY_HCA_CAP, 16);
        let mut output = vec![0u8; query_hca_cap_out::SIZE];
        cmd_hca_cap::log_max_qp.set(query_hca_cap_out::capability.of_mut(&mut output), 18);
        assert_eq!(shown(&decode_output(&input, &output)), ["capability.cmd_hca_cap.log_max_qp=0x12"]);
    }

    #[test]
    fn a_register_is_decoded_by_its_id() {
        let mut input = command(Opcode::ACCESS_REG, 0x20);
        access_register_in::register_id.set(&mut input, Register::PAOS.0.into());
        paos_reg::admin_status.set(access_register_in::register_data.of_mut(&mut input), 1);
        let shown = shown(&decode_input(&input));
        assert_eq!(shown, ["opcode=ACCESS_REG", "register_id=PAOS", "register_data.paos_reg.admin_status=UP"]);
    }

    #[test]
    fn destinations_and_counters_of_a_flow_entry() {
        let mut cmd = command(Opcode::SET_FLOW_TABLE_ENTRY, set_fte_in::SIZE + 24);
        let flow = set_fte_in::flow_context.of_mut(&mut cmd);
        flow_context::destination_list_size.set(flow, 2);
        flow_context::flow_counter_list_size.set(flow, 1);
        let list = flow_context::destination.of_mut(flow);
        dest_format_struct::destination_type.set(list, 2);
        dest_format_struct::destination_id.set(&mut list[8..], 7);
        flow_counter_list::flow_counter_id.set(&mut list[16..], 9);
        let shown = shown(&decode_input(&cmd));
        assert!(shown.contains(&"flow_context.destination[0].destination_type=TIR".to_owned()), "{shown:?}");
        assert!(shown.contains(&"flow_context.destination[1].destination_id=0x7".to_owned()), "{shown:?}");
        assert!(shown.contains(&"flow_context.flow_counter[0].flow_counter_id=0x9".to_owned()), "{shown:?}");
    }

    #[test]
    fn any_bytes_of_any_length_are_decoded() {
        for layout in layouts::ALL {
            for len in [0, 1, 3, layout.size.saturating_sub(1), layout.size, layout.size + 100] {
                decode(layout, &vec![0xff; len]);
            }
        }
        let mut cmd = vec![0xff; 0x400];
        for command in command::COMMANDS {
            cmd_in::opcode.set(&mut cmd, command.opcode.0.into());
            assert!(!decode_input(&cmd).is_empty());
            decode_output(&cmd, &cmd);
        }
    }
}
