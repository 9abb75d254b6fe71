//! `a @> b`, `a <@ b` and `a && b` of lists: an element that is NULL is none of the other's. DataFusion 54.1 takes NULL for equal to NULL, and
//! anything for a list that has no element.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, BooleanArray, ListArray};
use arrow::datatypes::DataType;
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::{Result, exec_err};
use datafusion::functions_nested::array_has::{array_has_all_udf, array_has_any_udf};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

use super::careful::{columns, lists_of, truth, whole};

/// `a @> b`
pub(crate) const CONTAINS: &str = "array_contains_array";

/// The function for `a @> b`.
pub(super) fn contains() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(Sets { of: array_has_all_udf(), is_all: true }.into()));
    FUNCTION.clone()
}

/// The function for `a && b`.
pub(super) fn overlaps() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(Sets { of: array_has_any_udf(), is_all: false }.into()));
    FUNCTION.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sets {
    /// What knows the types.
    of: Arc<ScalarUDF>,
    is_all: bool,
}

impl ScalarUDFImpl for Sets {
    fn name(&self) -> &str {
        if self.is_all { CONTAINS } else { "array_overlaps" }
    }

    /// As columns without a name were called before.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.of.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.of.signature()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (arrays, is_one) = columns(&args)?;
        let [left, right] = arrays.as_slice() else { return exec_err!("{} takes two arrays", self.name()) };
        if left.data_type().is_null() || right.data_type().is_null() {
            return truth(BooleanArray::new_null(left.len()), is_one);
        }
        let (left, right) = (Elements::of(left)?, Elements::of(right)?);
        let one = |row| Some(compare(left.row(row)?, right.row(row)?, self.is_all));
        truth((0..arrays[0].len()).map(one).collect(), is_one)
    }
}

/// Elements that are looked through one by one.
const FEW: usize = 8;

/// Whether all or any of the elements on the right are on the left.
fn compare<'r>(
    left: impl Iterator<Item = Option<Row<'r>>>,
    mut right: impl ExactSizeIterator<Item = Option<Row<'r>>>,
    is_all: bool,
) -> bool {
    let left: Vec<_> = left.flatten().collect();
    let set: Option<HashSet<_>> = (left.len().min(right.len()) > FEW).then(|| left.iter().copied().collect());
    let is_there = |element: Option<Row<'r>>| match (element, &set) {
        (None, _) => false,
        (Some(element), Some(set)) => set.contains(&element),
        (Some(element), None) => left.contains(&element),
    };
    if is_all { right.all(is_there) } else { right.any(is_there) }
}

/// The elements of lists as what can be compared.
struct Elements<'l> {
    lists: &'l ListArray,
    rows: Rows,
    /// The first one that is a row.
    first: usize,
}

impl<'l> Elements<'l> {
    fn of(lists: &'l ArrayRef) -> Result<Self> {
        let lists = lists_of(lists)?;
        let offsets = lists.value_offsets();
        let (first, end) = (offsets[0] as usize, offsets[lists.len()] as usize);
        let converter = RowConverter::new(vec![SortField::new(lists.value_type())])?;
        let rows = converter.convert_columns(&[lists.values().slice(first, end - first)])?;
        Ok(Self { lists, rows, first })
    }

    /// Those of a list that is there, NULL for one that is.
    fn row(&self, row: usize) -> Option<impl ExactSizeIterator<Item = Option<Row<'_>>>> {
        let range = whole(self.lists, row)?;
        let values = self.lists.values();
        let places = range.start as usize..range.end as usize;
        Some(places.map(move |at| values.is_valid(at).then(|| self.rows.row(at - self.first))))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT * FROM (VALUES
        (1, [1, 2], [2]), (2, [1, NULL], [NULL]), (3, [NULL, NULL], [1, NULL]), (4, NULL, [1]), (5, [1], NULL), (6, [1, 2, 3], [3, 9])) AS q (k, a, b)";

    #[tokio::test]
    async fn null_is_no_element() {
        for (expr, expected) in [
            ("a @> b", ["|true|", "|false|", "|false|", "||", "||", "|false|"]),
            ("b <@ a", ["|true|", "|false|", "|false|", "||", "||", "|false|"]),
            ("a && b", ["|true|", "|false|", "|false|", "||", "||", "|true|"]),
            ("a @> arrow_cast([], 'List(Int64)')", ["|true|", "|true|", "|true|", "||", "|true|", "|true|"]),
            ("a && arrow_cast([], 'List(Int64)')", ["|false|", "|false|", "|false|", "||", "|false|", "|false|"]),
            ("a @> NULL", ["||"; 6]),
            ("a @> '{1}'", ["|true|", "|true|", "|false|", "||", "|true|", "|true|"]),
            ("'{1,2,3,4}' @> a", ["|true|", "|false|", "|false|", "||", "|true|", "|true|"]),
            ("[2, 7] && a", ["|true|", "|false|", "|false|", "||", "|false|", "|true|"]),
            ("[1] @> [NULL]", ["|false|"; 6]),
            ("nullif(a, a) && a", ["||"; 6]),
        ] {
            let sql = format!("SELECT {expr} AS v FROM t ORDER BY k");
            let rows = testing::rows(TABLE, 1, &sql).await;
            assert_eq!(rows.map_err(|e| e.to_string()), Ok(expected.map(String::from).to_vec()), "{expr}");
        }
        let texts =
            "SELECT ['a', 'b', 'a'] @> ['a', 'a'] AS x, ['a', NULL] && ['b', NULL] AS y, [[1], [2]] @> [[2]] AS z";
        assert_eq!(testing::rows(TABLE, 1, texts).await.unwrap(), ["|true|false|true|"]);
    }
}
