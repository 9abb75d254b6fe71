//! The batch engine, DataFusion, without the faults of 54.1 that give wrong answers and can be kept away from outside. Queries, and the
//! parts of views that are computed anew, plan with these rules and functions. And two aggregates that it lacks.

/// What a function that stands for another, `of`, is known by: all that the other is.
macro_rules! as_its_own {
    () => {
        as_its_own!(but for its signature);

        fn signature(&self) -> &datafusion::logical_expr::Signature {
            self.of.signature()
        }
    };
    (but for its signature) => {
        fn name(&self) -> &str {
            self.of.name()
        }

        fn aliases(&self) -> &[String] {
            self.of.aliases()
        }

        fn documentation(&self) -> Option<&datafusion::logical_expr::Documentation> {
            self.of.documentation()
        }
    };
}

/// What an accumulator that stands for another, `of`, does as that one does: all but its answer.
macro_rules! takes_in_as_its_own {
    (one group) => {
        fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
            self.of.update_batch(values)
        }

        fn size(&self) -> usize {
            size_of_val(self) + self.of.size()
        }

        fn state(&mut self) -> Result<Vec<ScalarValue>> {
            self.of.state()
        }

        fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
            self.of.merge_batch(states)
        }

        fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
            self.of.retract_batch(values)
        }

        fn supports_retract_batch(&self) -> bool {
            self.of.supports_retract_batch()
        }
    };
    (groups) => {
        fn update_batch(
            &mut self,
            values: &[ArrayRef],
            groups: &[usize],
            filter: Option<&BooleanArray>,
            total: usize,
        ) -> Result<()> {
            self.of.update_batch(values, groups, filter, total)
        }

        fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
            self.of.state(emit)
        }

        fn merge_batch(
            &mut self,
            values: &[ArrayRef],
            groups: &[usize],
            filter: Option<&BooleanArray>,
            total: usize,
        ) -> Result<()> {
            self.of.merge_batch(values, groups, filter, total)
        }

        fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
            self.of.convert_to_state(values, filter)
        }

        fn supports_convert_to_state(&self) -> bool {
            self.of.supports_convert_to_state()
        }

        fn size(&self) -> usize {
            self.of.size()
        }
    };
}

mod arithmetic;
mod arrays;
mod bytes;
mod careful;
mod counts;
mod decimals;
mod dependencies;
mod equivalence;
mod extremes;
mod fallible;
mod filtered;
mod filters;
mod forward;
mod groups;
mod guards;
mod keys;
mod lacking;
mod leaves;
mod lists;
mod means;
mod membership;
mod names;
mod nested;
mod null_keys;
mod one_way;
mod ordered_sets;
mod orders;
mod outer;
mod paired;
mod partitions;
mod places;
mod projections;
mod recursion;
mod relations;
mod repeated;
mod shifted;
mod single;
#[cfg(test)]
mod testing;
mod texts;
mod times;
mod truths;
mod types;
mod unnest;
mod words;
mod written;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::extract_leaf_expressions::{ExtractLeafExpressions, PushDownLeafProjections};
use datafusion::optimizer::optimizer::Optimizer;
use datafusion::optimizer::{AnalyzerRule, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;

pub use arrays::{ARRAY_OR_EMPTY, any_function, operator_of_any};
use careful::Careful;
pub use counts::row_number;
pub use decimals::compared_as;
pub use fallible::{can_fail, can_fail_in, has_subquery};
pub use keys::{CarefulPlanner, with_sortable_keys};
pub use means::{even_mean, rounded_mean};
pub use names::map_with_names;
pub use ordered_sets::{between, continuous_place, discrete_place};
pub use relations::CarefulRelations;
pub use texts::{TEXT_CAST, list_items, reading_texts, text_for, time_text};
pub use times::{RANGE_ROWS, SERIES_ROWS, TimeTypes};
pub use words::{in_words, infix, without_widening, words, words_of_columns};
pub use written::WrittenValues;

/// The function that stands for a cast of nanoseconds to microseconds.
pub const MICROS_OF: &str = "fleuve_micros";

/// Aggregates over frames that slide which are computed anew for each frame: they cannot take a value out again, or (`sum`, `avg`) of
/// floating-point numbers not without a trace.
pub const FRAMED_ANEW: [&str; 24] = [
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "var",
    "var_pop",
];

/// The settings that the rules here rely on.
pub fn configure(options: &mut ConfigOptions) {
    // What a sort in a query means is told by `orders`.
    options.sql_parser.enable_subquery_sort_elimination = false;
    // `x IS NOT TRUE` is never NULL to the logical plan and may be to the physical one (DataFusion 54.1), which is no fault.
    options.execution.skip_physical_aggregate_schema_check = true;
}

/// A state with the rules and functions of this crate, and none besides.
pub fn session_state(mut config: SessionConfig) -> SessionState {
    configure(config.options_mut());
    let zone = config.options().execution.time_zone.clone();
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_type_planner(Arc::new(TimeTypes { zone }))
        .with_expr_planners(planners())
        .with_default_features()
        .with_relation_planners(vec![Arc::new(CarefulRelations)])
        .with_optimizer_rules(logical_rules())
        .with_analyzer_rules(analyzer_rules([]))
        .with_physical_optimizer_rules(physical_rules())
        .with_query_planner(Arc::new(CarefulPlanner))
        .build();
    register(&mut state).expect("functions can be registered");
    state
}

/// What plans expressions; to come before DataFusion's.
pub fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![Arc::new(arrays::ListOperators), Arc::new(truths::TruthOperators), Arc::new(times::TimeOperators)]
}

