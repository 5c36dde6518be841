//! `CARD.toml` to [`Card`]: every key is looked at, every value checked, and every error names the line.

use std::path::Path;

use toml::de::DeTable;

use crate::card::{Card, FwVersion, MacAddr, Pages, Speed, default_mac, neighbour};
use crate::fault::{FaultRule, MAX_RULES};
use crate::function::FunctionName;
use crate::keys::{CardError, MAX_FILE, Source, Table, Value};
use crate::timeouts::Timeouts;
use crate::wire::{Wire, WireError};

/// An ECAM for 256 buses lies at a multiple of its size.
const ECAM_ALIGNMENT: u64 = 256 << 20;

impl Card {
    /// Reads a card from a file.
    ///
    /// # Errors
    /// The file cannot be read, or anything that [`Card::parse`] refuses.
    pub fn load(path: &Path) -> Result<Card, CardError> {
        use std::io::Read;
        let read = |source| CardError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(read)?;
        if file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(read)? as u64 > MAX_FILE {
            return Err(CardError::TooLong { path: path.to_owned() });
        }
        Card::parse_named(&text, &path.display().to_string())
    }

    /// Reads a card from text. Errors call the text `CARD.toml`.
    ///
    /// # Errors
    /// Not TOML, a key that no card has, or a value out of range: each names the line.
    pub fn parse(text: &str) -> Result<Card, CardError> {
        Card::parse_named(text, "CARD.toml")
    }

    fn parse_named(text: &str, file: &str) -> Result<Card, CardError> {
        let source = Source { text, file };
        let table = DeTable::parse(text).map_err(|e| CardError::Syntax {
            at: source.at(e.span().unwrap_or(0..0)),
            message: e.message().replace('\n', ", "),
        })?;
        card(&Table { source: &source, path: String::new(), inner: table.get_ref() })
    }
}

fn card(top: &Table<'_>) -> Result<Card, CardError> {
    top.only(&[
        "name",
        "seed",
        "ports",
        "pfs",
        "vfs",
        "sfs",
        "embedded_cpu",
        "adjacent_vfs",
        "endpoints",
        "mac",
        "speed",
        "wires",
        "firmware",
        "timeouts",
        "limits",
        "vhca_ids",
        "attach",
        "placement",
        "faults",
    ])?;
    let ports = top.number("ports", 1..=Card::MAX_PORTS as u64)?.unwrap_or(2);
    let mut card = Card::with_ports(ports as usize);
    if let Some(v) = top.get("name") {
        card.name = v.text_where("1 to 32 lower-case letters, digits, '-' and '_', a letter first", good_name)?;
    }
    if let Some(seed) = top.number("seed", 0..=i64::MAX as u64)? {
        card.seed = seed;
    }
    if let Some(v) = top.get("pfs")
        && v.number(0..=Card::MAX_PORTS as u64)? != ports
    {
        return Err(v.wrong(format!("a card has one PF per port, here {ports}; leave the key out")));
    }
    card.vfs = top.number("vfs", 0..=u64::from(Card::MAX_VFS))?.unwrap_or(card.vfs.into()) as u16;
    card.sfs = top.number("sfs", 0..=u64::from(Card::MAX_SFS))?.unwrap_or(card.sfs.into()) as u16;
    let adjacent = top.number("adjacent_vfs", 0..=u64::from(Card::MAX_ADJACENT_VFS))?;
    card.adjacent_vfs = adjacent.unwrap_or(card.adjacent_vfs.into()) as u16;
    if let Some(v) = top.get("embedded_cpu") {
        card.embedded_cpu = v.truth()?;
    }
    if let Some(v) = top.get("endpoints")
        && v.number(0..=u64::from(u16::MAX))? != 0
    {
        return Err(v.wrong("endpoints are not available yet; write 0 or leave the key out"));
    }
    addresses(top, &mut card)?;
    if let Some(v) = top.get("speed") {
        let speed: Speed = v.parsed("one of 10G, 25G, 40G, 50G, 100G")?;
        card.ports.iter_mut().for_each(|p| p.speed = speed);
    }
    if let Some(v) = top.get("wires") {
        wires(&v.table()?, &mut card)?;
    }
    if let Some(v) = top.get("firmware") {
        firmware(&v.table()?, &mut card)?;
    }
    if let Some(v) = top.get("timeouts") {
        timeouts(&v.table()?, &mut card)?;
    }
    if let Some(v) = top.get("limits") {
        limits(&v.table()?, &mut card)?;
    }
    if let Some(v) = top.get("faults") {
        card.faults = faults(&v)?;
    }
    if let Some(v) = top.get("vhca_ids") {
        vhca_ids(&v.table()?, &mut card)?;
    }
    if let Some(v) = top.get("attach") {
        attach(&v.table()?, &mut card)?;
    }
    if let Some(v) = top.get("placement") {
        let table = v.table()?;
        table.only(&["addr", "chassis", "ecam", "iommu"])?;
        card.anchor.addr = table.number("addr", 1..=30)?.unwrap_or(card.anchor.addr.into()) as u8;
        card.anchor.chassis = table.number("chassis", 1..=255)?.unwrap_or(card.anchor.chassis.into()) as u8;
        if let Some(v) = table.get("ecam") {
            let ecam = v.number(0..=u64::from(u32::MAX))?;
            if ecam % ECAM_ALIGNMENT != 0 || ecam == 0 {
                return Err(v.wrong("a multiple of 0x10000000 (256 MiB) below 4 GiB, for example 0xb0000000"));
            }
            card.anchor.ecam = ecam;
        }
        if let Some(v) = table.get("iommu") {
            card.anchor.iommu = v.truth()?;
        }
    }
    Ok(card)
}

