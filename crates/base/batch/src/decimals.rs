//! Decimals beside floating-point numbers, where types are brought together.
//!
//! DataFusion 54.1 makes a DECIMAL(30, 15) of both: `d = f` is true of 0.30 and 0.30000000000000004, a UNION makes
//! 1e-20 into zero, and 1e16 is an error. Here, as in PostgreSQL, both are floating-point numbers; and a number that is
//! written in a query is a decimal beside decimals, as it has the digits that it is written with.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRewriter};
use datafusion::common::{DFSchema, JoinType, NullEquality, Result, ScalarValue};
use datafusion::logical_expr::expr::{Case, InSubquery, ScalarFunction, SetComparison};
use datafusion::logical_expr::expr_schema::cast_subquery;
use datafusion::logical_expr::type_coercion::binary::{comparison_coercion, type_union_resolution};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Distinct, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    Subquery, Union, Values, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

use crate::arrays::operator_of_any;
use crate::names::map_with_names;
use crate::texts::text_for;
use crate::types::{is_comparison, with_types};

/// Most digits of a decimal.
const MAX_DIGITS: i16 = 38;
/// What a floating-point number holds of any number.
const DIGITS_OF_DOUBLE: i16 = 15;

/// Settles types as DataFusion's rule of the name does, those of decimals and floating-point numbers first. In its
/// place, since what is above wants to know the types below.
#[derive(Debug)]
pub(crate) struct SettledTypes;

impl AnalyzerRule for SettledTypes {
    fn name(&self) -> &str {
        "type_coercion"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
    }
    let plan = match plan {
        LogicalPlan::Values(rows) => values(rows)?,
        LogicalPlan::Union(all) => LogicalPlan::Union(union(all)?),
        LogicalPlan::Join(join) => LogicalPlan::Join(joined(join)?),
        plan => plan,
    };
    let mut types = Types { schema: &schema, of: TypeCoercionRewriter::new(&schema) };
    let mut plan = map_with_names(plan, |expr| expr.rewrite(&mut types))?;
    if let LogicalPlan::Filter(filter) = &mut plan.data {
        // NULL is a condition, too.
        filter.predicate = std::mem::take(&mut filter.predicate).cast_to(&DataType::Boolean, &schema)?;
    }
    plan.map_data(|plan| types.of.coerce_plan(plan))?.map_data(LogicalPlan::recompute_schema)
}

/// DataFusion's change of an expression behind ours.
struct Types<'a> {
    schema: &'a DFSchema,
    of: TypeCoercionRewriter<'a>,
}

impl TreeNodeRewriter for Types<'_> {
    type Node = Expr;

    fn f_up(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        let mut expr = self.of.f_up(met(expr, self.schema)?)?.data;
        if let Expr::ScalarFunction(call) = &mut expr {
            call.args = std::mem::take(&mut call.args).into_iter().map(folded).collect();
        }
        Ok(Transformed::yes(expr))
    }
}

/// What becomes of numbers that meet.
#[derive(Clone, Copy, PartialEq)]
enum Meeting {
    /// They are compared.
    Compared,
    /// One of them is the result.
    Chosen,
}

