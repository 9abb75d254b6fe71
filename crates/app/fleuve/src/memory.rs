//! What this process holds in memory, by the system's word.

/// A way to tell it, where there is one: the bytes that no file backs.
pub fn meter() -> Option<fn() -> usize> {
    anonymous_bytes().map(|_| (|| anonymous_bytes().unwrap_or(0)) as fn() -> usize)
}

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
        let meter = meter().expect("Linux tells it");
        let before = meter();
        let block = vec![1_u8; 64 << 20];
        let after = meter();
        assert!(after > before + (32 << 20), "{before} before, {after} with {} bytes more", block.len());
    }
}
