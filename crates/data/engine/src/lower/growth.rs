//! Append-only: which nodes never take a row back, and why another one does.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;

use super::Lowering;
use crate::circuit::NodeKind;
use crate::operators::aggregate::AggregateCall;

impl Lowering<'_> {
    /// Says why a node is not append-only, if it is here that this is lost.
    pub(super) fn shrinks(&mut self, node: usize, why: impl FnOnce() -> String) {
        let is_lost_below = self.nodes[node].inputs.iter().any(|i| !self.nodes[*i].append_only);
        if !self.nodes[node].append_only && !is_lost_below {
            self.nodes[node].shrinks = Some(why());
        }
    }

    /// True if a node gives out all its rows in the first step.
    fn is_constant(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        match node.kind {
            NodeKind::Input(_) => false,
            NodeKind::Operator(_) => node.inputs.iter().all(|i| self.is_constant(*i)),
        }
    }

    /// Why a join takes rows back although neither side does; `None` if it does not.
    pub(super) fn takes_back(&self, kind: JoinType, left: usize, right: usize) -> Option<&'static str> {
        let (left_stays, right_stays) = (self.is_constant(left), self.is_constant(right));
        let stays = match kind {
            JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => true,
            // Partners that are all there in the first step do not come later.
            JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => right_stays,
            JoinType::Right | JoinType::RightAnti | JoinType::RightMark => left_stays,
            JoinType::Full => left_stays && right_stays,
        };
        let why = match kind {
            JoinType::LeftAnti | JoinType::RightAnti => "a row goes when a match for it comes",
            JoinType::LeftMark | JoinType::RightMark => "the mark of a row changes when a match for it comes",
            _ => "a row filled up with NULL goes when its partner comes",
        };
        (!stays).then_some(why)
    }
}

/// True for a call that is the same for all rows of a group: the least, greatest, first or last of one of its keys.
pub(super) fn is_fixed(call: &AggregateCall, keys: &[Arc<dyn PhysicalExpr>]) -> bool {
    fixed_to(call, keys).is_some()
}

/// The number of that key.
pub(super) fn fixed_to(call: &AggregateCall, keys: &[Arc<dyn PhysicalExpr>]) -> Option<usize> {
    let picks = matches!(call.function.as_str(), "min" | "max" | "first_value" | "last_value");
    let of = call.arguments.first().filter(|_| picks && call.filter.is_none())?;
    keys.iter().position(|key| key == of)
}
