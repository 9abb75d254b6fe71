//! Aggregates of two variables: `corr`, `covar_*`, `regr_*`, computed row by row (Welford, Technometrics 1962) and part by part (Chan, Golub, LeVeque,
//! The American Statistician 1983). DataFusion 54.1 takes `corr` of groups from the sums of squares, of which nothing is left where numbers are large
//! beside their differences, as times in seconds are. And it multiplies and divides the mean of a part of the rows by their count when it takes it
//! up, so that numbers that are all the same differ from their mean, and have a slope of 0 in place of none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, FieldRef, Float64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions_aggregate::{correlation, covariance, regr};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl};

/// All but `regr_count`, under their own names.
pub(crate) fn paired() -> [AggregateUDF; 11] {
    [
        (correlation::corr_udaf(), Kind::Correlation),
        (covariance::covar_pop_udaf(), Kind::Covariance { sample: false }),
        (covariance::covar_samp_udaf(), Kind::Covariance { sample: true }),
        (regr::regr_avgx_udaf(), Kind::MeanX),
        (regr::regr_avgy_udaf(), Kind::MeanY),
        (regr::regr_intercept_udaf(), Kind::Intercept),
        (regr::regr_r2_udaf(), Kind::R2),
        (regr::regr_slope_udaf(), Kind::Slope),
        (regr::regr_sxx_udaf(), Kind::Sxx),
        (regr::regr_sxy_udaf(), Kind::Sxy),
        (regr::regr_syy_udaf(), Kind::Syy),
    ]
    .map(|(of, kind)| AggregateUDF::new_from_impl(Paired { of, kind }))
}

/// What is asked of the pairs; `regr_*` have `y` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Correlation,
    Covariance { sample: bool },
    MeanX,
    MeanY,
    Intercept,
    R2,
    Slope,
    Sxx,
    Sxy,
    Syy,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Paired {
    of: Arc<AggregateUDF>,
    kind: Kind,
}

impl AggregateUDFImpl for Paired {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Pairs { kind: self.kind, all: Part::default() }))
    }

    /// As DataFusion's: checkpoints hold such states.
    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.of.state_fields(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.of.coerce_types(types)
    }
}

/// What a part of the pairs `(x, y)` comes to.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    count: u64,
    mean_x: f64,
    mean_y: f64,
    /// Sums of the squares, and of the products, of the distances from the means.
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Part {
    fn add(&mut self, x: f64, y: f64) {
        self.count += 1;
        let count = self.count as f64;
        let (dx, dy) = (x - self.mean_x, y - self.mean_y);
        self.mean_x += dx / count;
        self.mean_y += dy / count;
        self.xx += dx * (x - self.mean_x);
        self.yy += dy * (y - self.mean_y);
        self.xy += dx * (y - self.mean_y);
    }

    fn merge(&mut self, other: Self) {
        if self.count == 0 || other.count == 0 {
            *self = if self.count == 0 { other } else { *self };
            return;
        }
        let (own, its) = (self.count as f64, other.count as f64);
        let count = own + its;
        let (dx, dy) = (other.mean_x - self.mean_x, other.mean_y - self.mean_y);
        let shared = own * its / count;
        *self = Self {
            count: self.count + other.count,
            mean_x: self.mean_x + dx * its / count,
            mean_y: self.mean_y + dy * its / count,
            xx: self.xx + other.xx + dx * dx * shared,
            yy: self.yy + other.yy + dy * dy * shared,
            xy: self.xy + other.xy + dx * dy * shared,
        };
    }
}

#[derive(Debug)]
struct Pairs {
    kind: Kind,
    all: Part,
}

impl Pairs {
    /// The states of DataFusion's accumulators, by place, without the count.
    fn places(&self) -> Vec<fn(&mut Part) -> &mut f64> {
        match self.kind {
            Kind::Correlation => {
                vec![|p| &mut p.mean_x, |p| &mut p.xx, |p| &mut p.mean_y, |p| &mut p.yy, |p| &mut p.xy]
            }
            Kind::Covariance { .. } => vec![|p| &mut p.mean_x, |p| &mut p.mean_y, |p| &mut p.xy],
            _ => vec![|p| &mut p.mean_x, |p| &mut p.mean_y, |p| &mut p.xx, |p| &mut p.yy, |p| &mut p.xy],
        }
    }
}

