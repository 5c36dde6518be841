//! The whole way on a tree that only looks like a kernel: its makefile knows the targets, its "compiler" checks syntax.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::kernel::NEEDED;
use crate::progress::Quiet;

/// Knows `allnoconfig` (an option is granted when Kconfig has it), `bzImage` and `modules`.
const MAKEFILE: &str = r#"
ifneq ($(wildcard $(CURDIR)/built-within),)
$(error the source tree is not clean)
endif
allnoconfig:
	@while read -r line; do name=$${line#CONFIG_}; name=$${name%%=*}; \
		if grep -q "^config $$name$$" Kconfig; then echo "$$line"; fi; done <$(KCONFIG_ALLCONFIG) >$(O)/.config
objects := $(patsubst %.c,$(O)/%.o,$(wildcard *.c))
$(O)/%.o: %.c
	@echo "  CC      $*.o"
	@gcc -fsyntax-only $<
	@touch $@
bzImage: $(objects)
	@mkdir -p $(O)/arch/x86/boot
	@cp image.bin $(O)/arch/x86/boot/bzImage
modules:
	@:
"#;
/// An option of the test's own, beside those that every kernel needs.
const MINE: &str = "MINE";

struct Place {
    dir: tempfile::TempDir,
    setup: Setup,
}

impl Place {
    /// A "kernel" under git, and an empty cache.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::at(dir.path().join("cache"));
        let place = Self { dir, setup };
        let tree = place.tree();
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("Makefile"), MAKEFILE).unwrap();
        let kconfig: String =
            NEEDED.iter().chain([&MINE]).map(|name| format!("config {name}\n\tbool \"{name}\"\n")).collect();
        fs::write(tree.join("Kconfig"), kconfig).unwrap();
        fs::write(tree.join("a.c"), "int a;\n").unwrap();
        fs::write(tree.join("b.c"), "int one(void)\n{\n\treturn 1;\n}\n").unwrap();
        fs::write(tree.join("image.bin"), image("7.2.0-fake")).unwrap();
        git::run(&tree, &["init", "--quiet", "--initial-branch=main"]).unwrap();
        git::run(&tree, &["add", "."]).unwrap();
        git::run(&tree, &["commit", "--quiet", "-m", "base"]).unwrap();
        place
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("tree")
    }

    fn request(&self, name: &str) -> BuildRequest {
        let text: String = NEEDED.iter().chain([&MINE]).map(|name| format!("CONFIG_{name}=y\n")).collect();
        BuildRequest {
            name: name.into(),
            source: SourceSpec::Tree(self.tree()),
            series: None,
            edits: Vec::new(),
            config: vec![Fragment { name: "all".into(), text }],
            modules: Vec::new(),
            jobs: 2,
        }
    }

    fn build(&self, request: &BuildRequest) -> Result<Built, BuildError> {
        let wishes = options::parse(own_fragments(&request.config)).map_err(BuildError::Fragment)?;
        self.setup.build(request, wishes, &mut Quiet)
    }

    fn with_series(&self, name: &str, mail: &str) -> Result<Built, BuildError> {
        let path = self.dir.path().join(format!("{name}.mbox"));
        fs::write(&path, mail).unwrap();
        self.build(&BuildRequest { series: Some(path), ..self.request(name) })
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.setup.kernel_dir(name).join("log")).unwrap()
    }

    /// The files that the last build of `name` compiled.
    fn compiled(&self, name: &str) -> Vec<String> {
        let log = self.log(name);
        let mut files: Vec<String> =
            log.lines().filter_map(|line| line.strip_prefix("  CC      ")).map(str::to_owned).collect();
        files.sort();
        files
    }
}

