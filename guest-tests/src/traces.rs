//! File and line of what a kernel's log names as `symbol+0xOFFSET/0xSIZE`, where the kernel's build is at hand.
//!
//! The log is read twice: once for all places, which `objdump` and `addr2line` find in one run an object, and once to write
//! them at the ends of the lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use mlx5emu_qemu::Kernel;
use mlx5emu_qemu::setup::Setup;
use regex::Regex;

/// The name of the kernel itself among objects.
const VMLINUX: &str = "vmlinux";
/// Places of one log that are looked up; those after are left as they are.
const MAX_PLACES: usize = 4096;
/// The longest log that is read, bytes.
const MAX_LOG: u64 = 64 << 20;

/// The build of a kernel.
#[derive(Debug)]
pub(crate) struct Traces {
    /// vmlinux, and modules by name, with debug information.
    objects: BTreeMap<String, PathBuf>,
    /// What paths of sources are told below: those of the kernel, and of modules of ours.
    sources: Vec<PathBuf>,
}

/// A place in the kernel's code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// [`VMLINUX`] or a module.
    object: String,
    symbol: String,
    offset: u64,
    /// Of the function, up to the next symbol.
    size: u64,
}

/// A function in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Function {
    section: String,
    address: u64,
    size: u64,
}

impl Traces {
    /// The build of `kernel`, if it is one of `mlx5emu kernel build` or a tree, and what was built is what is booted.
    pub(crate) fn of(setup: &Setup, kernel: &Kernel) -> Option<Traces> {
        let built = setup.built_kernel(&kernel.name).filter(|built| built.image == kernel.image);
        // TREE/arch/x86/boot/bzImage
        let tree = || kernel.image.ancestors().nth(4).map(Path::to_owned);
        let output = built.as_ref().map(|built| built.output.clone()).or_else(tree)?;
        let vmlinux = Some(output.join(VMLINUX)).filter(|path| path.is_file())?;
        if fs::read(output.join("arch/x86/boot/bzImage")).ok()? != fs::read(&kernel.image).ok()? {
            log::info!("{} is not the build of the kernel {}: traces have no lines", output.display(), kernel.name);
            return None;
        }
        let mut objects = BTreeMap::from([(VMLINUX.to_string(), vmlinux)]);
        let order = fs::read_to_string(output.join("modules.order")).unwrap_or_default();
        // A link that the kernel's build makes in a folder of its own.
        let mut sources = vec![fs::canonicalize(output.join("source")).unwrap_or_else(|_| output.clone())];
        sources.extend(built.map(|built| setup.kernel_dir(&built.name).join("modules")));
        let ours = sources.get(1).and_then(|dir| fs::read_dir(dir).ok());
        let ours = ours.into_iter().flatten().flatten().map(|entry| {
            let name = entry.file_name();
            entry.path().join(name).with_extension("ko")
        });
        for path in order.lines().map(|line| output.join(line).with_extension("ko")).chain(ours) {
            if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
                objects.insert(name.replace('-', "_"), path.clone());
            }
        }
        Some(Traces { objects, sources })
    }

    /// Writes file and line to the places in a log.
    pub(crate) fn annotate(&self, log: &Path) {
        let annotated = || -> io::Result<()> {
            let mut bytes = Vec::new();
            File::open(log)?.take(MAX_LOG + 1).read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes);
            if bytes.len() as u64 > MAX_LOG {
                return Ok(());
            }
            let lines = self.lines(&places(&text))?;
            if lines.is_empty() {
                return Ok(());
            }
            fs::write(log, rewritten(&text, &|place| lines.get(place).cloned()))
        };
        if let Err(error) = annotated() {
            static TOLD: Once = Once::new();
            TOLD.call_once(|| {
                let hint = if error.kind() == io::ErrorKind::NotFound { ": are binutils installed?" } else { "" };
                log::warn!("traces have no file and line, objdump or addr2line does not run: {error}{hint}");
            });
        }
    }

    /// Files and lines of places, those of inlined functions first.
    fn lines(&self, places: &BTreeSet<Place>) -> io::Result<BTreeMap<Place, String>> {
        let mut all = BTreeMap::new();
        for (name, object) in &self.objects {
            let here: Vec<&Place> = places.iter().filter(|place| place.object == *name).collect();
            if here.is_empty() || !object.is_file() {
                continue;
            }
            let functions = functions(&said(Command::new("objdump").arg("-t").arg(object), None)?);
            let mut by_section: BTreeMap<&str, Vec<(&Place, u64)>> = BTreeMap::new();
            for place in here {
                if let Some(function) = best(functions.get(&place.symbol), place.size) {
                    // In a module addresses are those within a section.
                    let section = if name == VMLINUX { "" } else { function.section.as_str() };
                    by_section.entry(section).or_default().push((place, function.address + place.offset));
                }
            }
            for (section, wanted) in by_section {
                let mut command = Command::new("addr2line");
                command.args(["-a", "-i"]);
                if !section.is_empty() {
                    command.args(["-j", section]);
                }
                let asked: String = wanted.iter().map(|(_, address)| format!("{address:#x}\n")).collect();
                let found = answers(&said(command.arg("-e").arg(object), Some(&asked))?, &self.sources);
                for ((place, _), line) in wanted.into_iter().zip(found) {
                    all.extend(line.map(|line| (place.clone(), line)));
                }
            }
        }
        Ok(all)
    }
}

