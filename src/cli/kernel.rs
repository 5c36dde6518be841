//! `kernel`: kernels to boot.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// Build kernels to boot, with or without a series of patches
///
/// A kernel that has been built is called by its name: 'mlx5emu vm --kernel NAME'.
#[derive(Debug, Args)]
pub(crate) struct Kernel {
    #[command(subcommand)]
    pub(crate) verb: KernelVerb,
}

/// What to do with kernels.
#[derive(Debug, Subcommand)]
pub(crate) enum KernelVerb {
    Build(KernelBuild),
    List(KernelList),
    Rm(KernelRm),
}

/// Build a kernel from a source, a series and a configuration
///
/// Everything happens in the cache, in folders that are kept: building the same name again makes only what has changed, and
/// a name that differs from an earlier one by a few files or options starts where that one ended. A tree of yours is read
/// and never written. Building a series runs code of that series (its makefiles and scripts) as you: build what you trust.
///
/// What the build needs of the host (gcc, flex, bison, …) is installed when this runs as root, and named otherwise.
#[derive(Debug, Args)]
#[command(after_help = "\
SOURCE is one of
  debian-source[:7.2]    the source package of the distribution's newest kernel (of that line)
  ~/linux                with a '/' or a leading '.': a tree, with what is not committed in it
  ~/linux@v7.2           a commit, branch or tag of a git tree

CONFIG is a preset, or a file with lines CONFIG_X=y. Later ones override earlier ones; what none
names is off. A whole .config may come first. An option that cannot be had is an error.
  fast                   small, with everything that stands on or beside an mlx5 card
  debug                  fast, with lockdep, kmemleak, DMA-API debugging and failing allocations
  kasan                  fast, with KASAN and failing allocations

Examples:
  mlx5emu kernel build --source ~/linux --name mine
  mlx5emu kernel build --config debug --series fix.mbox --name fix
                                           the newest source package with a series; if one of
                                           its patches does not apply, which one and where
  mlx5emu kernel build --source debian-source:7.2 --config kasan --config ./more.config --name k
  mlx5emu kernel build --source debian-source:7.2 --edit pages-v1 --name pages-v1
                                           with a defect that a review found brought back
  mlx5emu vm --kernel fix -- uname -r")]
pub(crate) struct KernelBuild {
    /// What to build
    #[arg(long, value_name = "SOURCE", default_value = "debian-source")]
    pub(crate) source: String,
    /// A mailbox (b4 am, git format-patch --stdout) or a folder of patches to apply, with 'git am -3'
    #[arg(long, value_name = "MBOX|DIR", value_hint = ValueHint::AnyPath)]
    pub(crate) series: Option<PathBuf>,
    /// A semantic patch to apply with Coccinelle: a file, or pages-v1, which is ours
    #[arg(long, value_name = "EDIT", value_hint = ValueHint::FilePath)]
    pub(crate) edit: Vec<String>,
    /// A preset or a file with a fragment; may be repeated [default: fast]
    #[arg(long, value_name = "CONFIG", value_hint = ValueHint::FilePath)]
    pub(crate) config: Vec<String>,
    /// What to call it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// How many compilers to run at once [default: one a processor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
}

/// List the kernels that have been built
#[derive(Debug, Args)]
pub(crate) struct KernelList {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Remove built kernels and everything that their builds keep
#[derive(Debug, Args)]
pub(crate) struct KernelRm {
    /// Their names; debian-source:LINE is a fetched source package
    #[arg(value_name = "NAME", required = true)]
    pub(crate) name: Vec<String>,
}
