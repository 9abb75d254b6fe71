//! As-of joins as `ASOF JOIN` is planned, each with an ordinary query that gives the same.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    ColumnarValue, LimitEffect, PartitionEvaluator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionContext;

pub fn register(context: &SessionContext) {
    let signature = Signature::any(3, Volatility::Immutable);
    context.register_udwf(WindowUDF::new_from_impl(AsOf { signature }));
    context.register_udf(ScalarUDF::new_from_impl(Part { signature: Signature::any(3, Volatility::Immutable) }));
}

/// The second argument. DataFusion (54.1) puts the rows of a union in order below it, and loses the order where a column is known to be
/// a constant there or the same as another one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    signature: Signature,
}

impl ScalarUDFImpl for Part {
    fn name(&self) -> &str {
        "part_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[1].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args[1].clone())
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsOf {
    signature: Signature,
}

impl WindowUDFImpl for AsOf {
    fn name(&self) -> &str {
        fleuve_types::AS_OF_FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), args.get_input_field(0).unwrap().data_type().clone(), true)))
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator))
    }

    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct Evaluator;

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let is_right = values[1].as_boolean();
        let before = |row: usize| (0..row).rev().find(|r| is_right.value(*r)).map(|r| r as u64);
        let partner = |row: usize| before(row).filter(|_| !is_right.value(row) && values[2].is_valid(row));
        Ok(arrow::compute::take(&values[0], &(0..rows).map(partner).collect::<UInt64Array>(), None)?)
    }
}

/// The two sides of an as-of join.
pub struct Join<'a> {
    pub columns: &'a [&'a str],
    /// Queries with these columns.
    pub left: &'a str,
    pub right: &'a str,
    pub keys: &'a [&'a str],
    pub time: &'a str,
    pub op: &'a str,
    pub outer: bool,
}

impl Join<'_> {
    /// As it is planned. The columns of the right side are `r...`.
    pub fn planned(&self) -> String {
        let Join { columns, left, right, keys, time, op, outer } = self;
        let list = |one: &dyn Fn(&str) -> String| columns.iter().map(|c| one(c)).collect::<Vec<_>>().join(", ");
        let keys_of = keys
            .iter()
            .enumerate()
            .map(|(i, k)| format!(", part_of({time}, {k}, -2 - {i}) AS key{i}"))
            .collect::<String>();
        let own = list(&|c: &str| format!("{c} AS l{c}"));
        let not_own = list(&|c: &str| format!("nullif({c}, {c}) AS l{c}"));
        let part = |c: &str, value: String| {
            let number = columns.iter().position(|other| *other == c).unwrap();
            format!("part_of({time}, {value}, {number}) AS r{c}")
        };
        let other = list(&|c: &str| part(c, c.to_string()));
        let not_other = list(&|c: &str| part(c, format!("nullif({c}, {c})")));
        let known: String = keys.iter().map(|k| format!(" AND {k} IS NOT NULL")).collect();
        let union = format!(
            "SELECT {}, {}{keys_of}, {time} AS t, part_of({time}, false, -1) AS side FROM ({left}) l UNION ALL
             SELECT {}, {}{keys_of}, {time} AS t, part_of({time}, true, -1) AS side FROM ({right}) r WHERE {time} IS NOT NULL{known}",
            own, not_other, not_own, other,
        );
        let partition: Vec<String> = (0..keys.len()).map(|i| format!("key{i}")).collect();
        let partition = if keys.is_empty() { String::new() } else { format!("PARTITION BY {}", partition.join(", ")) };
        let (way, first) =
            (if op.starts_with('>') { "ASC" } else { "DESC" }, if op.len() == 2 { "DESC" } else { "ASC" });
        let ties = list(&|c: &str| format!("r{c} ASC NULLS FIRST"));
        let over = format!("OVER ({partition} ORDER BY t {way} NULLS LAST, side {first}, {ties})");
        let f = fleuve_types::AS_OF_FUNCTION;
        let values = list(&|c: &str| format!("{f}(r{c}, side, t) {over} AS x{c}"));
        let found = if *outer { "" } else { " AND found IS NOT NULL" };
        format!(
            "SELECT {}, {} FROM (SELECT *, {values}, {f}(side, side, t) {over} AS found FROM ({union}) u) w WHERE NOT side{found}",
            // The time of both sides, which is the left row's where it is shown.
            list(&|c: &str| if c == *time { format!("t AS {c}") } else { format!("l{c} AS {c}") }),
            list(&|c: &str| format!("x{c} AS r{c}")),
        )
    }
}