/// An expression in which no decimal meets a floating-point number any more.
fn met(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    use Meeting::{Chosen, Compared};
    Ok(match expr {
        Expr::BinaryExpr(both) if is_comparison(both.op) => {
            let [left, right] = pair(*both.left, *both.right, |sides| together(sides, Compared, schema))?;
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), both.op, Box::new(right)))
        }
        // The sum of 0.5 and a number that has too many digits for a floating-point one.
        Expr::BinaryExpr(both) if is_exact(both.op) && (is_decimal(&both.left) || is_decimal(&both.right)) => {
            let [left, right] = pair(*both.left, *both.right, |sides| together(sides, Compared, schema))?;
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), both.op, Box::new(right)))
        }
        // The sum of a REAL and a decimal is DOUBLE PRECISION.
        Expr::BinaryExpr(mut both) if is_arithmetic(both.op) => {
            let of_right = both.right.get_type(schema)?;
            if of_right == DataType::Float32 && both.left.get_type(schema)?.is_decimal() {
                both.left = Box::new(as_float(*both.left, &DataType::Float64, schema)?);
            } else if of_right.is_decimal() && both.left.get_type(schema)? == DataType::Float32 {
                both.right = Box::new(as_float(*both.right, &DataType::Float64, schema)?);
            }
            Expr::BinaryExpr(both)
        }
        Expr::Between(mut between) => {
            let all = together(vec![*between.expr, *between.low, *between.high], Compared, schema)?;
            let [expr, low, high] = all.try_into().expect("as many as before");
            (between.expr, between.low, between.high) = (Box::new(expr), Box::new(low), Box::new(high));
            Expr::Between(between)
        }
        Expr::InList(mut list) => {
            let mut all = list.list;
            all.push(*list.expr);
            all = together(all, Compared, schema)?;
            list.expr = Box::new(all.pop().expect("as many as before"));
            list.list = all;
            Expr::InList(list)
        }
        Expr::InSubquery(within) => {
            let (expr, subquery) = member(*within.expr, within.subquery, schema)?;
            Expr::InSubquery(InSubquery::new(Box::new(expr), subquery, within.negated))
        }
        Expr::SetComparison(within) => {
            let (expr, subquery) = member(*within.expr, within.subquery, schema)?;
            Expr::SetComparison(SetComparison::new(Box::new(expr), subquery, within.op, within.quantifier))
        }
        Expr::Case(case) => Expr::Case(case_of(case, schema)?),
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let args = match func.name() {
                "nullif" => together(args, Compared, schema)?,
                "coalesce" | "nvl" | "greatest" | "least" | "make_array" => together(args, Chosen, schema)?,
                "array_has" => in_array(args, schema)?,
                name if operator_of_any(name).is_some() => in_array(args, schema)?,
                "nvl2" if !args.is_empty() => {
                    let mut args = args;
                    let chosen = together(args.split_off(1), Chosen, schema)?;
                    args.extend(chosen);
                    args
                }
                _ => args,
            };
            Expr::ScalarFunction(ScalarFunction { func, args })
        }
        Expr::Cast(Cast { expr, field }) if field.data_type().is_floating() && is_decimal(&expr) => {
            Expr::Cast(Cast::new_from_field(Box::new(as_float(*expr, &DataType::Float64, schema)?), field))
        }
        Expr::Cast(cast) if cast.field.data_type().is_decimal() => read(cast),
        other => other,
    })
}

/// A list and what is looked for in it.
fn in_array(args: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let (list, value) = match <[Expr; 2]>::try_from(args) {
        Ok([list, value]) => (list, value),
        Err(args) => return Ok(args),
    };
    let DataType::List(of) = list.get_type(schema)? else { return Ok(vec![list, value]) };
    let elements = match &list {
        Expr::ScalarFunction(call) if call.name() == "make_array" => call.args.clone(),
        _ => vec![],
    };
    let types = [of.data_type().clone(), value.get_type(schema)?];
    // All that is written in the list has one type, and each of it its own digits.
    let is_written = !elements.is_empty() && elements.iter().all(|e| digits(e).is_some());
    let (of_all, known): (Vec<DataType>, Vec<Option<&Expr>>) = if is_written {
        let each = elements.iter().map(|e| (types[0].clone(), Some(e)));
        each.chain([(types[1].clone(), Some(&value))]).unzip()
    } else {
        (types.to_vec(), vec![None, Some(&value)])
    };
    let to = match meeting(&of_all, &known, Meeting::Compared) {
        None => return Ok(vec![list, value]),
        Some(Common::Decimal(to) | Common::Float(to)) => to,
    };
    let as_one = |e: Expr| match &to {
        to if to.is_decimal() => as_decimal(e).cast_to(to, schema),
        to => as_float(e, to, schema),
    };
    let list = match list {
        Expr::ScalarFunction(ScalarFunction { func, .. }) if is_written => {
            let args = elements.into_iter().map(as_one).collect::<Result<_>>()?;
            Expr::ScalarFunction(ScalarFunction { func, args })
        }
        list => list.cast_to(&DataType::List(Arc::new(of.as_ref().clone().with_data_type(to.clone()))), schema)?,
    };
    Ok(vec![list, as_one(value)?])
}

fn is_arithmetic(op: Operator) -> bool {
    is_exact(op) || matches!(op, Operator::Divide | Operator::Modulo)
}

/// True for arithmetic of decimals that loses no digit.
fn is_exact(op: Operator) -> bool {
    matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
}