/// A boot sector that states a release.
fn image(release: &str) -> Vec<u8> {
    let mut head = vec![0; 0x1000];
    head[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    head[0x202..0x206].copy_from_slice(b"HdrS");
    head[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
    head[0x20e..0x210].copy_from_slice(&0x0600u16.to_le_bytes());
    head[0x236] = 0x7f;
    head[0x800..0x800 + release.len()].copy_from_slice(release.as_bytes());
    head
}

/// One mail with a patch that changes one line of a file, with as much context as the file has.
fn mail(subject: &str, file: &str, line: usize, from: &str, to: &str) -> String {
    let place = Place::new();
    let text = fs::read_to_string(place.tree().join(file)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let (start, end) = (line.saturating_sub(3).max(1), (line + 3).min(lines.len()));
    let shown =
        |range: std::ops::RangeInclusive<usize>| range.map(|at| format!(" {}\n", lines[at - 1])).collect::<String>();
    let hunk = format!("{}-{from}\n+{to}\n{}", shown(start..=line - 1), shown(line + 1..=end));
    let count = end + 1 - start;
    format!(
        "From 0000000000000000000000000000000000000001 Mon Sep 17 00:00:00 2001\nFrom: Some One <one@example.org>\n\
         Date: Mon, 2 Nov 2026 10:00:00 +0000\nSubject: [PATCH] {subject}\n\nA reason.\n---\n {file} | 2 +-\n\n\
         diff --git a/{file} b/{file}\n--- a/{file}\n+++ b/{file}\n@@ -{start},{count} +{start},{count} @@\n{hunk}-- \n2.47\n\n"
    )
}

/// A mail that only talks.
fn cover() -> String {
    "From 0000000000000000000000000000000000000001 Mon Sep 17 00:00:00 2001\nFrom: Some One <one@example.org>\n\
     Date: Mon, 2 Nov 2026 10:00:00 +0000\nSubject: [PATCH 0/2] all of it\n\nHello.\n\n> diff is quoted here\n\n"
        .to_owned()
}

/// Every file below `dir` with its time and content.
fn snapshot(dir: &Path) -> Vec<(PathBuf, std::time::SystemTime, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(snapshot(&path));
        } else {
            all.push((path.clone(), fs::metadata(&path).unwrap().modified().unwrap(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_tree_is_built_read_only_and_again_in_no_time() {
    let place = Place::new();
    let before = snapshot(&place.tree());
    let built = place.build(&place.request("mine")).unwrap();
    assert_eq!(built.kernel.release, "7.2.0-fake");
    assert_eq!(place.compiled("mine"), ["a.o", "b.o"]);
    assert_eq!(snapshot(&place.tree()), before);
    assert_eq!(place.setup.find_named_kernel("mine").unwrap().image, built.kernel.image);

    // What is not committed is built, too.
    fs::write(place.tree().join("a.c"), "long a;\n").unwrap();
    place.build(&place.request("mine")).unwrap();
    assert_eq!(place.compiled("mine"), ["a.o"]);

    place.setup.remove_kernel("mine", &mut Quiet).unwrap();
    assert!(place.setup.built_kernels().is_empty() && !place.setup.kernel_dir("mine").exists());
}

#[test]
fn a_tree_built_within_itself_is_copied() {
    let place = Place::new();
    let tree = place.tree();
    fs::write(tree.join(".gitignore"), ".config\nbuilt-within\n").unwrap();
    fs::write(tree.join(".config"), "CONFIG_X=y\n").unwrap();
    fs::write(tree.join("built-within"), "").unwrap();
    let before = snapshot(&tree);
    place.build(&place.request("mine")).unwrap();
    assert_eq!(snapshot(&tree), before);
    fs::write(tree.join("b.c"), "int two;\n").unwrap();
    place.build(&place.request("mine")).unwrap();
    assert_eq!(place.compiled("mine"), ["b.o"]);
}

#[test]
fn a_good_series_is_built_from_where_the_base_ended() {
    let place = Place::new();
    let tree = place.tree();
    let base = BuildRequest {
        source: SourceSpec::Commit { repository: tree.clone(), reference: "HEAD".into() },
        ..place.request("base")
    };
    assert!(!place.build(&base).unwrap().unchanged);
    assert!(place.build(&base).unwrap().unchanged);
    let before = snapshot(&tree);
    let series = cover() + &mail("b: say two", "b.c", 3, "\treturn 1;", "\treturn 2;");
    let built = place.with_series("fix", &series).unwrap();
    assert!(!built.unchanged && built.kernel.source.ends_with(" + fix.mbox"), "{}", built.kernel.source);
    assert_eq!(place.compiled("fix"), ["b.o"]);
    assert_eq!(snapshot(&tree), before);
    assert!(place.with_series("fix", &series).unwrap().unchanged);
    assert_eq!(place.setup.built_kernels().len(), 2);

    // The base, from the kernel with the series, is the base again.
    place.setup.remove_kernel("base", &mut Quiet).unwrap();
    place.build(&base).unwrap();
    assert_eq!(place.compiled("base"), ["b.o"]);
    let source = place.setup.kernel_dir("base").join("source/b.c");
    assert!(fs::read_to_string(source).unwrap().contains("return 1"));
}

#[test]
fn a_series_that_does_not_apply_says_which_patch_and_where() {
    let place = Place::new();
    let series =
        mail("a: longer", "a.c", 1, "int a;", "long a;") + &mail("b: wrong", "b.c", 3, "\treturn 9;", "\treturn 2;");
    let text = place.with_series("bad", &series).unwrap_err().to_string();
    assert!(text.contains("patch 2 of 2 does not apply to"), "{text}");
    assert!(text.contains("\"b: wrong\"") && text.contains("b.c:1: the lines there are not"), "{text}");
    assert!(place.setup.built_kernels().is_empty());
    // Nothing is left that would be in the way of the next one.
    place.with_series("bad", &mail("a: longer", "a.c", 1, "int a;", "long a;")).unwrap();
}

#[test]
fn a_series_that_does_not_compile_shows_the_first_error_and_the_log() {
    let place = Place::new();
    let series = mail("b: slip", "b.c", 3, "\treturn 1;", "\treturn one_too_many;");
    let error = place.with_series("slip", &series).unwrap_err();
    let text = error.to_string();
    assert!(!error.is_usage() && text.contains("b.c:3:") && text.contains("one_too_many"), "{text}");
    assert!(text.contains("kernels/slip/log"), "{text}");
    assert!(place.log("slip").contains("one_too_many"));
}

#[test]
fn a_series_whose_option_vanishes_names_the_option() {
    let place = Place::new();
    let line = NEEDED.len() * 2 + 1;
    let series = mail("Kconfig: renamed", "Kconfig", line, "config MINE", "config OURS");
    let text = place.with_series("gone", &series).unwrap_err().to_string();
    let place_of = format!("CONFIG_MINE=y (all:{}): this kernel has no such option", NEEDED.len() + 1);
    assert!(text.contains(&place_of), "{text}");
}

#[test]
fn what_is_no_series_is_told() {
    let place = Place::new();
    let text = place.with_series("talk", &cover()).unwrap_err().to_string();
    assert!(text.contains("it has no patch"), "{text}");
    let text = place.with_series("junk", "just words\n").unwrap_err().to_string();
    assert!(text.contains("git cannot read it as mail"), "{text}");
    let missing = BuildRequest { series: Some("/no/such/series".into()), ..place.request("x") };
    assert!(place.build(&missing).unwrap_err().to_string().contains("give a mailbox or a folder of patches"));

    let folder = place.dir.path().join("patches");
    fs::create_dir(&folder).unwrap();
    let request = BuildRequest { series: Some(folder.clone()), ..place.request("x") };
    assert!(place.build(&request).unwrap_err().to_string().contains("the folder has no *.patch"));
    fs::write(folder.join("0002-b.patch"), mail("b", "b.c", 3, "\treturn 2;", "\treturn 3;")).unwrap();
    fs::write(folder.join("0001-b.patch"), mail("b", "b.c", 3, "\treturn 1;", "\treturn 2;")).unwrap();
    assert!(place.build(&request).is_ok());
}

#[test]
fn a_series_needs_a_tree_without_other_changes() {
    let place = Place::new();
    fs::write(place.tree().join("a.c"), "long a;\n").unwrap();
    let error = place.with_series("fix", &mail("b", "b.c", 3, "\treturn 1;", "\treturn 2;")).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("commit them, or name a commit with @HEAD"), "{error}");
}

#[test]
fn a_kernel_that_the_guest_cannot_use_is_refused() {
    let place = Place::new();
    let config = vec![Fragment { name: "little".into(), text: "CONFIG_MINE=y\n".into() }];
    let text = place.build(&BuildRequest { config, ..place.request("little") }).unwrap_err().to_string();
    assert!(text.contains("VIRTIO_CONSOLE") && text.contains("--config fast"), "{text}");
}

#[test]
fn wrong_sources_are_refused_with_the_remedy() {
    let place = Place::new();
    let with = |source: SourceSpec| place.build(&BuildRequest { source, ..place.request("x") }).unwrap_err();
    let error = with(SourceSpec::Tree("/no/such/tree".into()));
    assert!(error.is_usage() && error.to_string().contains("give a kernel tree"), "{error}");
    let error = with(SourceSpec::Tree(place.dir.path().to_owned()));
    assert!(error.to_string().contains("it lacks Kconfig or Makefile"), "{error}");
    let error = with(SourceSpec::Commit { repository: place.tree(), reference: "v9".into() });
    assert!(error.is_usage() && error.to_string().contains("has no commit `v9`"), "{error}");
    let error = with(SourceSpec::Commit { repository: "/".into(), reference: "v9".into() });
    assert!(error.to_string().contains("git does not take it for a repository"), "{error}");
}

#[test]
fn an_edit_changes_what_it_says_or_is_refused() {
    if host::find_in_path("spatch").is_none() {
        eprintln!("Coccinelle is not installed: not tested");
        return;
    }
    let place = Place::new();
    let edit = |text: &str| BuildRequest {
        edits: vec![Edit { name: "two".into(), text: text.into() }],
        ..place.request("edited")
    };
    let script = "// files: b.c\nvirtual patch\n@@\n@@\n- return 1;\n+ return 2;\n";
    place.build(&edit(script)).unwrap();
    let source = place.setup.kernel_dir("edited").join("source/b.c");
    assert!(fs::read_to_string(source).unwrap().contains("return 2;"));
    let text = |script: &str| place.build(&edit(script)).unwrap_err().to_string();
    assert!(text(&script.replace("return 1", "return 7")).contains("it changes nothing"));
    assert!(text(&script.replace("b.c", "c.c")).contains("does not have its files"));
    assert!(text(&script.replace("b.c", "../b.c")).contains("not a path within"));
    assert!(text("@@\n@@\n- a\n").contains("add a line"));
}

#[test]
fn one_name_is_built_once_at_a_time() {
    let place = Place::new();
    let dir = place.setup.kernel_dir("mine");
    fs::create_dir_all(&dir).unwrap();
    let _held = cache::try_lock_file(&dir.join("lock")).unwrap().unwrap();
    assert!(matches!(place.build(&place.request("mine")), Err(BuildError::Busy(_))));
    assert!(matches!(place.setup.remove_kernel("mine", &mut Quiet), Err(BuildError::Busy(_))));
}
