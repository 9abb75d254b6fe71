//! `b FOR SYSTEM_TIME AS OF a.ts`: the row of `b` that was the last at that time, by the column of `b` that has the watermark.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join, JoinConstraint, JoinOperator,
    TableFactor,
};
use fleuve_types::{Error, Result};

use super::{Relations, alias_of, place_of};
use crate::parse::{AS_OF_MARK, SYSTEM_TIME_MARK, name_of};

/// Makes an as-of join of a join with the mark of `FOR SYSTEM_TIME AS OF`.
///
/// # Errors
/// When the table is no stream with a watermark.
pub(crate) fn resolve(join: &mut Join, relations: &dyn Relations) -> Result<()> {
    let (JoinOperator::Join(JoinConstraint::On(on))
    | JoinOperator::Inner(JoinConstraint::On(on))
    | JoinOperator::Left(JoinConstraint::On(on))
    | JoinOperator::LeftOuter(JoinConstraint::On(on))) = &mut join.join_operator
    else {
        return Ok(());
    };
    let Some(mark) = mark(on) else { return Ok(()) };
    let Expr::Function(call) = &*mark else { return Ok(()) };
    let FunctionArguments::List(list) = &call.args else { return Ok(()) };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(time))] = list.args.as_slice() else { return Ok(()) };
    let at = call.name.0.first().and_then(|p| p.as_ident()).map(place_of).unwrap_or_default();
    let column = match &join.relation {
        TableFactor::Table { name, args: None, .. } => {
            let name = name_of(name)?;
            relations.time_column(name.namespace(), &name.name)
        }
        _ => None,
    };
    let Some(column) = column else {
        let error = Error::input("FOR SYSTEM_TIME AS OF is of a stream that has a WATERMARK");
        return Err(error.at(at).hint("of anything else: a ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.ts"));
    };
    let mut path: Vec<Ident> = match (alias_of(&join.relation), &join.relation) {
        (Some(alias), _) => vec![alias.name.clone()],
        (None, TableFactor::Table { name, .. }) => {
            name.0.last().and_then(|p| p.as_ident()).cloned().into_iter().collect()
        }
        _ => vec![],
    };
    path.push(Ident::with_quote('"', column));
    let mut as_of = call.clone();
    as_of.name = datafusion::sql::sqlparser::ast::ObjectName::from(vec![Ident::new(AS_OF_MARK)]);
    if let FunctionArguments::List(list) = &mut as_of.args {
        list.args.clear();
    }
    let both = |left, op, right| Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) };
    let reached = both(time.clone(), BinaryOperator::GtEq, Expr::CompoundIdentifier(path));
    *mark = both(Expr::Function(as_of), BinaryOperator::And, reached);
    Ok(())
}

/// The mark, which stands before all other conditions.
fn mark(on: &mut Expr) -> Option<&mut Expr> {
    match on {
        Expr::BinaryOp { left, op: BinaryOperator::And, .. } => mark(left),
        Expr::Function(call) => {
            let name = call.name.0.first().and_then(|p| p.as_ident()).map(|i| i.value.clone());
            (name.as_deref() == Some(SYSTEM_TIME_MARK)).then_some(on)
        }
        _ => None,
    }
}
