//! What the machine has, for the defaults that depend on it.

use std::fs;

/// Used when the machine does not say how much memory it has.
const ASSUMED_MEMORY_BYTES: u64 = 2 << 30;

pub(super) fn default_memory_budget_bytes() -> u64 {
    memory_bytes() / 2
}

pub(super) fn default_shards() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// The machine's memory, or what the container may take of it.
fn memory_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total_bytes(&text));
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let container = limits.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    match (machine, container) {
        (Some(machine), Some(container)) => machine.min(container),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => ASSUMED_MEMORY_BYTES,
    }
}

pub(super) fn mem_total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    kib.checked_mul(1024)
}