/// What a program prints, with `input` if it reads any.
fn said(command: &mut Command, input: Option<&str>) -> io::Result<String> {
    let stdin = match input {
        None => Stdio::null(),
        Some(text) => {
            let mut file = tempfile::tempfile()?;
            file.write_all(text.as_bytes())?;
            file.rewind()?;
            file.into()
        }
    };
    let output = command.env("LC_ALL", "C").stdin(stdin).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `symbol+0x1/0x2`, with the module in brackets after it.
fn pattern() -> Option<Regex> {
    Regex::new(r"([A-Za-z_][\w.$]*)\+0x([0-9a-f]{1,8})/0x([0-9a-f]{1,8})(?: \[([\w-]+)[^\]]*\])?").ok()
}

/// The places that a line names.
fn named(pattern: &Regex, line: &str) -> Vec<Place> {
    // The address of an exception is that of the instruction; others are those to which a function returns.
    let back = u64::from(!line.contains("RIP: "));
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap_or(0);
    let place = |found: regex::Captures<'_>| Place {
        object: found.get(4).map_or(VMLINUX.to_string(), |module| module.as_str().replace('-', "_")),
        symbol: found[1].to_string(),
        offset: number(&found[2]).saturating_sub(back),
        size: number(&found[3]),
    };
    pattern.captures_iter(line).map(place).collect()
}

/// The places that a log names.
fn places(text: &str) -> BTreeSet<Place> {
    let mut all = BTreeSet::new();
    if let Some(pattern) = pattern() {
        for line in text.lines() {
            if all.len() >= MAX_PLACES {
                break;
            }
            all.extend(named(&pattern, line));
        }
    }
    all
}

/// The log with what is known of the places of a line at its end.
fn rewritten(text: &str, known: &dyn Fn(&Place) -> Option<String>) -> String {
    let Some(pattern) = pattern() else { return text.to_string() };
    let mut new = String::with_capacity(text.len() * 5 / 4);
    for line in text.split_inclusive('\n') {
        let said = line.trim_end_matches(['\r', '\n']);
        new.push_str(said);
        for found in named(&pattern, said).iter().filter_map(known) {
            new.push_str(&format!(" ({found})"));
        }
        new.push_str(&line[said.len()..]);
    }
    new
}

/// The functions in what `objdump -t` prints, by name: several can have the same.
fn functions(printed: &str) -> BTreeMap<String, Vec<Function>> {
    let mut all: BTreeMap<String, Vec<Function>> = BTreeMap::new();
    for line in printed.lines() {
        // ADDRESS, a blank, seven columns of flags, a blank, SECTION, a tab, SIZE, a blank, NAME
        let (Some((head, tail)), Some(flags)) = (line.split_once('\t'), line.get(17..24)) else { continue };
        let section = head.get(24..).map(str::trim).unwrap_or_default();
        let address = head.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let size = tail.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let name = tail.rsplit(' ').next().unwrap_or_default();
        // Code in assembler may have no type.
        if let (Some(address), Some(size), false) = (address, size, flags.contains('O') || section.starts_with('*')) {
            let function = Function { section: section.to_string(), address, size };
            all.entry(name.to_string()).or_default().push(function);
        }
    }
    all
}

/// That of functions of one name whose size is nearest to what the kernel counts, which includes what is left free after it.
fn best(functions: Option<&Vec<Function>>, size: u64) -> Option<&Function> {
    functions?.iter().min_by_key(|function| function.size.abs_diff(size))
}

