//! Kernel configuration: fragments put together, and whether the result is what they ask for.
//!
//! A fragment is a list of `CONFIG_NAME=VALUE` and `# CONFIG_NAME is not set`, as `.config` is. Two words of our own at the
//! end of a line, `# if known`, leave an option out where the kernel's Kconfig has no such option.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

/// The first line of a whole configuration that Kconfig wrote, which a fragment does not have.
const GENERATED: &str = "Automatically generated file; DO NOT EDIT.";
/// Left out where Kconfig does not know the option.
const IF_KNOWN: &str = "# if known";
/// More than this many options are counted, not named.
const NAMED: usize = 12;

/// A piece of configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// What the user calls it: a preset's name, or a file's path.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Fragment {
    /// Whether it is a whole configuration, as Kconfig writes them, and not a fragment.
    pub fn is_whole(&self) -> bool {
        self.text.lines().take(3).any(|line| line.contains(GENERATED))
    }
}

/// One option that a fragment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// `y`, `m`, `n`, a number or a quoted string.
    pub(crate) value: String,
    /// The fragment and the line.
    pub(crate) place: String,
    if_known: bool,
}

/// Options asked for, by name without `CONFIG_`. A later fragment overrides an earlier one.
pub(crate) type Wishes = BTreeMap<String, Wish>;

/// Reads fragments. The error names the line that is none.
pub(crate) fn parse(fragments: &[Fragment]) -> Result<Wishes, String> {
    let mut wishes = Wishes::new();
    for fragment in fragments {
        for (number, line) in fragment.text.lines().enumerate() {
            let place = format!("{}:{}", fragment.name, number + 1);
            match parse_line(line.trim()) {
                Line::Option(name, value, if_known) => {
                    wishes.insert(name.to_owned(), Wish { value: value.to_owned(), place, if_known });
                }
                Line::Nothing => {}
                Line::Wrong => {
                    return Err(format!(
                        "{place}: `{}` is not a line of a kernel configuration: write CONFIG_NAME=VALUE or # CONFIG_NAME is not set",
                        line.trim()
                    ));
                }
            }
        }
    }
    Ok(wishes)
}

enum Line<'a> {
    Option(&'a str, &'a str, bool),
    Nothing,
    Wrong,
}

fn parse_line(line: &str) -> Line<'_> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let Some(comment) = line.strip_prefix('#') {
        let off = comment.trim().strip_prefix("CONFIG_").and_then(|rest| rest.strip_suffix(" is not set"));
        return off.filter(|name| is_name(name)).map_or(Line::Nothing, |name| Line::Option(name, "n", false));
    }
    if line.is_empty() {
        return Line::Nothing;
    }
    let (setting, if_known) = match line.strip_suffix(IF_KNOWN) {
        Some(rest) => (rest.trim_end(), true),
        None => (line, false),
    };
    match setting.strip_prefix("CONFIG_").and_then(|rest| rest.split_once('=')) {
        Some((name, value)) if is_name(name) && is_value(value) => Line::Option(name, value, if_known),
        _ => Line::Wrong,
    }
}

/// One word, or one quoted string.
fn is_value(value: &str) -> bool {
    match value.strip_prefix('"') {
        Some(rest) => rest.ends_with('"'),
        None => !value.is_empty() && !value.contains(char::is_whitespace),
    }
}

/// Takes out what may be left out and is not known. `known` is asked with the names in question, once.
pub(crate) fn keep_known(wishes: &mut Wishes, known: impl FnOnce(&[&str]) -> HashSet<String>) {
    let asked: Vec<&str> = wishes.iter().filter(|(_, wish)| wish.if_known).map(|(name, _)| name.as_str()).collect();
    if !asked.is_empty() {
        let known = known(&asked);
        wishes.retain(|name, wish| !wish.if_known || known.contains(name));
    }
}

/// The fragment that Kconfig reads.
pub(crate) fn render(wishes: &Wishes) -> String {
    let line = |(name, wish): (&String, &Wish)| match wish.value.as_str() {
        "n" => format!("# CONFIG_{name} is not set\n"),
        value => format!("CONFIG_{name}={value}\n"),
    };
    wishes.iter().map(line).collect()
}

