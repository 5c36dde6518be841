//! From a card description to what the card is made of.

use mlx5emu_card::eswitch::{ADJACENT_BASE, ECPF_VPORT, PF_VPORT, SF_BASE_ID};
use mlx5emu_card::function::front::BAR0_SIZE;
use mlx5emu_card::function::timeouts::Timeouts;
use mlx5emu_card::{FunctionSetup, PageCounts, PageIds, PageManner, Personality, PortSetup, VfPageCounts};
use mlx5emu_config::{Card, FunctionName, MacAddr, Placement};
use mlx5emu_prm::layouts::dtor_reg;
use mlx5emu_wire::Cabling;

use crate::StartError;
use crate::function::config::{ConfigSetup, SriovSetup};

// The command line computes the window of the root port from the configuration's figure.
const _: () = assert!(mlx5emu_config::BAR0_BYTES == BAR0_SIZE);

/// What `card` is made of.
///
/// # Errors
/// A cable that cannot be.
pub(crate) fn personality(card: &Card) -> Result<Personality, StartError> {
    let wires: Vec<_> = card.ports.iter().map(|port| port.wire.clone()).collect();
    let cabling = Cabling::of(&wires)?;
    let ports = card.ports.iter().enumerate();
    let ports =
        ports.map(|(n, port)| PortSetup { mac: port.mac.0, speed_mbps: port.speed.mbps(), peer: cabling.peer(n) });
    let functions = card.functions();
    let setups = functions.iter().map(|function| FunctionSetup {
        name: function.to_string(),
        port: port_of(*function),
        vport: vport_of(card, *function),
        of_host: card.embedded_cpu && matches!(function, FunctionName::HostPf(_) | FunctionName::Vf { .. }),
        vhca_id: card.vhca_id(*function),
        vectors: card.vectors(*function),
        bar0: card.bar0_bytes(*function),
    });
    let version = card.firmware.version;
    Ok(Personality {
        version: (version.major, version.minor, version.subminor),
        psid: card.firmware.psid.clone(),
        system_image_guid: guid(first_mac(card)),
        pages: PageCounts {
            boot: card.firmware.pages.boot,
            init: card.firmware.pages.init,
            event: card.firmware.pages.event,
        },
        vf_pages: VfPageCounts { enable: card.firmware.vf_pages.enable, init: card.firmware.vf_pages.init },
        seed: card.seed,
        page_manner: page_manner(card),
        timeouts: timeouts(&card.timeouts),
        hash_key: hash_key(),
        ports: ports.collect(),
        functions: setups.collect(),
    })
}

fn page_manner(card: &Card) -> PageManner {
    let firmware = &card.firmware;
    PageManner {
        ids: match firmware.page_ids {
            mlx5emu_config::PageIds::FunctionId => PageIds::FunctionId,
            mlx5emu_config::PageIds::VhcaId => PageIds::VhcaId,
            mlx5emu_config::PageIds::VhcaIdIgnored => PageIds::VhcaIdIgnored,
        },
        take_at_most: firmware.take_at_most.unwrap_or(u32::MAX),
        canaries: firmware.canaries,
        boot_id: firmware.slips.boot_id,
        init_id: firmware.slips.init_id,
        take_twice: firmware.slips.take_twice,
    }
}

/// The configuration space of each function of `card`.
pub(crate) fn config_setup(card: &Card, function: FunctionName) -> ConfigSetup {
    ConfigSetup {
        bar0: card.bar0_bytes(function),
        bar2: card.bar2_bytes(function),
        vectors: card.vectors(function),
        serial: guid(first_mac(card)),
        multifunction: card.pci_functions().len() > 1,
        sriov: sriov_setup(card, function),
    }
}