fn pair(left: Expr, right: Expr, meet: impl FnOnce(Vec<Expr>) -> Result<Vec<Expr>>) -> Result<[Expr; 2]> {
    Ok(meet(vec![left, right])?.try_into().expect("as many as before"))
}

fn case_of(case: Case, schema: &DFSchema) -> Result<Case> {
    let (mut whens, mut thens): (Vec<Expr>, Vec<Expr>) = case.when_then_expr.into_iter().map(|(w, t)| (*w, *t)).unzip();
    let expr = match case.expr {
        Some(expr) => {
            whens.push(*expr);
            whens = together(whens, Meeting::Compared, schema)?;
            whens.pop().map(Box::new)
        }
        None => None,
    };
    let has_else = case.else_expr.is_some();
    thens.extend(case.else_expr.map(|e| *e));
    thens = together(thens, Meeting::Chosen, schema)?;
    let otherwise = if has_else { thens.pop().map(Box::new) } else { None };
    Ok(Case::new(expr, whens.into_iter().map(Box::new).zip(thens.into_iter().map(Box::new)).collect(), otherwise))
}

/// A value and the subquery that it is looked for in.
fn member(expr: Expr, subquery: Subquery, schema: &DFSchema) -> Result<(Expr, Subquery)> {
    let found = subquery.subquery.schema().field(0).data_type().clone();
    let types = [expr.get_type(schema)?, found];
    let values = [Some(&expr), None];
    Ok(match meeting(&types, &values, Meeting::Compared) {
        Some(Common::Decimal(_)) => (as_decimal(expr), subquery),
        Some(Common::Float(to)) if types[0].is_decimal() => (as_float(expr, &to, schema)?, subquery),
        Some(Common::Float(to)) => (expr, cast_subquery(subquery, &to)?),
        None => (expr, subquery),
    })
}

/// Numbers of one kind, if there are decimals and floating-point numbers among them. Texts that are compared with decimals are numbers, too.
fn together(mut values: Vec<Expr>, how: Meeting, schema: &DFSchema) -> Result<Vec<Expr>> {
    let mut types = types_in(&values, schema)?;
    if how == Meeting::Compared && are_numbers(&types, &values) {
        values = values.into_iter().map(|v| written_as_text(&v).unwrap_or(v)).collect();
        types = types_in(&values, schema)?;
    }
    let known: Vec<Option<&Expr>> = values.iter().map(Some).collect();
    let Some(common) = meeting(&types, &known, how) else { return Ok(values) };
    let each = values.into_iter().zip(types).map(|(value, of)| match &common {
        Common::Decimal(_) => Ok(as_decimal(value)),
        Common::Float(to) if of.is_decimal() || digits(&value).is_some() => as_float(value, to, schema),
        Common::Float(_) => Ok(value),
    });
    each.collect()
}

fn types_in(values: &[Expr], schema: &DFSchema) -> Result<Vec<DataType>> {
    values.iter().map(|v| v.get_type(schema)).collect()
}

/// True where a decimal is compared with a text of the query, and with nothing that is no number.
fn are_numbers(types: &[DataType], values: &[Expr]) -> bool {
    let is_text = |value: &Expr| matches!(value, Expr::Literal(value, _) if value.try_as_str().flatten().is_some());
    types.iter().any(DataType::is_decimal)
        && values.iter().any(is_text)
        && types.iter().zip(values).all(|(t, value)| t.is_numeric() || t.is_null() || is_text(value))
}

/// A text as the number that it would be without its quotes. A cast to the other's type would round it, or find it too large.
fn written_as_text(expr: &Expr) -> Option<Expr> {
    let Expr::Literal(text, _) = expr else { return None };
    let text = text_for(text.try_as_str()??, &DataType::Decimal128(MAX_DIGITS as u8, 0));
    let number = Digits::of(text.trim())?;
    let (whole, part) = number.places();
    Some(match (i64::try_from(number.value), whole + part) {
        (Ok(value), _) if part == 0 => lit(value),
        (_, digits) if digits <= DIGITS_OF_DOUBLE => lit(text.trim().parse::<f64>().ok()?),
        (_, digits) if digits <= MAX_DIGITS => Expr::Literal(number.decimal(), None),
        _ => return None,
    })
}

