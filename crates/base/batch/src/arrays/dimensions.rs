//! How long lists are, as PostgreSQL says it: `array_dims` as text, `array_lower`, `array_upper` and `array_ndims`. A list without elements has no dimensions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use datafusion::common::{Result, exec_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

use super::careful::{answer, columns, lists_of, whole};

/// Adds `array_dims` under a name of its own: that of DataFusion's, which gives a list, stays for queries that mean it.
pub(super) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let before = registry.udf("array_dims")?;
    let (of_lengths, of_numbers) = (registry.udf("array_length")?, registry.udf("array_ndims")?);
    for (what, of) in [
        (What::Dims, before.clone()),
        (What::Lower, of_lengths.clone()),
        (What::Upper, of_lengths),
        (What::Numbers, of_numbers),
    ] {
        let aliases = match what {
            What::Dims => vec!["fleuve_array_dims".into()],
            What::Lower | What::Upper => vec![],
            What::Numbers => of.aliases().to_vec(),
        };
        registry.register_udf(Arc::new(Dimensions { what, of, aliases }.into()))?;
    }
    registry.register_udf(before)?;
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    /// `array_dims(list)`: `[1:2]`
    Dims,
    /// `array_lower(list, dimension)`: 1, where there is such a dimension.
    Lower,
    /// `array_upper(list, dimension)`: its length.
    Upper,
    /// `array_ndims(list)`
    Numbers,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Dimensions {
    what: What,
    /// The function that counts.
    of: Arc<ScalarUDF>,
    aliases: Vec<String>,
}

impl ScalarUDFImpl for Dimensions {
    fn name(&self) -> &str {
        match self.what {
            What::Lower => "array_lower",
            What::Upper => "array_upper",
            What::Dims | What::Numbers => self.of.name(),
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.of.signature()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.what == What::Dims { DataType::Utf8 } else { DataType::Int64 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (arrays, is_one) = columns(&args)?;
        let Some(lists) = arrays.first() else { return exec_err!("{} takes an array", self.name()) };
        let rows = lists.len();
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let return_field = Arc::new(args.return_field.as_ref().clone().with_data_type(self.of.return_type(&types)?));
        let counts = self.of.invoke_with_args(ScalarFunctionArgs { return_field, ..args })?.into_array(rows)?;
        answer(
            match self.what {
                What::Dims => Arc::new(texts(&counts)?),
                What::Lower => Arc::new(Int64Array::new(vec![1; rows].into(), counts.nulls().cloned())),
                What::Upper => counts,
                What::Numbers => without_empty(lists, &counts)?,
            },
            is_one,
        )
    }
}

/// `[1:2][1:3]` of lengths.
fn texts(lengths: &ArrayRef) -> Result<StringArray> {
    let lists = lists_of(lengths)?;
    let values = arrow::compute::cast(lists.values(), &DataType::UInt64)?;
    let values = values.as_primitive::<UInt64Type>();
    let text = |row| {
        let places = whole(lists, row)?;
        let of = |at: i32| Some(values.value(at as usize)).filter(|length| values.is_valid(at as usize) && *length > 0);
        let lengths: Option<Vec<u64>> = places.map(of).collect();
        lengths.filter(|l| !l.is_empty()).map(|l| l.iter().map(|length| format!("[1:{length}]")).collect::<String>())
    };
    Ok((0..lists.len()).map(text).collect())
}

/// NULL in the place of the counts of lists without elements.
fn without_empty(lists: &ArrayRef, counts: &ArrayRef) -> Result<ArrayRef> {
    if lists.data_type().is_null() {
        return Ok(counts.clone());
    }
    let lists = lists_of(lists)?;
    let is_empty: BooleanArray = (0..lists.len()).map(|row| Some(lists.value_length(row) == 0)).collect();
    Ok(nullif(counts.as_primitive::<Int64Type>(), &is_empty)?)
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT * FROM (VALUES
        (1, [7, 8]), (2, arrow_cast([], 'List(Int64)')), (3, NULL), (4, [NULL])) AS q (k, l)";

    #[tokio::test]
    async fn a_list_without_elements_has_no_dimensions() {
        for (call, expected) in [
            ("fleuve_array_dims(l)", ["|[1:2]|", "||", "||", "|[1:1]|"]),
            ("fleuve_array_dims([[1, 2, 3], [4, 5, 6]])", ["|[1:2][1:3]|"; 4]),
            ("array_lower(l, 1)", ["|1|", "||", "||", "|1|"]),
            ("array_lower(l, 2)", ["||"; 4]),
            ("array_upper(l, 1)", ["|2|", "||", "||", "|1|"]),
            ("array_upper([[1, 2, 3], [4, 5, 6]], 2)", ["|3|"; 4]),
            ("array_lower([[1, 2, 3], [4, 5, 6]], 2)", ["|1|"; 4]),
            ("array_ndims(l)", ["|1|", "||", "||", "|1|"]),
            ("list_ndims([[1], [2]])", ["|2|"; 4]),
            ("fleuve_array_dims(nullif(l, l))", ["||"; 4]),
        ] {
            let sql = format!("SELECT {call} AS v FROM t ORDER BY k");
            let rows = testing::rows(TABLE, 1, &sql).await;
            assert_eq!(rows.map_err(|e| e.to_string()), Ok(expected.map(String::from).to_vec()), "{call}");
        }
    }
}
