//! An e-switch as a picture, in Graphviz's language: vports, tables, and a line for each rule with what it asks for and its
//! hits.

use std::fmt::Write;

use serde_json::Value;

/// The picture of `tree`, which is what `inspect eswitch` or `inspect eswitch/PF` answers; `None` if it is not.
pub(crate) fn render(tree: &Value) -> Option<String> {
    let mut out = String::from(
        "digraph eswitch {\n  rankdir=LR;\n  node [fontname=\"sans\"];\n  edge [fontname=\"sans\", fontsize=9];\n",
    );
    if tree.get("rules").is_some() {
        eswitch(&mut out, "eswitch", tree)?;
    } else {
        for (name, one) in tree.as_object()? {
            eswitch(&mut out, name, one)?;
        }
    }
    out.push_str("}\n");
    Some(out)
}

fn eswitch(out: &mut String, name: &str, tree: &Value) -> Option<()> {
    let node = |what: &str| quoted(&format!("{name} {what}"));
    let _ = writeln!(out, "  subgraph {} {{\n    label={};", quoted(&format!("cluster {name}")), quoted(name));
    for vport in tree.get("vports")?.as_array()? {
        let (function, number) = (text(vport, "function"), text(vport, "vport"));
        let label = quoted(&format!("{function}\nvport {number}\n{}", text(vport, "link")));
        let _ = writeln!(out, "    {} [shape=box, style=rounded, label={label}];", node(&function));
    }
    for table in tree.get("tables")?.as_array()? {
        let label = format!("{}\ntable {}, level {}", text(table, "type"), text(table, "table"), text(table, "level"));
        let _ = writeln!(
            out,
            "    {} [shape=folder, label={}];",
            node(&format!("table {}", text(table, "table"))),
            quoted(&label)
        );
    }
    out.push_str("  }\n");
    let fdb = tree.get("fdb").and_then(Value::as_str);
    for vport in tree.get("vports")?.as_array()? {
        let first = vport.get("ingress_acl").and_then(Value::as_str).or(fdb);
        if let Some(first) = first {
            let _ = writeln!(out, "  {} -> {} [style=bold];", node(&text(vport, "function")), node(first));
        }
    }
    for table in tree.get("tables")?.as_array()? {
        let miss = text(table, "miss");
        if miss.starts_with("table ") {
            let from = node(&format!("table {}", text(table, "table")));
            let _ = writeln!(out, "  {from} -> {} [style=dashed, label=\"miss\"];", node(&miss));
        }
    }
    for rule in tree.get("rules")?.as_array()? {
        let from = node(&format!("table {}", text(rule, "table")));
        let (to, action) = (text(rule, "to"), text(rule, "action"));
        let asks = text(rule, "match").replace(' ', "\n");
        let label = quoted(&format!("{asks}\n{action}\n{} hits", text(rule, "hits")));
        for one in to.split(", ").filter(|one| !one.is_empty()) {
            let _ = writeln!(out, "  {from} -> {} [label={label}];", node(one));
        }
        // What an ACL allows goes on to the FDB; what is dropped ends.
        if to.is_empty() {
            let end = match fdb {
                Some(fdb) if action.contains("allow") => node(fdb),
                _ => node("dropped"),
            };
            let _ = writeln!(out, "  {from} -> {end} [label={label}];");
        }
    }
    Some(())
}

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// A name or label in quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn vports_tables_and_rules_are_drawn() {
        let tree = json!({ "pf0": {
            "fdb": "table 2",
            "vports": [{"function": "pf0", "vport": "0", "link": "up"},
                       {"function": "uplink", "vport": "0xffff", "link": "up", "ingress_acl": "table 1"}],
            "tables": [{"table": 1, "type": "ingress ACL of vport 0xffff", "level": 0, "miss": "default"},
                       {"table": 2, "type": "FDB", "level": 185, "miss": "table 3"}],
            "rules": [{"table": 1, "index": 0, "match": "", "action": "allow, modify 1", "to": "", "hits": 4},
                      {"table": 2, "index": 0, "match": "source_port=0x1", "action": "forward", "to": "pf0, uplink", "hits": 7},
                      {"table": 2, "index": 1, "match": "source_port=0x2", "action": "drop", "to": "", "hits": 0}],
        }});
        let picture = render(&tree).unwrap();
        for line in [
            r#"    "pf0 uplink" [shape=box, style=rounded, label="uplink\nvport 0xffff\nup"];"#,
            r#"  "pf0 pf0" -> "pf0 table 2" [style=bold];"#,
            r#"  "pf0 uplink" -> "pf0 table 1" [style=bold];"#,
            r#"  "pf0 table 1" -> "pf0 table 2" [label="\nallow, modify 1\n4 hits"];"#,
            r#"  "pf0 table 2" -> "pf0 table 3" [style=dashed, label="miss"];"#,
            r#"  "pf0 table 2" -> "pf0 uplink" [label="source_port=0x1\nforward\n7 hits"];"#,
            r#"  "pf0 table 2" -> "pf0 dropped" [label="source_port=0x2\ndrop\n0 hits"];"#,
        ] {
            assert!(picture.lines().any(|one| one == line), "{line}\n{picture}");
        }
        assert_eq!(render(&tree["pf0"]).unwrap().lines().count(), picture.lines().count());
        assert_eq!(render(&json!({"hca": "up"})), None);
        assert_eq!(render(&json!(5)), None);
    }
}