/// For each address in what `addr2line -a -i` prints: files and lines, if there are any.
fn answers(printed: &str, sources: &[PathBuf]) -> Vec<Option<String>> {
    let mut all: Vec<Option<String>> = Vec::new();
    for line in printed.lines() {
        if line.starts_with("0x") {
            all.push(None);
        } else if let Some(last) = all.last_mut()
            && !line.starts_with("??")
            && !line.ends_with(":?")
        {
            let line = line.split(" (discriminator").next().unwrap_or(line);
            let (path, number) = line.rsplit_once(':').unwrap_or((line, "0"));
            let path = plain(Path::new(path));
            let below = sources.iter().find_map(|source| path.strip_prefix(source).ok()).unwrap_or(&path);
            let told = format!("{}:{number}", below.display());
            *last = Some(last.take().map_or_else(|| told.clone(), |before| format!("{before} {told}")));
        }
    }
    all
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[    1.0] RIP: 0010:oracle_warn+0x10/0x20 [oracle]\r\n\
        [    1.0] Call Trace:\n\
        [    1.0]  ? __warn.cold+0x93/0xfa\n\
        [    1.0]  mlx5_load_one+0x2d/0x41 [mlx5_core 0123abcd]\n\
        [    1.0] a+b/0x3 +0x1/0x2\n\
        last";

    #[test]
    fn places_of_a_log_get_their_lines_and_the_rest_stays() {
        let known = |place: &Place| {
            let Place { object, symbol, offset, size } = place;
            (symbol != "__warn.cold").then(|| format!("{object} {symbol} {offset:#x} {size:#x}"))
        };
        let expected = LOG
            .replace("[oracle]", "[oracle] (oracle oracle_warn 0x10 0x20)")
            .replace("0123abcd]", "0123abcd] (mlx5_core mlx5_load_one 0x2c 0x41)");
        assert_eq!(rewritten(LOG, &known), expected);
        assert_eq!(places(LOG).len(), 3);
        assert_eq!(rewritten(LOG, &|_| None), LOG);
    }

    #[test]
    fn functions_are_found_in_a_symbol_table_by_name_and_size() {
        let printed = "a.ko:     file format elf64-x86-64\n\nSYMBOL TABLE:\n\
            0000000000002b20 g     F .text\t0000000000000132 init\n\
            0000000000000000 l     F .init.text\t0000000000000020 init\n\
            0000000000000010 l     O .data\t0000000000000008 init\n\
            0000000000000000         *UND*\t0000000000000000 printk\n";
        let functions = functions(printed);
        assert_eq!(functions.len(), 1);
        assert_eq!(best(functions.get("init"), 0x140).unwrap().address, 0x2b20);
        assert_eq!(best(functions.get("init"), 0x20).unwrap().section, ".init.text");
        assert_eq!(best(functions.get("printk"), 1), None);
    }

    #[test]
    fn lines_are_told_below_the_source_inlined_functions_first() {
        let printed = "0x0000000000001234\n/s/build/../drivers/a.h:7 (discriminator 2)\n/s/build/../drivers/a.c:31\n\
            0x0000000000000001\n??:0\n0x0000000000000002\n/elsewhere/b.c:?\n0x3\n/elsewhere/b.c:9\n0x4\n/m/oracle/oracle.c:5\n";
        let told = answers(printed, &["/s".into(), "/m".into()]);
        let line = |text: &str| Some(text.to_string());
        assert_eq!(
            told,
            [line("drivers/a.h:7 drivers/a.c:31"), None, None, line("/elsewhere/b.c:9"), line("oracle/oracle.c:5")]
        );
    }

    #[test]
    fn a_log_is_annotated_with_what_a_real_object_says() {
        let dir = tempfile::tempdir().unwrap();
        let (source, object) = (dir.path().join("door.c"), dir.path().join("door"));
        fs::write(&source, "int opens(int n)\n{\n\treturn n * 3;\n}\n\nint main(void)\n{\n\treturn opens(1);\n}\n")
            .unwrap();
        let compiled = Command::new("cc").args(["-g", "-O0", "-o"]).args([&object, &source]).status().unwrap();
        assert!(compiled.success());
        let objects = BTreeMap::from([(VMLINUX.to_string(), object)]);
        let traces = Traces { objects, sources: vec![dir.path().to_owned()] };
        let log = dir.path().join("log");
        fs::write(&log, "[ 1.0]  no_such_function+0x1/0x2\n[ 1.0] RIP: 0010:opens+0x0/0x20\n").unwrap();
        traces.annotate(&log);
        let now = fs::read_to_string(&log).unwrap();
        assert_eq!(now, "[ 1.0]  no_such_function+0x1/0x2\n[ 1.0] RIP: 0010:opens+0x0/0x20 (door.c:2)\n");
    }
}
