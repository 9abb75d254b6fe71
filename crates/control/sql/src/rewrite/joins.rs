//! `USING` and `NATURAL` as conditions. DataFusion (54.1) takes a column of either side for the common one, whichever comes first by its name;
//! here it is what PostgreSQL makes of both: of an outer join the column of the side that is kept, of a full join the first that is not NULL.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArgExpr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, Value,
};
use fleuve_types::{Error, Result, is_pseudo_column};

use super::columns::{self, Columns};
use super::tree::{call, table_name};
use super::{Rewriter, alias_of, marked, mentions, merged, place_of, set_alias, spelled, wildcard, windows};
use crate::parse::select_all_from;

/// One item of `FROM`.
pub(super) struct Source {
    /// What stands before `.*` and `.column`.
    pub(super) qualifier: ObjectName,
    /// Its pseudo-columns that are visible only because something names them.
    pub(super) hidden: Vec<String>,
    /// True when the qualifier is a table's full name, to be found by its last parts.
    pub(super) is_full_name: bool,
    /// Its other columns.
    pub(super) columns: Columns,
    /// True when an outer join puts NULL in the place of its rows.
    pub(super) nullable: bool,
}

/// A part of what `*` means.
#[derive(Clone)]
pub(super) enum Piece {
    /// What a join made of two columns.
    Merged { name: String, expr: Box<Expr> },
    /// The columns of a source but for those that joins took.
    Rest { source: usize, taken: Vec<String> },
}

/// What a `FROM` brings.
pub(super) struct Scope {
    pub(super) sources: Vec<Source>,
    pub(super) pieces: Vec<Piece>,
    /// True if `*` is to be written out.
    pub(super) expands: bool,
}

/// Makes conditions of what is common in the joins of a `SELECT`, and says what its `FROM` brings, where that is asked for.
///
/// # Errors
/// Common columns that are missing, there twice, or unknown.
pub(super) fn resolve(select: &mut Select, rewriter: &mut Rewriter<'_>) -> Result<Option<Scope>> {
    let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    let is_qualified = |item: &SelectItem| {
        matches!(item, SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(_), _))
    };
    let common = select.from.iter().any(has_common);
    let expands = common || select.projection.iter().any(is_star) && select.from.iter().any(hides_columns);
    if !expands && !select.projection.iter().any(is_qualified) && !wildcard::counts_rows_of_one(select) {
        return Ok(None);
    }
    let mut joins = Joins { rewriter, sources: Vec::new(), expands };
    let mut pieces = Vec::new();
    for from in &mut select.from {
        pieces.extend(joins.tree(from)?);
    }
    Ok(Some(Scope { sources: joins.sources, pieces, expands }))
}

/// JOIN without a condition, which may be one that was forgotten.
///
/// # Errors
/// There is none.
pub(super) fn refuse_without_condition(join: &Join) -> Result<()> {
    use JoinOperator as Op;
    let (Op::Join(c)
    | Op::Inner(c)
    | Op::Left(c)
    | Op::LeftOuter(c)
    | Op::Right(c)
    | Op::RightOuter(c)
    | Op::FullOuter(c)) = &join.join_operator
    else {
        return Ok(());
    };
    if !matches!(c, JoinConstraint::None) {
        return Ok(());
    }
    let name = table_name(&join.relation).map(|name| format!(" of {name}")).unwrap_or_default();
    Err(Error::input(format!("the JOIN{name} has no condition: ON or USING is missing"))
        .hint("CROSS JOIN is the join of every row with every other"))
}

/// True if a join has columns in common.
pub(super) fn has_common(from: &TableWithJoins) -> bool {
    let in_factor = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin { table_with_joins, alias: None } => has_common(table_with_joins),
        _ => false,
    };
    in_factor(&from.relation)
        || from.joins.iter().any(|join| {
            let constraint = mentions::constraint(&join.join_operator);
            in_factor(&join.relation) || matches!(constraint, Some(JoinConstraint::Using(_) | JoinConstraint::Natural))
        })
}

/// `(a JOIN b USING (id)) AS j` is `(SELECT * FROM a JOIN b USING (id)) AS j`: the names inside are not seen outside.
pub(super) fn as_subquery(factor: &mut TableFactor) {
    if let TableFactor::NestedJoin { table_with_joins, alias } = factor {
        let mut query: Query = select_all_from(ObjectName::from(vec![Ident::new("x")]));
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.from = vec![table_with_joins.as_ref().clone()];
        }
        let (subquery, alias) = (Box::new(query), alias.take());
        *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
    }
}

fn hides_columns(from: &TableWithJoins) -> bool {
    columns::factors_of(from).into_iter().any(|factor| !hidden_of(factor).is_empty())
}

fn hidden_of(factor: &TableFactor) -> Vec<String> {
    match factor {
        TableFactor::Table { args: None, partitions, .. } => marked(partitions).unwrap_or_default(),
        window => windows::input_ref(window).map(hidden_of).unwrap_or_default(),
    }
}

