//! The scenarios that there are: those in this program, or those in a folder; and which of them are meant.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};

use crate::scenario::{Header, Tier};

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/scenarios");

/// The folder, beside the families, of scripts that are no scenarios.
const LIBRARY: &str = "lib";
/// The family of scenarios that the user names by their files.
const LOCAL: &str = "local";

/// One scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// FAMILY/NAME.
    pub name: String,
    /// Its script, below the folder of all scenarios.
    pub script: String,
    /// What it says of itself.
    pub header: Header,
}

impl Scenario {
    /// The first part of its name.
    pub fn family(&self) -> &str {
        self.name.split_once('/').map_or("", |(family, _)| family)
    }
}

/// What cannot be run, and why.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Nothing has this name.
    #[error("no scenario is called '{pattern}'{near}: 'mlx5emu test --list' shows all")]
    Unknown {
        /// The user's word.
        pattern: String,
        /// What might have been meant.
        near: String,
    },
    /// A script with a wrong header.
    #[error("{script}: {why}")]
    Header {
        /// The script.
        script: String,
        /// What is wrong.
        why: String,
    },
    /// The file system says no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CatalogueError {
    let path = path.to_owned();
    move |source| CatalogueError::Io { path, source }
}

/// Puts all scenarios and their library into `to`: those of `from`, or those in this program.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn unpack(from: Option<&Path>, to: &Path) -> Result<(), CatalogueError> {
    let Some(from) = from else { return write(&EMBEDDED, to) };
    // A folder without a library of its own has this one.
    if let Some(library) = EMBEDDED.get_dir(LIBRARY) {
        let path = to.join(LIBRARY);
        fs::create_dir_all(&path).map_err(at(&path))?;
        write(library, to)?;
    }
    copy(from, to)
}

fn write(dir: &Dir<'_>, to: &Path) -> Result<(), CatalogueError> {
    for entry in dir.entries() {
        let path = to.join(entry.path());
        match entry {
            DirEntry::Dir(dir) => {
                fs::create_dir_all(&path).map_err(at(&path))?;
                write(dir, to)?;
            }
            DirEntry::File(file) => put(&path, file.contents())?,
        }
    }
    Ok(())
}

/// Scripts are executable, and so is everything beside them.
fn put(path: &Path, content: &[u8]) -> Result<(), CatalogueError> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, content).map_err(at(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(at(path))
}

/// Two levels: families and the files in them.
fn copy(from: &Path, to: &Path) -> Result<(), CatalogueError> {
    for (path, name) in entries(from)? {
        if path.is_dir() {
            let below = to.join(&name);
            fs::create_dir_all(&below).map_err(at(&below))?;
            for (path, name) in entries(&path)? {
                if path.is_file() {
                    put(&below.join(name), &fs::read(&path).map_err(at(&path))?)?;
                }
            }
        }
    }
    Ok(())
}

/// What is in a folder, in the order of the names.
fn entries(dir: &Path) -> Result<Vec<(PathBuf, String)>, CatalogueError> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_string) {
            all.push((path, name));
        }
    }
    all.sort();
    Ok(all)
}

/// All scenarios below `dir`, by name.
///
/// # Errors
/// A header is wrong, or a file cannot be read.
pub(crate) fn read(dir: &Path) -> Result<Vec<Scenario>, CatalogueError> {
    let mut all = Vec::new();
    for (path, family) in entries(dir)? {
        if family == LIBRARY || !path.is_dir() {
            continue;
        }
        for (path, file) in entries(&path)? {
            if let Some(name) = file.strip_suffix(".sh") {
                all.push(scenario(&path, format!("{family}/{name}"), format!("{family}/{file}"))?);
            }
        }
    }
    // A file's name has an ending, by which 'a-b.sh' stands before 'a.sh'.
    all.sort_by(|a: &Scenario, b| a.name.cmp(&b.name));
    Ok(all)
}

fn scenario(path: &Path, name: String, script: String) -> Result<Scenario, CatalogueError> {
    let text = fs::read(path).map_err(at(path))?;
    match Header::parse(&String::from_utf8_lossy(&text)) {
        Ok(header) => Ok(Scenario { name, script, header }),
        Err(why) => Err(CatalogueError::Header { script: path.display().to_string(), why }),
    }
}

/// The scenarios that `words` mean, each once: files of the user's (with a `/` at the start, or a leading `.`, or what ends in `.sh`
/// and is there), which are copied into `dir`, and patterns. Without words, all of `tier` and below.
///
/// # Errors
/// A word that means nothing, or a file with a wrong header.
pub(crate) fn select(dir: &Path, words: &[String], tier: Tier) -> Result<Vec<Scenario>, CatalogueError> {
    let all = read(dir)?;
    if words.is_empty() {
        return Ok(all.into_iter().filter(|scenario| scenario.header.tier <= tier).collect());
    }
    let mut chosen: Vec<Scenario> = Vec::new();
    for word in words {
        let found = match own_file(word) {
            Some(file) => vec![local(dir, &file)?],
            None => {
                let named = |means: fn(&str, &str) -> bool| -> Vec<Scenario> {
                    all.iter().filter(|scenario| means(word, &scenario.name)).cloned().collect()
                };
                // `pages` is the family, not bringup/pages.
                Some(named(matches)).filter(|found| !found.is_empty()).unwrap_or_else(|| named(begins))
            }
        };
        if found.is_empty() {
            let near = mlx5emu_config::control::nearest_name(word, all.iter().map(|scenario| scenario.name.as_str()));
            let near = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            return Err(CatalogueError::Unknown { pattern: word.clone(), near });
        }
        for scenario in found {
            if !chosen.contains(&scenario) {
                chosen.push(scenario);
            }
        }
    }
    Ok(chosen)
}

