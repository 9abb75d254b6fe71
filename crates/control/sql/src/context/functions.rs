//! Functions that PostgreSQL users expect and DataFusion does not have under that name.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, cast::as_string_array, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// Scalar functions.
pub(super) fn scalar() -> Vec<Arc<ScalarUDF>> {
    let any = Signature::any(1, Volatility::Immutable);
    let text = Signature::exact(vec![DataType::Utf8], Volatility::Immutable);
    let named = Signature::any(2, Volatility::Immutable);
    let sign = datafusion::functions::math::signum();
    let uuid = datafusion::functions::string::uuid();
    let mut all: Vec<Arc<ScalarUDF>> = vec![
        Arc::new(sign.as_ref().clone().with_aliases(["sign"])),
        Arc::new(uuid.as_ref().clone().with_aliases(["gen_random_uuid"])),
        Arc::new(ScalarUDF::new_from_impl(NamedCast { signature: named })),
        Arc::new(ScalarUDF::new_from_impl(Text { name: "pg_typeof", signature: any })),
        Arc::new(ScalarUDF::new_from_impl(Text { name: "quote_literal", signature: text })),
    ];
    all.extend(fleuve_sketch::scalars());
    all
}

/// Aggregate functions.
pub(super) fn aggregate() -> Vec<Arc<AggregateUDF>> {
    let bool_and = datafusion::functions_aggregate::bool_and_or::bool_and_udaf();
    let var_samp = datafusion::functions_aggregate::variance::var_samp_udaf();
    let mut all = vec![
        Arc::new(bool_and.as_ref().clone().with_aliases(["every"])),
        // Its own other names stay.
        Arc::new(var_samp.as_ref().clone().with_aliases(["variance"])),
    ];
    all.extend(fleuve_sketch::aggregates());
    all
}

/// A cast, and its type as it is written: it has a name of its own, where a cast has the name of what it is of. It stands in no plan that runs.
pub(crate) const NAMED_CAST: &str = "fleuve_named_cast";

#[derive(Debug, PartialEq, Eq, Hash)]
struct NamedCast {
    signature: Signature,
}

impl ScalarUDFImpl for NamedCast {
    fn name(&self) -> &str {
        NAMED_CAST
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let [cast, Expr::Literal(to, _)] = args else { return exec_err!("{NAMED_CAST} takes a cast and its type") };
        Ok(format!("CAST({} AS {})", cast.schema_name(), to.try_as_str().flatten().unwrap_or_default()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [cast, _] => Ok(cast.clone()),
            _ => exec_err!("{NAMED_CAST} takes a cast and its type"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match args.arg_fields {
            [cast, _] => Ok(cast.clone()),
            _ => exec_err!("{NAMED_CAST} takes a cast and its type"),
        }
    }

    fn simplify(&self, mut args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(args.swap_remove(0)))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args.swap_remove(0))
    }
}

/// `pg_typeof(any)`, `quote_literal(text)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Text {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Text {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else { return exec_err!("{} takes one value", self.name) };
        if self.name == "pg_typeof" {
            let name = fleuve_types::sql_type_name(&value.data_type()).to_lowercase();
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(name))));
        }
        let array = value.to_array(args.number_rows)?;
        let quoted: StringArray =
            as_string_array(&array)?.iter().map(|s| s.map(|s| format!("'{}'", s.replace('\'', "''")))).collect();
        Ok(ColumnarValue::Array(Arc::new(quoted) as ArrayRef))
    }
}
