//! The running server.

use fleuve_types::{Error, Result};

use crate::config::Config;
use crate::doors::OpenDoors;

/// Runs the server until it is told to stop. `ready` is called once all doors serve.
///
/// # Errors
/// A clear line when it cannot start.
pub async fn serve(_config: Config, _ready: impl FnOnce(&OpenDoors)) -> Result<()> {
    Err(Error::unsupported("the server is not wired yet"))
}