/// Puts functions in the place of DataFusion's of the same names, and some of new names.
pub fn register(state: &mut SessionState) -> Result<()> {
    times::register_series(state);
    let registry: &mut dyn FunctionRegistry = state;
    arrays::register_careful(registry)?;
    for function in counts::scalar().into_iter().chain([counts::matches()]) {
        registry.register_udf(function.into())?;
    }
    times::register(registry)?;
    arrays::register(registry)?;
    bytes::register(registry)?;
    lacking::register(registry)?;
    for function in counts::window().into_iter().chain(shifted::shifted()) {
        registry.register_udwf(function.into())?;
    }
    for function in one_way::one_way()
        .into_iter()
        .chain(counts::aggregate())
        .chain(extremes::extremes())
        .chain(ordered_sets::all())
        .chain(paired::paired())
        .chain([means::mean()])
    {
        registry.register_udaf(function.into())?;
    }
    Ok(())
}

/// A rule for the analysis of a plan.
pub type Analysis = Arc<dyn AnalyzerRule + Send + Sync>;

/// DataFusion's rules for the analysis of a plan and ours around them; `own` rules find all types settled.
pub fn analyzer_rules(own: impl IntoIterator<Item = Analysis>) -> Vec<Analysis> {
    let first: [Analysis; 8] = [
        Arc::new(orders::DerivedOrders),
        Arc::new(lists::CarefulLists),
        Arc::new(single::SingleValues),
        Arc::new(membership::Memberships),
        Arc::new(unnest::UnnestedSubqueries),
        Arc::new(times::Microseconds),
        Arc::new(arithmetic::SignedArithmetic),
        Arc::new(outer::OuterColumns),
    ];
    let whole: Analysis = Arc::new(recursion::WholeRecursion);
    let last: [Analysis; 3] =
        [Arc::new(nested::OrderedLists), Arc::new(places::Places), Arc::new(filtered::FilteredArguments)];
    let types: Analysis = Arc::new(decimals::SettledTypes);
    let settled = |rule: Analysis| if rule.name() == types.name() { types.clone() } else { rule };
    let theirs = Analyzer::new().rules.into_iter().map(settled);
    first.into_iter().chain(theirs).chain([whole]).chain(own).chain(last).collect()
}

/// DataFusion's logical rules; columns that nobody asks for go within the terms of recursive queries, too, filters
/// are not pushed too far, a constant is a group, and NULL equals NULL in the keys only that say so.
pub fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let ours: [Arc<dyn OptimizerRule + Send + Sync>; 11] = [
        Arc::new(Careful::new(recursion::within_terms)),
        Arc::new(Careful::new(filters::filters)),
        Arc::new(Careful::new(groups::groups)),
        Arc::new(Careful::new(repeated::repeated)),
        Arc::new(Careful::new(dependencies::orders)),
        Arc::new(Careful::new(dependencies::distinct)),
        Arc::new(Careful::new(unnest::laterals)),
        Arc::new(Careful::new(null_keys::keys)),
        Arc::new(Careful::new(null_keys::cross_joins)),
        Arc::new(Careful::<ExtractLeafExpressions>::new(leaves::unless_ambiguous)),
        Arc::new(Careful::<PushDownLeafProjections>::new(leaves::unless_ambiguous)),
    ];
    let careful = |rule: Arc<dyn OptimizerRule + Send + Sync>| match ours.iter().find(|o| o.name() == rule.name()) {
        Some(ours) => ours.clone(),
        None => rule,
    };
    Optimizer::new().rules.into_iter().map(careful).collect()
}

/// DataFusion's physical rules without the one that pushes filters through joins: it finds a filter's column by its
/// name there, and with equal names on both sides of an outer join filters the wrong one. The logical optimizer has pushed filters
/// down already. Without the one that lets an aggregate keep the first groups only: it takes a group's column for the value of `min` or `max`
/// when they change their names (`LimitAggregation`). With another one that pushes projections down, and one that keeps what is constant, unique
/// or in order in an input from being taken for that where it is not any more. And with one that lets conditions guard others.
pub fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let careful: Arc<dyn PhysicalOptimizerRule + Send + Sync> = Arc::new(projections::CarefulProjections);
    let is_wrong = |name: &str| name.starts_with("FilterPushdown") || name == "LimitAggregation";
    let rules = PhysicalOptimizer::new().rules.into_iter().filter(|r| !is_wrong(r.name()));
    let rules = rules.map(|r| if r.name() == "ProjectionPushdown" { careful.clone() } else { r });
    // First: the others decide by what they take for constant, unique and in order; a guarded filter tells less of that.
    let first: [Arc<dyn PhysicalOptimizerRule + Send + Sync>; 2] =
        [Arc::new(guards::Guards), Arc::new(equivalence::CarefulEquivalence)];
    let mut rules: Vec<_> = first.into_iter().chain(rules).collect();
    let at = rules.iter().position(|r| r.name() == "SanityCheckPlan").unwrap_or(rules.len());
    rules.insert(at, Arc::new(partitions::SinglePartitions));
    rules
}
