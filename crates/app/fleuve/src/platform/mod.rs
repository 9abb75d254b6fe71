//! The running server: log, engine, catalog, registry and doors, joined together.
//!
//! [`Platform`] is what SQL and the doors stand on. It owns no state of its own: ground is the log, the catalog and the registry;
//! the engine's state is derived.

mod apply;
mod backend;
mod below;
mod closing;
mod dead;
mod deciding;
mod durable;
mod ground;
mod later;
mod local;
mod observe;
mod open;
mod relations;
mod replaced;
mod replay;
mod retention;
mod serve;
mod sink;
mod source;
mod stream;
mod system;
mod table;
#[cfg(test)]
mod tested;
mod topics;
mod under_way;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fleuve_catalog::Catalog;
use fleuve_engine::Engine;
use fleuve_formats::SchemaLookup;
use fleuve_log::Log;
use fleuve_registry::Registry;
use fleuve_sql::ObjectSet;
use fleuve_types::{Clock, ObjectId, Result};
use parking_lot::RwLock;

pub use ground::{Ground, SteppedServer};
pub use local::Local;
pub use serve::serve;

use crate::config::Config;
use observe::Rates;
use source::RunningSource;
use stream::StreamRelation;
use under_way::UnderWay;

/// The log is read in pieces of about this size.
const READ_BYTES: usize = 4 << 20;

/// Everything that runs, to be shared.
pub struct Platform {
    config: Config,
    clock: Arc<dyn Clock>,
    log: Log,
    catalog: Catalog,
    registry: Registry,
    engine: Engine,
    objects: RwLock<Arc<ObjectSet>>,
    streams: RwLock<HashMap<ObjectId, Arc<StreamRelation>>>,
    sources: RwLock<HashMap<ObjectId, RunningSource>>,
    /// False in tests of a project: they bring the rows themselves.
    runs_sources: bool,
    /// One change of the catalog at a time is decided.
    changing: tokio::sync::Mutex<()>,
    /// Those that are carried out.
    under_way: UnderWay,
    /// What ends now does so with the server: nothing is taken back.
    is_stopping: AtomicBool,
    /// One replay at a time.
    replaying: Arc<tokio::sync::Mutex<()>>,
    rates: Rates,
    started_us: i64,
}

impl Platform {
    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn object_set(&self) -> Arc<ObjectSet> {
        self.objects.read().clone()
    }

    fn relation(&self, id: ObjectId) -> Option<Arc<StreamRelation>> {
        self.streams.read().get(&id).cloned()
    }
}

/// The registry, as decoders ask it.
struct RegistryLookup(Registry);

impl SchemaLookup for RegistryLookup {
    fn schema_by_id(&self, id: u32) -> Result<Option<String>> {
        Ok(i32::try_from(id).ok().and_then(|id| self.0.schema_by_id(id)))
    }
}
