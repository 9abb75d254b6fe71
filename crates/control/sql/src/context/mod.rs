//! DataFusion's context, as all statements are planned and run in it. It holds no state of its own: the catalog is a snapshot or
//! the set of objects, both given.

mod catalog;
mod functions;
mod interval;
mod percentiles;
mod zone;

use std::sync::{Arc, OnceLock};

use datafusion::config::Dialect;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::prelude::SessionConfig;
use fleuve_types::{Error, Result};
use parking_lot::Mutex;

pub(crate) use catalog::{ExtraSchemas, ObjectCatalog, SnapshotCatalog, SnapshotSource, key_of_columns, single};
pub(crate) use functions::NAMED_CAST;

use crate::checked::{CheckedIntegers, checked_sum};
use crate::literals::{TextLiterals, bytea};
use crate::parse::EDITION;
use crate::window::{
    ScanPlanner, SlidingFrames, WindowPlanner, as_of_mark, as_of_value, session_functions, window_functions,
};

use crate::{DEFAULT_NAMESPACE, ENVIRONMENT};

/// Memory that all queries of a process share when nobody says otherwise.
const QUERY_MEMORY_BYTES: usize = 1 << 30;
/// Temporary files that all queries of a process share.
const QUERY_SPILL_BYTES: u64 = 4 << 30;
/// Threads that one query uses at most.
const QUERY_PARALLELISM: usize = 2;

/// The memory and temporary files that queries share. Give the same one to all sessions.
///
/// # Errors
/// The folder for temporary files cannot be made.
pub fn query_runtime(memory_bytes: usize) -> Result<Arc<RuntimeEnv>> {
    let consumers = std::num::NonZeroUsize::new(5).expect("five is not zero");
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(memory_bytes), consumers)))
        .with_max_temp_directory_size(QUERY_SPILL_BYTES)
        .build_arc()
        .map_err(|e| Error::io("preparing temporary files for queries", e))
}

/// The runtime of sessions that are given none.
pub(crate) fn default_runtime() -> Arc<RuntimeEnv> {
    static RUNTIME: OnceLock<Arc<RuntimeEnv>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| query_runtime(QUERY_MEMORY_BYTES).unwrap_or_else(|_| Arc::new(RuntimeEnv::default())))
        .clone()
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(QUERY_PARALLELISM)
        .with_information_schema(true)
        .with_default_catalog_and_schema(ENVIRONMENT, DEFAULT_NAMESPACE)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    fleuve_batch::configure(options);
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.recursion_limit = crate::parse::MAX_NESTING;
    options.execution.time_zone = Some("+00:00".into());
    // Text that a query shows is read by people: the names of columns as they wrote them.
    options.explain.show_schema = false;
    config
}

/// A state with all functions and planners, by the rules of an edition, without tables.
fn state(runtime: Arc<RuntimeEnv>, edition: u32) -> SessionState {
    let own: [fleuve_batch::Analysis; 3] =
        [Arc::new(TextLiterals), Arc::new(CheckedIntegers::new()), Arc::new(SlidingFrames)];
    let written: Option<fleuve_batch::Analysis> = (edition >= 2).then(|| Arc::new(fleuve_batch::WrittenValues) as _);
    let config = config();
    let zone = config.options().execution.time_zone.clone();
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_type_planner(Arc::new(fleuve_batch::TimeTypes { zone }))
        .with_runtime_env(runtime)
        .with_expr_planners(fleuve_batch::planners())
        .with_default_features()
        .with_optimizer_rules(fleuve_batch::logical_rules())
        .with_physical_optimizer_rules(fleuve_batch::physical_rules())
        .with_query_planner(Arc::new(fleuve_batch::CarefulPlanner))
        .with_analyzer_rules(fleuve_batch::analyzer_rules(own.into_iter().chain(written)))
        .with_relation_planners(vec![
            Arc::new(fleuve_batch::CarefulRelations),
            Arc::new(ScanPlanner),
            Arc::new(WindowPlanner),
        ])
        .build();
    fleuve_batch::register(&mut state).expect("functions can be registered");
    let registry: &mut dyn datafusion::execution::FunctionRegistry = &mut state;
    for function in
        window_functions().into_iter().chain(functions::scalar()).chain([as_of_mark(), bytea(), zone::timezone()])
    {
        registry.register_udf(function).expect("a name of our own can be registered");
    }
    let planners: [Arc<dyn ExprPlanner>; 2] =
        [Arc::new(interval::IntervalPlanner { dates_stay: edition < 2 }), Arc::new(percentiles::PercentilesPlanner)];
    for planner in planners {
        registry.register_expr_planner(planner).expect("a planner of our own can be registered");
    }
    for function in session_functions().into_iter().chain([as_of_value()]) {
        registry.register_udwf(function).expect("a name of our own can be registered");
    }
    for function in functions::aggregate().into_iter().chain([checked_sum()]) {
        registry.register_udaf(function).expect("a name of our own can be registered");
    }
    state
}

/// A copy of the state over `runtime`. The last one made is kept, as sessions share their runtime and may be short.
pub(crate) fn shared_state(runtime: &Arc<RuntimeEnv>) -> SessionState {
    static LAST: Mutex<Option<(Arc<RuntimeEnv>, SessionState)>> = Mutex::new(None);
    let mut last = LAST.lock();
    if let Some((of, state)) = last.as_ref()
        && Arc::ptr_eq(of, runtime)
    {
        return state.clone();
    }
    let made = state(runtime.clone(), EDITION);
    *last = Some((runtime.clone(), made.clone()));
    made
}

/// The state for binding by the rules of an edition: made once, cloned for each statement.
pub(crate) fn binding_state(edition: u32) -> SessionState {
    static STATES: [OnceLock<SessionState>; 2] = [const { OnceLock::new() }; 2];
    let is_old = edition < 2;
    STATES[usize::from(is_old)].get_or_init(|| state(default_runtime(), edition)).clone()
}
