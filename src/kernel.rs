//! `mlx5emu kernel`: builds kernels, lists them, removes them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use mlx5emu_guest_tests::kernel::{EDITS, MODULES, PRESETS, preset};
use mlx5emu_qemu::build::{BuildError, BuildRequest, BuiltKernel, Edit, Fragment, GuestModule};
use mlx5emu_qemu::progress;
use mlx5emu_qemu::setup::Setup;

use crate::cli::{Kernel, KernelBuild, KernelList, KernelRm, KernelVerb};
use crate::failure::{FAILED, Failure, USAGE};

/// Does what was asked for.
pub(crate) fn run(args: &Kernel) -> Result<u8, Failure> {
    let setup = Setup::from_env().map_err(Failure::failed)?;
    match &args.verb {
        KernelVerb::Build(args) => build(&setup, args),
        KernelVerb::List(args) => list(&setup, args),
        KernelVerb::Rm(args) => remove(&setup, args),
    }
}

fn failure(error: &BuildError) -> Failure {
    Failure::new(if error.is_usage() { USAGE } else { FAILED }, error)
}

fn build(setup: &Setup, args: &KernelBuild) -> Result<u8, Failure> {
    let request = request(args)?;
    let mut progress = progress::for_terminal();
    let built = setup.build_kernel(&request, &mut *progress).map_err(|error| failure(&error))?;
    drop(progress);
    let BuiltKernel { name, release, source, .. } = &built.kernel;
    let what = if built.unchanged { "is there already, built from the same" } else { "is ready" };
    let text = format!("{name}: {release} from {source} {what}\nboot it with: mlx5emu vm --kernel {name}\n");
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

fn request(args: &KernelBuild) -> Result<BuildRequest, Failure> {
    let module = |module: &mlx5emu_guest_tests::kernel::Module| GuestModule {
        name: module.name,
        files: module.files,
        needs: module.needs,
    };
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    Ok(BuildRequest {
        name: args.name.clone(),
        source: args.source.parse().map_err(|error| failure(&error))?,
        series: args.series.clone(),
        edits: args.edit.iter().map(|word| edit(word)).collect::<Result<_, _>>()?,
        config: config(&args.config)?,
        modules: MODULES.iter().map(module).collect(),
        jobs: args.jobs.map_or_else(processors, usize::from),
    })
}

/// Presets come with those that they stand on; fragments alone stand on the first preset.
fn config(words: &[String]) -> Result<Vec<Fragment>, Failure> {
    let mut pieces: Vec<Fragment> = Vec::new();
    for word in words {
        if is_path(word) {
            let text = read("--config", word)?;
            let piece = Fragment { name: word.clone(), text };
            if piece.is_whole() && !pieces.is_empty() {
                return Err(Failure::usage(format_args!("--config {word}: a whole configuration must come first")));
            }
            pieces.push(piece);
        } else {
            add_preset(word, &mut pieces)?;
        }
    }
    let stands = pieces.first().is_some_and(|first| first.is_whole() || preset(&first.name).is_some());
    if !stands && let Some(base) = PRESETS.first() {
        let mut all = Vec::new();
        add_preset(base.name, &mut all)?;
        // A preset may follow a fragment, too: the base is not put on top of the fragment then.
        all.extend(pieces.into_iter().filter(|piece| piece.name != base.name));
        return Ok(all);
    }
    Ok(pieces)
}

fn add_preset(name: &str, pieces: &mut Vec<Fragment>) -> Result<(), Failure> {
    let Some(preset) = preset(name) else {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        return Err(Failure::usage(format_args!(
            "--config {name}: no such preset; there are {}, and a file is written with a `/` or a leading `.`",
            names.join(", ")
        )));
    };
    if let Some(with) = preset.with {
        add_preset(with, pieces)?;
    }
    if pieces.iter().all(|piece| piece.name != name) {
        pieces.push(Fragment { name: name.to_owned(), text: preset.text.to_owned() });
    }
    Ok(())
}

fn edit(word: &str) -> Result<Edit, Failure> {
    if is_path(word) {
        let name = Path::new(word).file_name().map_or(word.into(), |name| name.to_string_lossy());
        return Ok(Edit { name: name.into_owned(), text: read("--edit", word)? });
    }
    let own = EDITS.iter().find(|(name, _)| *name == word);
    own.map(|(name, text)| Edit { name: (*name).to_owned(), text: (*text).to_owned() }).ok_or_else(|| {
        let names: Vec<&str> = EDITS.iter().map(|(name, _)| *name).collect();
        Failure::usage(format_args!(
            "--edit {word}: no such edit; there is {}, and a file is written with a `/` or a leading `.`",
            names.join(", ")
        ))
    })
}

/// As for kernels: a path has a slash or starts with a dot.
fn is_path(word: &str) -> bool {
    word.contains('/') || word.starts_with('.')
}

fn read(option: &str, path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::usage(format_args!("{option} {path}: {error}")))
}

