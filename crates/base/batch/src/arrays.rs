//! Functions and operators of lists where DataFusion 54.1 answers otherwise than PostgreSQL. Here `array_remove` that takes NULL out, too, and `map` of
//! lists that are constants beside others: DataFusion gives NULL for the one, and takes the other's elements for rows.

mod any;
mod careful;
mod dimensions;
mod made;
mod operators;
mod sets;
mod subscripts;

use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{filter, is_not_null, is_null};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

pub(crate) use any::any_of;
pub use any::{any_function, operator_of_any};
pub use made::ARRAY_OR_EMPTY;
pub(crate) use operators::ListOperators;
pub(crate) use sets::CONTAINS;

/// Puts functions that know NULL in the place of DataFusion's. Others stand for these.
pub(crate) fn register_careful(registry: &mut dyn FunctionRegistry) -> Result<()> {
    careful::register(registry)
}

/// Adds `array_remove` and `array_dims` under names of their own: those of DataFusion stay for queries that mean them. The others take their places.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    dimensions::register(registry)?;
    made::register(registry)?;
    for function in any::functions() {
        registry.register_udf(Arc::new(function))?;
    }
    let (of, before) = (registry.udf("array_remove_all")?, registry.udf("array_remove")?);
    registry.register_udf(Arc::new(Removed { of, aliases: ["fleuve_array_remove".into()] }.into()))?;
    registry.register_udf(before)?;
    let of = registry.udf("map")?;
    registry.register_udf(Arc::new(Mapped { of }.into()))?;
    Ok(())
}

/// `array_remove(array, element)`: without all elements that are not distinct from it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Removed {
    /// The function that takes out all equal ones.
    of: Arc<ScalarUDF>,
    aliases: [String; 1],
}

impl ScalarUDFImpl for Removed {
    fn name(&self) -> &str {
        "array_remove"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.of.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.of.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [list, element] = args.args.as_slice() else { return exec_err!("array_remove takes an array and a value") };
        let is_one = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if is_one { 1 } else { args.number_rows };
        let (lists, elements) = (list.to_array(rows)?, element.to_array(rows)?);
        let others = self.of.inner().invoke_with_args(args)?.into_array(rows)?;
        let all = match lists.as_list_opt::<i32>() {
            Some(lists) if elements.null_count() > 0 => zip(&is_null(&elements)?, &without_nulls(lists)?, &others)?,
            _ => others,
        };
        Ok(match is_one {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&all, 0)?),
            false => ColumnarValue::Array(all),
        })
    }
}

/// Lists without their NULLs.
fn without_nulls(lists: &ListArray) -> Result<ListArray> {
    let DataType::List(field) = lists.data_type() else { return exec_err!("array_remove takes an array") };
    let mut lengths = Vec::with_capacity(lists.len());
    let mut parts = vec![];
    for row in 0..lists.len() {
        let values = lists.value(row);
        let values = filter(&values, &is_not_null(&values)?)?;
        lengths.push(values.len());
        parts.push(values);
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let values = if parts.is_empty() { lists.values().slice(0, 0) } else { arrow::compute::concat(&parts)? };
    Ok(ListArray::try_new(field.clone(), OffsetBuffer::from_lengths(lengths), values, lists.nulls().cloned())?)
}

/// `map(keys, values)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mapped {
    of: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Mapped {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_))) {
            return self.of.inner().invoke_with_args(args);
        }
        let rows = args.number_rows;
        let lists = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
        if let [keys, values] = lists.as_slice()
            && let (Some(keys), Some(values)) = (keys.as_list_opt::<i32>(), values.as_list_opt::<i32>())
        {
            let length = |list: &ListArray, row: usize| list.is_valid(row).then(|| list.value_length(row));
            if (0..rows).any(|row| length(keys, row).is_some_and(|keys| length(values, row) != Some(keys))) {
                return exec_err!("map takes as many values as keys");
            }
        }
        args.args = lists.into_iter().map(ColumnarValue::Array).collect();
        self.of.inner().invoke_with_args(args)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT * FROM
        (VALUES (1, ['a', NULL, 'b'], 'a'), (2, ['a', NULL], NULL), (3, NULL, NULL), (4, [NULL], 'b')) AS q (k, l, e)";

    #[tokio::test]
    async fn null_is_removed() {
        for (expr, expected) in [
            ("fleuve_array_remove(l, e)", ["|[,b]|", "|[a]|", "||", "|[]|"]),
            ("fleuve_array_remove(l, NULL)", ["|[a,b]|", "|[a]|", "||", "|[]|"]),
            ("fleuve_array_remove(['x', NULL], NULL)", ["|[x]|"; 4]),
            ("map(['x', 'y'], [e, k::text])", ["|{x:a,y:1}|", "|{x:,y:2}|", "|{x:,y:3}|", "|{x:b,y:4}|"]),
            ("map([k], ['x'])", ["|{1:x}|", "|{2:x}|", "|{3:x}|", "|{4:x}|"]),
        ] {
            let sql = format!("SELECT {expr} AS v FROM t ORDER BY k");
            assert_eq!(testing::rows(TABLE, 1, &sql).await.unwrap(), expected, "{expr}");
        }
        let error = testing::rows(TABLE, 1, "SELECT map(['x'], [e, e]) AS v FROM t").await.unwrap_err().to_string();
        assert!(error.contains("as many values as keys"), "{error}");
    }
}
