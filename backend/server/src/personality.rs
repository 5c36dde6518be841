//! From a card description to what the card is made of.

use mlx5emu_card::function::front::BAR0_SIZE;
use mlx5emu_card::{FunctionSetup, PageCounts, Personality, PortSetup};
use mlx5emu_config::{Card, FunctionName, MacAddr};
use mlx5emu_wire::Cabling;

use crate::StartError;
use crate::function::config::ConfigSetup;

// The command line computes the window of the root port from the configuration's figure.
const _: () = assert!(mlx5emu_config::BAR0_BYTES == BAR0_SIZE);

/// The first VHCA id: 0 stands for "no function" in many commands.
const FIRST_VHCA_ID: u16 = 1;

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
    let setups = functions.iter().zip(FIRST_VHCA_ID..).map(|(function, vhca_id)| FunctionSetup {
        name: function.to_string(),
        port: port_of(*function),
        vhca_id,
        vectors: card.limits.vectors,
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
        hash_key: hash_key(),
        ports: ports.collect(),
        functions: setups.collect(),
    })
}

/// The configuration space of each function of `card`.
pub(crate) fn config_setup(card: &Card, function: FunctionName) -> ConfigSetup {
    ConfigSetup {
        bar0: card.bar0_bytes(function),
        vectors: card.limits.vectors,
        serial: guid(first_mac(card)),
        multifunction: card.functions().len() > 1,
    }
}

fn port_of(function: FunctionName) -> usize {
    function.parent_pf().map_or(0, usize::from)
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