fn good_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn addresses(top: &Table<'_>, card: &mut Card) -> Result<(), CardError> {
    let mut base = default_mac(&card.name, card.seed);
    if let Some(v) = top.get("mac") {
        let expected = "a MAC address like 02:00:00:00:00:10, not a group address; port n gets this plus n";
        base = v.parsed::<MacAddr>(expected)?;
        let last = base.plus(card.ports.len() as u64 - 1);
        if !base.is_unicast() || !last.is_unicast() || last < base {
            return Err(v.wrong(expected));
        }
    }
    for (n, port) in card.ports.iter_mut().enumerate() {
        port.mac = base.plus(n as u64);
    }
    Ok(())
}

/// `[wires]`: `p0 = "p1"` plugs two ports together (one line is enough), `p0 = "none"` leaves one open, `stream:` and
/// `dgram:` lead outside. Ports that are not mentioned keep their neighbour unless that neighbour was plugged elsewhere.
fn wires(table: &Table<'_>, card: &mut Card) -> Result<(), CardError> {
    let count = card.ports.len();
    let names: Vec<String> = (0..count).map(|n| format!("p{n}")).collect();
    table.only(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut said: Vec<Option<Wire>> = vec![None; count];
    for (n, name) in names.iter().enumerate() {
        let Some(v) = table.get(name) else { continue };
        let wire = one_wire(&v, n, &names)?;
        let clash = |end: &Option<Wire>, wire: &Wire| end.as_ref().is_some_and(|w| w != wire);
        if clash(&said[n], &wire) {
            return Err(v.wrong(format!("{name} is already plugged into another port")));
        }
        let own = wire.own_socket();
        if own.is_some() && said.iter().flatten().any(|other| other.own_socket() == own) {
            return Err(v.wrong("another port of this card makes this socket: a port takes one of its own"));
        }
        if let Wire::Port(other) = wire {
            let back = Wire::Port(n as u8);
            if clash(&said[usize::from(other)], &back) {
                return Err(v.wrong(format!("p{other} is already plugged into something else")));
            }
            said[usize::from(other)] = Some(back);
        }
        said[n] = Some(wire);
    }
    for n in 0..count {
        card.ports[n].wire = said[n].clone().unwrap_or_else(|| match neighbour(n, count) {
            Wire::Port(other) if said[usize::from(other)].is_none() => Wire::Port(other),
            _ => Wire::None,
        });
    }
    Ok(())
}

/// What port `n` is plugged into.
fn one_wire(v: &Value<'_>, n: usize, names: &[String]) -> Result<Wire, CardError> {
    let text = v.text()?;
    match names.iter().position(|other| *other == text) {
        Some(other) if other != n => Ok(Wire::Port(other as u8)),
        None if text == "none" => Ok(Wire::None),
        _ => Wire::outside(&text).map_err(|error| match error {
            WireError::Kind => v.wrong(format!(
                "another port of this card (p0 to p{}) or \"none\", or \"stream:PATH[,server]\" or \"dgram:LOCAL,REMOTE\"",
                names.len() - 1
            )),
            error => v.wrong(error.to_string()),
        }),
    }
}

fn firmware(table: &Table<'_>, card: &mut Card) -> Result<(), CardError> {
    table.only(&[
        "version",
        "psid",
        "pages",
        "vf_pages",
        "icm_mng_function_id_mode",
        "take_at_most",
        "canaries",
        "slips",
    ])?;
    let firmware = &mut card.firmware;
    if let Some(v) = table.get("version") {
        firmware.version =
            v.parsed::<FwVersion>("major.minor.subminor, each 0 to 65535, for example \"22.43.1000\"")?;
    }
    if let Some(v) = table.get("psid") {
        let good = |s: &str| s.len() <= 16 && !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic());
        firmware.psid = v.text_where("1 to 16 printable ASCII characters", good)?;
    }
    if let Some(v) = table.get("pages") {
        let table = v.table()?;
        table.only(&["boot", "init", "event"])?;
        let pages = &mut firmware.pages;
        for (key, count) in [("boot", &mut pages.boot), ("init", &mut pages.init), ("event", &mut pages.event)] {
            *count = table.number(key, 0..=u64::from(Pages::MAX))?.map_or(*count, |n| n as u32);
        }
    }
    if let Some(v) = table.get("vf_pages") {
        let table = v.table()?;
        table.only(&["enable", "init"])?;
        let pages = &mut firmware.vf_pages;
        for (key, count) in [("enable", &mut pages.enable), ("init", &mut pages.init)] {
            *count = table.number(key, 0..=u64::from(Pages::MAX))?.map_or(*count, |n| n as u32);
        }
    }
    if let Some(v) = table.get("icm_mng_function_id_mode") {
        firmware.page_ids = v.parsed("\"vhca_id\", \"func_id\", or \"vhca_id_ignored\", a firmware's mistake")?;
    }
    firmware.take_at_most = table.number("take_at_most", 0..=u64::from(u32::MAX))?.map(|n| n as u32);
    if let Some(v) = table.get("canaries") {
        firmware.canaries = v.truth()?;
    }
    if let Some(v) = table.get("slips") {
        let table = v.table()?;
        table.only(&["boot_id", "init_id", "take_twice"])?;
        if let Some(v) = table.get("take_twice") {
            firmware.slips.take_twice = v.truth()?;
        }
        let id = |key| Ok(table.number(key, 0..=u64::from(u16::MAX))?.map(|n| n as u16));
        (firmware.slips.boot_id, firmware.slips.init_id) = (id("boot_id")?, id("init_id")?);
    }
    Ok(())
}

