//! Building kernels: from a source, a series and a configuration to something that boots in the guest.
//!
//! The kernel's own build does the work, in folders of the cache that are kept, so that the next build of the same name
//! makes only what has changed. A tree of the user's is read, never written.

mod error;
mod git;
mod make;
mod mirror;
mod options;
mod package;
mod record;
mod series;
mod source;
#[cfg(test)]
mod tests;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use error::BuildError;
pub use options::Fragment;
pub use record::BuiltKernel;
pub(crate) use record::known;
pub use source::SourceSpec;

use crate::cache::{self, content_key};
use crate::error::IoContext;
use crate::host::{self, Requirement};
use crate::kernel;
use crate::modules;
use crate::progress::Progress;
use crate::setup::{Needs, Setup};
use make::{Expected, Make};
use record::{CONFIG, IMAGE, MODULES, Record};
use tree::{Layout, Tree};

/// The output of a trimmed kernel, and its part.
const BUILD_MIB: u64 = 3000;
/// A seed whose configuration differs in more options than this would be built anew anyway.
const SEED_OPTIONS: usize = 24;
/// Enough of debug information to say file and line, which costs next to nothing.
const LINES_ONLY: &str = "-g1";

/// A kernel to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// What it will be called.
    pub name: String,
    /// What it is built from.
    pub source: SourceSpec,
    /// A mailbox or a folder of patches to apply to it.
    pub series: Option<PathBuf>,
    /// Semantic patches to apply after that.
    pub edits: Vec<Edit>,
    /// The configuration: fragments, the first of which may be a whole configuration.
    pub config: Vec<Fragment>,
    /// Modules of ours to build for it.
    pub modules: Vec<GuestModule>,
    /// How many programs make may run at once.
    pub jobs: usize,
}

/// A semantic patch for Coccinelle, with lines `// files: PATH…` that say where it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What the user calls it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A kernel module outside the kernel's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestModule {
    /// Its name.
    pub name: &'static str,
    /// Its files, by name.
    pub files: &'static [(&'static str, &'static str)],
    /// Options that the kernel must have set for it, without `CONFIG_`; without them the module is left out.
    pub needs: &'static [&'static str],
}

/// What a build did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The kernel.
    pub kernel: BuiltKernel,
    /// Whether everything was there already.
    pub unchanged: bool,
}

impl Setup {
    /// Builds a kernel, or finds that it has been built from the same.
    pub fn build_kernel(&self, request: &BuildRequest, progress: &mut dyn Progress) -> Result<Built, BuildError> {
        record::check_name(&request.name)?;
        let wishes = options::parse(own_fragments(&request.config)).map_err(BuildError::Fragment)?;
        request.series.as_deref().map_or(Ok(()), series::check)?;
        host::require(&requirements(request, &wishes), progress)?;
        let result = self.build(request, wishes, progress);
        progress.done();
        result
    }

    fn build(
        &self,
        request: &BuildRequest,
        wishes: options::Wishes,
        progress: &mut dyn Progress,
    ) -> Result<Built, BuildError> {
        let dir = self.kernel_dir(&request.name);
        fs::create_dir_all(&dir).at("creating", &dir)?;
        let Some(_lock) = cache::try_lock_file(&dir.join("lock"))? else {
            return Err(BuildError::Busy(request.name.clone()));
        };
        self.store().require_space(&format!("kernel {}", request.name), BUILD_MIB)?;
        let compiler = make::compiler()?;
        let fragment = options::render(&wishes);
        let layout =
            Layout { source: &request.source, series: request.series.as_deref(), edits: &request.edits, dir: &dir };
        let tree = self.lay_out(layout, &self.seeds(&request.name, &fragment, &compiler), progress)?;
        let record = Record {
            source: tree.description.clone(),
            config: names(&request.config),
            key: key(request, &tree, &fragment, &compiler).unwrap_or_default(),
            output: tree.output.display().to_string(),
            compiler,
            ..Record::default()
        };
        if let Some(kernel) = self.same_again(&request.name, &dir, &record) {
            return Ok(Built { kernel, unchanged: true });
        }
        self.make_kernel(request, wishes, &tree, record, progress)
    }

    /// The kernel, when it has been built from exactly this.
    fn same_again(&self, name: &str, dir: &Path, record: &Record) -> Option<BuiltKernel> {
        let last = Record::read(dir)?;
        if record.key.is_empty() || last.key != record.key { None } else { self.built_kernel(name) }
    }

