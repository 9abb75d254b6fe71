//! The functions that `SESSION` is planned as, by their definition: the session of a row grows as long as a time is near.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{LimitEffect, PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::prelude::SessionContext;

pub fn register(context: &SessionContext) {
    for (number, name) in fleuve_types::SESSION_FUNCTIONS.into_iter().enumerate() {
        let signature = Signature::any(2, Volatility::Immutable);
        context.register_udwf(WindowUDF::new_from_impl(Bound { name, is_end: number == 1, signature }));
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bound {
    name: &'static str,
    is_end: bool,
    signature: Signature,
}

impl WindowUDFImpl for Bound {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), args.get_input_field(0).unwrap().data_type().clone(), true)))
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let gap = match args.input_exprs()[1].downcast_ref::<Literal>().unwrap().value() {
            ScalarValue::Int64(Some(gap)) => *gap,
            other => panic!("the gap is {other}"),
        };
        Ok(Box::new(Evaluator { is_end: self.is_end, gap }))
    }

    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct Evaluator {
    is_end: bool,
    gap: i64,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _: usize) -> Result<ArrayRef> {
        assert!(matches!(values[0].data_type(), DataType::Timestamp(..)));
        let times = values[0].as_primitive::<TimestampMicrosecondType>();
        let bound = |t: i64| {
            let (mut from, mut to) = (t, t);
            loop {
                let near = |x: &i64| (from - self.gap..=to + self.gap).contains(x) && !(from..=to).contains(x);
                match times.iter().flatten().find(near) {
                    Some(x) => (from, to) = (from.min(x), to.max(x)),
                    None => return if self.is_end { to + self.gap } else { from },
                }
            }
        };
        Ok(Arc::new(times.iter().map(|t| t.map(bound)).collect::<TimestampMicrosecondArray>()))
    }
}