/// The values of a final configuration; what is not there is off.
pub(crate) fn values(config: &str) -> BTreeMap<&str, &str> {
    config.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('=')).collect()
}

/// An option that did not become what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) name: String,
    pub(crate) wish: Wish,
    /// What it is instead.
    pub(crate) value: String,
}

/// What of `wishes` the final configuration does not have.
pub(crate) fn missed(wishes: &Wishes, config: &str) -> Vec<Missed> {
    let values = values(config);
    let is = |name: &str| values.get(name).copied().unwrap_or("n");
    // A module that something built in needs is built in: that is more than was asked for.
    let granted = |wish: &Wish, value: &str| value == wish.value || (wish.value == "m" && value == "y");
    wishes
        .iter()
        .filter(|(name, wish)| !granted(wish, is(name)))
        .map(|(name, wish)| Missed { name: name.clone(), wish: wish.clone(), value: is(name).to_owned() })
        .collect()
}

/// Says it to the user: each option, who asked for it, and why it is not so.
pub(crate) fn explain(missed: &[Missed], tree: &Path) -> String {
    let names: Vec<&str> = missed.iter().take(NAMED).map(|missed| missed.name.as_str()).collect();
    let known = Kconfig::read(tree, &names);
    let mut lines: Vec<String> = missed.iter().take(NAMED).map(|missed| explain_one(missed, &known)).collect();
    if missed.len() > NAMED {
        lines.push(format!("and {} more", missed.len() - NAMED));
    }
    lines.join("\n  ")
}

fn explain_one(missed: &Missed, known: &Kconfig) -> String {
    let Missed { name, wish, value } = missed;
    let asked = format!("CONFIG_{name}={} ({})", wish.value, wish.place);
    match (known.entries.get(name), value.as_str()) {
        (None, _) => format!("{asked}: this kernel has no such option"),
        (Some(_), value) if wish.value == "n" => format!("{asked}: it is {value}, something else selects it"),
        (Some(needs), "n") if needs.is_empty() => format!("{asked}: it is off"),
        (Some(needs), "n") => format!("{asked}: it is off, and depends on {}", needs.join(" && ")),
        (Some(_), value) => format!("{asked}: it is {value}"),
    }
}

/// What a tree's Kconfig files say of some options.
#[derive(Debug, Default)]
pub(crate) struct Kconfig {
    /// The dependencies of each option that exists, as written.
    pub(crate) entries: BTreeMap<String, Vec<String>>,
}

impl Kconfig {
    /// Reads every Kconfig file of `tree`.
    pub(crate) fn read(tree: &Path, names: &[&str]) -> Self {
        let mut found = Self::default();
        let wanted: HashSet<&str> = names.iter().copied().collect();
        found.read_dir(tree, &wanted, 0);
        found
    }

