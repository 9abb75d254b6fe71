//! Parameters in a query's tree. DataFusion leaves the type of a bare `$1` open, and then the columns of `SELECT $1` are not
//! known before the values are; PostgreSQL fixes the types when a statement is prepared. Casts in the tree do the same here.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType as SqlType, ExactNumberInfo, Expr, Query, TimezoneInfo, Value,
    visit_expressions, visit_expressions_mut,
};

/// The most parameters of a statement; `Bind` counts them with 16 bits.
pub(crate) const MAX_PARAMETERS: usize = 65_535;
/// Digits of a decimal, and those that a NUMERIC of any size has behind its point here.
const DIGITS: u8 = 38;
const SCALE: i8 = 10;

/// The number of a placeholder expression, from 1.
fn number(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(v) => match &v.value {
            Value::Placeholder(p) => p.strip_prefix('$')?.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The highest parameter's number.
pub(crate) fn highest(query: &Query) -> usize {
    let mut highest = 0;
    let _: ControlFlow<()> = visit_expressions(query, |expr| {
        highest = highest.max(number(expr).unwrap_or(0));
        ControlFlow::Continue(())
    });
    highest
}

/// Takes the types of `$1::type` for parameters that the client declared no type for.
pub(crate) fn take_cast_types(query: &Query, declared: &mut Vec<Option<DataType>>) {
    let _: ControlFlow<()> = visit_expressions(query, |expr| {
        if let Expr::Cast { expr, data_type, .. } = expr
            && let Some(n) = number(expr).filter(|n| (1..=MAX_PARAMETERS).contains(n))
            && let Some(t) = arrow_type(data_type)
        {
            if declared.len() < n {
                declared.resize(n, None);
            }
            declared[n - 1].get_or_insert(t);
        }
        ControlFlow::Continue(())
    });
}

/// The types of all parameters: those that are `known`, or else `inferred`. One that is compared with a decimal has room for more digits than that:
/// a cast to the type of a column would round it.
pub(crate) fn all_types(query: &Query, known: &[Option<DataType>], inferred: &[DataType]) -> Vec<Option<DataType>> {
    let compared = compared(query);
    let each = inferred.iter().enumerate().map(|(i, inferred)| {
        let is_known = known.get(i).is_some_and(Option::is_some);
        Some(if !is_known && compared.contains(&(i + 1)) { wide(inferred) } else { inferred.clone() })
    });
    each.collect()
}

/// The numbers of the parameters that stand beside a comparison.
fn compared(query: &Query) -> HashSet<usize> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let mut found = HashSet::new();
    let _: ControlFlow<()> = visit_expressions(query, |expr| {
        match expr {
            Expr::BinaryOp { left, op: Eq | NotEq | Lt | LtEq | Gt | GtEq, right }
            | Expr::IsDistinctFrom(left, right)
            | Expr::IsNotDistinctFrom(left, right) => found.extend([left, right].into_iter().filter_map(|e| number(e))),
            Expr::Between { expr, low, high, .. } => {
                found.extend([expr, low, high].into_iter().filter_map(|e| number(e)))
            }
            Expr::InList { expr, list, .. } => found.extend(list.iter().chain([expr.as_ref()]).filter_map(number)),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    found
}

fn wide(of: &DataType) -> DataType {
    match of {
        DataType::Decimal128(digits, scale) if *scale >= 0 => {
            let free = DIGITS as i8 - (*digits as i8 - scale);
            DataType::Decimal128(DIGITS, SCALE.min(free).max(*scale))
        }
        other => other.clone(),
    }
}

/// Puts a cast to its type around every parameter whose type is known.
pub(crate) fn cast_all(query: &mut Query, types: &[Option<DataType>]) {
    let _: ControlFlow<()> = visit_expressions_mut(query, |expr| {
        let known = number(expr).and_then(|n| types.get(n.checked_sub(1)?));
        let wanted = known.and_then(|t| sql_type(t.as_ref()?));
        if let Some(data_type) = wanted {
            let inner = Box::new(expr.clone());
            *expr = Expr::Cast { kind: CastKind::Cast, expr: inner, data_type, array: false, format: None };
        }
        ControlFlow::Continue(())
    });
}

/// How SQL spells an Arrow type; `None` where there is no exact spelling.
fn sql_type(t: &DataType) -> Option<SqlType> {
    Some(match t {
        DataType::Boolean => SqlType::Boolean,
        DataType::Int16 => SqlType::SmallInt(None),
        DataType::Int32 => SqlType::Integer(None),
        DataType::Int64 => SqlType::BigInt(None),
        DataType::Float32 => SqlType::Real,
        DataType::Float64 => SqlType::DoublePrecision,
        DataType::Utf8 => SqlType::Text,
        DataType::Binary => SqlType::Bytea,
        DataType::Date32 => SqlType::Date,
        DataType::Time64(_) => SqlType::Time(None, TimezoneInfo::None),
        DataType::Timestamp(unit, zone) => {
            let digits = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            let zone = if zone.is_some() { TimezoneInfo::WithTimeZone } else { TimezoneInfo::None };
            SqlType::Timestamp(Some(digits), zone)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => SqlType::Interval { fields: None, precision: None },
        DataType::Decimal128(p, s) if *s >= 0 => {
            SqlType::Numeric(ExactNumberInfo::PrecisionAndScale(u64::from(*p), i64::from(*s)))
        }
        DataType::List(f) => SqlType::Array(ArrayElemTypeDef::SquareBracket(Box::new(sql_type(f.data_type())?), None)),
        _ => return None,
    })
}

/// What a parameter under a cast is read as.
fn arrow_type(t: &SqlType) -> Option<DataType> {
    Some(match t {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::SmallInt(_) | SqlType::Int2(_) => DataType::Int16,
        SqlType::Integer(_) | SqlType::Int(_) | SqlType::Int4(_) => DataType::Int32,
        SqlType::BigInt(_) | SqlType::Int8(_) => DataType::Int64,
        SqlType::Real | SqlType::Float4 => DataType::Float32,
        SqlType::DoublePrecision | SqlType::Float8 => DataType::Float64,
        SqlType::Text | SqlType::Varchar(_) => DataType::Utf8,
        SqlType::Bytea => DataType::Binary,
        SqlType::Date => DataType::Date32,
        SqlType::Time(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            DataType::Time64(TimeUnit::Microsecond)
        }
        SqlType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        SqlType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        SqlType::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        SqlType::Numeric(_) | SqlType::Decimal(_) => DataType::Decimal128(DIGITS, SCALE),
        SqlType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => {
            DataType::List(Arc::new(Field::new_list_field(arrow_type(element)?, true)))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn query(sql: &str) -> Box<Query> {
        match Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0) {
            Statement::Query(query) => query,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_parameter_gets_its_cast() {
        let mut q = query("SELECT $1, a FROM t WHERE b = $2 AND c IN (SELECT d FROM u WHERE e > $3) LIMIT $4");
        assert_eq!(highest(&q), 4);
        let us = DataType::Timestamp(TimeUnit::Microsecond, None);
        cast_all(&mut q, &[DataType::Utf8, DataType::Decimal128(10, 2), us, DataType::Int64].map(Some));
        let shown = q.to_string();
        for cast in ["CAST($1 AS TEXT)", "CAST($2 AS NUMERIC(10,2))", "CAST($3 AS TIMESTAMP(6))", "CAST($4 AS BIGINT)"]
        {
            assert_eq!(shown.matches(cast).count(), 1, "{shown}");
        }
    }

    #[test]
    fn a_decimal_that_something_is_compared_with_is_wide() {
        let q =
            query("SELECT a + $1 FROM t WHERE a = $2 AND b IN ($3, 1) AND c BETWEEN $4 AND 5 AND a > $5 AND d = $6");
        let tight = |digits| DataType::Decimal128(digits, 2);
        let inferred = [tight(10), tight(10), tight(38), DataType::Decimal128(10, 0), tight(10), DataType::Int64];
        let known = [vec![None; 4], vec![Some(tight(10))]].concat();
        let wide = DataType::Decimal128(38, 10);
        let wanted = [tight(10), wide.clone(), tight(38), wide, tight(10), DataType::Int64];
        assert_eq!(all_types(&q, &known, &inferred), wanted.map(Some));
    }

    #[test]
    fn a_cast_in_the_text_tells_the_type_unless_the_client_did() {
        let mut declared = vec![Some(DataType::Int16)];
        take_cast_types(&query("SELECT $1::text, $2::date, $4::int[], $3"), &mut declared);
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
        assert_eq!(declared, [Some(DataType::Int16), Some(DataType::Date32), None, Some(list)]);
    }

    #[test]
    fn a_type_without_a_spelling_is_left_alone() {
        let mut q = query("SELECT $1, $2");
        cast_all(&mut q, &[Some(DataType::UInt64), None]);
        assert_eq!(q.to_string(), "SELECT $1, $2");
    }
}
