//! What figures depend on, in words that say nothing else about the machine.

use std::fs::read_to_string;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds in a day.
const DAY: u64 = 86_400;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The load of the last minute (proc_loadavg(5)); 0 where it is not told.
pub(crate) fn load() -> f64 {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// Whether others use so much of the machine that figures mean little.
pub(crate) fn is_busy(load: f64) -> bool {
    load > 0.5 * cores() as f64
}

/// The day and the class of machine.
pub(crate) fn describe(load: f64, pairs: usize) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (year, month, day) = civil(seconds / DAY);
    let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let guest = cpuinfo.lines().any(|l| l.starts_with("flags") && l.split_whitespace().any(|w| w == "hypervisor"));
    let meminfo = read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<f64>().ok());
    let release = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let line: Vec<&str> = release.trim().split('.').take(2).collect();
    format!(
        "{year}-{month:02}-{day:02}: {} {}, {} cores, {:.0} GiB, Linux {}; load before the run {load:.1}; {pairs} pairs a row.",
        std::env::consts::ARCH,
        if guest { "virtual machine" } else { "machine" },
        cores(),
        kib.unwrap_or(0.0) / f64::from(1 << 20),
        line.join("."),
    )
}

/// Year, month and day of a day since 1970-01-01.
pub(crate) fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}