    fn make_kernel(
        &self,
        request: &BuildRequest,
        mut wishes: options::Wishes,
        tree: &Tree,
        mut record: Record,
        progress: &mut dyn Progress,
    ) -> Result<Built, BuildError> {
        let name = &request.name;
        let dir = self.kernel_dir(name);
        let last = Record::read(&dir);
        Record::remove(&dir);
        let log = dir.join("log");
        fs::write(&log, "").at("writing", &log)?;
        let make = Make { tree, local_version: format!("-{name}"), jobs: request.jobs.max(1), log: &log };
        let config = configure(&make, request, &mut wishes, progress)?;
        let flags = flags(&config);
        let expected = last.as_ref().filter(|last| last.files > 0).map(|last| Expected(last.files));
        let targets = [flags.clone(), "bzImage".into(), "modules".into()];
        let files = make.run(&format!("kernel {name}: compiling"), &targets, expected, progress)?;
        let built = self.build_modules(&make, request, &flags, &config, progress)?;
        record.release = kernel::read_release(&make::image(&tree.output)).map_err(crate::error::SetupError::from)?;
        // A build of a few files says nothing about how many a whole one has.
        record.files = last.map_or(files, |last| last.files.max(files));
        record.built = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        self.put_together(name, tree, &record, &built, progress)?;
        record.write(&dir)?;
        // It has just been put there; only a `kernel rm` in this moment can have taken it away.
        match self.built_kernel(name) {
            Some(kernel) => Ok(Built { kernel, unchanged: false }),
            None => Err(BuildError::NoSuchName { name: name.clone(), known: String::new() }),
        }
    }

    /// Builds our own modules for the kernel; answers their files.
    fn build_modules(
        &self,
        make: &Make<'_>,
        request: &BuildRequest,
        flags: &str,
        config: &str,
        progress: &mut dyn Progress,
    ) -> Result<Vec<PathBuf>, BuildError> {
        let values = options::values(config);
        let is_on = |name: &&str| matches!(values.get(*name), Some(&("y" | "m")));
        let mut built = Vec::new();
        for module in &request.modules {
            if let Some(missing) = ["MODULES"].iter().chain(module.needs).find(|name| !is_on(name)) {
                progress.note(&format!(
                    "the guest's module {} is left out: the kernel has no CONFIG_{missing}",
                    module.name
                ));
                continue;
            }
            let dir = self.kernel_dir(&request.name).join("modules").join(module.name);
            fs::create_dir_all(&dir).at("creating", &dir)?;
            for (name, text) in module.files {
                let path = dir.join(name);
                // A file that has not changed keeps its time, so that it is not compiled again.
                if fs::read_to_string(&path).ok().as_deref() != Some(*text) {
                    fs::write(&path, text).at("writing", &path)?;
                }
            }
            let args = [flags.to_owned(), format!("M={}", dir.display()), "modules".into()];
            make.run(&format!("kernel {}: the guest's module {}", request.name, module.name), &args, None, progress)?;
            built.push(dir.join(format!("{}.ko", module.name)));
        }
        Ok(built)
    }

    /// Makes the part that boots: image, modules, configuration, record.
    fn put_together(
        &self,
        name: &str,
        tree: &Tree,
        record: &Record,
        own_modules: &[PathBuf],
        progress: &mut dyn Progress,
    ) -> Result<(), BuildError> {
        let has_modules = !own_modules.is_empty() || !modules::built_modules(&tree.output).is_empty();
        let needs = Needs { userland: has_modules, ..Needs::default() };
        let userland = self.ensure(&needs, progress)?.userland;
        progress.step(&format!("kernel {name}: putting its modules together"));
        let lock = self.store().lock(progress)?;
        let part = self.store().scratch(&lock, "kernel")?;
        let image = make::image(&tree.output);
        fs::copy(&image, part.join(IMAGE)).at("copying", &image)?;
        let config = tree.output.join(".config");
        fs::copy(&config, part.join(CONFIG)).at("copying", &config)?;
        if let Some(userland) = userland {
            let stage = self.store().scratch(&lock, "staged")?;
            modules::stage_build_tree(&tree.output, &record.release, &stage)?;
            modules::stage_own(own_modules, &record.release, &stage)?;
            modules::depmod(&userland, &stage, &record.release)?;
            let source = modules::Source { release: &record.release, root: &stage };
            modules::build(&source, &userland, &self.store().scratch(&lock, "modules")?, &part.join(MODULES))?;
        }
        record.write(&part)?;
        let key = content_key([record.key.as_str(), &record.built.to_string(), &image_time(&image)]);
        self.publish_kernel(&lock, &part, name, &key)?;
        Ok(())
    }

    /// Folders of other kernels, with nearly the same configuration and the same compiler, the nearest first.
    fn seeds(&self, name: &str, fragment: &str, compiler: &str) -> Vec<PathBuf> {
        let mut found: Vec<(usize, std::cmp::Reverse<u64>, PathBuf)> = Vec::new();
        for entry in fs::read_dir(self.kernel_dir("")).into_iter().flatten().flatten() {
            let dir = entry.path();
            // Without a record a build has not ended well, or is under way.
            let Some(record) = Record::read(&dir).filter(|record| record.compiler == compiler) else { continue };
            let theirs = fs::read_to_string(Path::new(&record.output).join(FRAGMENT)).unwrap_or_default();
            let distance = distance(&theirs, fragment);
            if distance <= SEED_OPTIONS && *entry.file_name() != *name {
                found.push((distance, std::cmp::Reverse(record.built), dir));
            }
        }
        found.sort();
        found.into_iter().map(|(_, _, dir)| dir).collect()
    }
}

