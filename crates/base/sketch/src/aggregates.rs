//! The aggregate functions that make and merge sketches.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Signature, TypeSignature, Volatility,
};

use super::hash::{hashed_type, hashes};
use super::{Frequent, Hll, Quantiles};

/// All of them.
pub fn all() -> Vec<Arc<AggregateUDF>> {
    use Kind::{Hll, Quantile, TopK};
    let kinds = [Hll, Quantile, TopK].into_iter().flat_map(|kind| [(kind, false), (kind, true)]);
    kinds
        .map(|(kind, merges)| {
            let signature = Signature::new(TypeSignature::UserDefined, Volatility::Immutable);
            Arc::new(AggregateUDF::new_from_impl(Function { kind, merges, signature }))
        })
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Hll,
    Quantile,
    TopK,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    kind: Kind,
    /// It merges sketches, and does not make one of values.
    merges: bool,
    signature: Signature,
}

pub(super) fn failed(e: fleuve_types::Error) -> DataFusionError {
    DataFusionError::Execution(e.message)
}

/// True for what can be a sketch.
pub(super) fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::Null)
}

impl AggregateUDFImpl for Function {
    fn name(&self) -> &str {
        match (self.kind, self.merges) {
            (Kind::Hll, false) => "hll_sketch",
            (Kind::Hll, true) => "hll_merge",
            (Kind::Quantile, false) => "quantile_sketch",
            (Kind::Quantile, true) => "quantile_merge",
            (Kind::TopK, false) => "topk_sketch",
            (Kind::TopK, true) => "topk_merge",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        match (self.kind, self.merges, given) {
            (_, true, [sketch]) if is_bytes(sketch) => Ok(vec![DataType::Binary]),
            (_, true, _) => plan_err!("{name}(sketch) takes a sketch, which is BYTEA"),
            (Kind::Hll, false, [value]) => match hashed_type(value) {
                Some(hashed) => Ok(vec![hashed]),
                None => plan_err!("{name} cannot count values of {value}; cast them to TEXT"),
            },
            (Kind::Quantile, false, [value, rest @ ..])
                if rest.len() < 2 && (value.is_numeric() || value.is_null()) =>
            {
                Ok(given.iter().map(|_| DataType::Float64).collect())
            }
            (Kind::TopK, false, [value, k]) if !value.is_nested() && (k.is_integer() || k.is_null()) => {
                Ok(vec![DataType::Utf8, DataType::Int64])
            }
            (Kind::Hll, ..) => plan_err!("write {name}(value)"),
            (Kind::Quantile, ..) => plan_err!("write {name}(number [, relative accuracy])"),
            (Kind::TopK, ..) => plan_err!("write {name}(value, k)"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new(format_state_name(args.name, "sketch"), DataType::Binary, true)),
            Arc::new(Field::new(format_state_name(args.name, "rows"), DataType::Int64, true)),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let sketch = match (self.kind, self.merges) {
            (Kind::Hll, _) => Some(Sketch::Hll(Hll::default())),
            (_, true) => None,
            (Kind::Quantile, false) => {
                let accuracy = match constant(&args, 1)? {
                    None => Quantiles::ACCURACY,
                    Some(ScalarValue::Float64(Some(accuracy))) => accuracy,
                    Some(other) => {
                        return plan_err!("the relative accuracy of {} is a number, not {other}", self.name());
                    }
                };
                Some(Sketch::Quantiles(Quantiles::new(accuracy).map_err(failed)?))
            }
            (Kind::TopK, false) => match constant(&args, 1)? {
                Some(ScalarValue::Int64(Some(k))) => Some(Sketch::Frequent(Frequent::new(k).map_err(failed)?)),
                _ => return plan_err!("the k of {} is a number", self.name()),
            },
        };
        Ok(Box::new(Accumulated { kind: self.kind, merges: self.merges, sketch, rows: 0 }))
    }
}

/// An argument that has to be a constant.
fn constant(args: &AccumulatorArgs<'_>, at: usize) -> Result<Option<ScalarValue>> {
    let Some(expr) = args.exprs.get(at) else { return Ok(None) };
    let none = RecordBatch::new_empty(Arc::new(args.schema.clone()));
    match expr.evaluate(&none) {
        Ok(ColumnarValue::Scalar(value)) => Ok(Some(value)),
        _ => plan_err!("argument {} of {} has to be a constant", at + 1, args.name),
    }
}

#[derive(Debug)]
enum Sketch {
    Hll(Hll),
    Quantiles(Quantiles),
    Frequent(Frequent),
}

#[derive(Debug)]
struct Accumulated {
    kind: Kind,
    merges: bool,
    /// None of merged ones before the first.
    sketch: Option<Sketch>,
    /// Sketches, or batches of values, taken in.
    rows: i64,
}

impl Accumulated {
    fn merge(&mut self, bytes: &[u8], times: i64) -> Result<()> {
        match (self.kind, &mut self.sketch) {
            (Kind::Hll, Some(Sketch::Hll(all))) => all.merge(&Hll::decode(bytes).map_err(failed)?),
            (Kind::Quantile, sketch) => {
                let other = Quantiles::decode(bytes).map_err(failed)?;
                match sketch {
                    Some(Sketch::Quantiles(all)) => all.merge(&other, times).map_err(failed)?,
                    _ => {
                        let mut all = Quantiles::new(other.accuracy()).map_err(failed)?;
                        all.merge(&other, times).map_err(failed)?;
                        *sketch = Some(Sketch::Quantiles(all));
                    }
                }
            }
            (Kind::TopK, Some(Sketch::Frequent(all))) => all.merge(&Frequent::decode(bytes).map_err(failed)?),
            (Kind::TopK, sketch) => *sketch = Some(Sketch::Frequent(Frequent::decode(bytes).map_err(failed)?)),
            (Kind::Hll, _) => return exec_err!("a sketch of another kind"),
        }
        Ok(())
    }

    fn take(&mut self, values: &[ArrayRef], times: i64) -> Result<()> {
        let Some(column) = values.first() else { return exec_err!("a sketch of nothing") };
        if self.merges {
            for bytes in column.as_binary::<i32>().iter().flatten() {
                self.merge(bytes, times)?;
                self.rows += times;
            }
            if self.kind == Kind::Quantile && self.rows == 0 {
                self.sketch = None;
            }
            return Ok(());
        }
        match &mut self.sketch {
            Some(Sketch::Hll(all)) => hashes(column, |hash| all.add(hash))?,
            Some(Sketch::Quantiles(all)) => {
                column.as_primitive::<Float64Type>().iter().flatten().for_each(|v| all.add(v, times));
            }
            Some(Sketch::Frequent(all)) => column.as_string::<i32>().iter().flatten().for_each(|v| all.add(v)),
            None => return exec_err!("a sketch that was not begun"),
        }
        Ok(())
    }
}

impl Accumulator for Accumulated {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if !self.supports_retract_batch() {
            return exec_err!("nothing can be taken out of a sketch of this kind");
        }
        self.take(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        self.kind == Kind::Quantile
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Binary(self.sketch.as_mut().map(|sketch| match sketch {
            Sketch::Hll(all) => all.encode(),
            Sketch::Quantiles(all) => all.encode(),
            Sketch::Frequent(all) => all.encode(),
        })))
    }

    fn size(&self) -> usize {
        let sketch = self.sketch.as_ref().map_or(0, |sketch| match sketch {
            Sketch::Hll(all) => all.bytes(),
            Sketch::Quantiles(all) => all.bytes(),
            Sketch::Frequent(all) => all.bytes(),
        });
        size_of::<Self>() + sketch
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?, ScalarValue::Int64(Some(self.rows))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [sketches, rows] = states else { return exec_err!("the state of a sketch has two columns") };
        for bytes in sketches.as_binary::<i32>().iter().flatten() {
            self.merge(bytes, 1)?;
        }
        self.rows += rows.as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        Ok(())
    }
}
