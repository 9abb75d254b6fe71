//! `extract` and `date_part` as PostgreSQL has them. DataFusion's (54.1) give whole numbers, of which a third is cut off; of what lies between two
//! times they give totals in the place of fields (27 hours for a day and three); and of intervals they lose parts of a second.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::IntervalUnit as Unit;
use arrow::datatypes::{
    DataType, Field, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::functions::as_the_other;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// Adds `extract`, and `date_part` under a name of its own: that of DataFusion stays for queries that mean it.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let of = registry.udf("date_part")?;
    for (name, alias, is_double) in [("extract", None, false), ("date_part", Some("fleuve_date_part"), true)] {
        let aliases = alias.map(String::from).into_iter().collect();
        let signature = Signature::user_defined(Volatility::Immutable);
        registry.register_udf(Arc::new(Fields { of: of.clone(), name, aliases, signature, is_double }.into()))?;
    }
    registry.register_udf(of)?;
    Ok(())
}

/// DataFusion's `date_part` of what lies between two times, if it is no total: our field in the type of its. Fields that an interval has not
/// stay as they are, for views that have them.
pub(crate) fn of_span(of: &Arc<ScalarUDF>, args: &[Expr]) -> Option<Expr> {
    let [Expr::Literal(part, _), _] = args else { return None };
    let name = part.try_as_str()??;
    let part = Part::named(name);
    counter(name, part)?;
    let to = match part {
        Part::Epoch => return None,
        Part::Nanosecond => DataType::Int64,
        _ => DataType::Int32,
    };
    let signature = Signature::user_defined(Volatility::Immutable);
    let fields = Fields { of: of.clone(), name: "extract", aliases: vec![], signature, is_double: false };
    Some(super::as_type(ScalarUDF::new_from_impl(fields).call(args.to_vec()), &to))
}

/// What a field is computed and told by.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Epoch,
    Second,
    Millisecond,
    Nanosecond,
    Other,
}

impl Part {
    fn named(name: &str) -> Self {
        match Unit::from_str(bare(name)) {
            Ok(Unit::Second) => Part::Second,
            Ok(Unit::Millisecond) => Part::Millisecond,
            Ok(Unit::Nanosecond) => Part::Nanosecond,
            _ if bare(name).eq_ignore_ascii_case("epoch") => Part::Epoch,
            _ => Part::Other,
        }
    }

    /// The type that `extract` gives.
    fn exact(self) -> DataType {
        match self {
            Part::Epoch => DataType::Float64,
            Part::Second => DataType::Decimal128(8, 6),
            Part::Millisecond => DataType::Decimal128(8, 3),
            Part::Nanosecond => DataType::Int64,
            Part::Other => DataType::Decimal128(10, 0),
        }
    }

    /// What one of its units counts of those that it is computed in: parts of a second are in microseconds.
    fn units(self) -> f64 {
        match self {
            Part::Second => 1e6,
            Part::Millisecond => 1e3,
            _ => 1.0,
        }
    }
}

/// The name of a field without the quotes that DataFusion allows.
fn bare(name: &str) -> &str {
    let quote = |c| matches!(c, '\'' | '"');
    name.strip_prefix(quote).and_then(|name| name.strip_suffix(quote)).unwrap_or(name)
}

/// `extract(part FROM time)`: a decimal; `date_part(part, time)`: DOUBLE PRECISION.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Fields {
    of: Arc<ScalarUDF>,
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    is_double: bool,
}

impl ScalarUDFImpl for Fields {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        as_the_other(types, &self.of)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        exec_err!("the type of {} goes by the name of the field", self.name)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let ([Some(part), _], [_, time]) = (args.scalar_arguments, args.arg_fields) else {
            return exec_err!("{} takes the name of a field and a time", self.name);
        };
        let Some(part) = part.try_as_str().flatten().filter(|p| !p.is_empty()) else {
            return exec_err!("{} takes the name of a field and a time", self.name);
        };
        let data_type = if self.is_double { DataType::Float64 } else { Part::named(part).exact() };
        Ok(Arc::new(Field::new(self.name, data_type, time.is_nullable())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(name), time] = args.args.as_slice() else {
            return exec_err!("{} takes the name of a field and a time", self.name);
        };
        let is_one = matches!(time, ColumnarValue::Scalar(_));
        let rows = if is_one { 1 } else { args.number_rows };
        let times = time.to_array(rows)?;
        let name = name.try_as_str().flatten().unwrap_or_default().to_string();
        let part = Part::named(&name);
        let counted = match counted_of_interval(&name, part, &times)? {
            Some(counted) => counted,
            None => self.of_other(&name, part, times, &args)?,
        };
        let values = told(&counted, part, args.return_type())?;
        Ok(match is_one {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
            false => ColumnarValue::Array(values),
        })
    }
}

