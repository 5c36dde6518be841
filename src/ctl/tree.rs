//! A tree of state as text for people.

use mlx5emu_config::printable;
use serde_json::{Map, Value};

/// Renders `value`: objects as `name: value` lines indented by depth, lists of like objects as tables.
///
/// Texts come from a card that a guest drives, so control characters are shown as escapes.
pub(crate) fn render(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) => object(&mut out, map, 0),
        Value::Array(items) => list(&mut out, items, 0),
        _ => out = scalar(value) + "\n",
    }
    out
}

fn object(out: &mut String, map: &Map<String, Value>, depth: usize) {
    // Plain values first, so that they are not mistaken for a part of the object above them.
    let (plain, nested): (Vec<_>, Vec<_>) = map.iter().partition(|(_, v)| is_plain(v));
    let width = plain.iter().map(|(k, _)| k.chars().count()).max().unwrap_or(0);
    for (name, value) in plain {
        line(out, depth, &format!("{:width$}  {}", printable(name), scalar(value)));
    }
    for (name, value) in nested {
        line(out, depth, &format!("{}:", printable(name)));
        match value {
            Value::Object(map) => object(out, map, depth + 1),
            Value::Array(items) => list(out, items, depth + 1),
            _ => {}
        }
    }
}

fn list(out: &mut String, items: &[Value], depth: usize) {
    match columns(items) {
        Some(names) => {
            let cell = |item: &Value, name: &String| item.get(name).map(scalar).unwrap_or_default();
            let mut rows = vec![names.clone()];
            rows.extend(items.iter().map(|item| names.iter().map(|name| cell(item, name)).collect()));
            for row in table(&rows) {
                line(out, depth, &row);
            }
        }
        None => {
            for (n, item) in items.iter().enumerate() {
                match item {
                    Value::Object(map) => {
                        line(out, depth, &format!("{n}:"));
                        object(out, map, depth + 1);
                    }
                    Value::Array(items) => {
                        line(out, depth, &format!("{n}:"));
                        list(out, items, depth + 1);
                    }
                    _ => line(out, depth, &scalar(item)),
                }
            }
        }
    }
}

/// The columns of a list of flat objects, in order of first appearance; `None` if it is not one.
fn columns(items: &[Value]) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for item in items {
        let map = item.as_object()?;
        for (name, value) in map {
            if !is_plain(value) {
                return None;
            }
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    Some(names)
}

/// Lines of `rows` with their columns aligned, two spaces apart.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|r| r.get(n)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let pad = |(cell, width): (&String, &usize)| format!("{cell:width$}  ");
    rows.iter().map(|row| row.iter().zip(&widths).map(pad).collect::<String>().trim_end().to_string()).collect()
}

/// Whether a value fits on the line of its name.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(items) => items.len() <= 16 && items.iter().all(|i| !i.is_object() && !i.is_array()),
        _ => true,
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "-".to_string(),
        Value::Bool(true) => "yes".to_string(),
        Value::Bool(false) => "no".to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => "-".to_string(),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(" "),
        Value::Object(map) => format!("{} entries", map.len()),
    }
}

fn line(out: &mut String, depth: usize, text: &str) {
    out.push_str(&"  ".repeat(depth));
    out.push_str(text.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trees_and_tables() {
        let tree = json!({
            "link": true,
            "pages": {"given": 512, "held": [1, 2]},
            "eqs": [{"eqn": 1, "size": 4096}, {"eqn": 12, "vector": 0}],
            "none": null,
        });
        let expected = "\
link  yes
none  -
eqs:
  eqn  size  vector
  1    4096
  12         0
pages:
  given  512
  held   1 2
";
        assert_eq!(render(&tree), expected);
    }

    #[test]
    fn other_shapes_print_too() {
        assert_eq!(render(&json!(5)), "5\n");
        assert_eq!(render(&json!("a\u{1b}[2Jb\n")), "a\\u{1b}[2Jb\\n\n");
        assert_eq!(render(&json!([{"a": {"b": 1}}, 7])), "0:\n  a:\n    b  1\n7\n");
        assert_eq!(render(&json!({})), "");
    }
}