/// What numbers that meet become.
enum Common {
    /// Those that are written in the query become decimals; all others are. Each fits into this type.
    Decimal(DataType),
    Float(DataType),
}

/// `None` where no decimal meets a floating-point number. `values` are the expressions that have the types, where they
/// are known.
fn meeting(types: &[DataType], values: &[Option<&Expr>], how: Meeting) -> Option<Common> {
    if !types.iter().any(DataType::is_decimal) || !types.iter().any(DataType::is_floating) {
        return None;
    }
    let written: Vec<_> = values.iter().map(|value| value.and_then(digits)).collect();
    let floats = || types.iter().zip(&written).filter(|(t, written)| t.is_floating() && written.is_none());
    if floats().next().is_some() {
        // PostgreSQL compares a REAL with a decimal as DOUBLE PRECISION.
        let is_real = how == Meeting::Chosen && floats().all(|(t, _)| *t == DataType::Float32);
        return Some(Common::Float(if is_real { DataType::Float32 } else { DataType::Float64 }));
    }
    let places = types.iter().zip(&written).filter_map(|(t, written)| match written {
        Some(number) => Some(number.places()),
        None => places_of(t),
    });
    let (whole, part) = places.fold((0, 0), |(whole, part), (w, p)| (whole.max(w), part.max(p)));
    Some(if whole + part <= MAX_DIGITS {
        Common::Decimal(DataType::Decimal128((whole + part).max(1) as u8, part as i8))
    } else {
        Common::Float(DataType::Float64)
    })
}

/// The type in which values of two types are compared.
pub fn compared_as(left: &DataType, right: &DataType) -> Option<DataType> {
    match meeting(&[left.clone(), right.clone()], &[None, None], Meeting::Compared) {
        Some(Common::Float(to)) => Some(to),
        _ => comparison_coercion(left, right),
    }
}

/// How many digits a decimal of that type has before and behind its point.
fn places_of(data_type: &DataType) -> Option<(i16, i16)> {
    use DataType::{
        Decimal32, Decimal64, Decimal128, Decimal256, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64,
    };
    match data_type {
        Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s) | Decimal256(p, s) => {
            Some((i16::from(*p) - i16::from(*s), i16::from(*s)))
        }
        Int8 | UInt8 => Some((3, 0)),
        Int16 | UInt16 => Some((5, 0)),
        Int32 | UInt32 => Some((10, 0)),
        Int64 | UInt64 => Some((20, 0)),
        _ => None,
    }
}

fn as_decimal(expr: Expr) -> Expr {
    match digits(&expr) {
        Some(number) => Expr::Literal(number.decimal(), None),
        None => expr,
    }
}

/// A number as a floating-point one; one that is written in the query is the nearest to it.
fn as_float(expr: Expr, to: &DataType, schema: &DFSchema) -> Result<Expr> {
    let value = match &expr {
        Expr::Literal(ScalarValue::Float64(value), _) => *value,
        other => nearest(other),
    };
    match (value, to) {
        (Some(value), DataType::Float32) => Ok(lit(value as f32)),
        (Some(value), _) => Ok(lit(value)),
        (None, to) => expr.cast_to(to, schema),
    }
}

/// A number that is written in a query: `value` with `scale` digits behind the point.
#[derive(Clone, Copy)]
struct Digits {
    value: i128,
    scale: u32,
}

impl Digits {
    /// Of a number that is written without an exponent.
    fn of(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let part = part.trim_end_matches('0');
        Some(Self { value: format!("{whole}{part}").parse().ok()?, scale: u32::try_from(part.len()).ok()? })
    }

    /// Both with as many digits behind the point.
    fn alike(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let scaled = |n: Self| n.value.checked_mul(10_i128.checked_pow(scale - n.scale)?);
        Some((scaled(self)?, scaled(other)?, scale))
    }

    /// How many digits it has before and behind its point.
    fn places(&self) -> (i16, i16) {
        let all = self.value.unsigned_abs().checked_ilog10().map_or(0, |n| n + 1);
        (all.saturating_sub(self.scale) as i16, self.scale.min(1000) as i16)
    }

    fn decimal(&self) -> ScalarValue {
        let (whole, part) = self.places();
        ScalarValue::Decimal128(Some(self.value), (whole + part).max(1) as u8, part as i8)
    }
}