/// What Kconfig is given, in the output folder.
const FRAGMENT: &str = "mlx5emu.fragment";

/// The options in which two fragments differ.
fn distance(one: &str, other: &str) -> usize {
    let set = |text: &'_ str| text.lines().map(str::to_owned).collect::<std::collections::HashSet<String>>();
    set(one).symmetric_difference(&set(other)).count()
}

fn image_time(image: &Path) -> String {
    let time = fs::metadata(image).and_then(|meta| meta.modified()).ok();
    format!("{:?}", time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()))
}

/// The fragments among the pieces of the configuration; a whole configuration may come first.
fn own_fragments(config: &[Fragment]) -> &[Fragment] {
    match config {
        [first, rest @ ..] if first.is_whole() => rest,
        all => all,
    }
}

fn names(config: &[Fragment]) -> String {
    config.iter().map(|fragment| fragment.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// Names everything that goes into a build, unless the source is the user's and may change.
fn key(request: &BuildRequest, tree: &Tree, fragment: &str, compiler: &str) -> Option<String> {
    let identity = tree.identity.as_deref()?;
    let mut pieces = vec![identity, fragment, compiler];
    pieces.extend(request.config.iter().filter(|piece| piece.is_whole()).map(|piece| piece.text.as_str()));
    pieces.extend(request.modules.iter().flat_map(|module| module.files).flat_map(|(name, text)| [*name, *text]));
    pieces.extend(modules::recipe().iter().copied());
    Some(content_key(pieces))
}

/// What must be installed. Two libraries are only needed for what some configurations ask for.
fn requirements(request: &BuildRequest, wishes: &options::Wishes) -> Vec<Requirement> {
    let mut all = vec![
        Requirement::program("make", "make"),
        Requirement::program("gcc", "gcc"),
        Requirement::program("flex", "flex"),
        Requirement::program("bison", "bison"),
        Requirement::program("bc", "bc"),
        Requirement::program("perl", "perl"),
        Requirement::file("/usr/include/libelf.h", "libelf-dev"),
        Requirement::file("/usr/include/stdio.h", "libc6-dev"),
    ];
    let asks = |name: &str| wishes.get(name).is_some_and(|wish| wish.value != "n");
    let whole = request.config.first().is_some_and(Fragment::is_whole);
    if whole || ["MODULE_SIG", "SYSTEM_TRUSTED_KEYRING"].into_iter().any(asks) {
        all.push(Requirement::file("/usr/include/openssl/evp.h", "libssl-dev"));
    }
    if asks("DEBUG_INFO_BTF") {
        all.push(Requirement::program("pahole", "dwarves"));
    }
    if !request.edits.is_empty() {
        all.push(Requirement::program("spatch", "coccinelle"));
    }
    if request.series.is_some() || !request.edits.is_empty() || !matches!(request.source, SourceSpec::Package(_)) {
        all.push(mirror::requirement());
    }
    all
}

/// Makes the final configuration, checks that it is what was asked for, and returns it.
fn configure(
    make: &Make<'_>,
    request: &BuildRequest,
    wishes: &mut options::Wishes,
    progress: &mut dyn Progress,
) -> Result<String, BuildError> {
    let Tree { source, output, .. } = make.tree;
    options::keep_known(wishes, |names| options::Kconfig::read(source, names).entries.into_keys().collect());
    let fragment = options::render(wishes);
    let what = format!("kernel {}: configuring", request.name);
    let path = output.join(FRAGMENT);
    fs::write(&path, &fragment).at("writing", &path)?;
    let config = output.join(".config");
    match request.config.first().filter(|first| first.is_whole()) {
        // A whole configuration: what it does not know gets the kernel's default.
        Some(whole) => {
            fs::write(&config, format!("{}\n{fragment}", whole.text)).at("writing", &config)?;
            make.run(&what, &["olddefconfig".into()], None, progress)?;
        }
        // Fragments: what they do not name is off.
        None => {
            let all = format!("KCONFIG_ALLCONFIG={}", path.display());
            make.run(&what, &[all, "allnoconfig".into()], None, progress)?;
        }
    }
    let text = fs::read_to_string(&config).at("reading", &config)?;
    let missed = options::missed(wishes, &text);
    if !missed.is_empty() {
        return Err(BuildError::Options(options::explain(&missed, source)));
    }
    match kernel::missing_options(&text) {
        Some(missing) => Err(BuildError::Unbootable { missing }),
        None => Ok(text),
    }
}

/// Lines for back traces, unless the configuration asks for more.
fn flags(config: &str) -> String {
    let own = std::env::var("KCFLAGS").unwrap_or_default();
    let has_debug_info = options::values(config).get("DEBUG_INFO") == Some(&"y");
    let words: Vec<&str> = [if has_debug_info { "" } else { LINES_ONLY }, own.trim()]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect();
    format!("KCFLAGS={}", words.join(" "))
}