fn list(setup: &Setup, args: &KernelList) -> Result<u8, Failure> {
    let kernels = setup.built_kernels();
    let text = if args.json { json(&kernels) } else { table(&kernels) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

fn json(kernels: &[BuiltKernel]) -> String {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let all: Vec<serde_json::Value> = kernels
        .iter()
        .map(|kernel| {
            serde_json::json!({
                "name": kernel.name,
                "release": kernel.release,
                "source": kernel.source,
                "config": kernel.config,
                "built": seconds(kernel.built),
                "image": kernel.image,
                "modules": kernel.modules,
                "final_config": kernel.final_config,
                "output": kernel.output,
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Array(all))
}

fn table(kernels: &[BuiltKernel]) -> String {
    if kernels.is_empty() {
        return "no kernel has been built yet; mlx5emu kernel build --help has examples\n".to_owned();
    }
    let mut rows = vec![["NAME", "RELEASE", "CONFIG", "AGE", "SOURCE"].map(str::to_owned)];
    rows.extend(kernels.iter().map(|kernel| {
        let BuiltKernel { name, release, config, source, .. } = kernel;
        [name.clone(), release.clone(), config.clone(), age(kernel.built), source.clone()]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    let line = |row: &[String; 5]| {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}  {}\n", padded.join("  "), row[4])
    };
    rows.iter().map(line).collect()
}

/// How long ago, in the largest unit that gives a number.
fn age(built: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(built).map_or(0, |age| age.as_secs());
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn remove(setup: &Setup, args: &KernelRm) -> Result<u8, Failure> {
    let mut progress = progress::for_terminal();
    for name in &args.name {
        setup.remove_kernel(name, &mut *progress).map_err(|error| failure(&error))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        config(&words).unwrap().into_iter().map(|piece| piece.name).collect()
    }

    #[test]
    fn presets_come_with_what_they_stand_on() {
        assert_eq!(names(&[]), ["fast"]);
        assert_eq!(names(&["debug"]), ["fast", "debug"]);
        assert_eq!(names(&["fast", "kasan", "debug"]), ["fast", "kasan", "debug"]);
        let error = config(&["quick".to_owned()]).unwrap_err();
        assert!(error.message.contains("there are fast, debug, kasan"), "{}", error.message);
    }

    #[test]
    fn fragments_stand_on_fast_and_whole_configurations_on_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let mine = write("mine", "CONFIG_X=y\n");
        let whole = write("whole", "#\n# Automatically generated file; DO NOT EDIT.\n");
        assert_eq!(names(&[&mine]), ["fast", &mine]);
        assert_eq!(names(&[&mine, "debug"]), ["fast", &mine, "debug"]);
        assert_eq!(names(&["debug", &mine]), ["fast", "debug", &mine]);
        assert_eq!(names(&[&whole, &mine]), [whole.as_str(), &mine]);
        let error = config(&[mine, whole]).unwrap_err();
        assert!(error.message.ends_with("a whole configuration must come first"), "{}", error.message);
    }

    #[test]
    fn edits_are_ours_or_files() {
        assert!(edit("pages-v1").unwrap().text.contains("// files: "));
        assert!(edit("nothing").unwrap_err().message.contains("there is pages-v1"));
        assert!(edit("./no-such-file").unwrap_err().message.starts_with("--edit ./no-such-file: "));
    }

    #[test]
    fn the_table_lines_up() {
        let kernel = |name: &str, config: &str| BuiltKernel {
            name: name.into(),
            release: format!("7.2.12-{name}"),
            source: "debian-source:7.2 (7.2.12-1)".into(),
            config: config.into(),
            built: SystemTime::now(),
            image: "/i".into(),
            modules: None,
            final_config: "/c".into(),
            output: "/o".into(),
        };
        let text = table(&[kernel("a", "fast debug"), kernel("longer", "fast")]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| !line.ends_with(' ')), "{text}");
        let at = lines[0].find("SOURCE").unwrap();
        assert!(lines[1..].iter().all(|line| line[at..].starts_with("debian-source")), "{text}");
        assert!(table(&[]).contains("kernel build --help"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json(&[kernel("a", "fast")])).unwrap()[0]["name"], "a");
    }
}
