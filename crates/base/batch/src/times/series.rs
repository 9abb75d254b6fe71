//! `generate_series` and `range` of timestamps, which DataFusion makes of nanoseconds: microseconds in, and microseconds
//! out. They end where nanoseconds do. And the lists whose elements are the rows of such a function in `FROM`.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Column, Result, ScalarValue, exec_err, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
};

const NAMES: [&str; 2] = ["generate_series", "range"];
/// The list of the rows of `FROM generate_series(...)`.
pub const SERIES_ROWS: &str = "series_rows";
/// The list of the rows of `FROM range(...)`.
pub const RANGE_ROWS: &str = "range_rows";
/// Most rows of a series that a plan holds, as it does where all its ends are known.
const MAX_KNOWN: usize = 1_000_000;

/// Puts the tables in the place of DataFusion's.
pub(crate) fn register(state: &mut SessionState) {
    for name in NAMES {
        let of = state.table_functions().get(name).map(|f| f.function().clone());
        if let Some(of) = of {
            state.register_udtf(name, Arc::new(Series { name, of }));
        }
    }
}

/// The functions that make arrays.
pub(super) fn lists(registry: &mut dyn datafusion::execution::FunctionRegistry) -> Result<()> {
    for (name, rows) in NAMES.into_iter().zip([SERIES_ROWS, RANGE_ROWS]) {
        let of: Arc<ScalarUDF> = Arc::new(List { of: registry.udf(name)? }.into());
        registry.register_udf(of.clone())?;
        registry.register_udf(Arc::new(
            Rows { name: rows, of, signature: Signature::user_defined(Volatility::Immutable) }.into(),
        ))?;
    }
    Ok(())
}

fn in_micros(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        _ => None,
    }
}

/// `FROM generate_series(start, end, step)`
#[derive(Debug)]
struct Series {
    name: &'static str,
    of: Arc<dyn TableFunctionImpl>,
}

impl TableFunctionImpl for Series {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let in_nanos = |expr: &Expr| match expr {
            Expr::Literal(value @ ScalarValue::TimestampMicrosecond(_, zone), _) => {
                let nanos = value.cast_to(&DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()))?;
                Ok(Expr::Literal(nanos, None))
            }
            other => Ok(other.clone()),
        };
        let exprs = args.exprs().iter().map(in_nanos).collect::<Result<Vec<_>>>()?;
        let table = self.of.call_with_args(TableFunctionArgs::new(&exprs, args.session()))?;
        let schema = table.schema();
        let value = schema.field(0);
        let Some(to) = in_micros(value.data_type()) else { return Ok(table) };
        let column = Expr::Column(Column::new_unqualified(value.name()));
        let plan = LogicalPlanBuilder::scan(format!("{}()", self.name), provider_as_source(table), None)?
            .project([cast(column, to).alias(value.name())])?
            .build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

/// `generate_series(start, end, step)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct List {
    of: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for List {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match self.of.return_type(types)? {
            DataType::List(field) => match in_micros(field.data_type()) {
                Some(to) => DataType::List(Arc::new(field.as_ref().clone().with_data_type(to))),
                None => DataType::List(field),
            },
            other => other,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = args.return_field;
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let of = to.as_ref().clone().with_data_type(self.of.inner().return_type(&types)?);
        let made = self.of.invoke_with_args(ScalarFunctionArgs { return_field: Arc::new(of), ..args })?;
        made.cast_to(to.data_type(), None)
    }
}

/// `series_rows(start, end, step)`: as a table, dates are timestamps.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Rows {
    name: &'static str,
    of: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Rows {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Whole numbers, or two times and an interval; a text is what the others make it.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let micros = |zone| DataType::Timestamp(TimeUnit::Microsecond, zone);
        let time = types.iter().find_map(|t| match t {
            DataType::Date32 | DataType::Date64 => Some(micros(None)),
            DataType::Timestamp(_, zone) => Some(micros(zone.clone())),
            _ => None,
        });
        let wanted = |(at, of): (usize, &DataType)| {
            let to = match (of, &time) {
                (_, Some(_)) if at == 2 => DataType::Interval(IntervalUnit::MonthDayNano),
                (_, Some(time)) => time.clone(),
                (of, None) if of.is_integer() || of.is_null() => DataType::Int64,
                (of, None) => {
                    return plan_err!(
                        "a series is of whole numbers, or of times with an interval between them, not of {of}"
                    );
                }
            };
            let fits = of.is_null()
                || of.is_string()
                || of.is_integer() == to.is_integer() && is_interval(of) == is_interval(&to);
            match fits {
                true => Ok(to),
                false => {
                    plan_err!("a series of times goes on by an INTERVAL, and from one of them to another; {of} is none")
                }
            }
        };
        match types.len() {
            2 if time.is_some() => plan_err!("a series of times wants a third argument: the INTERVAL between them"),
            1..=3 => types.iter().enumerate().map(wanted).collect(),
            given => plan_err!("a series takes its start, its end and its step, not {given} arguments"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_known = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        if let [start, end, step @ ..] = args.args.as_slice()
            && is_known
            && let (Some(start), Some(end)) = (whole(start), whole(end))
            && let step = step.first().map_or(Some(1), whole).unwrap_or(1)
            && end.abs_diff(start) / step.unsigned_abs().max(1) >= MAX_KNOWN as u64
            && (end > start) == (step > 0)
        {
            return exec_err!("a series of more than {MAX_KNOWN} rows");
        }
        let made = self.of.invoke_with_args(args)?;
        match &made {
            ColumnarValue::Scalar(ScalarValue::List(list)) if is_known && list.values().len() > MAX_KNOWN => {
                exec_err!("a series of more than {MAX_KNOWN} rows")
            }
            _ => Ok(made),
        }
    }
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_))
}

fn whole(value: &ColumnarValue) -> Option<i64> {
    match value {
        ColumnarValue::Scalar(ScalarValue::Int64(value)) => *value,
        _ => None,
    }
}