impl Fields {
    /// By DataFusion's function.
    fn of_other(&self, name: &str, part: Part, times: ArrayRef, args: &ScalarFunctionArgs) -> Result<ArrayRef> {
        let name = if matches!(part, Part::Second | Part::Millisecond) { "microsecond" } else { name };
        let number_rows = times.len();
        let of = vec![ColumnarValue::Scalar(ScalarValue::from(name)), ColumnarValue::Array(times)];
        let return_type = match part {
            Part::Epoch => DataType::Float64,
            Part::Nanosecond => DataType::Int64,
            _ => DataType::Int32,
        };
        let return_field = Arc::new(Field::new("of", return_type, true));
        let args = ScalarFunctionArgs { args: of, number_rows, return_field, ..args.clone() };
        self.of.inner().invoke_with_args(args)?.into_array(number_rows)
    }
}

/// The field of intervals and of what lies between two times, if it is one that is computed here.
fn counted_of_interval(name: &str, part: Part, times: &ArrayRef) -> Result<Option<ArrayRef>> {
    let intervals = match times.data_type() {
        DataType::Duration(unit) if part == Part::Epoch => return Ok(Some(seconds(times, *unit)?)),
        DataType::Duration(unit) => Arc::new(spans(times, *unit)?) as ArrayRef,
        DataType::Interval(_) => cast(times, &INTERVAL)?,
        _ => return Ok(None),
    };
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
    if part == Part::Epoch {
        return Ok(Some(Arc::new(intervals.unary::<_, arrow::datatypes::Float64Type>(epoch))));
    }
    let Some(of) = counter(name, part) else {
        return exec_err!("interval units \"{}\" not supported", bare(name).to_lowercase());
    };
    Ok(Some(Arc::new(intervals.unary::<_, Int64Type>(of))))
}

/// How a field of an interval is counted, if it has that.
fn counter(name: &str, part: Part) -> Option<fn(IntervalMonthDayNano) -> i64> {
    Some(match (part, Unit::from_str(bare(name))) {
        (Part::Nanosecond, _) => |i| i.nanoseconds % 60_000_000_000,
        (Part::Second | Part::Millisecond, _) | (_, Ok(Unit::Microsecond)) => {
            |i| i.nanoseconds % 60_000_000_000 / 1_000
        }
        (_, Ok(Unit::Minute)) => |i| i.nanoseconds / 60_000_000_000 % 60,
        (_, Ok(Unit::Hour)) => |i| i.nanoseconds / 3_600_000_000_000,
        (_, Ok(Unit::Day)) => |i| i64::from(i.days),
        (_, Ok(Unit::Month)) => |i| i64::from(i.months % 12),
        (_, Ok(Unit::Year)) => |i| i64::from(i.months / 12),
        _ if bare(name).eq_ignore_ascii_case("quarter") => |i| i64::from(i.months % 12 / 3 + 1),
        _ => return None,
    })
}

/// The seconds of an interval: a year has 365.25 days, a month 30.
fn epoch(interval: IntervalMonthDayNano) -> f64 {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let days = f64::from(months / 12) * 365.25 + f64::from(months % 12) * 30.0 + f64::from(days);
    days * 86_400.0 + nanoseconds as f64 / 1e9
}

fn seconds(spans: &ArrayRef, unit: TimeUnit) -> Result<ArrayRef> {
    let counts = cast(spans, &DataType::Int64)?;
    let per_second = 1e9 / nanos_of(unit) as f64;
    let seconds: Float64Array = counts.as_primitive::<Int64Type>().unary(|count| count as f64 / per_second);
    Ok(Arc::new(seconds))
}

