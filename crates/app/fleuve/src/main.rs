//! The program. All of it is in the library beside it, where the simulator reaches it, too.

fn main() -> std::process::ExitCode {
    give_memory_back();
    fleuve::main()
}

/// Blocks of a MiB and more go back to the system when they are freed. By itself glibc raises that limit with each larger block that is freed, up
/// to 32 MiB, and keeps what is smaller: a server whose state goes to disk then held twice as much as it used.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_memory_back() {
    // SAFETY: it changes a number of the allocator, and no other thread is there yet.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_memory_back() {}
