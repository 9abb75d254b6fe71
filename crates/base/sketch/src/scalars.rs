//! The functions that read sketches.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::aggregates::{failed, is_bytes};
use super::{Frequent, Heavy, Hll, Quantiles};

/// All of them.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let function = |kind| {
        let signature = Signature::new(TypeSignature::UserDefined, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Function { kind, signature }))
    };
    [Kind::Count, Kind::Quantile, Kind::Top].map(function).to_vec()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// `hll_count(sketch)`
    Count,
    /// `quantile(sketch, p)`
    Quantile,
    /// `topk(sketch)`
    Top,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    kind: Kind,
    signature: Signature,
}

fn heavy_fields() -> Fields {
    Fields::from(vec![
        Field::new("value", DataType::Utf8, true),
        Field::new("count", DataType::Int64, true),
        Field::new("error", DataType::Int64, true),
    ])
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(heavy_fields()), true))
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Count => "hll_count",
            Kind::Quantile => "quantile",
            Kind::Top => "topk",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match (self.kind, given) {
            (Kind::Count | Kind::Top, [sketch]) if is_bytes(sketch) => Ok(vec![DataType::Binary]),
            (Kind::Quantile, [sketch, p]) if is_bytes(sketch) && (p.is_numeric() || p.is_null()) => {
                Ok(vec![DataType::Binary, DataType::Float64])
            }
            (Kind::Quantile, _) => {
                plan_err!("write quantile(sketch, p) with a sketch (BYTEA) and a number from 0 to 1")
            }
            _ => plan_err!("write {}(sketch) with a sketch (BYTEA)", self.name()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Count => DataType::Int64,
            Kind::Quantile => DataType::Float64,
            Kind::Top => DataType::List(item()),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let sketches = match arrays.first() {
            Some(sketches) => sketches.as_binary::<i32>(),
            None => return exec_err!("{} takes a sketch", self.name()),
        };
        let result: ArrayRef = match (self.kind, arrays.get(1)) {
            (Kind::Count, _) => {
                let count = |bytes: Option<&[u8]>| match bytes {
                    Some(bytes) => Hll::decode(bytes).map(|s| Some(i64::try_from(s.count()).unwrap_or(i64::MAX))),
                    None => Ok(None),
                };
                Arc::new(sketches.iter().map(count).collect::<fleuve_types::Result<Int64Array>>().map_err(failed)?)
            }
            (Kind::Quantile, Some(parts)) => {
                let parts = parts.as_primitive::<Float64Type>();
                let all = sketches.iter().zip(parts).map(|(bytes, p)| quantile(bytes, p));
                Arc::new(all.collect::<Result<Float64Array>>()?)
            }
            (Kind::Top, _) => top(sketches.iter())?,
            (Kind::Quantile, None) => return exec_err!("quantile takes a sketch and a number"),
        };
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn quantile(bytes: Option<&[u8]>, p: Option<f64>) -> Result<Option<f64>> {
    let (Some(bytes), Some(p)) = (bytes, p) else { return Ok(None) };
    if !(0.0..=1.0).contains(&p) {
        return exec_err!("a quantile is asked for by a number from 0 to 1, not {p}");
    }
    Ok(Quantiles::decode(bytes).map_err(failed)?.quantile(p))
}

fn top<'a>(sketches: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef> {
    let (mut heavy, mut lengths, mut valid): (Vec<Heavy>, _, _) = (vec![], vec![], vec![]);
    for bytes in sketches {
        let top = bytes.map(|b| Frequent::decode(b).map_err(failed)).transpose()?.map(|s| s.top());
        valid.push(top.is_some());
        let top = top.unwrap_or_default();
        lengths.push(top.len());
        heavy.extend(top);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(heavy.iter().map(|h| h.value.as_str()))),
        Arc::new(Int64Array::from_iter_values(heavy.iter().map(|h| h.count))),
        Arc::new(Int64Array::from_iter_values(heavy.iter().map(|h| h.error))),
    ];
    let items = StructArray::try_new(heavy_fields(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(item(), offsets, Arc::new(items), Some(NullBuffer::from(valid)))?))
}
