//! Finds a field of a command by name, as fault rules and `ctl` give it: `in.ctx.state`, `out.capability.cmd_hca_cap.sf`,
//! `in.pas[2]`.

use std::fmt;

use crate::command;
use crate::field::{Area, Field, Layout};
use crate::layouts;
use crate::names::Names;
use crate::opcode::Opcode;
use crate::views::{names_of, views};

/// Input or output of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What the driver sends: `in`.
    In,
    /// What the device answers: `out`.
    Out,
}

/// A field found by its path.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Which of the command's two structures it is in.
    pub side: Side,
    /// The field, placed in the whole structure (not in the nested one that declares it).
    pub field: Field,
    /// The names that its values have, if any.
    pub names: Option<&'static Names>,
}

impl Found {
    /// Parses a value for the field: a number, or one of its names.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn value(&self, text: &str) -> Result<u64, String> {
        let unnamed = Names { what: "number", prefix: "", values: &[] };
        let value = self.names.unwrap_or(&unnamed).value(text).map_err(|error| error.to_string())?;
        if value > self.field.max() {
            return Err(format!(
                "{text} does not fit '{}', whose largest value is {:#x}",
                self.field.name,
                self.field.max()
            ));
        }
        Ok(value)
    }
}

/// Why a path leads to no field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchError {
    /// The table does not have the command's layouts.
    NoLayout(Opcode),
    /// A path that begins neither with `in.` nor with `out.`.
    NoSide(String),
    /// There is no such field.
    NoField {
        /// The command.
        opcode: Opcode,
        /// The path given.
        path: String,
        /// The path most like it.
        nearest: Option<String>,
    },
}

