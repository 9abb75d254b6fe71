//! What stands in the rows of an `INSERT ... VALUES` becomes a value of the stream's column. DataFusion (54.1) gives
//! all rows one type, that their values have in common: `('99999999999999999999.9999'), (1.5)` went through DOUBLE
//! PRECISION into a decimal.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType as SqlType, ExactNumberInfo, Expr, Query, SetExpr,
    TimezoneInfo, Value,
};

use crate::rewrite::{plain_number, set_text};

/// What stands in a column of the rows.
#[derive(Default)]
struct Found {
    whole: bool,
    fraction: bool,
    text: bool,
    /// Sums and the like.
    computed: bool,
    other: bool,
}

/// The rows with numbers and texts that become what their columns are, where something has to change: `types` are those
/// of the columns of the rows, `None` for those that stay as they are.
pub(super) fn typed(source: &Query, types: &[Option<&DataType>]) -> Option<Query> {
    let SetExpr::Values(values) = source.body.as_ref() else { return None };
    let mut found: Vec<Found> = types.iter().map(|_| Found::default()).collect();
    for row in &values.rows {
        for (expr, found) in row.iter().zip(&mut found) {
            match Given::of(expr) {
                Given::Number(text) if text.contains('.') => found.fraction = true,
                Given::Number(_) => found.whole = true,
                Given::Text => found.text = true,
                Given::Null => {}
                Given::Computed => found.computed = true,
                Given::Other => found.other = true,
            }
        }
    }
    let changes: Vec<Option<Change>> =
        types.iter().zip(&found).map(|(t, found)| t.and_then(|t| change(t, found))).collect();
    if changes.iter().all(Option::is_none) {
        return None;
    }
    let mut source = source.clone();
    let SetExpr::Values(values) = source.body.as_mut() else { return None };
    for row in &mut values.rows {
        for (expr, change) in row.iter_mut().zip(&changes) {
            if let Some(change) = change {
                change.make(expr);
            }
        }
    }
    Some(source)
}

/// A value of a row.
enum Given {
    /// Its digits.
    Number(String),
    Text,
    Null,
    Computed,
    Other,
}

impl Given {
    fn of(expr: &Expr) -> Self {
        use BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
        if let Some(text) = plain_number(expr) {
            return Self::Number(text);
        }
        match expr {
            Expr::Nested(inner) => Self::of(inner),
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_) | Value::DollarQuotedString(_) => {
                    Self::Text
                }
                Value::Null => Self::Null,
                _ => Self::Other,
            },
            Expr::BinaryOp { op: Plus | Minus | Multiply | Divide | Modulo, .. } => Self::Computed,
            _ => Self::Other,
        }
    }
}

enum Change {
    /// Numbers become texts, which are read when they are stored.
    Texts,
    /// All but calls and the like is cast.
    Casts(SqlType),
}

impl Change {
    fn make(&self, expr: &mut Expr) {
        match (self, Given::of(expr)) {
            (_, Given::Null | Given::Other) | (Self::Texts, Given::Text | Given::Computed) => {}
            (Self::Texts, Given::Number(text)) => set_text(expr, text),
            (Self::Casts(to), _) => {
                let value = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
                *expr = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(value),
                    data_type: to.clone(),
                    array: false,
                    format: None,
                };
            }
        }
    }
}

fn change(column: &DataType, found: &Found) -> Option<Change> {
    let Found { whole, fraction, text, computed, other } = *found;
    let to = match column {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            return (whole || fraction).then_some(Change::Texts);
        }
        // A text beside what is computed, such as now(), is a time, too.
        DataType::Timestamp(..) | DataType::Date32 => {
            return sql_type(column).filter(|_| text && (computed || other)).map(Change::Casts);
        }
        // `'{1,2}'`
        DataType::List(_) => return sql_type(column).filter(|_| text).map(Change::Casts),
        DataType::Boolean => return None,
        _ => sql_type(column)?,
    };
    let is_written = whole || fraction;
    if !is_written && !computed {
        return None;
    }
    if !column.is_integer() && !computed && !other {
        return Some(Change::Texts);
    }
    let is_mixed = [whole, fraction, text, computed, other].into_iter().filter(|is_there| *is_there).count() > 1;
    is_mixed.then_some(Change::Casts(to))
}

