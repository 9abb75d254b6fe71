//! Integers that pass their type's range: an error, as in PostgreSQL. DataFusion lets them wrap.
//!
//! `+`, `-`, `*` and the sign of integers become functions of the same name when a plan is analysed, before anything is
//! computed; so constants, queries and views all say the same. `sum` has its own accumulators.

mod arithmetic;
mod sum;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use self::arithmetic::{Arithmetic, Checked};
pub(crate) use self::sum::checked_sum;

/// The rule that makes integer arithmetic checked; after the types are settled.
#[derive(Debug)]
pub(crate) struct CheckedIntegers {
    functions: [Arc<ScalarUDF>; 4],
}

impl CheckedIntegers {
    pub(crate) fn new() -> Self {
        let of = |what| Arc::new(ScalarUDF::new_from_impl(Checked::new(what)));
        use Arithmetic::{Minus, Negate, Plus, Times};
        Self { functions: [of(Plus), of(Minus), of(Times), of(Negate)] }
    }

    fn call(&self, what: Arithmetic, args: Vec<Expr>) -> Transformed<Expr> {
        let func = self.functions[what as usize].clone();
        Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args }))
    }

    fn expr(&self, expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
        let integer = |e: &Expr| e.get_type(schema).ok().filter(DataType::is_integer);
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let what = match op {
                    Operator::Plus => Arithmetic::Plus,
                    Operator::Minus => Arithmetic::Minus,
                    Operator::Multiply => Arithmetic::Times,
                    _ => return Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
                };
                match (integer(&left), integer(&right)) {
                    (Some(l), Some(r)) if l == r => self.call(what, vec![*left, *right]),
                    _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
                }
            }
            Expr::Negative(inner) if integer(&inner).is_some_and(|t| t.is_signed_integer()) => {
                self.call(Arithmetic::Negate, vec![*inner])
            }
            other => Transformed::no(other),
        }
    }
}

impl AnalyzerRule for CheckedIntegers {
    fn name(&self) -> &str {
        "checked_integers"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let node = |plan: LogicalPlan| {
            if !has_arithmetic(&plan)? {
                return Ok(Transformed::no(plan));
            }
            let schema = merge_schema(&plan.inputs());
            // The functions have the names of the operators, but for the FILTER of an aggregate, and their types: only what is nullable could
            // be another.
            fleuve_batch::map_with_names(plan, |e| e.transform_up(|e| Ok(self.expr(e, &schema))))
        };
        Ok(plan.transform_down_with_subqueries(node)?.data)
    }
}

fn has_arithmetic(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        expr.apply(|e| {
            found |= match e {
                Expr::BinaryExpr(b) => matches!(b.op, Operator::Plus | Operator::Minus | Operator::Multiply),
                Expr::Negative(_) => true,
                _ => false,
            };
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}