impl fmt::Display for SearchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLayout(opcode) => write!(f, "the fields of {opcode} are not known"),
            Self::NoSide(path) => write!(f, "the field '{path}' must begin with 'in.' or 'out.'"),
            Self::NoField { opcode, path, nearest } => {
                write!(f, "{opcode} has no field '{path}'")?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean {nearest}?"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for SearchError {}

/// The field of `opcode` that `path` names: `in.` or `out.`, then members separated by dots, the elements of lists as
/// `[n]`. Where an area holds one of several structures (a capability group, a register), that structure's name comes next.
///
/// # Errors
/// See [`SearchError`].
pub fn find(opcode: Opcode, path: &str) -> Result<Found, SearchError> {
    let (input, output) = command::layouts(opcode).ok_or(SearchError::NoLayout(opcode))?;
    let (side, layout, rest) = if let Some(rest) = path.strip_prefix("in.") {
        (Side::In, input, rest)
    } else if let Some(rest) = path.strip_prefix("out.") {
        (Side::Out, output, rest)
    } else {
        return Err(SearchError::NoSide(path.to_owned()));
    };
    match resolve(layout, rest) {
        Some((field, names)) => Ok(Found { side, field, names }),
        None => {
            let head = &path[..path.len() - rest.len()];
            let nearest = nearest_path(layout, rest).map(|found| format!("{head}{found}"));
            Err(SearchError::NoField { opcode, path: path.to_owned(), nearest })
        }
    }
}

/// The field of `layout` that `path` names, placed in `layout`, and the names of its values.
pub fn resolve(layout: &'static Layout, path: &str) -> Option<(Field, Option<&'static Names>)> {
    let mut layout = layout;
    let mut base: usize = 0;
    let mut segments = path.split('.');
    while let Some(segment) = segments.next() {
        let (name, index) = split_index(segment)?;
        if let (Some(field), None) = (layout.field(name), index) {
            let bit = u32::try_from(base).ok()?.checked_mul(8)?.checked_add(field.bit)?;
            return segments.next().is_none().then_some((Field { bit, ..*field }, names_of(layout, name)));
        }
        let area = layout.area(name)?;
        let among = views(layout.name, area.name);
        base = base.checked_add(element(area, !among.is_empty(), index)?)?;
        layout = if among.is_empty() {
            layouts::find(area.layout)?
        } else {
            let name = segments.next()?;
            among.into_iter().find(|view| view.name == name)?
        };
    }
    // A number of a list is named without its only member: `in.pas[2]`.
    let field = layout.field("value").filter(|_| layout.fields.len() == 1)?;
    let bit = u32::try_from(base).ok()?.checked_mul(8)?.checked_add(field.bit)?;
    Some((Field { bit, ..*field }, None))
}

/// `pas[2]` → (`pas`, 2).
fn split_index(segment: &str) -> Option<(&str, Option<usize>)> {
    match segment.split_once('[') {
        None => Some((segment, None)),
        Some((name, rest)) => Some((name, Some(rest.strip_suffix(']')?.parse().ok()?))),
    }
}

/// The byte offset of an area, or of its element `index`. A list needs one, unless another structure is seen in it.
fn element(area: &Area, viewed: bool, index: Option<usize>) -> Option<usize> {
    match index {
        None if area.count == 1 || viewed || ends_in_list(area.layout) => Some(area.offset),
        Some(n) if area.count == 0 || n < area.count => n.checked_mul(area.len)?.checked_add(area.offset),
        _ => None,
    }
}

/// Whether a nested structure runs to the end because it ends in a list, and so is no list itself.
pub(crate) fn ends_in_list(layout: &str) -> bool {
    layouts::find(layout).is_some_and(|layout| layout.areas.iter().any(|area| area.count == 0))
}

/// The path of `layout` that is most like `path`: one that ends with the same name first.
fn nearest_path(layout: &'static Layout, path: &str) -> Option<String> {
    let mut paths = Vec::new();
    list_paths(layout, "", 0, &mut paths);
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let given = last(path);
    let likeness = |known: &String| (strsim::jaro_winkler(&given, &last(known)), strsim::jaro_winkler(path, known));
    paths
        .into_iter()
        .map(|known| (likeness(&known), known))
        .filter(|((name, _), _)| *name > 0.7)
        .max_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
        .map(|(_, known)| known)
}

/// Appends the path of every field of `layout`; of lists, that of the first element.
fn list_paths(layout: &'static Layout, head: &str, depth: usize, paths: &mut Vec<String>) {
    paths.extend(layout.fields.iter().map(|field| format!("{head}{}", field.name)));
    if depth == 8 {
        return;
    }
    for area in layout.areas {
        let among = views(layout.name, area.name);
        if !among.is_empty() {
            for view in among {
                list_paths(view, &format!("{head}{}.{}.", area.name, view.name), depth + 1, paths);
            }
            continue;
        }
        let index = if element(area, false, None).is_some() { "" } else { "[0]" };
        match layouts::find(area.layout) {
            Some(nested) if nested.field("value").is_some() && nested.fields.len() == 1 => {
                paths.push(format!("{head}{}{index}", area.name));
            }
            Some(nested) => list_paths(nested, &format!("{head}{}{index}.", area.name), depth + 1, paths),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layouts::{create_sq_in, manage_pages_in, query_hca_cap_out, sqc, wq};
    use crate::states::SqState;

    #[test]
    fn a_nested_field_is_placed_in_the_whole_command() {
        let found = find(Opcode::CREATE_SQ, "in.ctx.wq.log_wq_sz").unwrap();
        let mut cmd = vec![0u8; create_sq_in::SIZE];
        found.field.set(&mut cmd, 11);
        assert_eq!(wq::log_wq_sz.get(sqc::wq.of(create_sq_in::ctx.of(&cmd))), 11);
        assert_eq!(found.side, Side::In);
    }

    #[test]
    fn values_have_names_and_limits() {
        let found = find(Opcode::CREATE_SQ, "in.ctx.state").unwrap();
        assert_eq!(found.value("RDY"), Ok(u64::from(SqState::RDY.0)));
        assert_eq!(found.value("0x3"), Ok(3));
        assert!(found.value("16").unwrap_err().contains("largest value is 0xf"));
        assert!(found.value("RDI").unwrap_err().contains("did you mean RDY"));
        let status = find(Opcode::CREATE_SQ, "out.status").unwrap();
        assert_eq!(status.value("BAD_RES_STATE"), Ok(9));
    }

    #[test]
    fn elements_of_lists_have_an_index() {
        let found = find(Opcode::MANAGE_PAGES, "in.pas[3]").unwrap();
        assert_eq!(found.field.bit as usize / 8, manage_pages_in::pas.offset + 3 * 8);
        assert!(find(Opcode::MANAGE_PAGES, "in.pas[x]").is_err());
        assert!(find(Opcode::MANAGE_PAGES, "in.pas[99999999999999999]").is_err());
        assert!(find(Opcode::CREATE_EQ, "in.event_bitmask[4]").is_err());
    }

    #[test]
    fn a_view_is_named_after_its_area() {
        let found = find(Opcode::QUERY_HCA_CAP, "out.capability.cmd_hca_cap.log_max_qp").unwrap();
        let offset = query_hca_cap_out::capability.offset as u32 * 8;
        assert_eq!(found.field.bit, offset + crate::layouts::cmd_hca_cap::log_max_qp.bit);
        let found = find(Opcode::ACCESS_REG, "in.register_data.paos_reg.admin_status").unwrap();
        assert_eq!(found.value("DOWN"), Ok(2));
    }

    #[test]
    fn a_wrong_name_offers_the_nearest() {
        let message = |path| find(Opcode::CREATE_SQ, path).unwrap_err().to_string();
        assert_eq!(message("in.ctx.stat"), "CREATE_SQ has no field 'in.ctx.stat'; did you mean in.ctx.state?");
        assert_eq!(message("in.state"), "CREATE_SQ has no field 'in.state'; did you mean in.ctx.state?");
        assert_eq!(message("ctx.state"), "the field 'ctx.state' must begin with 'in.' or 'out.'");
        assert!(find(Opcode(0xfff), "in.x").unwrap_err().to_string().contains("0xfff"));
        for path in [
            "in.",
            "in..",
            "in.ctx",
            "in.ctx.",
            "in.ctx.state.x",
            "in.[",
            "in.ctx[0",
            "out.ctx[18446744073709551615].x",
        ] {
            assert!(find(Opcode::CREATE_SQ, path).is_err(), "{path}");
        }
    }

    #[test]
    fn every_listed_path_resolves() {
        for command in command::COMMANDS {
            for (layout, head) in [(command.input, "in."), (command.output, "out.")] {
                let mut paths = Vec::new();
                list_paths(layout, "", 0, &mut paths);
                assert!(!paths.is_empty());
                for path in paths {
                    let whole = format!("{head}{path}");
                    assert!(find(command.opcode, &whole).is_ok(), "{} {whole}", command.opcode);
                }
            }
        }
    }
}
