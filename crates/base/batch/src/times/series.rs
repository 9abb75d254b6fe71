//! `generate_series` and `range` of timestamps, which DataFusion makes of nanoseconds: microseconds in, and microseconds
//! out. They end where nanoseconds do.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, cast,
};

const NAMES: [&str; 2] = ["generate_series", "range"];

/// Puts the tables in the place of DataFusion's.
pub(crate) fn register(state: &mut SessionState) {
    for name in NAMES {
        let of = state.table_functions().get(name).map(|f| f.function().clone());
        if let Some(of) = of {
            state.register_udtf(name, Arc::new(Series { name, of }));
        }
    }
}

/// The functions that make arrays.
pub(super) fn lists(registry: &mut dyn datafusion::execution::FunctionRegistry) -> Result<()> {
    for name in NAMES {
        let of = registry.udf(name)?;
        registry.register_udf(Arc::new(List { of }.into()))?;
    }
    Ok(())
}

fn in_micros(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        _ => None,
    }
}

/// `FROM generate_series(start, end, step)`
#[derive(Debug)]
struct Series {
    name: &'static str,
    of: Arc<dyn TableFunctionImpl>,
}

impl TableFunctionImpl for Series {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let in_nanos = |expr: &Expr| match expr {
            Expr::Literal(value @ ScalarValue::TimestampMicrosecond(_, zone), _) => {
                let nanos = value.cast_to(&DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()))?;
                Ok(Expr::Literal(nanos, None))
            }
            other => Ok(other.clone()),
        };
        let exprs = args.exprs().iter().map(in_nanos).collect::<Result<Vec<_>>>()?;
        let table = self.of.call_with_args(TableFunctionArgs::new(&exprs, args.session()))?;
        let schema = table.schema();
        let value = schema.field(0);
        let Some(to) = in_micros(value.data_type()) else { return Ok(table) };
        let column = Expr::Column(Column::new_unqualified(value.name()));
        let plan = LogicalPlanBuilder::scan(format!("{}()", self.name), provider_as_source(table), None)?
            .project([cast(column, to).alias(value.name())])?
            .build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

/// `generate_series(start, end, step)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct List {
    of: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for List {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match self.of.return_type(types)? {
            DataType::List(field) => match in_micros(field.data_type()) {
                Some(to) => DataType::List(Arc::new(field.as_ref().clone().with_data_type(to))),
                None => DataType::List(field),
            },
            other => other,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = args.return_field;
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let of = to.as_ref().clone().with_data_type(self.of.inner().return_type(&types)?);
        let made = self.of.invoke_with_args(ScalarFunctionArgs { return_field: Arc::new(of), ..args })?;
        made.cast_to(to.data_type(), None)
    }
}