fn nanos_of(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// What lies between two times as intervals of days and of a time below a day, of one sign.
pub(super) fn spans(spans: &ArrayRef, unit: TimeUnit) -> Result<IntervalMonthDayNanoArray> {
    let counts = cast(spans, &DataType::Int64)?;
    let per_unit = nanos_of(unit);
    let per_day = DAY_NS / per_unit;
    counts.as_primitive::<Int64Type>().try_unary(|count| match i32::try_from(count / per_day) {
        Ok(days) => Ok(IntervalMonthDayNano::new(0, days, count % per_day * per_unit)),
        Err(_) => exec_err!("interval out of range"),
    })
}

/// Values in the units of the field, in the type that is promised.
fn told(counted: &ArrayRef, part: Part, to: &DataType) -> Result<ArrayRef> {
    match to {
        DataType::Decimal128(digits, scale) => {
            let counted = cast(counted, &DataType::Int64)?;
            let values: Decimal128Array = counted.as_primitive::<Int64Type>().unary(i128::from);
            Ok(Arc::new(values.with_precision_and_scale(*digits, *scale)?))
        }
        DataType::Float64 if part.units() > 1.0 => {
            let counted = cast(counted, &DataType::Int64)?;
            let counted: &Int64Array = counted.as_primitive();
            let values: Float64Array = counted.unary(|count| count as f64 / part.units());
            Ok(Arc::new(values))
        }
        to => Ok(cast(counted, to)?),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT * FROM (VALUES
        (1, TIMESTAMP '2025-01-02 03:30:07.5', TIMESTAMP '2025-01-01', INTERVAL '14 months 3 days 27 hours 30 minutes 7.25 seconds'),
        (2, TIMESTAMP '2025-01-01', TIMESTAMP '2025-01-02 03:30:07.5', INTERVAL '-1 hours -7.5 seconds'),
        (3, NULL, TIMESTAMP '2025-01-01', NULL)) AS q (k, a, b, i)";

    #[tokio::test]
    async fn fields_are_postgresqls() {
        for (expr, expected) in [
            ("extract('month', b) / 3.0", ["|0.3333333333333333|"; 3]),
            ("extract('second', a)", ["|7.500000|", "|0.000000|", "||"]),
            ("extract('milliseconds', a)", ["|7500.000|", "|0.000|", "||"]),
            ("extract('year', a)", ["|2025|", "|2025|", "||"]),
            ("extract('day', a - b)", ["|1|", "|-1|", "||"]),
            ("extract('HOUR', a - b)", ["|3|", "|-3|", "||"]),
            ("extract('minutes', a - b)", ["|30|", "|-30|", "||"]),
            ("extract('second', a - b)", ["|7.500000|", "|-7.500000|", "||"]),
            ("extract('epoch', a - b)", ["|99007.5|", "|-99007.5|", "||"]),
            ("extract('month', i)", ["|2|", "|0|", "||"]),
            ("extract('year', i)", ["|1|", "|0|", "||"]),
            ("extract('hour', i)", ["|27|", "|-1|", "||"]),
            ("extract('milliseconds', i)", ["|7250.000|", "|-7500.000|", "||"]),
            ("extract('quarter', i)", ["|1|", "|1|", "||"]),
            ("fleuve_date_part('second', a - b)", ["|7.5|", "|-7.5|", "||"]),
            ("fleuve_date_part('dow', b)", ["|3.0|", "|4.0|", "|3.0|"]),
            ("date_part('hour', a - b)", ["|3|", "|-3|", "||"]),
            ("date_part('second', a - b)", ["|7|", "|-7|", "||"]),
            ("date_part('epoch', a - b)", ["|99007.5|", "|-99007.5|", "||"]),
            ("date_part('week', a - b)", ["|0|", "|0|", "||"]),
        ] {
            // As a call: EXTRACT is planned as DataFusion's.
            let expr = expr.replace("extract(", "\"extract\"(");
            let sql = format!("SELECT {expr} AS v FROM t ORDER BY k");
            assert_eq!(testing::rows(TABLE, 1, &sql).await.unwrap(), expected, "{expr}");
        }
        let sql =
            "SELECT arrow_typeof(date_part('hour', a - b)) AS v, arrow_typeof(\"extract\"('hour', a)) AS w FROM t";
        assert_eq!(testing::rows(TABLE, 1, sql).await.unwrap(), ["|Int32|Decimal128(10,0)|"; 3]);
        for sql in ["\"extract\"('week', i)", "\"extract\"('eon', a)", "\"extract\"('', a)"] {
            assert!(testing::rows(TABLE, 1, &format!("SELECT {sql} AS v FROM t")).await.is_err(), "{sql}");
        }
    }
}
