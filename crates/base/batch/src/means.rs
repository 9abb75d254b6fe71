//! `avg` of decimals and of the time between two times, rounded in its last digit as PostgreSQL rounds each. DataFusion 54.1 cuts it off.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, FieldRef, Int64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF};

/// It, under its own name.
pub(crate) fn mean() -> AggregateUDF {
    AggregateUDF::new_from_impl(Mean { of: avg_udaf() })
}

/// A sum, widened by `factor`, by a number: half of the last digit goes away from zero. `None` beyond the range.
pub fn rounded_mean(sum: i128, count: i128, factor: i128) -> Option<i128> {
    let wide = sum.checked_mul(factor)?;
    let (mean, rest) = (wide.checked_div(count)?, wide.checked_rem(count)?);
    let is_up = rest.unsigned_abs() * 2 >= count.unsigned_abs();
    Some(if is_up { mean + wide.signum() * count.signum() } else { mean })
}

/// A sum by a number, rounded to the even one of two that are as near: so PostgreSQL divides intervals. `None` of nothing.
pub fn even_mean(sum: i128, count: i128) -> Option<i128> {
    let (mean, rest) = (sum.checked_div_euclid(count)?, sum.checked_rem_euclid(count)?);
    let up = match (rest * 2).cmp(&count) {
        Ordering::Less => 0,
        Ordering::Equal => mean & 1,
        Ordering::Greater => 1,
    };
    Some(mean + up)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mean {
    of: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Mean {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let exact = Exact::of(&args);
        let of = self.of.accumulator(args)?;
        Ok(match exact {
            Some(exact) => Box::new(Rounded { of, exact }),
            None => of,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.of.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.of.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let exact = Exact::of(&args);
        let of = self.of.create_groups_accumulator(args)?;
        Ok(match exact {
            Some(exact) => Box::new(RoundedGroups { of, exact }),
            None => of,
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let exact = Exact::of(&args);
        let of = self.of.create_sliding_accumulator(args)?;
        Ok(match exact {
            Some(exact) => Box::new(Rounded { of, exact }),
            None => of,
        })
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.of.reverse_udf()
    }
}

/// What a mean of decimals or durations is made by.
#[derive(Clone, Debug)]
struct Exact {
    /// What a sum is widened by.
    factor: i128,
    output: DataType,
    /// The state is the values, in the place of their number and sum.
    is_distinct: bool,
}

impl Exact {
    fn of(args: &AccumulatorArgs<'_>) -> Option<Self> {
        let widen = match (args.expr_fields.first()?.data_type(), args.return_type()) {
            (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => i16::from(*to) - i16::from(*from),
            (DataType::Duration(from), DataType::Duration(to)) if from == to => 0,
            _ => return None,
        };
        let factor = 10_i128.checked_pow(u32::try_from(widen).ok()?)?;
        Some(Self { factor, output: args.return_type().clone(), is_distinct: args.is_distinct })
    }

    fn mean(&self, sum: i128, count: i128) -> Result<i128> {
        let is_within = |mean: &i128| match self.output {
            DataType::Decimal128(digits, scale) => {
                Decimal128Type::validate_decimal_precision(*mean, digits, scale).is_ok()
            }
            _ => i64::try_from(*mean).is_ok(),
        };
        let mean = match self.output {
            DataType::Decimal128(..) => rounded_mean(sum, count, self.factor),
            _ => even_mean(sum, count),
        };
        match mean.filter(is_within) {
            Some(mean) => Ok(mean),
            None => exec_err!("Arithmetic Overflow in AvgAccumulator"),
        }
    }

    /// Numbers in the type of the answer.
    fn typed(&self, numbers: impl Iterator<Item = Result<Option<i128>>>) -> Result<ArrayRef> {
        Ok(match self.output {
            DataType::Decimal128(digits, scale) => {
                Arc::new(numbers.collect::<Result<Decimal128Array>>()?.with_precision_and_scale(digits, scale)?)
            }
            _ => {
                // `mean` has seen that they fit.
                let numbers = numbers.map(|n| Ok(n?.map(|n| n as i64))).collect::<Result<Int64Array>>()?;
                cast(&numbers, &self.output)?
            }
        })
    }
}

/// Decimals without their point, and durations in their unit.
fn numbers(values: &ArrayRef) -> Result<Vec<Option<i128>>> {
    Ok(match values.as_primitive_opt::<Decimal128Type>() {
        Some(decimals) => decimals.iter().collect(),
        None => {
            let whole = cast(values, &DataType::Int64)?;
            whole.as_primitive::<Int64Type>().iter().map(|n| n.map(i128::from)).collect()
        }
    })
}

#[derive(Debug)]
struct Rounded {
    of: Box<dyn Accumulator>,
    exact: Exact,
}

impl Accumulator for Rounded {
    takes_in_as_its_own!(one group);

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.of.state()?;
        let (sum, count) = match state.as_slice() {
            [ScalarValue::List(values)] if self.exact.is_distinct => {
                let values = numbers(&values.value(0))?;
                let sum = values.iter().flatten().fold(0_i128, |sum, value| sum.wrapping_add(*value));
                (Some(sum), values.iter().flatten().count() as i128)
            }
            [ScalarValue::UInt64(count), sum] => {
                (numbers(&sum.to_array()?)?.pop().flatten(), i128::from(count.unwrap_or(0)))
            }
            other => return internal_err!("the state of an average is a number and a sum, not {other:?}"),
        };
        let mean = sum.filter(|_| count != 0).map(|sum| self.exact.mean(sum, count)).transpose();
        ScalarValue::try_from_array(&self.exact.typed(std::iter::once(mean))?, 0)
    }
}

struct RoundedGroups {
    of: Box<dyn GroupsAccumulator>,
    exact: Exact,
}

impl GroupsAccumulator for RoundedGroups {
    takes_in_as_its_own!(groups);

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let state = self.of.state(emit_to)?;
        let [counts, sums] = state.as_slice() else { return internal_err!("the state of an average is of two parts") };
        let counts = counts.as_primitive::<UInt64Type>();
        let mean = |(sum, count): (Option<i128>, Option<u64>)| match (sum, count) {
            (Some(sum), Some(count)) if count != 0 => self.exact.mean(sum, i128::from(count)).map(Some),
            _ => Ok(None),
        };
        self.exact.typed(numbers(sums)?.into_iter().zip(counts.iter()).map(mean))
    }
}

#[cfg(test)]
mod tests {
    use super::{even_mean, rounded_mean};
    use crate::testing;

    #[test]
    fn halves_go_away_from_zero() {
        for (sum, count, expected) in [(1, 3, 33), (2, 3, 67), (-2, 3, -67), (1, 8, 13), (-1, 8, -13), (5, 5, 100)] {
            assert_eq!(rounded_mean(sum, count, 100), Some(expected), "{sum} / {count}");
        }
        assert_eq!(rounded_mean(i128::MAX, 1, 10), None);
        assert_eq!(rounded_mean(1, 0, 10), None);
    }

    #[test]
    fn halves_of_durations_go_to_the_even() {
        for (sum, count, expected) in [
            (1, 2, 0),
            (3, 2, 2),
            (-1, 2, 0),
            (-3, 2, -2),
            (-5, 2, -2),
            (5, 3, 2),
            (4, 3, 1),
            (-5, 3, -2),
            (-4, 3, -1),
            (6, 3, 2),
        ] {
            assert_eq!(even_mean(sum, count), Some(expected), "{sum} / {count}");
        }
        assert_eq!(even_mean(1, 0), None);
    }

    #[tokio::test]
    async fn averages_are_rounded() {
        let table = "CREATE TABLE t AS SELECT k, g, d::decimal(9, 2) AS d FROM
            (VALUES (1, 1, 0.01), (2, 1, 0.01), (3, 1, 2.00), (4, 1, 0.00), (5, 1, 0.00), (6, 1, 0.00), (7, 2, NULL)) AS q (k, g, d)";
        for (sql, expected) in [
            ("SELECT avg(d) AS v FROM t", &["|0.336667|"][..]),
            ("SELECT avg(DISTINCT d) AS v FROM t", &["|0.670000|"]),
            ("SELECT avg(-d) AS v FROM t GROUP BY g ORDER BY g", &["|-0.336667|", "||"]),
            ("SELECT avg(d) OVER (ORDER BY k) AS v FROM t WHERE k < 4", &["|0.010000|", "|0.010000|", "|0.673333|"]),
            (
                "SELECT avg(d) OVER (ORDER BY k ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS v FROM t WHERE k > 1",
                &["|0.010000|", "|1.005000|", "|0.670000|", "|0.666667|", "|0.000000|", "|0.000000|"],
            ),
        ] {
            for partitions in [1, 3] {
                assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), expected, "{sql}");
            }
        }
    }

    #[tokio::test]
    async fn so_are_those_of_durations() {
        let at = |micros: i64| format!("to_timestamp_micros({micros})");
        let values: Vec<String> =
            [(1, 1), (2, 1), (3, 3), (4, 0), (5, 7)].iter().map(|(k, t)| format!("({k}, {})", at(*t))).collect();
        let table = format!(
            "CREATE TABLE t AS SELECT k, k % 2 AS g, arrow_cast(t, 'Timestamp(Microsecond, None)') - arrow_cast({}, 'Timestamp(Microsecond, None)') AS d
             FROM (VALUES {}) AS q (k, t)",
            at(0),
            values.join(", ")
        );
        for (sql, expected) in [
            // 12 / 5, 5 / 3; 1 / 2 and 11 / 3; 1, 2 / 2, 5 / 3, 5 / 4 and 12 / 5.
            ("SELECT arrow_cast(avg(d), 'Int64') AS v FROM t", &["|2|"][..]),
            ("SELECT arrow_cast(avg(d), 'Int64') AS v FROM t WHERE k < 4", &["|2|"]),
            ("SELECT arrow_cast(avg(d), 'Int64') AS v FROM t GROUP BY g ORDER BY g", &["|0|", "|4|"]),
            ("SELECT arrow_cast(avg(d), 'Int64') AS v FROM t WHERE k > 9", &["||"]),
            ("SELECT arrow_cast(avg(d) OVER (ORDER BY k), 'Int64') AS v FROM t", &["|1|", "|1|", "|2|", "|1|", "|2|"]),
        ] {
            for partitions in [1, 3] {
                assert_eq!(testing::rows(&table, partitions, sql).await.unwrap(), expected, "{sql}");
            }
        }
    }
}