/// The digits of a number that is written in a query, or of a sum, difference or product of such, which is a decimal in
/// PostgreSQL.
fn digits(expr: &Expr) -> Option<Digits> {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) if value.is_finite() => Digits::of(&value.to_string()),
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Some(Digits { value: i128::from(*value), scale: 0 }),
        Expr::Literal(ScalarValue::UInt64(Some(value)), _) => Some(Digits { value: i128::from(*value), scale: 0 }),
        Expr::Negative(value) => digits(value).and_then(|n| Some(Digits { value: n.value.checked_neg()?, ..n })),
        // A whole number beside one that is none.
        Expr::Cast(Cast { expr, field }) if field.data_type().is_floating() => match expr.as_ref() {
            Expr::Literal(ScalarValue::Int64(_) | ScalarValue::UInt64(_), _) => digits(expr),
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            if !is_exact(*op) {
                return None;
            }
            let (left, right) = (digits(left)?, digits(right)?);
            if *op == Operator::Multiply {
                return Some(Digits { value: left.value.checked_mul(right.value)?, scale: left.scale + right.scale });
            }
            let (left, right, scale) = left.alike(right)?;
            let value = if *op == Operator::Plus { left.checked_add(right) } else { left.checked_sub(right) };
            Some(Digits { value: value?, scale })
        }
        _ => None,
    }
}

/// A decimal out of a text, read.
fn read(cast: Cast) -> Expr {
    let text = match cast.expr.as_ref() {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    };
    match text.map(|text| ScalarValue::try_from_string(text.into(), cast.field.data_type())) {
        Some(Ok(value)) => Expr::Literal(value, None),
        _ => Expr::Cast(cast),
    }
}

/// True for a decimal that is written in a query.
fn is_decimal(expr: &Expr) -> bool {
    match expr {
        Expr::Negative(value) => is_decimal(value),
        Expr::Literal(value, _) => value.data_type().is_decimal() && !value.is_null(),
        _ => false,
    }
}

/// The floating-point number that is nearest to such a decimal. A cast of many digits may give one beside it.
fn nearest(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Negative(value) => nearest(value).map(|n| -n),
        Expr::Literal(value, _) if is_decimal(expr) => value.cast_to(&DataType::Utf8).ok()?.try_as_str()??.parse().ok(),
        _ => None,
    }
}

/// A decimal that is written in a query and wanted as a floating-point number by a function.
fn folded(expr: Expr) -> Expr {
    let number = match &expr {
        Expr::Cast(Cast { expr: inner, field }) if *field.data_type() == DataType::Float64 => nearest(inner),
        _ => None,
    };
    number.map_or(expr, lit)
}

/// Rows of values, which DataFusion has made decimals when it planned them.
fn values(rows: Values) -> Result<LogicalPlan> {
    let types: Vec<DataType> = rows.schema.fields().iter().map(|f| f.data_type().clone()).collect();
    let none = DFSchema::empty();
    let Values { schema, mut values } = rows;
    let mut is_changed = false;
    for (i, of) in types.iter().enumerate().filter(|(_, t)| t.is_decimal()) {
        let given: Vec<Expr> = values.iter().map(|row| uncast(&row[i], of)).collect();
        let given_types = given.iter().map(|v| v.get_type(&none)).collect::<Result<Vec<_>>>()?;
        let known: Vec<Option<&Expr>> = given.iter().map(Some).collect();
        let common = given_types.iter().filter(|t| !t.is_null()).cloned().map(Some);
        let common = common.reduce(|all, one| type_union_resolution(&[all?, one?])).flatten();
        if common.as_ref() != Some(of) || meeting(&given_types, &known, Meeting::Chosen).is_none() {
            continue;
        }
        is_changed = true;
        for (row, value) in values.iter_mut().zip(together(given, Meeting::Chosen, &none)?) {
            row[i] = value;
        }
    }
    if is_changed {
        LogicalPlanBuilder::values(values)?.build()
    } else {
        Ok(LogicalPlan::Values(Values { schema, values }))
    }
}

/// A value before it was made one of the type of its column.
fn uncast(value: &Expr, to: &DataType) -> Expr {
    match value {
        Expr::Cast(Cast { expr, field }) if field.data_type() == to => expr.as_ref().clone(),
        Expr::Literal(value, _) if value.is_null() => Expr::Literal(ScalarValue::Null, None),
        other => other.clone(),
    }
}

