//! Where event time goes in a circuit, and the watermarks there.
//!
//! A column of a node *carries event time* with a watermark `w` when no later change of the node has a value below `w` in that
//! column (NULL says nothing). At an input it is the stream's watermark; a monotone expression of such a column carries
//! it on (Akidau et al., "The Dataflow Model", VLDB 2015; Begoli et al., "One SQL to Rule Them All", SIGMOD 2019).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Error, Result};

use crate::operators::evaluate;
use crate::state::times_of;

/// A watermark of a relation: the number of a column, and the value below which it gets no more rows, in the column's unit.
pub type Mark = (usize, i64);

/// Sets of columns that carry event time: each row that has a time has one in at least one column of each set. Of a stream that is its
/// column alone. An outer join fills a column up with NULL: behind FULL JOIN only the columns of both sides together are such a set.
pub type Complete = Vec<BTreeSet<usize>>;

/// The columns of a relation that carry event time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeColumns {
    /// Their numbers.
    pub all: Vec<usize>,
    /// Of these.
    pub complete: Complete,
}

impl TimeColumns {
    /// Those of a stream, which has one if it has a watermark.
    pub fn of_stream(column: Option<usize>) -> Self {
        Self { all: column.into_iter().collect(), complete: column.into_iter().map(|c| BTreeSet::from([c])).collect() }
    }
}

/// So many sets are kept, the smallest: a plan that has more says the same in many ways.
const MOST_SETS: usize = 64;

/// Without sets that hold another one.
pub(crate) fn smallest(sets: impl IntoIterator<Item = BTreeSet<usize>>) -> Complete {
    let mut sets: Vec<BTreeSet<usize>> = sets.into_iter().collect();
    sets.sort_by_key(|set| (set.len(), set.clone()));
    let mut out: Complete = vec![];
    for set in sets {
        if out.len() < MOST_SETS && !out.iter().any(|smaller| smaller.is_subset(&set)) {
            out.push(set);
        }
    }
    out
}

/// One set of each, together, in all ways.
pub(crate) fn crossed(these: &[BTreeSet<usize>], those: &[BTreeSet<usize>]) -> Complete {
    smallest(these.iter().flat_map(|this| those.iter().map(move |that| this.union(that).copied().collect())))
}

/// The sets where column `c` is found at any of `places(c)`.
pub(crate) fn spread(sets: &[BTreeSet<usize>], places: impl Fn(usize) -> Vec<usize>) -> Complete {
    let one = |place: usize| BTreeSet::from([place]);
    let ways = |set: &BTreeSet<usize>| {
        set.iter().fold(vec![BTreeSet::new()], |ways, column| {
            crossed(&ways, &places(*column).into_iter().map(one).collect::<Vec<_>>())
        })
    };
    smallest(sets.iter().flat_map(ways))
}

/// Why the rows of a node have no complete event times although those of its inputs have.
#[derive(Clone)]
pub(crate) struct Loss {
    pub(crate) why: String,
    pub(crate) hint: String,
}

/// True for types whose values are points in time that do not depend on a time zone.
pub(crate) fn is_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) | DataType::Date32 => true,
        DataType::Timestamp(_, Some(zone)) => matches!(zone.as_ref(), "UTC" | "Z" | "+00" | "+00:00"),
        _ => false,
    }
}

/// One monotone expression of a column that carries event time.
#[derive(Clone)]
pub(crate) struct TimeStep {
    /// Over one column.
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    pub(crate) input: DataType,
}

impl TimeStep {
    /// The watermark behind the expression. Of a list (the windows of a row, ascending) it is that of the first item.
    fn apply(&self, watermark: i64) -> Result<Option<i64>> {
        let value = cast(&Int64Array::from(vec![watermark]), &self.input).map_err(|e| Error::bug(e.to_string()))?;
        let schema = Schema::new(vec![Field::new("time", self.input.clone(), true)]);
        let row = RecordBatch::try_new(Arc::new(schema), vec![value]).map_err(|e| Error::bug(e.to_string()))?;
        let mut result: ArrayRef = evaluate(&self.expr, &row)?;
        if let Some(list) = result.as_list_opt::<i32>() {
            if list.is_null(0) || list.value_length(0) == 0 {
                return Ok(None);
            }
            result = list.value(0);
        }
        let times = times_of(&result)?;
        Ok(times.is_valid(0).then(|| times.value(0)))
    }
}

/// Where the watermark of a column comes from.
#[derive(Clone)]
pub(crate) enum TimeSource {
    /// A column of a relation that the circuit reads: the number of the input, and of the column in the relation.
    Input { input: usize, column: usize },
    /// The least of columns of other nodes, `(node, column)`, then expressions.
    Least { of: Vec<(usize, usize)>, steps: Vec<TimeStep> },
    /// The least of these.
    All(Vec<TimeSource>),
}

impl TimeSource {
    /// The columns that it is the least of, as they are.
    pub(crate) fn as_columns(&self) -> Option<&[(usize, usize)]> {
        match self {
            TimeSource::Least { of, steps } if steps.is_empty() => Some(of),
            _ => None,
        }
    }

    /// The watermark as things stand: `inputs` are those of the circuit's inputs, `of` finds those of other nodes.
    pub(crate) fn now(&self, inputs: &[Vec<Mark>], of: &dyn Fn(usize, usize) -> Option<i64>) -> Result<Option<i64>> {
        match self {
            TimeSource::Input { input, column } => {
                Ok(inputs.get(*input).and_then(|marks| marks.iter().find(|m| m.0 == *column)).map(|m| m.1))
            }
            TimeSource::Least { of: columns, steps } => {
                let all: Option<Vec<i64>> = columns.iter().map(|(node, column)| of(*node, *column)).collect();
                let mut watermark = all.and_then(|all| all.into_iter().min());
                for step in steps {
                    let Some(now) = watermark else { break };
                    watermark = step.apply(now)?;
                }
                Ok(watermark)
            }
            TimeSource::All(sources) => {
                let all = sources.iter().map(|s| s.now(inputs, of)).collect::<Result<Option<Vec<i64>>>>()?;
                Ok(all.and_then(|all| all.into_iter().min()))
            }
        }
    }
}

/// A column of a node that carries event time.
#[derive(Clone)]
pub(crate) struct TimeColumn {
    pub(crate) column: usize,
    pub(crate) source: TimeSource,
    /// In the column's unit; `None` before anything is known.
    pub(crate) watermark: Option<i64>,
}

impl TimeColumn {
    pub(crate) fn new(column: usize, source: TimeSource) -> Self {
        Self { column, source, watermark: None }
    }
}

/// A watermark that an operator closes by and that none of its columns carries.
pub(crate) struct Horizon {
    pub(crate) source: TimeSource,
    pub(crate) watermark: Option<i64>,
}

/// A watermark as people read it.
pub(crate) fn shown(watermark: i64, data_type: &DataType) -> String {
    let array = cast(&Int64Array::from(vec![watermark]), data_type).ok();
    array.and_then(|a| arrow::util::display::array_value_to_string(&a, 0).ok()).unwrap_or_else(|| watermark.to_string())
}