    fn read_dir(&mut self, dir: &Path, wanted: &HashSet<&str>, depth: usize) {
        // The kernel's tree is at most twelve folders deep.
        if depth > 16 {
            return;
        }
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    let other_arch = dir.ends_with("arch") && name != "x86";
                    let other = name.starts_with('.') || (depth == 0 && name == "Documentation");
                    if !other && !other_arch {
                        self.read_dir(&entry.path(), wanted, depth + 1);
                    }
                }
                Ok(kind) if kind.is_file() && name.starts_with("Kconfig") => {
                    if let Ok(text) = fs::read(entry.path()) {
                        self.read_text(&String::from_utf8_lossy(&text), wanted);
                    }
                }
                _ => {}
            }
        }
    }

    fn read_text(&mut self, text: &str, wanted: &HashSet<&str>) {
        let mut current: Option<String> = None;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("config" | "menuconfig"), Some(name)) => {
                    current = wanted.contains(name).then(|| name.to_owned());
                    if current.is_some() {
                        self.entries.entry(name.to_owned()).or_default();
                    }
                }
                (Some("depends"), Some("on")) => {
                    let needs = line.split_once(" on ").map(|(_, needs)| needs.trim().to_owned());
                    if let (Some(name), Some(needs)) = (&current, needs) {
                        self.entries.entry(name.clone()).or_default().push(needs);
                    }
                }
                (Some("menu" | "endmenu" | "if" | "endif" | "choice" | "endchoice" | "source"), _)
                    if !line.starts_with([' ', '\t']) =>
                {
                    current = None;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(text: &str) -> Wishes {
        parse(&[Fragment { name: "my.config".into(), text: text.into() }]).unwrap()
    }

    #[test]
    fn later_fragments_override_earlier_ones() {
        let first = Fragment { name: "fast".into(), text: "CONFIG_A=y\nCONFIG_B=m\n# a comment\n\n".into() };
        let second = Fragment { name: "mine".into(), text: "# CONFIG_A is not set\nCONFIG_C=\"x y\"\n".into() };
        let all = parse(&[first, second]).unwrap();
        assert_eq!(render(&all), "# CONFIG_A is not set\nCONFIG_B=m\nCONFIG_C=\"x y\"\n");
        assert_eq!(all["A"].place, "mine:1");
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for bad in ["CONFIG_A", "A=y", "CONFIG_A=", "CONFIG_A=y z", "CONFIG_=y", "CONFIG_A=\"x", "CONFIG-A=y"] {
            let error = parse(&[Fragment { name: "f".into(), text: format!("\n{bad}\n") }]).unwrap_err();
            assert!(error.starts_with(&format!("f:2: `{bad}` is not a line")), "{error}");
        }
    }

    #[test]
    fn options_that_may_be_unknown_are_left_out_where_they_are() {
        let mut all = wishes("CONFIG_OLD=y\nCONFIG_NEW=y # if known\nCONFIG_NEWER=m # if known\n");
        keep_known(&mut all, |names| {
            assert_eq!(names, ["NEW", "NEWER"]);
            HashSet::from(["NEW".to_owned()])
        });
        assert_eq!(render(&all), "CONFIG_NEW=y\nCONFIG_OLD=y\n");
    }

    #[test]
    fn what_did_not_come_true_is_found() {
        let all =
            wishes("CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=m\n# CONFIG_D is not set\nCONFIG_E=18\nCONFIG_F=y\nCONFIG_G=n\n");
        let names = |config: &str| missed(&all, config).into_iter().map(|missed| missed.name).collect::<Vec<_>>();
        assert!(names("CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=y\nCONFIG_E=18\nCONFIG_F=y\n").is_empty());
        assert_eq!(
            names("CONFIG_A=m\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_D=y\nCONFIG_E=17\n"),
            ["A", "B", "D", "E", "F"]
        );
    }

    #[test]
    fn the_reason_comes_from_kconfig() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("drivers/net")).unwrap();
        let text = "config FOO\n\ttristate \"foo\"\n\tdepends on BAR && BAZ\n\thelp\n\t  Text.\n\nmenuconfig QUUX\n\tbool\nif QUUX\ndepends on NOTHING\nendif\n";
        fs::write(tree.path().join("drivers/net/Kconfig.mine"), text).unwrap();
        let all = wishes("CONFIG_FOO=m\nCONFIG_GONE=y\nCONFIG_QUUX=y\n");
        let said = explain(&missed(&all, ""), tree.path());
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "CONFIG_FOO=m (my.config:1): it is off, and depends on BAR && BAZ",
                "CONFIG_GONE=y (my.config:2): this kernel has no such option",
                "CONFIG_QUUX=y (my.config:3): it is off",
            ]
        );
    }

    #[test]
    fn a_whole_configuration_is_told_from_a_fragment() {
        let whole =
            "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 7.2.12 Kernel Configuration\n#\nCONFIG_A=y\n";
        assert!(Fragment { name: "x".into(), text: whole.into() }.is_whole());
        assert!(!Fragment { name: "x".into(), text: "CONFIG_A=y\n".into() }.is_whole());
    }

    proptest::proptest! {
        #[test]
        fn no_fragment_is_too_odd(text in "(CONFIG_[A-C]=[ymn\" ]{0,3}|# CONFIG_A is not set|.{0,20}|\n){0,20}") {
            let _ = parse(&[Fragment { name: "f".into(), text: text.clone() }]).map(|wishes| missed(&wishes, &text));
        }
    }
}
