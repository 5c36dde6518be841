//! The QEMU arguments that attach a card's functions.

use std::path::Path;

use serde_json::json;

use crate::dir;
use crate::placement::{PlacedFunction, Placement};
use crate::size::MemSize;

/// The id of the memory backend in the arguments.
const MEMORY_ID: &str = "mlx5emu-mem";

/// Ports are plugged by PCI Express's own means. With ACPI's, QEMU's ports never show an active link, and a guest takes
/// every hot reset for a failed one.
const NATIVE_HOTPLUG: [&str; 2] = ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"];

/// How the arguments are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line of words that survives an unquoted `$(…)`: no word needs quoting.
    #[default]
    Shell,
    /// One argument a line.
    Lines,
    /// A JSON array of strings.
    Json,
    /// The elements to add to a libvirt domain.
    Libvirt,
}

/// Why the arguments cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// The directory's name would not survive the shell.
    #[error(
        "the directory '{dir}' contains {found:?}, which an unquoted $(…) would break: use --format json or lines, or --dir with a plain name"
    )]
    NotForShell {
        /// The directory.
        dir: String,
        /// The character.
        found: char,
    },
    /// The directory's name is not text, and QEMU's forms take only text.
    #[error("the directory '{dir}' is not plain UTF-8 text, which QEMU's socket option needs: give another --dir")]
    NotText {
        /// The directory, with the bytes that are not text replaced.
        dir: String,
    },
    /// The path of a socket is too long.
    #[error(transparent)]
    Path(#[from] dir::DirError),
}

/// An IOMMU that tells QEMU of what it maps. It must come before the devices behind it.
const IOMMU: [&str; 2] = ["-device", "intel-iommu,caching-mode=on"];

/// The arguments of the devices in `placement` alone: the root ports and one `vfio-user-pci` per function, as separate words;
/// an IOMMU before them, and monitors for PFs with VFs, if the machine is to have one.
///
/// QEMU also needs the guest's memory to be shared; [`qemu_args`] adds it.
///
/// # Errors
/// A socket's path that QEMU could not connect to: too long, relative to nowhere, or not text.
pub fn device_args(placement: &Placement, dir: &Path) -> Result<Vec<String>, ArgsError> {
    let mut args = NATIVE_HOTPLUG.map(str::to_string).to_vec();
    if placement.iommu {
        args.extend(IOMMU.map(str::to_string));
    }
    for pf in placement.monitored() {
        let path = dir::monitor_path(dir, pf)?;
        // Unlike a device's, this argument has the path as it is.
        let Some(path) = path.to_str().filter(|path| !path.contains(char::is_control)) else {
            return Err(ArgsError::NotText { dir: dir.display().to_string() });
        };
        // A comma in a value is written twice.
        args.extend(["-qmp".to_string(), format!("unix:{},server=on,wait=off", path.replace(',', ",,"))]);
    }
    for port in &placement.root_ports {
        args.push("-device".to_string());
        // hotplug=on keeps the guest from waiting for slot power.
        args.push(format!(
            "pcie-root-port,id={},chassis={},slot={},addr={:x}.0,hotplug=on,pref64-reserve={}M",
            port.id,
            port.chassis,
            port.slot,
            port.addr,
            port.pref64_reserve >> 20
        ));
    }
    for function in &placement.functions {
        args.push("-device".to_string());
        args.push(device(&placement.card, function, dir)?);
    }
    Ok(args)
}

/// One function as QEMU's JSON form of `-device`: the plain form cannot name a socket.
fn device(card: &str, placed: &PlacedFunction, dir: &Path) -> Result<String, ArgsError> {
    let path =
        if placed.shadow { dir::shadow_path(dir, placed.function)? } else { dir::socket_path(dir, placed.function)? };
    let Some(path) = path.to_str() else {
        return Err(ArgsError::NotText { dir: dir.display().to_string() });
    };
    let mut device = json!({
        "driver": "vfio-user-pci",
        "id": format!("{card}-{}", placed.function),
        "bus": placed.bus,
        "addr": placed.addr(),
        "rombar": 0,
        "socket": { "type": "unix", "path": path },
    });
    if placed.multifunction {
        device["multifunction"] = json!(true);
    }
    Ok(device.to_string())
}

