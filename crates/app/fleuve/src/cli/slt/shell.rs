//! `system`: a command of the shell.

use std::process::{Command, Stdio};

use fleuve_types::{Error, Result};

/// As many characters of what a command says are shown.
const SHOWN: usize = 500;

/// Runs a command with these variables; what it wrote. One that ends with `&` goes on by itself.
///
/// # Errors
/// When it cannot be started, or ends with another exit code than 0.
pub async fn run(command: String, variables: Vec<(String, String)>) -> Result<String> {
    let work = move || {
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(&command).envs(variables).stdin(Stdio::null());
        let failed = |e: std::io::Error| Error::io("cannot run bash", e);
        if command.trim_end().ends_with('&') {
            let status = bash.stdout(Stdio::null()).stderr(Stdio::null()).status().map_err(failed)?;
            return if status.success() {
                Ok(String::new())
            } else {
                Err(Error::input(format!("it ended with {status}")))
            };
        }
        let output = bash.output().map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            let said: String = text(&output.stderr).trim().chars().take(SHOWN).collect();
            return Err(Error::input(format!("it ended with {}: {said}", output.status)));
        }
        Ok(text(&output.stdout))
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::bug(format!("the command's thread broke off: {e}")))?
}
