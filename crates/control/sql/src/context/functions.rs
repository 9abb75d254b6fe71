//! Functions that PostgreSQL users expect and DataFusion does not have under that name.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, cast::as_string_array, exec_err};
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Scalar functions.
pub(super) fn scalar() -> Vec<Arc<ScalarUDF>> {
    let any = Signature::any(1, Volatility::Immutable);
    let text = Signature::exact(vec![DataType::Utf8], Volatility::Immutable);
    let sign = datafusion::functions::math::signum();
    let mut all: Vec<Arc<ScalarUDF>> = vec![
        Arc::new(sign.as_ref().clone().with_aliases(["sign"])),
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
