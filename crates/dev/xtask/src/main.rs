//! Checks of the repository itself, for `./dev lint`.
//!
//! It reads `cargo metadata` and the source tree and prints what is wrong; it changes nothing and holds no state. It must not depend
//! on any crate of the workspace: it has to build when they do not.

mod layers;
mod sources;

use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask CHECK...

  layers    crates use only what their layer may use (ARCHITECTURE.md)
  sources   crates say what they are for; files stay readable in size";

fn main() -> ExitCode {
    let checks: Vec<String> = std::env::args().skip(1).collect();
    if checks.is_empty() {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    }
    let metadata = match metadata() {
        Ok(metadata) => metadata,
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = false;
    for check in &checks {
        let problems = match check.as_str() {
            "layers" => layers::problems(&metadata),
            "sources" => sources::problems(&metadata),
            _ => {
                eprintln!("error: there is no check '{check}'\n{HELP}");
                return ExitCode::from(2);
            }
        };
        problems.iter().for_each(|problem| println!("{problem}"));
        failed |= !problems.is_empty();
        println!("{check}: {}", if problems.is_empty() { "ok".into() } else { format!("{} problems", problems.len()) });
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn metadata() -> Result<serde_json::Value, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .map_err(|e| format!("cannot run cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata gave no JSON: {e}"))
}
