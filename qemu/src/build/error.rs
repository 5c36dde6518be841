//! What can go wrong while building a kernel. Every message names the thing and the remedy.

use std::path::PathBuf;

use crate::error::SetupError;

/// Why there is no new kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A name that a kernel cannot have.
    #[error(
        "`{0}` cannot be the name of a kernel: use up to 32 letters, digits and `-_+.`, starting with a letter or digit, and not `debian…`"
    )]
    BadName(String),
    /// A source that means nothing.
    #[error(
        "`{0}` is not a kernel source: give debian-source[:LINE] such as debian-source:7.2, a tree (a path with a `/` or a leading `.`), or PATH@REF"
    )]
    BadSource(String),
    /// A line that the distribution does not have.
    #[error("debian-source:{line} is not on offer; there are {offer}", offer = offer.join(", "))]
    NoSuchLine {
        /// The line asked for.
        line: String,
        /// What there is, as SPECs.
        offer: Vec<String>,
    },
    /// A path that is no kernel tree.
    #[error("{path}: {why}", path = path.display())]
    Tree {
        /// The path.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A commit that is not there.
    #[error("{repository} has no commit `{reference}`: {detail}", repository = repository.display())]
    NoCommit {
        /// The repository.
        repository: PathBuf,
        /// What was asked for.
        reference: String,
        /// What git said.
        detail: String,
    },
    /// A fragment that cannot be used.
    #[error("{0}")]
    Fragment(String),
    /// A series that is none.
    #[error("series {series}: {why}", series = series.display())]
    Series {
        /// The mailbox or directory.
        series: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A patch that does not apply.
    #[error(
        "series {series}: patch {number} of {total} does not apply to {base}: \"{subject}\"\n  {places}\nGive the tree that it was made for (--source), or the series rebased on this one",
        series = series.display(),
        places = places.join("\n  ")
    )]
    NotApplied {
        /// The mailbox or directory.
        series: PathBuf,
        /// Which patch, from 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// Its subject.
        subject: String,
        /// What it was applied to.
        base: String,
        /// Files and lines, as git names them.
        places: Vec<String>,
    },
    /// An edit that cannot be made.
    #[error("edit {edit}: {why}")]
    Edit {
        /// The semantic patch.
        edit: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The final configuration is not what was asked for.
    #[error(
        "the kernel's final configuration is not what was asked for:\n  {0}\nAdd what they depend on with a further --config, or leave them out"
    )]
    Options(String),
    /// The guest could not use such a kernel.
    #[error("the configuration lacks {missing}, without which the guest cannot report: start from --config fast")]
    Unbootable {
        /// The options, joined with commas.
        missing: String,
    },
    /// The compiler said no.
    #[error("{what} failed:\n  {errors}\nThe whole log is {log}", errors = errors.join("\n  "), log = log.display())]
    Make {
        /// What was being made.
        what: String,
        /// The first errors.
        errors: Vec<String>,
        /// The whole log.
        log: PathBuf,
    },
    /// A name that nothing has.
    #[error("no kernel is called `{name}`{known}")]
    NoSuchName {
        /// The name asked for.
        name: String,
        /// The names that exist, as a clause that starts with a separator.
        known: String,
    },
    /// Something is being built or used.
    #[error("kernel {0} is being built by another mlx5emu: wait for it to end")]
    Busy(String),
    /// Provisioning failed, or the file system.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl BuildError {
    /// Whether the command line is at fault, and not what it led to.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::BadName(_)
                | Self::BadSource(_)
                | Self::NoSuchLine { .. }
                | Self::Tree { .. }
                | Self::NoCommit { .. }
                | Self::Fragment(_)
                | Self::NoSuchName { .. }
        )
    }
}