/// Where the VFs of `function` are, if it is a PF that has some.
fn sriov_setup(card: &Card, function: FunctionName) -> Option<SriovSetup> {
    let FunctionName::Pf(pf) = function else { return None };
    let placement = Placement::of(card);
    let devfn = |name| placement.functions.iter().find(|placed| placed.function == name).map(|placed| placed.devfn());
    let (own, first) = (devfn(function)?, devfn(FunctionName::vf(pf, 0))?);
    let next_pf = pf + 1;
    Some(SriovSetup {
        total: card.vfs,
        first_offset: u16::from(first - own),
        function: own,
        next_function: if usize::from(next_pf) < card.ports.len() { devfn(FunctionName::Pf(next_pf))? } else { 0 },
        bar0: card.bar0_bytes(FunctionName::vf(pf, 0)),
    })
}

/// What the registers say. Without any the driver is not to look at them; with one, all that have no value of "none" must
/// say what the driver has anyway.
fn timeouts(told: &mlx5emu_config::Timeouts) -> Option<Timeouts> {
    if *told == mlx5emu_config::Timeouts::default() {
        return None;
    }
    let dtor = [
        (dtor_reg::pcie_toggle_to, told.pci_toggle),
        (dtor_reg::health_poll_to, told.health_poll_interval),
        (dtor_reg::full_crdump_to, told.full_crdump),
        (dtor_reg::fw_reset_to, told.fw_reset),
        (dtor_reg::flush_on_err_to, told.flush_on_error),
        (dtor_reg::pci_sync_update_to, told.pci_sync_update),
        (dtor_reg::tear_down_to, told.teardown),
        (dtor_reg::fsm_reactivate_to, told.fsm_reactivate),
        (dtor_reg::reclaim_pages_to, told.reclaim_pages),
        (dtor_reg::reclaim_vfs_pages_to, told.reclaim_vfs_pages),
        (dtor_reg::reset_unload_to, told.reset_unload),
    ];
    Some(Timeouts {
        fw_init: told.fw_init.unwrap_or(Timeouts::DRIVERS_FW_INIT),
        cmd: told.cmd.unwrap_or(Timeouts::DRIVERS_CMD),
        dtor: dtor.into_iter().filter_map(|(field, ms)| Some((field, ms?))).collect(),
    })
}

fn port_of(function: FunctionName) -> usize {
    function.parent_pf().map_or(0, usize::from)
}

fn vport_of(card: &Card, function: FunctionName) -> u16 {
    match function {
        FunctionName::Pf(_) if card.embedded_cpu => ECPF_VPORT,
        FunctionName::Vf { vf, .. } => vf + 1,
        FunctionName::Sf { sf, .. } => SF_BASE_ID + sf,
        FunctionName::Adjacent { vf, .. } => ADJACENT_BASE + vf,
        FunctionName::Pf(_) | FunctionName::HostPf(_) | FunctionName::Endpoint(_) => PF_VPORT,
    }
}

fn first_mac(card: &Card) -> MacAddr {
    card.ports.first().map_or(MacAddr([0; 6]), |port| port.mac)
}

/// An EUI-64 from a MAC address, with the two bytes that the cards put between its halves.
fn guid(MacAddr([a, b, c, d, e, f]): MacAddr) -> u64 {
    u64::from_be_bytes([a, b, c, 0x03, 0x00, d, e, f])
}

/// A key that a guest cannot know, new in each run, from the randomness that the standard library's hash tables take
/// theirs from. Only the order of hash tables hangs on it, never a decision.
fn hash_key() -> (u64, u64) {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new();
    (random.hash_one(0u64), random.hash_one(1u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_card_has_two_wired_ports_and_functions_with_ids_of_their_own() {
        let personality = personality(&Card::default()).unwrap();
        assert_eq!(personality.ports.iter().map(|p| p.peer).collect::<Vec<_>>(), [Some(1), Some(0)]);
        let ids: Vec<_> = personality.functions.iter().map(|f| (f.name.as_str(), f.vhca_id, f.port)).collect();
        assert_eq!(ids, [("pf0", 1, 0), ("pf1", 2, 1)]);
        assert_ne!(personality.hash_key, super::personality(&Card::default()).unwrap().hash_key);
    }
}