/// Every QEMU argument for `placement`, whose sockets are in `dir`: shared memory of `mem`, the root port and the functions.
///
/// Formats other than [`Format::Shell`] end in a line break; so does that one, which `$(…)` removes.
///
/// # Errors
/// A directory that the format or a socket address cannot carry.
pub fn qemu_args(placement: &Placement, dir: &Path, mem: MemSize, format: Format) -> Result<String, ArgsError> {
    let devices = device_args(placement, dir)?;
    let shown = || dir.display().to_string();
    let mut args = memory_args(mem);
    args.extend(devices.iter().cloned());
    match format {
        Format::Shell => {
            let text = args.join(" ");
            match args.iter().flat_map(|a| a.chars()).find(|c| !survives_shell(*c)) {
                Some(found) => Err(ArgsError::NotForShell { dir: shown(), found: blame(dir, found) }),
                None => Ok(text + "\n"),
            }
        }
        // JSON escapes a control character in the path, so a line stays a line.
        Format::Lines => Ok(args.join("\n") + "\n"),
        Format::Json => Ok(format!("{:#}\n", json!(args))),
        Format::Libvirt => Ok(libvirt(&devices)),
    }
}

fn memory_args(mem: MemSize) -> Vec<String> {
    [
        "-m",
        &mem.to_string(),
        "-object",
        // share=on: without it QEMU writes to a private copy that the card never sees.
        &format!("memory-backend-memfd,id={MEMORY_ID},size={mem},share=on"),
        "-machine",
        &format!("memory-backend={MEMORY_ID}"),
    ]
    .map(str::to_string)
    .to_vec()
}

/// Whether a shell leaves the character alone in the result of an unquoted substitution: no field splitting (space, tab, line
/// break), no pathname expansion (`* ? [ ]`, backslash, and the brackets of extended patterns).
fn survives_shell(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"*?[]()\\".contains(c)
}

/// The character of the directory that is to blame: JSON writes a quote or a control character as a backslash sequence.
fn blame(dir: &Path, found: char) -> char {
    let shown = dir.display().to_string();
    let guilty = |c: &char| !survives_shell(*c) || *c == '"';
    shown.chars().find(guilty).unwrap_or(found)
}