struct Joins<'a, 'b> {
    rewriter: &'a mut Rewriter<'b>,
    sources: Vec<Source>,
    expands: bool,
}

/// Which side's rows a join gives, and which it fills up with NULL.
struct Kind {
    left: bool,
    right: bool,
    left_nullable: bool,
    right_nullable: bool,
}

/// True where a join gives the columns of both sides.
pub(super) fn gives_both(operator: &JoinOperator) -> bool {
    let kind = kind_of(operator);
    kind.left && kind.right
}

fn kind_of(operator: &JoinOperator) -> Kind {
    use JoinOperator as Op;
    let (left, right) = match operator {
        Op::Semi(_) | Op::LeftSemi(_) | Op::Anti(_) | Op::LeftAnti(_) => (true, false),
        Op::RightSemi(_) | Op::RightAnti(_) => (false, true),
        _ => (true, true),
    };
    let left_nullable = matches!(operator, Op::Right(_) | Op::RightOuter(_) | Op::FullOuter(_));
    let right_nullable = matches!(operator, Op::Left(_) | Op::LeftOuter(_) | Op::FullOuter(_) | Op::OuterApply);
    Kind { left, right, left_nullable, right_nullable }
}

fn constraint_mut(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator as Op;
    match operator {
        Op::Join(c)
        | Op::Inner(c)
        | Op::Left(c)
        | Op::LeftOuter(c)
        | Op::Right(c)
        | Op::RightOuter(c)
        | Op::FullOuter(c)
        | Op::Semi(c)
        | Op::LeftSemi(c)
        | Op::RightSemi(c)
        | Op::Anti(c)
        | Op::LeftAnti(c)
        | Op::RightAnti(c) => Some(c),
        _ => None,
    }
}

impl Joins<'_, '_> {
    fn tree(&mut self, from: &mut TableWithJoins) -> Result<Vec<Piece>> {
        let first = self.sources.len();
        let mut left = self.factor(&mut from.relation)?;
        for join in &mut from.joins {
            let middle = self.sources.len();
            let mut right = self.factor(&mut join.relation)?;
            let kind = kind_of(&join.join_operator);
            let merged = self.condition(&mut join.join_operator, &mut left, &mut right, &kind)?;
            let (before, after) = self.sources.split_at_mut(middle);
            before[first..].iter_mut().for_each(|s| s.nullable |= kind.left_nullable);
            after.iter_mut().for_each(|s| s.nullable |= kind.right_nullable);
            let left_rows = std::mem::take(&mut left).into_iter().filter(|_| kind.left);
            left = merged.into_iter().chain(left_rows).chain(right.into_iter().filter(|_| kind.right)).collect();
        }
        Ok(left)
    }

