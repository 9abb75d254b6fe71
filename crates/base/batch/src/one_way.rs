//! `array_agg` and `string_agg`, which are never computed from the other end. Where two aggregates want their rows in opposite orders, DataFusion
//! 54.1 reverses one of them: it takes the rows in the other's order and gives its values from the last to the first. It does that once more
//! for what a part of the rows came to (`state` gives the reversed values), and not at all for distinct values. They sort for themselves anyway.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF};

/// Both, under their own names.
pub(crate) fn one_way() -> [AggregateUDF; 2] {
    use datafusion::functions_aggregate::{array_agg::array_agg_udaf, string_agg::string_agg_udaf};
    [array_agg_udaf(), string_agg_udaf()].map(|of| AggregateUDF::new_from_impl(OneWay { of }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OneWay {
    of: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for OneWay {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.of.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.of.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.of.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.of.create_groups_accumulator(args)
    }

    /// The rows are told to be in order also where they are in the opposite one, and nothing is reversed.
    fn with_beneficial_ordering(self: Arc<Self>, _: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let of = self.of.as_ref().clone().with_beneficial_ordering(false)?;
        Ok(of.map(|of| Arc::new(Self { of: Arc::new(of) }) as Arc<dyn AggregateUDFImpl>))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.of.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.of.supports_null_handling_clause()
    }
}