/// Libvirt owns `-m` and the memory backend, so it is told in its own words; the devices go into its pass-through element.
fn libvirt(devices: &[String]) -> String {
    let mut out = String::from(concat!(
        "<!-- into <domain xmlns:qemu=\"http://libvirt.org/schemas/domain/qemu/1.0\">; the guest's memory must be shared -->\n",
        "<memoryBacking>\n  <source type='memfd'/>\n  <access mode='shared'/>\n</memoryBacking>\n",
        "<qemu:commandline>\n"
    ));
    for arg in devices {
        out.push_str("  <qemu:arg value='");
        for c in arg.chars() {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '\'' => out.push_str("&apos;"),
                '"' => out.push_str("&quot;"),
                c => out.push(c),
            }
        }
        out.push_str("'/>\n");
    }
    out.push_str("</qemu:commandline>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Card, FunctionName};

    fn args(dir: &str, format: Format) -> Result<String, ArgsError> {
        qemu_args(&Placement::of(&Card::default()), Path::new(dir), MemSize::DEFAULT, format)
    }

    fn words(dir: &str) -> Vec<String> {
        serde_json::from_str(&args(dir, Format::Json).unwrap()).unwrap()
    }

    #[test]
    fn every_function_is_attached_to_its_socket() {
        let words = words("/run/x");
        let devices: Vec<serde_json::Value> =
            words.iter().filter(|w| w.starts_with('{')).map(|w| serde_json::from_str(w).unwrap()).collect();
        assert_eq!(devices.len(), 2);
        for (n, device) in devices.iter().enumerate() {
            assert_eq!(device["driver"], "vfio-user-pci");
            assert_eq!(device["addr"], format!("0.{n}"));
            assert_eq!(device["socket"]["type"], "unix");
            assert_eq!(device["socket"]["path"], format!("/run/x/pf{n}.sock"));
            assert_eq!(device["multifunction"], true);
        }
        assert!(words.contains(&"memory-backend-memfd,id=mlx5emu-mem,size=1G,share=on".to_string()));
        let port = words.iter().find(|w| w.starts_with("pcie-root-port")).unwrap();
        assert_eq!(port, "pcie-root-port,id=rp0,chassis=1,slot=1,addr=10.0,hotplug=on,pref64-reserve=64M");
    }

    #[test]
    fn a_function_alone_keeps_its_socket_and_shares_its_slot_with_nobody() {
        let placement = Placement::of(&Card::default()).only(&[FunctionName::pf(1)]).unwrap();
        let args = device_args(&placement, Path::new("/run/x")).unwrap();
        let devices: Vec<&String> = args.iter().filter(|w| w.starts_with('{')).collect();
        let device: serde_json::Value = serde_json::from_str(devices[0]).unwrap();
        assert_eq!(devices.len(), 1);
        assert_eq!(device["socket"]["path"], "/run/x/pf1.sock");
        assert_eq!((&device["addr"], device.get("multifunction")), (&json!("0.0"), None));
    }

    #[test]
    fn an_iommu_comes_before_what_is_behind_it_and_a_monitor_with_it() {
        let card = Card::parse("vfs = 2\nplacement.iommu = true\n").unwrap();
        let args = device_args(&Placement::of(&card), Path::new("/run/x")).unwrap();
        let at = |what: &str| args.iter().position(|arg| arg.contains(what)).unwrap();
        assert!(at("intel-iommu") < at("pcie-root-port") && at("intel-iommu") < at("vfio-user-pci"));
        assert_eq!(args[at("pf0.monitor")], "unix:/run/x/pf0.monitor,server=on,wait=off");
        assert!(at("pf1.monitor") > 0);
        let alone = Placement::of(&card).only(&[FunctionName::pf(0)]).unwrap();
        assert_eq!(alone.monitored(), [FunctionName::pf(0)]);
        let without = Card::parse("vfs = 0\nplacement.iommu = true\n").unwrap();
        assert_eq!(Placement::of(&without).monitored(), []);
    }

    #[test]
    fn shell_words_are_the_json_words() {
        let shell = args("/run/é,x", Format::Shell).unwrap();
        assert_eq!(shell.split_ascii_whitespace().collect::<Vec<_>>(), words("/run/é,x"));
    }

    #[test]
    fn a_directory_that_the_shell_would_break_is_refused() {
        for (dir, found) in [
            ("/run/a b", ' '),
            ("/run/a*", '*'),
            ("/run/[a]", '['),
            ("/run/a?", '?'),
            ("/run/a\\b", '\\'),
            ("/run/\"a", '"'),
            ("/run/a\nb", '\n'),
            ("/run/a\u{a0}b", '\u{a0}'),
        ] {
            let error = args(dir, Format::Shell).unwrap_err();
            assert_eq!(error, ArgsError::NotForShell { dir: dir.to_string(), found });
            args(dir, Format::Json).unwrap();
            assert_eq!(args(dir, Format::Lines).unwrap().lines().collect::<Vec<_>>(), words(dir));
        }
    }

    #[test]
    fn libvirt_gets_xml() {
        let xml = args("/run/a'b&<c>", Format::Libvirt).unwrap();
        assert!(xml.contains("/run/a&apos;b&amp;&lt;c&gt;/pf0.sock"), "{xml}");
        assert!(xml.contains("<access mode='shared'/>") && !xml.contains("memory-backend"), "{xml}");
        assert_eq!(xml.matches("<qemu:arg ").count(), 8);
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let error = args(&format!("/{}", "d".repeat(120)), Format::Json).unwrap_err();
        assert!(error.to_string().contains("107"), "{error}");
    }
}
