//! Lists that PostgreSQL makes and DataFusion 54.1 does not: `array_fill(value, ARRAY[length])`, `trim_array(list, count)`, and `ARRAY(query)`, whose
//! rows are gathered by an aggregate and which has no element where that is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::careful::{answer, columns, lists_of, parts, whole};

/// Most elements of a list that is filled, as in PostgreSQL.
const MOST: i64 = 134_217_727;

/// `array_or_empty(list)`: without elements in the place of NULL.
pub const ARRAY_OR_EMPTY: &str = "array_or_empty";

pub(super) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for what in [What::Filled, What::Trimmed, What::OrEmpty] {
        let signature = Signature::user_defined(Volatility::Immutable);
        registry.register_udf(Arc::new(ScalarUDF::new_from_impl(Made { what, signature })))?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Filled,
    Trimmed,
    OrEmpty,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Made {
    what: What,
    signature: Signature,
}

impl ScalarUDFImpl for Made {
    fn name(&self) -> &str {
        match self.what {
            What::Filled => "array_fill",
            What::Trimmed => "trim_array",
            What::OrEmpty => ARRAY_OR_EMPTY,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        use DataType::{FixedSizeList, Int64, List, Null};
        match (self.what, types) {
            (What::Filled, [value, List(_) | FixedSizeList(..) | Null]) => {
                Ok(vec![value.clone(), DataType::new_list(Int64, true)])
            }
            (What::Filled, [_, _, _]) => {
                plan_err!("array_fill with lower bounds is not offered: an array begins with 1")
            }
            (What::Filled, _) => plan_err!("write array_fill(value, ARRAY[length])"),
            (What::Trimmed, [list @ List(_), count]) if count.is_integer() || count.is_null() => {
                Ok(vec![list.clone(), Int64])
            }
            (What::Trimmed, _) => plan_err!("write trim_array(array, count)"),
            (What::OrEmpty, [list @ List(_)]) => Ok(vec![list.clone()]),
            (What::OrEmpty, _) => plan_err!("{} takes an array", self.name()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match (self.what, types) {
            (What::Filled, [value, ..]) => Ok(DataType::List(element(value))),
            (_, [list, ..]) => Ok(list.clone()),
            _ => plan_err!("{} takes an array", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (arrays, is_one) = columns(&args)?;
        let made = match (self.what, arrays.as_slice()) {
            (What::Filled, [values, lengths]) => filled(values, lists_of(lengths)?)?,
            (What::Trimmed, [lists, counts]) => trimmed(lists_of(lists)?, counts)?,
            (What::OrEmpty, [lists]) => {
                let lists = lists_of(lists)?;
                parts(lists, |row| Ok(Some(whole(lists, row).unwrap_or(0..0))))?
            }
            _ => return exec_err!("{} has other arguments", self.name()),
        };
        answer(Arc::new(made), is_one)
    }
}

fn element(of: &DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(of.clone(), true))
}

fn filled(values: &ArrayRef, lengths: &ListArray) -> Result<ListArray> {
    let of_one = |row| {
        if lengths.is_null(row) {
            return exec_err!("dimension array or low bound array cannot be null");
        }
        let lengths = lengths.value(row);
        let lengths = cast(&lengths, &DataType::Int64)?;
        match lengths.as_primitive::<Int64Type>().iter().collect::<Vec<_>>().as_slice() {
            [] => Ok(0),
            [Some(length)] if (0..=MOST).contains(length) => Ok(*length as usize),
            [Some(_)] => exec_err!("array size exceeds the maximum allowed ({MOST})"),
            [None] => exec_err!("dimension values cannot be null"),
            _ => exec_err!("array_fill of several dimensions is not offered"),
        }
    };
    let lengths = (0..values.len()).map(of_one).collect::<Result<Vec<usize>>>()?;
    let all: usize = lengths.iter().sum();
    i32::try_from(all)
        .map_err(|_| exec_datafusion_err!("array_fill: these rows have more than 2147483647 elements"))?;
    let rows = lengths.iter().zip(0..).flat_map(|(length, row)| std::iter::repeat_n(row, *length));
    let elements = take(values, &UInt32Array::from_iter_values(rows), None)?;
    Ok(ListArray::try_new(element(values.data_type()), OffsetBuffer::from_lengths(lengths), elements, None)?)
}

fn trimmed(lists: &ListArray, counts: &ArrayRef) -> Result<ListArray> {
    let counts = counts.as_primitive::<Int64Type>();
    parts(lists, |row| {
        let Some(whole) = whole(lists, row).filter(|_| counts.is_valid(row)) else { return Ok(None) };
        match i32::try_from(counts.value(row)) {
            Ok(count) if (0..=whole.len() as i32).contains(&count) => Ok(Some(whole.start..whole.end - count)),
            _ => exec_err!("number of elements to trim must be between 0 and {}", whole.len()),
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT * FROM (VALUES
        (1, [7, 8], 2), (2, [9], 0), (3, NULL, 1), (4, [NULL, 4], NULL)) AS q (k, l, n)";

    #[tokio::test]
    async fn lists_are_made() {
        for (call, expected) in [
            ("trim_array(l, n)", ["|[]|", "|[9]|", "||", "||"]),
            ("trim_array(l, 1)", ["|[7]|", "|[]|", "||", "|[]|"]),
            ("trim_array(nullif(l, l), 1)", ["||"; 4]),
            ("array_fill(k, [2])", ["|[1,1]|", "|[2,2]|", "|[3,3]|", "|[4,4]|"]),
            ("array_fill('x'::text, [coalesce(n, 0)])", ["|[x,x]|", "|[]|", "|[x]|", "|[]|"]),
            ("array_fill(n, [1])", ["|[2]|", "|[0]|", "|[1]|", "|[]|"]),
            ("array_fill(1, arrow_cast([], 'List(Int64)'))", ["|[]|"; 4]),
            ("array_or_empty(l)", ["|[7,8]|", "|[9]|", "|[]|", "|[,4]|"]),
            ("cardinality(array_or_empty(nullif(l, l)))", ["|0|"; 4]),
        ] {
            let sql = format!("SELECT {call} AS v FROM t ORDER BY k");
            let rows = testing::rows(TABLE, 1, &sql).await;
            assert_eq!(rows.map_err(|e| e.to_string()), Ok(expected.map(String::from).to_vec()), "{call}");
        }
        for (call, message) in [
            ("trim_array(l, 3)", "number of elements to trim must be between 0 and"),
            ("trim_array(l, -1)", "number of elements to trim must be between 0 and"),
            ("array_fill(1, [1, 2])", "several dimensions"),
            ("array_fill(1, [nullif(n, n)])", "dimension values cannot be null"),
            ("array_fill(1, NULL)", "cannot be null"),
            ("array_fill(1, [-1])", "array size exceeds"),
            ("array_fill(1, [2], [3])", "lower bounds"),
        ] {
            let error = testing::rows(TABLE, 1, &format!("SELECT {call} AS v FROM t")).await.unwrap_err().to_string();
            assert!(error.contains(message), "{call}: {error}");
        }
    }
}
