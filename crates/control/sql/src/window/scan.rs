//! Scans of streams: without the pseudo-columns that the query does not name.

use datafusion::common::Result;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::TableFactor;
use fleuve_types::is_pseudo_column;

use crate::rewrite::marked;

/// Plans the scans that `rewrite` marked.
#[derive(Debug)]
pub(crate) struct ScanPlanner;

impl RelationPlanner for ScanPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let kept = match &relation {
            TableFactor::Table { args: None, partitions, .. } => marked(partitions),
            _ => None,
        };
        let Some(kept) = kept else { return Ok(RelationPlanning::Original(Box::new(relation))) };
        let mut plain = relation;
        let mut name_alias = None;
        if let TableFactor::Table { partitions, alias, .. } = &mut plain {
            partitions.clear();
            name_alias = alias.take();
        }
        let plan = match context.plan(plain)? {
            LogicalPlan::TableScan(scan) => {
                let schema = scan.source.schema();
                let seen = |name: &String| !is_pseudo_column(name) || kept.contains(name);
                let columns =
                    schema.fields().iter().enumerate().filter(|(_, f)| seen(f.name())).map(|(i, _)| i).collect();
                LogicalPlanBuilder::scan(scan.table_name, scan.source, Some(columns))?.build()?
            }
            other => other,
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, name_alias))))
    }
}