fn floats(array: &ArrayRef) -> Result<&Float64Array> {
    match array.as_primitive_opt::<Float64Type>() {
        Some(floats) => Ok(floats),
        None => internal_err!("two floating-point numbers are wanted, not {}", array.data_type()),
    }
}

impl Accumulator for Pairs {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [first, second] = values else { return internal_err!("two arguments are wanted") };
        let is_regression = !matches!(self.kind, Kind::Correlation | Kind::Covariance { .. });
        let (x, y) = if is_regression { (second, first) } else { (first, second) };
        for (x, y) in floats(x)?.iter().zip(floats(y)?) {
            if let (Some(x), Some(y)) = (x, y) {
                self.all.add(x, y);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Part { count, mean_x, mean_y, xx, yy, xy } = self.all;
        // As DataFusion has it, to the last bit: a view that was made before takes back what it showed.
        let rows = count as f64;
        let (xy_mean, xx_mean, yy_mean) = (xy / rows, xx / rows, yy / rows);
        let slope = xy_mean / xx_mean;
        let has_slope = count > 1 && xx_mean != 0.0;
        let value = match self.kind {
            _ if count == 0 => None,
            Kind::Correlation if mean_x.is_nan() && mean_y.is_nan() => Some(f64::NAN),
            Kind::Correlation => {
                let (x, y) = (xx_mean.sqrt(), yy_mean.sqrt());
                let is_known = count > 1 && !mean_x.is_nan() && !mean_y.is_nan() && x != 0.0 && y != 0.0;
                is_known.then(|| xy_mean / x / y)
            }
            Kind::Covariance { sample: true } => (count > 1).then(|| xy / (count - 1) as f64),
            Kind::Covariance { sample: false } => Some(xy_mean),
            Kind::MeanX => Some(mean_x),
            Kind::MeanY => Some(mean_y),
            Kind::Slope => has_slope.then_some(slope),
            Kind::Intercept => has_slope.then_some(mean_y - slope * mean_x),
            Kind::R2 => (has_slope && yy_mean != 0.0).then(|| (xy_mean * xy_mean) / (xx_mean * yy_mean)),
            Kind::Sxx => Some(xx),
            Kind::Sxy => Some(xy),
            Kind::Syy => Some(yy),
        };
        Ok(ScalarValue::Float64(value))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (places, mut all) = (self.places(), self.all);
        let rest = places.into_iter().map(|place| ScalarValue::from(*place(&mut all)));
        Ok([ScalarValue::from(self.all.count)].into_iter().chain(rest).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let places = self.places();
        let [counts, rest @ ..] = states else { return internal_err!("a state begins with a count") };
        let Some(counts) = counts.as_primitive_opt::<UInt64Type>() else { return internal_err!("a count is wanted") };
        let rest = rest.iter().map(floats).collect::<Result<Vec<_>>>()?;
        for row in 0..counts.len() {
            let mut part = Part { count: counts.value(row), ..Part::default() };
            for (place, column) in places.iter().zip(&rest) {
                *place(&mut part) = column.value(row);
            }
            self.all.merge(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use datafusion::physical_expr::aggregate::AggregateExprBuilder;
    use datafusion::physical_expr::expressions::col;

    use super::*;
    use crate::testing;

    async fn is(table: &str, sql: &str, expected: &[&str]) {
        for partitions in [1, 2, 8] {
            assert_eq!(
                testing::rows(table, partitions, sql).await.unwrap(),
                expected,
                "{sql}, {partitions} partitions"
            );
        }
    }

    #[tokio::test]
    async fn numbers_that_are_large_beside_their_differences_keep_them() {
        // Times in seconds; a group's are on a line.
        let table = "CREATE TABLE t AS SELECT i % 2 AS g, CAST(1700000000 + i AS DOUBLE) AS s, CAST(3 * i + 1 AS DOUBLE) AS v FROM generate_series(1, 1000) AS q(i)";
        is(table, "SELECT round(corr(s, v), 9) AS c, round(regr_slope(v, s), 6) AS b FROM t", &["|1.0|3.0|"]).await;
        let groups = "SELECT g, round(corr(s, v), 9) AS c, round(covar_samp(s, v), 3) AS o, round(regr_r2(v, s), 9) AS r FROM t GROUP BY g ORDER BY g";
        is(table, groups, &["|0|1.0|250500.0|1.0|", "|1|1.0|250500.0|1.0|"]).await;
    }

    #[tokio::test]
    async fn numbers_that_are_all_the_same_have_no_slope() {
        let table = "CREATE TABLE t AS SELECT i % 3 AS g, CAST(5.92 AS DOUBLE) AS x, CAST(i AS DOUBLE) AS y FROM generate_series(1, 77) AS q(i)";
        let all = "corr(x, y) AS c, regr_slope(y, x) AS b, regr_intercept(y, x) AS a, regr_r2(y, x) AS r, regr_sxx(y, x) AS s, covar_pop(x, y) AS o, regr_avgx(y, x) AS m";
        is(table, &format!("SELECT {all} FROM t"), &["|||||0.0|0.0|5.92|"]).await;
        is(table, &format!("SELECT g, {all} FROM t WHERE g = 1 GROUP BY g"), &["|1|||||0.0|0.0|5.92|"]).await;
    }

    /// What DataFusion's accumulators give, row after row, to the last bit; those of views have states and answers of theirs. Taken up it is what it was.
    #[test]
    fn a_pair_after_the_other_is_as_before() {
        let mut seed = 7_u64;
        let mut number = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f64 / 3.1
        };
        let schema = Schema::new(["a", "b"].map(|name| Field::new(name, DataType::Float64, true)).to_vec());
        for function in paired() {
            let Paired { of, kind } = function.inner().downcast_ref::<Paired>().unwrap();
            let (of, kind) = (of.clone(), *kind);
            let made = [Arc::new(function), of].map(|function| {
                let arguments = vec![col("a", &schema).unwrap(), col("b", &schema).unwrap()];
                let built = AggregateExprBuilder::new(function, arguments).schema(Arc::new(schema.clone())).alias("x");
                built.build().unwrap().create_accumulator().unwrap()
            });
            let [mut own, mut theirs] = made;
            for _ in 0..200 {
                let values: Vec<ArrayRef> = (0..2).map(|_| Arc::new(Float64Array::from(vec![number()])) as _).collect();
                own.update_batch(&values).unwrap();
                theirs.update_batch(&values).unwrap();
                assert_eq!(own.evaluate().unwrap(), theirs.evaluate().unwrap());
                let state = own.state().unwrap();
                assert_eq!(state, theirs.state().unwrap());
                let mut taken_up = Pairs { kind, all: Part::default() };
                let part: Vec<_> = state.iter().map(|s| s.to_array().unwrap()).collect();
                taken_up.merge_batch(&part).unwrap();
                assert_eq!(taken_up.state().unwrap(), state);
            }
        }
    }

    #[tokio::test]
    async fn pairs_without_both_do_not_count() {
        let table = "CREATE TABLE t (x DOUBLE, y DOUBLE) AS VALUES (1, 2), (NULL, 9), (2, 4), (3, NULL), (4, 9)";
        let sql = "SELECT regr_avgx(y, x) AS mx, regr_avgy(y, x) AS my, round(regr_sxx(y, x), 6) AS sxx, round(regr_syy(y, x), 6) AS syy, round(regr_sxy(y, x), 6) AS sxy, \
                   round(regr_slope(y, x), 6) AS b, round(regr_intercept(y, x), 6) AS a, round(covar_samp(x, y), 6) AS c FROM t";
        is(table, sql, &["|2.3333333333333335|5.0|4.666667|26.0|11.0|2.357143|-0.5|5.5|"]).await;
        let none = "SELECT corr(x, y) AS c, covar_pop(x, y) AS p, covar_samp(x, y) AS s, regr_sxx(y, x) AS xx FROM t WHERE x > 3 AND y > 9";
        is(table, none, &["|||||"]).await;
    }
}
