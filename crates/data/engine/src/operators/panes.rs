//! Rows of overlapping windows (`HOP`, `CUMULATE`), gathered before they are put into their windows: the rows of a step that have the
//! same keys and fall into the same pane are in the same windows, so what they add to an aggregate is added up once and then given to
//! each of these windows (Li et al., "No Pane, No Gain", SIGMOD Record 2005). What it puts out is for an aggregate that counts rows by
//! a column. Keeps no state.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, ListArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Error, Result};

use super::guard::slice;
use super::map::concat;
use super::{Operator, StepContext, evaluate};
use crate::state::{ByteSet, Encoded, RowCodec, batch_of, hash_bytes, times_of};

/// What is added up of the rows of a pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PaneKind {
    /// How many there are.
    Count,
    /// The sum of integers or decimals, and how many there are.
    Sum,
    Min,
    Max,
}

/// One call of the aggregate above.
#[derive(Debug)]
pub(crate) struct PaneCall {
    pub(crate) kind: PaneKind,
    /// The column of its argument; rows where that is NULL do not count. None counts all.
    pub(crate) argument: Option<usize>,
    /// The column of its condition.
    pub(crate) filter: Option<usize>,
}

impl PaneCall {
    /// The columns that it gives.
    pub(crate) fn types(&self, input: &SchemaRef) -> Vec<DataType> {
        let argument = self.argument.map(|at| input.field(at).data_type().clone());
        match (self.kind, argument) {
            (PaneKind::Sum, Some(DataType::Decimal128(_, scale))) => vec![wide(scale), DataType::Int64],
            (PaneKind::Sum, _) => vec![wide(0), DataType::Int64],
            (PaneKind::Min | PaneKind::Max, Some(of)) => vec![of],
            _ => vec![DataType::Int64],
        }
    }
}

fn wide(scale: i8) -> DataType {
    DataType::Decimal128(38, scale)
}

/// See the module. The input's first columns are the keys, then comes the time.
pub(crate) struct Panes {
    pub(crate) keys: usize,
    pub(crate) calls: Vec<PaneCall>,
    /// The length of a pane, in the unit of the time.
    pub(crate) length: i64,
    /// The list of the windows of a pane, over its start.
    pub(crate) windows: Arc<dyn PhysicalExpr>,
    pub(crate) codec: RowCodec,
    pub(crate) input_schema: SchemaRef,
    /// The keys, the window, what the calls give, how many rows.
    pub(crate) schema: SchemaRef,
    pub(crate) label: String,
}

impl Panes {
    /// The codec of the keys and the pane of a row.
    pub(crate) fn codec(keys: usize, input: &SchemaRef) -> Result<RowCodec> {
        let keys = input.fields().iter().take(keys).map(|f| f.data_type().clone());
        RowCodec::new(keys.chain([DataType::Int64]).collect())
    }

    /// Rows with their windows.
    fn windows_of(&self, input: &Delta) -> Result<Delta> {
        let times = times_of(input.batch.column(self.keys))?;
        let start = |t: Option<i64>| t.and_then(|t| t.checked_sub(t.rem_euclid(self.length)));
        let panes: Int64Array = times.iter().map(start).collect();
        let mut columns = input.batch.columns()[..self.keys].to_vec();
        columns.push(Arc::new(panes.clone()));
        let groups = Groups::of(&self.codec.encode(&columns)?, &panes);
        let mut given = vec![];
        for call in &self.calls {
            given.extend(call.gather(input, &groups)?);
        }
        let rows = groups.add_up(|row| Some(input.weight(row)));
        given.push(Arc::new(Int64Array::from(rows)));
        let firsts = UInt32Array::from(groups.firsts);
        let picked = |column: &ArrayRef| take(column, &firsts, None).map_err(|e| Error::bug(e.to_string()));
        let starts = picked(&(Arc::new(panes) as ArrayRef))?;
        let lists = self.lists(&starts)?;
        let mut columns = columns[..self.keys].iter().map(picked).collect::<Result<Vec<_>>>()?;
        columns.extend(given);
        self.spread(&columns, &lists)
    }

    /// The windows of panes.
    fn lists(&self, starts: &ArrayRef) -> Result<ListArray> {
        let time = self.input_schema.field(self.keys);
        let starts = cast(starts, time.data_type()).map_err(|e| Error::bug(e.to_string()))?;
        let schema = Arc::new(Schema::new(vec![Field::new(time.name(), time.data_type().clone(), true)]));
        let rows = starts.len();
        let lists = evaluate(&self.windows, &batch_of(&schema, vec![starts], rows)?)?;
        lists.as_list_opt::<i32>().cloned().ok_or_else(|| Error::bug("the windows of a row are no list"))
    }

    /// Each row once for each of its windows, which come after the keys.
    fn spread(&self, columns: &[ArrayRef], lists: &ListArray) -> Result<Delta> {
        let mut from: Vec<u32> = Vec::with_capacity(lists.values().len());
        let mut items: Vec<u32> = Vec::with_capacity(lists.values().len());
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            let (start, end) = (lists.value_offsets()[row], lists.value_offsets()[row + 1]);
            items.extend(start as u32..end as u32);
            from.resize(items.len(), row as u32);
        }
        let (from, items) = (UInt32Array::from(from), UInt32Array::from(items));
        let failed = |e: arrow::error::ArrowError| Error::bug(e.to_string());
        let mut out = columns.iter().map(|c| take(c, &from, None).map_err(failed)).collect::<Result<Vec<_>>>()?;
        out.insert(self.keys, take(lists.values(), &items, None).map_err(failed)?);
        Ok(Delta::insert(batch_of(&self.schema, out, from.len())?))
    }
}