    /// Makes an ordinary condition of a join's; returns what it makes of common columns.
    fn condition(
        &self,
        operator: &mut JoinOperator,
        left: &mut Vec<Piece>,
        right: &mut Vec<Piece>,
        kind: &Kind,
    ) -> Result<Vec<Piece>> {
        let Some(constraint) = constraint_mut(operator) else { return Ok(vec![]) };
        let names = match constraint {
            JoinConstraint::On(on) => {
                let both: Vec<Piece> = left.iter().chain(right.iter()).cloned().collect();
                merged::name_in(on, &both, &self.sources, self.rewriter);
                return Ok(vec![]);
            }
            JoinConstraint::None => return Ok(vec![]),
            JoinConstraint::Using(columns) => {
                columns.iter().filter_map(|c| c.0.last().and_then(|p| p.as_ident()).cloned()).collect()
            }
            JoinConstraint::Natural => self.common(left, right)?,
        };
        let (mut merged, mut on): (Vec<Piece>, Option<Expr>) = (vec![], None);
        for ident in &names {
            let (l, r) = (self.take(left, ident, "left")?, self.take(right, ident, "right")?);
            let both = |left, op, right| Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) };
            let equal = both(l.clone(), BinaryOperator::Eq, r.clone());
            on = Some(match on {
                Some(before) => both(before, BinaryOperator::And, equal),
                None => equal,
            });
            let expr = match (kind.left_nullable, kind.right_nullable, kind.left) {
                (true, true, _) => call("coalesce", [l, r].map(FunctionArgExpr::Expr), vec![]),
                (true, false, _) | (_, _, false) => r,
                _ => l,
            };
            merged.push(Piece::Merged { name: spelled(ident), expr: Box::new(expr) });
        }
        *constraint = JoinConstraint::On(on.unwrap_or_else(|| Expr::value(Value::Boolean(true))));
        if names.is_empty() && matches!(operator, JoinOperator::Join(_) | JoinOperator::Inner(_)) {
            *operator = JoinOperator::CrossJoin(JoinConstraint::None);
        }
        Ok(merged)
    }

    /// The names that both sides of a `NATURAL JOIN` have, in the order of the left one.
    fn common(&self, left: &[Piece], right: &[Piece]) -> Result<Vec<Ident>> {
        let unknown = || {
            Error::unsupported("NATURAL JOIN of a table whose columns are not known before it is planned")
                .hint("write JOIN ... USING (...)")
        };
        let right = self.names(right).ok_or_else(unknown)?;
        let mut names: Vec<String> = vec![];
        for name in self.names(left).ok_or_else(unknown)? {
            if right.contains(&name) && !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names.into_iter().map(|name| Ident::with_quote('"', name)).collect())
    }

    fn names(&self, pieces: &[Piece]) -> Columns {
        let mut out = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Merged { name, .. } => out.extend((!is_pseudo_column(name)).then(|| name.clone())),
                Piece::Rest { source, taken } => {
                    let own = self.sources[*source].columns.as_ref()?;
                    out.extend(own.iter().filter(|c| !taken.contains(c)).cloned());
                }
            }
        }
        Some(out)
    }

    /// The column of that name of one side, which is the join's from now on.
    fn take(&self, pieces: &mut Vec<Piece>, ident: &Ident, side: &str) -> Result<Expr> {
        let name = spelled(ident);
        let is_merged = |p: &Piece| matches!(p, Piece::Merged { name: own, .. } if *own == name);
        let has = |p: &Piece| match p {
            Piece::Merged { .. } => Some(is_merged(p)),
            Piece::Rest { source, taken } => {
                let source = &self.sources[*source];
                let hides = source.hidden.contains(&name);
                source.columns.as_ref().map(|own| hides || own.contains(&name)).map(|has| has && !taken.contains(&name))
            }
        };
        let known: Vec<usize> = (0..pieces.len()).filter(|i| has(&pieces[*i]) == Some(true)).collect();
        let unknown: Vec<usize> = (0..pieces.len()).filter(|i| has(&pieces[*i]).is_none()).collect();
        let at = match (known.as_slice(), unknown.as_slice()) {
            ([one], _) | ([], [one]) => *one,
            ([], []) => {
                let message = format!("column \"{name}\" of the join is not on its {side} side");
                return Err(Error::not_found(message).at(place_of(ident)));
            }
            ([], _) => {
                let message =
                    format!("which table on the {side} side has the column \"{name}\" of the join is not known");
                let hint = format!("write JOIN ... ON a.{name} = b.{name}");
                return Err(Error::unsupported(message).at(place_of(ident)).hint(hint));
            }
            _ => {
                let message = format!("column \"{name}\" of the join is more than once on its {side} side");
                let hint = format!("write JOIN ... ON a.{name} = b.{name}");
                return Err(Error::input(message).at(place_of(ident)).hint(hint));
            }
        };
        if let Piece::Rest { source, taken } = &mut pieces[at] {
            taken.push(name.clone());
            return Ok(self.sources[*source].column(ident, &name));
        }
        match pieces.remove(at) {
            Piece::Merged { expr, .. } => Ok(*expr),
            Piece::Rest { .. } => Err(Error::bug("a column of a join is in two places")),
        }
    }

    fn factor(&mut self, factor: &mut TableFactor) -> Result<Vec<Piece>> {
        if let TableFactor::NestedJoin { table_with_joins, alias: None } = factor {
            return self.tree(table_with_joins);
        }
        let (hidden, nullable) = (hidden_of(factor), false);
        let columns = columns::of_factor(factor, self.rewriter.relations, &self.rewriter.ctes);
        let named = |alias: &TableAlias| (ObjectName::from(vec![alias.name.clone()]), false);
        let (qualifier, is_full_name) = match (alias_of(factor), &*factor) {
            (Some(alias), _) => named(alias),
            (None, TableFactor::Table { name, args: None, .. }) => (name.clone(), true),
            // Nobody asks for its columns.
            _ if !self.expands => return Ok(vec![]),
            _ => {
                self.rewriter.unnamed += 1;
                set_alias(factor, &format!("unnamed {}", self.rewriter.unnamed));
                let Some(alias) = alias_of(factor) else { return Ok(vec![]) };
                named(alias)
            }
        };
        self.sources.push(Source { qualifier, hidden, is_full_name, columns, nullable });
        Ok(vec![Piece::Rest { source: self.sources.len() - 1, taken: vec![] }])
    }
}

impl Source {
    /// One of its columns, named in full.
    fn column(&self, ident: &Ident, name: &str) -> Expr {
        let mut parts: Vec<Ident> = self.qualifier.0.iter().filter_map(|p| p.as_ident()).cloned().collect();
        let mut last = Ident::with_quote('"', name);
        last.span = ident.span;
        parts.push(last);
        Expr::CompoundIdentifier(parts)
    }

    /// True if `name.*` means this one.
    pub(super) fn answers_to(&self, name: &ObjectName) -> bool {
        let parts = |n: &ObjectName| -> Vec<String> { n.0.iter().filter_map(|p| p.as_ident()).map(spelled).collect() };
        let (mine, theirs) = (parts(&self.qualifier), parts(name));
        if self.is_full_name { mine.ends_with(&theirs) } else { mine == theirs }
    }
}
