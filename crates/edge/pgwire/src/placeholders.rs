//! Parameters in a query's tree. DataFusion leaves the type of a bare `$1` open, and then the columns of `SELECT $1` are not
//! known before the values are; PostgreSQL fixes the types when a statement is prepared. Casts in the tree do the same here.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CastKind, DataType as SqlType, ExactNumberInfo, Expr, Query, TimezoneInfo, Value,
    visit_expressions, visit_expressions_mut,
};

/// The most parameters of a statement; `Bind` counts them with 16 bits.
pub(crate) const MAX_PARAMETERS: usize = 65_535;

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

/// Puts a cast to its type around every parameter.
pub(crate) fn cast_all(query: &mut Query, types: &[DataType]) {
    let _: ControlFlow<()> = visit_expressions_mut(query, |expr| {
        let wanted = number(expr).and_then(|n| types.get(n.checked_sub(1)?)).and_then(sql_type);
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
        SqlType::Numeric(_) | SqlType::Decimal(_) => DataType::Decimal128(38, 10),
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
        cast_all(&mut q, &[DataType::Utf8, DataType::Decimal128(10, 2), us, DataType::Int64]);
        let shown = q.to_string();
        for cast in ["CAST($1 AS TEXT)", "CAST($2 AS NUMERIC(10,2))", "CAST($3 AS TIMESTAMP(6))", "CAST($4 AS BIGINT)"]
        {
            assert_eq!(shown.matches(cast).count(), 1, "{shown}");
        }
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
        let mut q = query("SELECT $1");
        cast_all(&mut q, &[DataType::UInt64]);
        assert_eq!(q.to_string(), "SELECT $1");
    }
}
