//! Functions of lists to which a NULL is one. DataFusion's of 54.1 read what lies behind it: what the list was before `nullif`, or what a slice
//! has put there. `array_append(nullif(l, l), x)` was not `{x}`. And `array_cat(l, NULL)`, which they refuse.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::execution::FunctionRegistry;
use datafusion::functions_nested::all_default_nested_functions;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

/// Functions among those of lists that take none, or whose place the planner looks at.
const OTHERS: [&str; 4] = ["generate_series", "make_array", "range", "string_to_array"];

/// Puts such functions in the place of DataFusion's.
pub(super) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for of in all_default_nested_functions().into_iter().filter(|f| !OTHERS.contains(&f.name())) {
        registry.register_udf(careful(of))?;
    }
    Ok(())
}

/// The function that knows NULL.
pub(super) fn careful(of: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    Arc::new(Careful { of }.into())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Careful {
    of: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Careful {
    as_its_own!();

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.of.schema_name(args)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.of.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let list = types.iter().find(|t| matches!(t, DataType::List(_)));
        match list {
            // NULL is a list here.
            Some(list) if self.name() == "array_concat" => {
                let of = |t: &DataType| if t.is_null() { list.clone() } else { t.clone() };
                self.of.coerce_types(&types.iter().map(of).collect::<Vec<_>>())
            }
            _ => self.of.coerce_types(types),
        }
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.of.simplify(args, info)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        for arg in &mut args.args {
            if let ColumnarValue::Array(values) = arg {
                *values = with_bare_nulls(values)?;
            }
        }
        self.of.invoke_with_args(args)
    }
}

/// Lists with nothing behind their NULLs, nor behind those in them; other values as they are.
pub(super) fn with_bare_nulls(values: &ArrayRef) -> Result<ArrayRef> {
    let (DataType::List(field), Some(lists)) = (values.data_type(), values.as_list_opt::<i32>()) else {
        return Ok(values.clone());
    };
    let hides = |row| lists.is_null(row) && lists.value_length(row) > 0;
    let bare = if lists.null_count() > 0 && (0..lists.len()).any(hides) {
        parts(lists, |row| Ok(whole(lists, row)))?
    } else {
        lists.clone()
    };
    let elements = with_bare_nulls(bare.values())?;
    if Arc::ptr_eq(&elements, bare.values()) {
        return Ok(Arc::new(bare));
    }
    Ok(Arc::new(ListArray::try_new(field.clone(), bare.offsets().clone(), elements, bare.nulls().cloned())?))
}

/// Where the elements of a list are that is there.
pub(super) fn whole(lists: &ListArray, row: usize) -> Option<Range<i32>> {
    lists.is_valid(row).then(|| lists.value_offsets()[row]..lists.value_offsets()[row + 1])
}

/// For each row some of the elements, which lie side by side; NULL for none of them.
pub(super) fn parts(lists: &ListArray, part: impl Fn(usize) -> Result<Option<Range<i32>>>) -> Result<ListArray> {
    let DataType::List(field) = lists.data_type() else { return exec_err!("a list was expected") };
    let parts = (0..lists.len()).map(part).collect::<Result<Vec<_>>>()?;
    let taken = Int32Array::from_iter_values(parts.iter().flatten().cloned().flatten());
    let nulls = NullBuffer::from_iter(parts.iter().map(Option::is_some));
    let lengths = parts.into_iter().map(|part| part.map_or(0, |part| part.len()));
    let values = take(lists.values(), &taken, None)?;
    Ok(ListArray::try_new(field.clone(), OffsetBuffer::from_lengths(lengths), values, Some(nulls))?)
}

/// The lists of an argument; all rows have the same one where there is only one.
pub(super) fn lists_of(values: &ArrayRef) -> Result<&ListArray> {
    values.as_list_opt::<i32>().ok_or_else(|| exec_datafusion_err!("{} is no array", values.data_type()))
}

/// Truth values as a function's answer: one, if all that it was given is.
pub(super) fn truth(values: BooleanArray, is_one: bool) -> Result<ColumnarValue> {
    answer(Arc::new(values), is_one)
}

/// A function's answer: one value, if all that it was given is.
pub(super) fn answer(values: ArrayRef, is_one: bool) -> Result<ColumnarValue> {
    Ok(match is_one {
        true => ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&values, 0)?),
        false => ColumnarValue::Array(values),
    })
}

/// What a function was given as columns, and whether each is one value.
pub(super) fn columns(args: &ScalarFunctionArgs) -> Result<(Vec<ArrayRef>, bool)> {
    let is_one = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
    let rows = if is_one { 1 } else { args.number_rows };
    Ok((args.args.iter().map(|a| a.to_array(rows)).collect::<Result<_>>()?, is_one))
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT k, nullif(l, m) AS l, nullif(k, 2) AS e FROM
        (VALUES (1, ['a', 'b'], ['a', 'b']), (2, ['c', NULL], ['x']), (3, NULL, ['x'])) AS q (k, l, m)";

    #[tokio::test]
    async fn nothing_is_behind_a_null() {
        for (expr, expected) in [
            ("array_append(l, 'x')", ["|[x]|", "|[c,,x]|", "|[x]|"]),
            ("array_prepend('x', l)", ["|[x]|", "|[x,c,]|", "|[x]|"]),
            ("array_append(l[1:2], 'x')", ["|[x]|", "|[c,,x]|", "|[x]|"]),
            ("array_cat(l, ['x'])", ["|[x]|", "|[c,,x]|", "|[x]|"]),
            ("array_cat(l, NULL)", ["||", "|[c,]|", "||"]),
            ("array_cat(NULL, l)", ["||", "|[c,]|", "||"]),
            ("array_to_string(l, '-', '*')", ["||", "|c-*|", "||"]),
            ("array_length(array_append(nullif(l, l), 'x'), 1)", ["|1|"; 3]),
            ("cardinality(l)", ["||", "|2|", "||"]),
            ("array_distinct(l)", ["||", "|[c,]|", "||"]),
            ("array_reverse(l)", ["||", "|[,c]|", "||"]),
            ("flatten([l, ['y']])", ["|[y]|", "|[c,,y]|", "|[y]|"]),
        ] {
            let sql = format!("SELECT {expr} AS v FROM t ORDER BY k");
            assert_eq!(testing::rows(TABLE, 1, &sql).await.unwrap(), expected, "{expr}");
        }
        let sql = "SELECT k, unnest(array_prepend('x', l)) AS u FROM t ORDER BY k, u";
        let expected = ["|1|x|", "|2|c|", "|2|x|", "|2||", "|3|x|"];
        assert_eq!(testing::rows(TABLE, 1, sql).await.unwrap(), expected);
    }
}