/// A type as it is written.
fn sql_type(of: &DataType) -> Option<SqlType> {
    Some(match of {
        DataType::List(of) => {
            SqlType::Array(ArrayElemTypeDef::SquareBracket(Box::new(sql_type(of.data_type())?), None))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::Text,
        DataType::Decimal128(p, s) => {
            SqlType::Decimal(ExactNumberInfo::PrecisionAndScale(u64::from(*p), i64::from(*s)))
        }
        DataType::Timestamp(_, None) => SqlType::Timestamp(None, TimezoneInfo::None),
        DataType::Timestamp(_, Some(_)) => SqlType::Timestamp(None, TimezoneInfo::WithTimeZone),
        DataType::Boolean => SqlType::Boolean,
        DataType::Date32 => SqlType::Date,
        DataType::Float64 => SqlType::DoublePrecision,
        DataType::Float32 => SqlType::Real,
        DataType::Int64 => SqlType::BigInt(None),
        DataType::Int32 => SqlType::Integer(None),
        DataType::Int16 => SqlType::SmallInt(None),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Statement, parse_one};

    #[test]
    fn values_are_of_their_columns() {
        let decimal = DataType::Decimal128(10, 2);
        let lists = DataType::new_list(DataType::Int64, true);
        let same = "";
        for (column, rows, wanted) in [
            (&decimal, "('1.5'), (2), (-.25e1), (NULL)", "('1.5'), ('2'), ('-2.5'), (NULL)"),
            (&decimal, "('1.5'), ('2')", same),
            (&decimal, "(1 + 1)", same),
            (&decimal, "(1), (f(2))", "(CAST(1 AS DECIMAL(10,2))), (f(2))"),
            (&decimal, "('1'), (1 + 1)", "(CAST('1' AS DECIMAL(10,2))), (CAST(1 + 1 AS DECIMAL(10,2)))"),
            (&DataType::Utf8, "('a'), (1.50), (+007), (lower('A'))", "('a'), ('1.50'), ('7'), (lower('A'))"),
            (&DataType::Float64, "(1), (-0.0)", "('1'), ('0.0')"),
            (&DataType::Int64, "(1), (2)", same),
            (&DataType::Int64, "(1.5)", same),
            (&DataType::Int64, "('1'), (f('2'))", same),
            (&DataType::Int64, "(1), ('2'), (NULL)", "(CAST(1 AS BIGINT)), (CAST('2' AS BIGINT)), (NULL)"),
            (&DataType::Date32, "('2024-01-01'), (1)", same),
            (&DataType::Date32, "('2024-01-01'), (f(1))", "(CAST('2024-01-01' AS DATE)), (f(1))"),
            (&DataType::Date32, "('2024-01-01'), (NULL)", same),
            (&lists, "('{1}'), (ARRAY[2]), (NULL)", "(CAST('{1}' AS BIGINT[])), (ARRAY[2]), (NULL)"),
            (&lists, "(ARRAY[2]), (NULL)", same),
        ] {
            let Statement::Query(query) = parse_one(&format!("VALUES {rows}")).unwrap().statement else { panic!() };
            let wanted = (wanted != same).then(|| format!("VALUES {wanted}"));
            assert_eq!(typed(&query, &[Some(column)]).map(|q| q.to_string()), wanted, "{rows}");
        }
        let Statement::Query(query) = parse_one("VALUES (1, 'x'), (2, 3)").unwrap().statement else { panic!() };
        assert_eq!(typed(&query, &[None, None]), None);
        let typed = typed(&query, &[None, Some(&DataType::Utf8)]).map(|q| q.to_string());
        assert_eq!(typed.as_deref(), Some("VALUES (1, 'x'), (2, '3')"));
    }
}