/// The rows of a step by keys and pane.
struct Groups {
    /// By row: its group. Rows without a pane have none.
    of: Vec<Option<u32>>,
    /// By group: a row of it.
    firsts: Vec<u32>,
}

impl Groups {
    fn of(keys: &Encoded, panes: &Int64Array) -> Self {
        let mut set = ByteSet::default();
        let mut firsts = vec![];
        let of = (0..panes.len())
            .map(|row| {
                if panes.is_null(row) {
                    return None;
                }
                let key = keys.row(row);
                let (slot, is_new) = set.insert(hash_bytes(key), key);
                if is_new {
                    firsts.push(row as u32);
                }
                Some(slot)
            })
            .collect();
        Self { of, firsts }
    }

    /// By group: the sum of what its rows give.
    fn add_up<T: Copy + Default + WrappingAdd>(&self, of: impl Fn(usize) -> Option<T>) -> Vec<T> {
        let mut sums = vec![T::default(); self.firsts.len()];
        for (row, group) in self.of.iter().enumerate() {
            if let (Some(group), Some(value)) = (group, of(row)) {
                let sum = &mut sums[*group as usize];
                *sum = sum.plus(value);
            }
        }
        sums
    }
}

/// Sums that pass their width start again at the other end, as the aggregate's do.
trait WrappingAdd {
    fn plus(self, other: Self) -> Self;
}

impl WrappingAdd for i64 {
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

impl WrappingAdd for i128 {
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

impl PaneCall {
    fn gather(&self, input: &Delta, groups: &Groups) -> Result<Vec<ArrayRef>> {
        let argument = self.argument.map(|at| input.batch.column(at));
        let nulls = argument.and_then(|a| a.logical_nulls());
        let filter: Option<&BooleanArray> = self.filter.and_then(|at| input.batch.column(at).as_boolean_opt());
        let counts = |row: usize| {
            nulls.as_ref().is_none_or(|n| n.is_valid(row)) && filter.is_none_or(|f| f.is_valid(row) && f.value(row))
        };
        let count =
            || -> ArrayRef { Arc::new(Int64Array::from(groups.add_up(|row| counts(row).then(|| input.weight(row))))) };
        match (self.kind, argument) {
            (PaneKind::Count, _) => Ok(vec![count()]),
            (PaneKind::Sum, Some(values)) => {
                let sums = match values.data_type() {
                    DataType::Int64 => {
                        let values = values.as_primitive::<Int64Type>().values();
                        sums(groups, input, counts, |row| i128::from(values[row]))
                    }
                    DataType::UInt64 => {
                        let values = values.as_primitive::<UInt64Type>().values();
                        sums(groups, input, counts, |row| i128::from(values[row]))
                    }
                    DataType::Decimal128(..) => {
                        let values = values.as_primitive::<Decimal128Type>().values();
                        sums(groups, input, counts, |row| values[row])
                    }
                    other => return Err(Error::bug(format!("the sum of a pane over {other}"))),
                };
                let array = Decimal128Array::from(sums).with_data_type(self.types(&input.batch.schema())[0].clone());
                Ok(vec![Arc::new(array), count()])
            }
            (PaneKind::Min | PaneKind::Max, Some(values)) => {
                let best = best(groups, values, counts, self.kind == PaneKind::Max)?;
                Ok(vec![take(values, &best, None).map_err(|e| Error::bug(e.to_string()))?])
            }
            (_, None) => Err(Error::bug("a pane's call lacks its argument")),
        }
    }
}

fn sums(groups: &Groups, input: &Delta, counts: impl Fn(usize) -> bool, value: impl Fn(usize) -> i128) -> Vec<i128> {
    groups.add_up(|row| counts(row).then(|| value(row).wrapping_mul(i128::from(input.weight(row)))))
}

/// By group: the row with the least or greatest value.
fn best(groups: &Groups, values: &ArrayRef, counts: impl Fn(usize) -> bool, max: bool) -> Result<UInt32Array> {
    let rows = RowCodec::new(vec![values.data_type().clone()])?.encode(std::slice::from_ref(values))?;
    let mut best: Vec<Option<u32>> = vec![None; groups.firsts.len()];
    for (row, group) in groups.of.iter().enumerate() {
        let Some(group) = group.filter(|_| counts(row)) else { continue };
        let best = &mut best[group as usize];
        let better = best.is_none_or(|b| match max {
            true => rows.row(row) > rows.row(b as usize),
            false => rows.row(row) < rows.row(b as usize),
        });
        if better {
            *best = Some(row as u32);
        }
    }
    Ok(UInt32Array::from(best))
}

/// Rows per piece of parallel work.
const PIECE_ROWS: usize = 65_536;

impl Operator for Panes {
    fn only_adds(&self, _: usize) -> bool {
        true
    }

    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        use rayon::prelude::*;
        let input = &inputs[0];
        if input.len() < 2 * PIECE_ROWS || rayon::current_num_threads() == 1 {
            return self.windows_of(input);
        }
        let pieces: Vec<Delta> =
            (0..input.len()).step_by(PIECE_ROWS).map(|at| slice(input, at, PIECE_ROWS.min(input.len() - at))).collect();
        let this = &*self;
        let outs: Vec<Result<Delta>> = pieces.par_iter().map(|p| this.windows_of(p)).collect();
        concat(&self.schema, &outs.into_iter().collect::<Result<Vec<_>>>()?)
    }

    fn describe(&self) -> String {
        format!("Panes: {}", self.label)
    }
}
