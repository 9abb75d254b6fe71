use std::fmt::Write as _;
use std::sync::Arc;

use arrow::compute::kernels::numeric::{add, mul, neg, sub};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Times,
    Negate,
}

/// Checked arithmetic of two integers of one type, or of one. The loops are arrow's own; DataFusion calls those of them that wrap.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Checked {
    what: Arithmetic,
    signature: Signature,
}

impl Checked {
    pub(super) fn new(what: Arithmetic) -> Self {
        let arguments = if what == Arithmetic::Negate { 1 } else { 2 };
        Self { what, signature: Signature::any(arguments, Volatility::Immutable) }
    }

    /// In one text: a chain of a thousand names is asked for at each of its links.
    fn write_name(&self, args: &[Expr], name: &mut String) -> Result<()> {
        match args {
            [one] => {
                name.push_str("(- ");
                write_argument(one, name)?;
                name.push(')');
            }
            [left, right] => {
                write_argument(left, name)?;
                name.extend([" ", self.name(), " "]);
                write_argument(right, name)?;
            }
            _ => return internal_err!("arithmetic of {} values", args.len()),
        }
        Ok(())
    }
}

fn write_argument(expr: &Expr, name: &mut String) -> Result<()> {
    if let Expr::ScalarFunction(call) = expr
        && let Some(checked) = call.func.inner().downcast_ref::<Checked>()
    {
        return checked.write_name(&call.args, name);
    }
    write!(name, "{}", expr.schema_name())?;
    Ok(())
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.what {
            Arithmetic::Plus => "+",
            Arithmetic::Minus | Arithmetic::Negate => "-",
            Arithmetic::Times => "*",
        }
    }

    /// The operator's own: a column keeps the name that it would have.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let mut name = String::new();
        self.write_name(args, &mut name)?;
        Ok(name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [first, ..] => Ok(first.clone()),
            [] => internal_err!("arithmetic of nothing"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let Some(first) = args.arg_fields.first() else { return internal_err!("arithmetic of nothing") };
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(first.as_ref().clone().with_name(self.name()).with_nullable(nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let result = match (self.what, args.args.as_slice()) {
            (Arithmetic::Plus, [left, right]) => apply(left, right, add),
            (Arithmetic::Minus, [left, right]) => apply(left, right, sub),
            (Arithmetic::Times, [left, right]) => apply(left, right, mul),
            // A unary kernel in the place of a binary one: the second value is not looked at.
            (Arithmetic::Negate, [value]) => apply(value, value, |value, _| neg(value.get().0)),
            (_, args) => internal_err!("arithmetic of {} values", args.len()),
        };
        result.map_err(|e| self.out_of_range(e, args.return_field.data_type()))
    }
}

impl Checked {
    /// Arrow's error in PostgreSQL's words, with the values.
    fn out_of_range(&self, error: DataFusionError, of: &DataType) -> DataFusionError {
        let DataFusionError::ArrowError(arrow, _) = &error else { return error };
        let ArrowError::ArithmeticOverflow(said) = arrow.as_ref() else { return error };
        let values = said.strip_prefix("Overflow happened on: ").unwrap_or(said);
        exec_datafusion_err!("{} out of range: {values}", fleuve_types::sql_type_name(of).to_lowercase())
    }
}