/// `[vhca_ids]`: `pf0 = 0` gives a function another VHCA id than the one that it would have. Two may have the same.
fn vhca_ids(table: &Table<'_>, card: &mut Card) -> Result<(), CardError> {
    let functions = card.functions();
    let names: Vec<String> = functions.iter().map(FunctionName::to_string).collect();
    table.only(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    for (function, name) in functions.into_iter().zip(&names) {
        if let Some(id) = table.number(name, 0..=u64::from(u16::MAX))? {
            card.vhca_ids.insert(function, id as u16);
        }
    }
    Ok(())
}

/// `[attach]`: `pf0vf1 = "standalone"` makes a VF a device of its own, for another machine than its PF's.
fn attach(table: &Table<'_>, card: &mut Card) -> Result<(), CardError> {
    // The VFs of an embedded CPU's host are in no machine.
    let functions = card.pci_functions();
    let vfs: Vec<_> = functions.into_iter().filter(|function| matches!(function, FunctionName::Vf { .. })).collect();
    let names: Vec<String> = vfs.iter().map(FunctionName::to_string).collect();
    table.only(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    for (function, name) in vfs.into_iter().zip(&names) {
        let Some(v) = table.get(name) else { continue };
        match v.text()?.as_str() {
            "standalone" => drop(card.standalone.insert(function)),
            "sriov" => {}
            _ => return Err(v.wrong("\"standalone\", or \"sriov\" as without this line")),
        }
    }
    Ok(())
}

fn timeouts(table: &Table<'_>, card: &mut Card) -> Result<(), CardError> {
    let keys = card.timeouts.keys();
    table.only(&keys.each_ref().map(|(key, _)| *key))?;
    for (key, timeout) in keys {
        *timeout = table.number(key, 1..=u64::from(Timeouts::MAX_MS))?.map(|ms| ms as u32);
    }
    Ok(())
}

fn limits(table: &Table<'_>, card: &mut Card) -> Result<(), CardError> {
    table.only(&["vectors", "vf_vectors"])?;
    let limits = &mut card.limits;
    for (key, vectors) in [("vectors", &mut limits.vectors), ("vf_vectors", &mut limits.vf_vectors)] {
        *vectors = table.number(key, 2..=2048)?.map_or(*vectors, |n| n as u16);
    }
    Ok(())
}

/// `faults = ["RULE", …]`: their form is checked here, the names in them by the card.
fn faults(list: &Value<'_>) -> Result<Vec<FaultRule>, CardError> {
    let items = list.items("a list of fault rules is needed: [\"cmd op=NOP => drop\"]")?;
    if items.len() > MAX_RULES {
        return Err(list.wrong(format!("at most {MAX_RULES} rules")));
    }
    items.iter().map(|item| FaultRule::parse(&item.text()?).map_err(|why| item.wrong(why))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::PageIds;

    fn error(text: &str) -> String {
        Card::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn an_empty_file_is_the_default_card() {
        assert_eq!(Card::parse("").unwrap(), Card::default());
    }

    #[test]
    fn every_key_is_heard() {
        let text = r#"
            name = "lab-1"
            seed = 0x2a
            ports = 4
            pfs = 4
            vfs = 0
            mac = "02:00:00:00:01:fe"
            speed = "25G"
            faults = ["cmd op=NOP => drop", "x: health => hang"]
            [wires]
            p0 = "p2"
            [firmware]
            version = "22.40.0007"
            psid = "MT_1"
            pages = { boot = 1, init = 0, event = 16384 }
            icm_mng_function_id_mode = "func_id"
            take_at_most = 7
            canaries = false
            slips = { boot_id = 5 }
            [vhca_ids]
            pf1 = 0
            [timeouts]
            cmd = 4000
            reclaim_vfs_pages = 0xfffff
            [limits]
            vectors = 16
            [placement]
            addr = 30
            chassis = 2
        "#;
        let card = Card::parse(text).unwrap();
        assert_eq!((card.name.as_str(), card.seed, card.ports.len()), ("lab-1", 42, 4));
        let wires: Vec<_> = card.ports.iter().map(|p| p.wire.clone()).collect();
        assert_eq!(wires, [Wire::Port(2), Wire::None, Wire::Port(0), Wire::None]);
        assert_eq!(card.ports[2].mac.to_string(), "02:00:00:00:02:00");
        assert!(card.ports.iter().all(|p| p.speed == Speed::G25));
        assert_eq!(card.firmware.version, FwVersion { major: 22, minor: 40, subminor: 7 });
        assert_eq!(card.firmware.pages, Pages { boot: 1, init: 0, event: 16384 });
        assert_eq!((card.firmware.page_ids, card.firmware.take_at_most), (PageIds::FunctionId, Some(7)));
        assert_eq!(
            (card.firmware.canaries, card.firmware.slips.boot_id, card.firmware.slips.init_id),
            (false, Some(5), None)
        );
        let ids: Vec<_> = card.functions().iter().map(|f| card.vhca_id(*f)).collect();
        assert_eq!(ids, [1, 0, 3, 4]);
        let timeouts = Timeouts { cmd: Some(4000), reclaim_vfs_pages: Some(0xfffff), ..Timeouts::default() };
        assert_eq!(card.timeouts, timeouts);
        assert_eq!(card.limits.vectors, 16);
        assert_eq!(
            card.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["cmd op=NOP => drop", "x: health => hang"]
        );
        assert_eq!((card.anchor.addr, card.anchor.chassis), (30, 2));
    }

    #[test]
    fn unknown_keys_are_named_with_their_line_and_the_nearest() {
        assert_eq!(error("name = \"a\"\nprots = 2"), "CARD.toml, line 2: unknown key 'prots', did you mean 'ports'?");
        assert_eq!(
            error("[firmware.pages]\nbot = 1"),
            "CARD.toml, line 2: unknown key 'firmware.pages.bot', did you mean 'firmware.pages.boot'?"
        );
        assert!(error("[timeouts]\ncmds = 1").ends_with("did you mean 'timeouts.cmd'?"));
        assert_eq!(error("colour_of_the_card = 1"), "CARD.toml, line 1: unknown key 'colour_of_the_card'");
        // The first in the file, not the first in the alphabet.
        assert!(error("zzzz = 1\naaaa = 2").contains("zzzz"));
    }

    #[test]
    fn fault_rules_are_named_with_their_line() {
        let error = error("faults = [\n  \"cmd op=NOP => drop\",\n  \"cmd op=NOP => dorp\",\n]");
        assert!(error.starts_with("CARD.toml, line 3: faults[1] = \"cmd op=NOP => dorp\": "), "{error}");
        assert!(error.ends_with("did you mean 'drop'?"), "{error}");
        assert!(self::error("faults = \"cmd\"").contains("a list of fault rules is needed"));
        assert!(self::error("faults = [1]").contains("text in quotes"));
        let many = "\"cmd => drop\",".repeat(MAX_RULES + 1);
        assert!(self::error(&format!("faults = [{many}]")).contains("at most 64 rules"));
    }

    #[test]
    fn impossible_counts_are_named_with_their_range() {
        for value in ["0", "9", "-1", "2.0", "\"2\"", "99999999999999999999"] {
            let expected = format!("CARD.toml, line 1: ports = {value}: a number from 1 to 8 is needed");
            assert_eq!(error(&format!("ports = {value}")), expected);
        }
        assert_eq!(
            error("[firmware]\npages = { boot = 16385 }"),
            "CARD.toml, line 2: firmware.pages.boot = 16385: a number from 0 to 16384 is needed"
        );
        assert_eq!(
            error("[timeouts]\ncmd = 0"),
            "CARD.toml, line 2: timeouts.cmd = 0: a number from 1 to 1048575 is needed"
        );
        assert!(error("pfs = 1").contains("one PF per port, here 2"));
    }

    #[test]
    fn what_is_not_emulated_yet_says_so() {
        assert!(error("endpoints = 4").contains("not available yet"));
        assert!(error("endpoints = -1").contains("a number from 0"));
    }

    #[test]
    fn only_vfs_are_devices_of_their_own() {
        let card = Card::parse("vfs = 2\n[attach]\npf0vf1 = \"standalone\"\npf1vf0 = \"sriov\"").unwrap();
        assert_eq!(card.standalone.into_iter().collect::<Vec<_>>(), [FunctionName::vf(0, 1)]);
        assert!(error("vfs = 1\n[attach]\npf0vf1 = \"standalone\"").contains("unknown key 'attach.pf0vf1'"));
        let of_host = "embedded_cpu = true\nvfs = 1\n[attach]\npf0vf0 = \"standalone\"";
        assert!(error(of_host).contains("unknown key 'attach.pf0vf0'"));
        assert!(error("[attach]\npf0 = \"standalone\"").contains("unknown key 'attach.pf0'"));
        assert!(error("vfs = 1\n[attach]\npf0vf0 = \"alone\"").contains("\"standalone\", or \"sriov\""));
    }

    #[test]
    fn wires_that_cannot_be_are_refused() {
        for (text, wants) in [
            ("p0 = \"p0\"", "another port of this card (p0 to p3)"),
            ("p0 = \"p4\"", "another port of this card (p0 to p3)"),
            ("p0 = \"stream\"", "\"stream:PATH[,server]\""),
            ("p0 = \"stream:/a,b\"", "write stream:PATH, stream:PATH,connect or stream:PATH,server"),
            ("p0 = \"dgram:/a\"", "write dgram:LOCAL,REMOTE"),
            ("p0 = \"stream:a,server\"\np1 = \"dgram:a,b\"", "another port of this card makes this socket"),
            ("p0 = \"tap\"", "or \"none\""),
            ("p0 = \"p2\"\np1 = \"p2\"", "p2 is already plugged"),
            ("p0 = \"p2\"\np2 = \"none\"", "p2 is already plugged"),
            ("p0 = 1", "text in quotes"),
            ("p9 = \"p0\"", "unknown key 'wires.p9'"),
        ] {
            let error = error(&format!("ports = 4\n[wires]\n{text}"));
            assert!(error.contains(wants), "{text}: {error}");
        }
        assert!(Card::parse("[wires]\np0 = \"p1\"\np1 = \"p0\"").is_ok());
        let card = Card::parse("[wires]\np0 = \"stream:/run/a,server\"").unwrap();
        assert_eq!(card.ports[0].wire, Wire::outside("stream:/run/a,server").unwrap());
        assert_eq!(card.ports[1].wire, Wire::None, "its neighbour is elsewhere");
        assert_eq!(Card::parse("[wires]\np0 = \"none\"").unwrap().ports[1].wire, Wire::None);
    }

    #[test]
    fn wrong_texts_are_refused() {
        for text in [
            "name = \"\"",
            "name = \"../up\"",
            "name = \"Lab\"",
            "mac = \"01:00:00:00:00:00\"",
            "mac = \"00:00:00:00:00:00\"",
            "mac = \"fe:ff:ff:ff:ff:ff\"",
            "mac = \"ff\"",
            "speed = \"1G\"",
            "firmware = 1",
            "firmware.version = \"28.43\"",
            "firmware.psid = \"12345678901234567\"",
            "firmware.psid = \"\"",
            "firmware.canaries = 1",
            "firmware.icm_mng_function_id_mode = \"vhca\"",
            "firmware.slips = { boot_id = 65536 }",
            "vhca_ids.pf2 = 1",
            "vhca_ids.pf0vf0 = 1",
            "placement.addr = 31",
            "[limits]\nvectors = 1",
        ] {
            assert!(error(text).starts_with("CARD.toml, line "), "{text}");
        }
    }

    #[test]
    fn what_is_not_toml_is_one_sentence() {
        for text in ["ports = ", "ports 2", "ports = 2\nports = 3", "a = \"\u{0}\"", "= 1"] {
            let error = error(text);
            assert!(error.starts_with("CARD.toml, line ") && !error.contains('\n'), "{error}");
        }
        // Values that span lines are cut for the sentence.
        assert!(!error("name = \"\"\"\na\nb\"\"\"").contains('\n'));
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let error = Card::load(Path::new("/nonexistent/card.toml")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read card file /nonexistent/card.toml: "), "{error}");
        let error = Card::load(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("longer than"), "{error}");
    }
}
