//! `avg` of decimals, rounded in its last digit as PostgreSQL rounds. DataFusion 54.1 cuts it off.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, FieldRef, UInt64Type};
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
        let decimals = Decimals::of(&args);
        let of = self.of.accumulator(args)?;
        Ok(match decimals {
            Some(decimals) => Box::new(Rounded { of, decimals }),
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
        let decimals = Decimals::of(&args);
        let of = self.of.create_groups_accumulator(args)?;
        Ok(match decimals {
            Some(decimals) => Box::new(RoundedGroups { of, decimals }),
            None => of,
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let decimals = Decimals::of(&args);
        let of = self.of.create_sliding_accumulator(args)?;
        Ok(match decimals {
            Some(decimals) => Box::new(Rounded { of, decimals }),
            None => of,
        })
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.of.reverse_udf()
    }
}

/// What a mean of decimals is made by.
#[derive(Clone, Copy, Debug)]
struct Decimals {
    /// What a sum is widened by.
    factor: i128,
    digits: u8,
    scale: i8,
    /// The state is the values, in the place of their number and sum.
    is_distinct: bool,
}

impl Decimals {
    fn of(args: &AccumulatorArgs<'_>) -> Option<Self> {
        let DataType::Decimal128(_, from) = args.expr_fields.first()?.data_type() else { return None };
        let DataType::Decimal128(digits, scale) = *args.return_type() else { return None };
        let widen = u32::try_from(i16::from(scale) - i16::from(*from)).ok()?;
        Some(Self { factor: 10_i128.checked_pow(widen)?, digits, scale, is_distinct: args.is_distinct })
    }

    fn mean(&self, sum: i128, count: i128) -> Result<i128> {
        let mean = rounded_mean(sum, count, self.factor);
        match mean.filter(|m| Decimal128Type::validate_decimal_precision(*m, self.digits, self.scale).is_ok()) {
            Some(mean) => Ok(mean),
            None => exec_err!("Arithmetic Overflow in AvgAccumulator"),
        }
    }
}

#[derive(Debug)]
struct Rounded {
    of: Box<dyn Accumulator>,
    decimals: Decimals,
}

impl Accumulator for Rounded {
    takes_in_as_its_own!(one group);

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Decimals { digits, scale, is_distinct, .. } = self.decimals;
        let state = self.of.state()?;
        let (sum, count) = match state.as_slice() {
            [ScalarValue::List(values)] if is_distinct => {
                let values = values.value(0);
                let values = values.as_primitive::<Decimal128Type>();
                let sum = values.iter().flatten().fold(0, i128::wrapping_add);
                (Some(sum), (values.len() - values.null_count()) as i128)
            }
            [ScalarValue::UInt64(count), ScalarValue::Decimal128(sum, ..)] => (*sum, i128::from(count.unwrap_or(0))),
            other => return internal_err!("the state of an average is a number and a sum, not {other:?}"),
        };
        let mean = sum.filter(|_| count != 0).map(|sum| self.decimals.mean(sum, count)).transpose()?;
        Ok(ScalarValue::Decimal128(mean, digits, scale))
    }
}

struct RoundedGroups {
    of: Box<dyn GroupsAccumulator>,
    decimals: Decimals,
}

impl GroupsAccumulator for RoundedGroups {
    takes_in_as_its_own!(groups);

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let state = self.of.state(emit_to)?;
        let [counts, sums] = state.as_slice() else { return internal_err!("the state of an average is of two parts") };
        let counts = counts.as_primitive::<UInt64Type>();
        let mean = |(sum, count): (Option<i128>, Option<u64>)| match (sum, count) {
            (Some(sum), Some(count)) if count != 0 => self.decimals.mean(sum, i128::from(count)).map(Some),
            _ => Ok(None),
        };
        let sums = sums.as_primitive::<Decimal128Type>();
        let means = sums.iter().zip(counts.iter()).map(mean).collect::<Result<Decimal128Array>>()?;
        Ok(Arc::new(means.with_precision_and_scale(self.decimals.digits, self.decimals.scale)?))
    }
}

#[cfg(test)]
mod tests {
    use super::rounded_mean;
    use crate::testing;

    #[test]
    fn halves_go_away_from_zero() {
        for (sum, count, expected) in [(1, 3, 33), (2, 3, 67), (-2, 3, -67), (1, 8, 13), (-1, 8, -13), (5, 5, 100)] {
            assert_eq!(rounded_mean(sum, count, 100), Some(expected), "{sum} / {count}");
        }
        assert_eq!(rounded_mean(i128::MAX, 1, 10), None);
        assert_eq!(rounded_mean(1, 0, 10), None);
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
}