fn own_file(word: &str) -> Option<PathBuf> {
    let path = PathBuf::from(word);
    let named = word.starts_with(['.', '/']) || (word.ends_with(".sh") && path.is_file());
    named.then_some(path)
}

/// Takes a file of the user's among the scenarios.
fn local(dir: &Path, file: &Path) -> Result<Scenario, CatalogueError> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("scenario");
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let content = fs::read(file).map_err(at(file))?;
    // Files of one name from two folders are two scenarios.
    let place = |n: u32| if n == 0 { name.clone() } else { format!("{name}.{n}") };
    let mut n = 0;
    let folder = dir.join(LOCAL);
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    while fs::read(folder.join(format!("{}.sh", place(n)))).is_ok_and(|there| there != content) {
        n += 1;
    }
    let script = format!("{LOCAL}/{}.sh", place(n));
    put(&dir.join(&script), &content)?;
    let scenario = scenario(file, format!("{LOCAL}/{}", place(n)), script)?;
    Ok(scenario)
}

/// Whether `pattern` (a name, a family, or either with `*` and `?`) means `name`.
fn matches(pattern: &str, name: &str) -> bool {
    let family = name.split_once('/').map_or("", |(family, _)| family);
    glob(pattern.as_bytes(), name.as_bytes()) || glob(pattern.trim_end_matches('/').as_bytes(), family.as_bytes())
}

/// Whether `name`, without its family, is `beginning` or begins with it up to a `-`.
fn begins(beginning: &str, name: &str) -> bool {
    let own = name.split_once('/').map_or(name, |(_, own)| own);
    let rest = own.strip_prefix(beginning).filter(|_| !beginning.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// `*` is any number of bytes, `?` one byte; in time that grows with the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        if p < pattern.len() && (pattern[p] == b'?' || (pattern[p] == text[t] && pattern[p] != b'*')) {
            (p, t) = (p + 1, t + 1);
        } else if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if let Some((at, from)) = star {
            // The last star takes one byte more.
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Part `index` of `count` (from 1) of `all`: whole families of a card stay together as far as they can, because they share machines.
pub(crate) fn shard(all: Vec<Scenario>, index: usize, count: usize) -> Vec<Scenario> {
    all.into_iter().enumerate().filter(|(n, _)| n % count.max(1) == index.saturating_sub(1)).map(|(_, s)| s).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_ours_has_a_good_header_and_a_shell_accepts_it() {
        let dir = tempfile::tempdir().unwrap();
        unpack(None, dir.path()).unwrap();
        let all = read(dir.path()).unwrap();
        assert!(all.len() > 20 && all.iter().any(|scenario| scenario.name == "bringup/ping"));
        for scenario in &all {
            let script = dir.path().join(&scenario.script);
            let status = std::process::Command::new("sh").arg("-n").arg(&script).status().unwrap();
            assert!(status.success(), "{}", scenario.name);
        }
        for (path, _) in entries(&dir.path().join(LIBRARY)).unwrap() {
            let status = std::process::Command::new("sh").arg("-n").arg(&path).status().unwrap();
            assert!(status.success(), "{}", path.display());
        }
    }

    #[test]
    fn words_choose() {
        let dir = tempfile::tempdir().unwrap();
        unpack(None, dir.path()).unwrap();
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            select(dir.path(), &words, Tier::Ci).map(|all| all.into_iter().map(|s| s.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["bringup/ping"]).unwrap(), ["bringup/ping"]);
        assert_eq!(names(&["bringup"]).unwrap(), names(&["bringup/*"]).unwrap());
        assert_eq!(names(&["pages"]).unwrap(), names(&["pages/*"]).unwrap());
        assert_eq!(names(&["p24"]).unwrap(), ["pages/p24-two-vports-one-id"]);
        assert_eq!(names(&["bringup/p*", "bringup/ping"]).unwrap().len(), 3);
        let error = names(&["bringup/pong"]).unwrap_err().to_string();
        assert!(error.contains("did you mean 'bringup/ping'"), "{error}");
        assert!(matches!(names(&["./nonexistent.sh"]), Err(CatalogueError::Io { .. })));
        let own = dir.path().join("my test.sh");
        fs::write(&own, "#!/bin/sh\n# shows: x\n# tier: full\n# timeout: 5\nexit 0\n").unwrap();
        assert_eq!(names(&[own.to_str().unwrap()]).unwrap(), ["local/my_test"]);
    }

    #[test]
    fn patterns() {
        for (pattern, name) in
            [("a/b", "a/b"), ("a", "a/b"), ("a/", "a/b"), ("*", "a/b"), ("a/?", "a/b"), ("*b*", "a/bc")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        assert!(begins("b", "a/b") && begins("p2", "a/p2-b"));
        assert!(!begins("p", "a/p2-b") && !begins("p2-b", "a/p2-bc") && !begins("", "a/b") && !begins("a", "a/b"));
        for (pattern, name) in [("b", "a/b"), ("a/", "ab/c"), ("a/??", "a/b"), ("", "a/b"), ("a*c", "a/b")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        // Not in exponential time.
        assert!(!glob(&b"*a".repeat(40), &b"a".repeat(39)));
    }

    #[test]
    fn shards_are_a_partition() {
        let dir = tempfile::tempdir().unwrap();
        unpack(None, dir.path()).unwrap();
        let all = read(dir.path()).unwrap();
        let mut parts: Vec<Scenario> = (1..=4).flat_map(|n| shard(all.clone(), n, 4)).collect();
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(parts, all);
    }
}
