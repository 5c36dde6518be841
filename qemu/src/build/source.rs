//! What a kernel is built from: what SPEC means.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::BuildError;

/// Where a kernel's source comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSpec {
    /// The distribution's source package: the newest, or that of one line (`7.2`).
    Package(Option<String>),
    /// A tree of the user's.
    Tree(PathBuf),
    /// A commit of a git tree of the user's.
    Commit {
        /// The tree, or a bare repository.
        repository: PathBuf,
        /// Anything that git takes for a commit.
        reference: String,
    },
}

impl FromStr for SourceSpec {
    type Err = BuildError;

    fn from_str(text: &str) -> Result<Self, BuildError> {
        if text == "debian-source" {
            return Ok(Self::Package(None));
        }
        if let Some(line) = text.strip_prefix("debian-source:") {
            let is_line = line.split('.').count() == 2 && line.split('.').all(|part| part.parse::<u32>().is_ok());
            return if is_line {
                Ok(Self::Package(Some(line.to_owned())))
            } else {
                Err(BuildError::BadSource(text.into()))
            };
        }
        if !text.contains('/') && !text.starts_with('.') {
            return Err(BuildError::BadSource(text.to_owned()));
        }
        // An `@` that belongs to a folder's name is not ours.
        match text.rsplit_once('@') {
            Some((path, reference))
                if !Path::new(text).exists() && !reference.contains('/') || is_commit_path(text, path) =>
            {
                Self::commit(text, path, reference)
            }
            _ => Ok(Self::Tree(text.into())),
        }
    }
}

/// `PATH@REF` where REF may hold slashes (`origin/master`): the part before the last `@` exists, the whole does not.
fn is_commit_path(text: &str, path: &str) -> bool {
    !Path::new(text).exists() && Path::new(path).is_dir()
}

impl SourceSpec {
    fn commit(text: &str, path: &str, reference: &str) -> Result<Self, BuildError> {
        if path.is_empty() || reference.is_empty() || reference.starts_with('-') {
            return Err(BuildError::BadSource(text.to_owned()));
        }
        Ok(Self::Commit { repository: path.into(), reference: reference.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_says_what_it_is_by_its_shape() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a@b");
        std::fs::create_dir(&odd).unwrap();
        let parse = |text: &str| text.parse::<SourceSpec>().unwrap();
        let commit = |repository: &str, reference: &str| SourceSpec::Commit {
            repository: repository.into(),
            reference: reference.to_owned(),
        };
        assert_eq!(parse("debian-source"), SourceSpec::Package(None));
        assert_eq!(parse("debian-source:7.2"), SourceSpec::Package(Some("7.2".into())));
        assert_eq!(parse("./linux"), SourceSpec::Tree("./linux".into()));
        assert_eq!(parse("./linux@v7.2"), commit("./linux", "v7.2"));
        assert_eq!(parse("../linux@HEAD~3"), commit("../linux", "HEAD~3"));
        let here = dir.path().to_str().unwrap();
        assert_eq!(parse(&format!("{here}@net-next/main")), commit(here, "net-next/main"));
        let odd = odd.to_str().unwrap();
        assert_eq!(parse(odd), SourceSpec::Tree(odd.into()));
        assert_eq!(parse(&format!("{odd}@v1")), commit(odd, "v1"));
        for bad in
            ["", "debian", "debian-source:", "debian-source:7", "debian-source:x.y", "linux", "./linux@", "./l@-x"]
        {
            assert!(matches!(bad.parse::<SourceSpec>(), Err(BuildError::BadSource(_))), "{bad}");
        }
    }
}
