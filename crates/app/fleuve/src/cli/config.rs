use std::process::ExitCode;

use fleuve_types::Result;

use super::args::ConfigArgs;
use super::serve::load;
use super::term::Out;
use crate::config::print;

/// `fleuve config`
pub fn run(args: &ConfigArgs) -> Result<ExitCode> {
    let loaded = load(&args.settings)?;
    let mut out = Out::new();
    out.bytes(print(&loaded, args.format)?.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
