//! Which fields of a struct column a plan reads, so that no others are decoded and carried along.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::map::plain_column;

/// What is read of the struct columns of a scan by the projections and filters directly above it. Columns that are not here
/// are read whole. `steps` are the topmost first.
pub(super) fn struct_fields(steps: &[&LogicalPlan], scan: &DFSchema) -> BTreeMap<usize, Vec<usize>> {
    let mut uses = Uses { scan, fields: BTreeMap::new(), whole: BTreeSet::new() };
    // For each column, the struct column of the scan that it is.
    let mut origins: Vec<Option<usize>> = scan
        .fields()
        .iter()
        .enumerate()
        .map(|(n, f)| matches!(f.data_type(), DataType::Struct(_)).then_some(n))
        .collect();
    if origins.iter().all(Option::is_none) {
        return BTreeMap::new();
    }
    for step in steps.iter().rev() {
        match step {
            LogicalPlan::Filter(f) => uses.visit(&f.predicate, f.input.schema(), &origins),
            LogicalPlan::Projection(p) => {
                let next = p.expr.iter().map(|expr| match plain_column(expr, p.input.schema()) {
                    Some(at) => origins[at],
                    None => {
                        uses.visit(expr, p.input.schema(), &origins);
                        None
                    }
                });
                origins = next.collect();
            }
            _ => {}
        }
    }
    // What comes out at the top may be read by anybody.
    uses.whole.extend(origins.into_iter().flatten());
    uses.finish()
}

struct Uses<'a> {
    scan: &'a DFSchema,
    fields: BTreeMap<usize, BTreeSet<usize>>,
    whole: BTreeSet<usize>,
}

impl Uses<'_> {
    fn visit(&mut self, expr: &Expr, schema: &DFSchema, origins: &[Option<usize>]) {
        let origin = |expr: &Expr| match expr {
            Expr::Column(c) => schema.maybe_index_of_column(c).and_then(|at| origins[at]),
            _ => None,
        };
        let found: DfResult<_> = expr.apply(|e| {
            match e {
                Expr::IsNull(inner) | Expr::IsNotNull(inner) if origin(inner).is_some() => {
                    return Ok(TreeNodeRecursion::Jump);
                }
                Expr::ScalarFunction(call) if call.func.name() == "get_field" => {
                    if let [of, name, ..] = call.args.as_slice()
                        && let Some(column) = origin(of)
                        && let Some(field) = self.field(column, name)
                    {
                        self.fields.entry(column).or_default().insert(field);
                        return Ok(TreeNodeRecursion::Jump);
                    }
                }
                Expr::Column(_) => self.whole.extend(origin(e)),
                // Their columns are not seen from here.
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => {
                    self.whole.extend(origins.iter().flatten());
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        });
        if found.is_err() {
            self.whole.extend(origins.iter().flatten());
        }
    }

    fn field(&self, column: usize, name: &Expr) -> Option<usize> {
        let Expr::Literal(ScalarValue::Utf8(Some(name)) | ScalarValue::Utf8View(Some(name)), _) = name else {
            return None;
        };
        let DataType::Struct(fields) = self.scan.field(column).data_type() else { return None };
        fields.iter().position(|f| f.name() == name)
    }

    fn finish(self) -> BTreeMap<usize, Vec<usize>> {
        let mut out = BTreeMap::new();
        for (column, field) in self.scan.fields().iter().enumerate() {
            let DataType::Struct(children) = field.data_type() else { continue };
            if self.whole.contains(&column) || children.is_empty() {
                continue;
            }
            let mut fields: Vec<usize> = self.fields.get(&column).into_iter().flatten().copied().collect();
            if fields.is_empty() {
                // Only whether it is NULL is asked: the field that costs least goes with it.
                let cheap = children.iter().position(|f| f.data_type().primitive_width().is_some());
                fields.push(cheap.unwrap_or(0));
            }
            if fields.len() < children.len() {
                out.insert(column, fields);
            }
        }
        out
    }
}