/// What a set operation brings together.
fn union(all: Union) -> Result<Union> {
    let mut inputs: Vec<LogicalPlan> = all.inputs.into_iter().map(Arc::unwrap_or_clone).collect();
    let width = inputs.iter().map(|i| i.schema().fields().len()).min().unwrap_or(0);
    for i in 0..width {
        let types: Vec<DataType> = inputs.iter().map(|p| p.schema().field(i).data_type().clone()).collect();
        let known: Vec<Option<&Expr>> = inputs.iter().map(|p| projected(p, i)).collect();
        let Some(common) = meeting(&types, &known, Meeting::Chosen) else { continue };
        let is_written: Vec<bool> = known.iter().map(|value| value.is_some_and(|v| digits(v).is_some())).collect();
        let each = inputs.into_iter().zip(types.iter().zip(is_written)).map(|(plan, (of, is_written))| match &common {
            Common::Decimal(_) if is_written => with_column(plan, i, |expr, _| Ok(as_decimal(expr))),
            Common::Float(to) if of.is_decimal() => cast_column(plan, i, to),
            _ => Ok(plan),
        });
        inputs = each.collect::<Result<_>>()?;
    }
    let now = inputs.first().map(types_of).unwrap_or_default();
    let schema = Arc::new(with_types(&all.schema, &now)?);
    Ok(Union { inputs: inputs.into_iter().map(Arc::new).collect(), schema })
}

/// What a plan computes for a column.
fn projected(plan: &LogicalPlan, i: usize) -> Option<&Expr> {
    let LogicalPlan::Projection(projection) = plan else { return None };
    projection.expr.get(i).map(unaliased)
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// The plan with another expression for a column, which keeps its name.
fn with_column(plan: LogicalPlan, i: usize, of: impl FnOnce(Expr, &DFSchema) -> Result<Expr>) -> Result<LogicalPlan> {
    let (mut expr, input) = match plan {
        LogicalPlan::Projection(projection) => (projection.expr, projection.input),
        plan => (plan.schema().iter().map(Expr::from).collect(), Arc::new(plan)),
    };
    let (qualifier, name) = expr[i].qualified_name();
    expr[i] = of(unaliased(&expr[i]).clone(), input.schema())?.alias_qualified(qualifier, name);
    Ok(LogicalPlan::Projection(Projection::try_new(expr, input)?))
}

fn types_of(plan: &LogicalPlan) -> Vec<Option<DataType>> {
    plan.schema().fields().iter().map(|f| Some(f.data_type().clone())).collect()
}

fn cast_column(plan: LogicalPlan, i: usize, to: &DataType) -> Result<LogicalPlan> {
    with_column(plan, i, |expr, schema| expr.cast_to(to, schema))
}

/// The keys of a join; and of INTERSECT and EXCEPT, which are such, what they give.
fn joined(mut join: Join) -> Result<Join> {
    let is_set_operation = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.on.len() == join.left.schema().fields().len();
    for i in 0..join.on.len() {
        let (l, r) = (join.left.schema(), join.right.schema());
        let (left, right) = &mut join.on[i];
        let types = [left.get_type(l)?, right.get_type(r)?];
        let how = if is_set_operation { Meeting::Chosen } else { Meeting::Compared };
        let Some(common) = meeting(&types, &[Some(left), Some(right)], how) else { continue };
        let alike = |key: &mut Expr, of: &DataType, schema: &DFSchema| -> Result<()> {
            *key = match &common {
                Common::Decimal(_) => as_decimal(std::mem::take(key)),
                Common::Float(to) if of.is_decimal() => as_float(std::mem::take(key), to, schema)?,
                Common::Float(_) => return Ok(()),
            };
            Ok(())
        };
        alike(right, &types[1], r)?;
        match &common {
            Common::Float(to) if is_set_operation && types[0].is_decimal() => {
                join.left = Arc::new(match Arc::unwrap_or_clone(join.left) {
                    LogicalPlan::Distinct(Distinct::All(input)) => {
                        let input = cast_column(Arc::unwrap_or_clone(input), i, to)?;
                        LogicalPlan::Distinct(Distinct::All(Arc::new(input)))
                    }
                    plan => cast_column(plan, i, to)?,
                });
            }
            _ => alike(left, &types[0], l)?,
        }
    }
    Ok(join)
}
