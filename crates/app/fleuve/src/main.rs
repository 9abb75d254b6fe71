//! The program. All of it is in the library beside it, where the simulator reaches it, too.

fn main() -> std::process::ExitCode {
    fleuve::memory::give_large_blocks_back();
    fleuve::main()
}
