//! What an idle card costs.

use std::time::Duration;

use mlx5emu_driver::{Config, Driver, NetConfig};

use crate::card::Card;
use crate::report::Row;
use crate::statistics::Budget;
use crate::{Outcome, Room};

/// Budget of an idle card, MiB (design section 7).
const BUDGET: Budget = Budget::AtMost(32.0);
/// The default card's functions.
const FUNCTIONS: usize = 2;
/// Time for a card to come to rest.
const REST: Duration = Duration::from_millis(300);

/// RssAnon after the start, with both functions up, and after their drivers and machines have gone.
pub(crate) fn idle(room: &Room) -> Outcome<Vec<Row>> {
    let card = Card::start(room)?;
    let measure = || {
        std::thread::sleep(REST);
        card.rss_anon()
    };
    let started = measure()?;
    let mut drivers = Vec::new();
    for n in 0..FUNCTIONS {
        let mut driver = Driver::probe(card.machine(n)?, Config::default())?;
        driver.open(NetConfig::default())?;
        drivers.push(driver);
    }
    let up = measure()?;
    for driver in drivers {
        driver.remove()?;
    }
    let left = measure()?;
    Ok(vec![
        Row::absolute("idle card, started", "MiB RssAnon", started, Some(BUDGET)),
        Row::absolute("idle card, both interfaces up", "MiB RssAnon", up, Some(BUDGET)),
        Row::absolute("idle card, after both drivers left", "MiB RssAnon", left, Some(BUDGET)),
    ])
}
