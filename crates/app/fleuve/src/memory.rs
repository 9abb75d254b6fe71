//! What this process holds in memory, by the system's word, and how the allocator gives it back.

use fleuve_engine::ProcessMemory;

/// A way to look at it, where there is one: the bytes that no file backs.
pub fn of_process() -> Option<ProcessMemory> {
    anonymous_bytes().map(|_| ProcessMemory { held: || anonymous_bytes().unwrap_or(0), give_back })
}

/// Blocks of a MiB and more go back to the system when they are freed. By itself glibc raises that limit with each larger block that is freed, up
/// to 32 MiB, and keeps what is smaller: a server whose state goes to disk then held twice as much as it used. Call it first of all.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_large_blocks_back() {
    // SAFETY: it changes a number of the allocator, and no other thread is there yet.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_large_blocks_back() {}

/// From this budget on, freed blocks are kept for the next.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ROOMY_BYTES: u64 = 1 << 30;

/// Where there is room, what is freed stays with the allocator until it is asked to give it back: epochs need blocks of the same sizes again and
/// again, and fresh ones cost a page fault for each 4 KiB, up to a third of a build's time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_blocks(budget_bytes: u64) {
    if budget_bytes >= ROOMY_BYTES {
        // SAFETY: these change numbers of the allocator, under its lock.
        unsafe {
            // The most that it takes, and what it would set itself with it.
            libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_blocks(_: u64) {}

/// glibc keeps what is freed in smaller blocks, however much it is.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    // SAFETY: it takes no pointers and locks what it looks at.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

fn anonymous_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_and_used_is_told() {
        let held = of_process().expect("Linux tells it").held;
        let before = held();
        let block = vec![1_u8; 64 << 20];
        let after = held();
        assert!(after > before + (32 << 20), "{before} before, {after} with {} bytes more", block.len());
    }
}
