//! Bytes as text, by PostgreSQL's rules: `encode(bytes, 'escape')`, which DataFusion's `encode` has not, and `convert_from(bytes, encoding)`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Puts `encode` in the place of DataFusion's, and `convert_from` beside it.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let of = registry.udf("encode")?;
    registry.register_udf(Arc::new(Encoded { of }.into()))?;
    let signature = Signature::user_defined(Volatility::Immutable);
    registry.register_udf(Arc::new(Converted { signature }.into()))?;
    Ok(())
}

/// The word that an argument is for all rows.
fn word(arg: Option<&ColumnarValue>) -> Option<&str> {
    match arg {
        Some(ColumnarValue::Scalar(scalar)) => scalar.try_as_str().flatten(),
        _ => None,
    }
}

/// The texts of `bytes`: a scalar if that is one.
fn texts_of(bytes: &ColumnarValue, text: impl Fn(&[u8]) -> Result<String>) -> Result<ColumnarValue> {
    let array = match bytes {
        ColumnarValue::Array(array) => array.clone(),
        ColumnarValue::Scalar(scalar) => scalar.to_array()?,
    };
    let array: ArrayRef = cast(&array, &DataType::Binary)?;
    let texts = array.as_binary::<i32>().iter().map(|b| b.map(&text).transpose()).collect::<Result<StringArray>>()?;
    Ok(match bytes {
        ColumnarValue::Array(_) => ColumnarValue::Array(Arc::new(texts)),
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?),
    })
}

/// `encode(bytes, format)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Encoded {
    of: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Encoded {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.of.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.of.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_escape = word(args.args.get(1)).is_some_and(|format| format.eq_ignore_ascii_case("escape"));
        match args.args.first().filter(|_| is_escape) {
            // The one type that a plan was told of is the one to give.
            Some(bytes) => texts_of(bytes, |b| Ok(escaped(b)))?.cast_to(args.return_type(), None),
            None => self.of.invoke_with_args(args),
        }
    }
}

/// ASCII as it is, but for a zero; that and other bytes are `\` and three octal digits, and a backslash is two.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            1..=0x7f => out.push(char::from(*byte)),
            _ => {
                out.push('\\');
                out.extend([byte >> 6, byte >> 3 & 7, byte & 7].map(|digit| char::from(b'0' + digit)));
            }
        }
    }
    out
}

/// `convert_from(bytes, encoding)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Converted {
    signature: Signature,
}

impl ScalarUDFImpl for Converted {
    fn name(&self) -> &str {
        "convert_from"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [bytes, encoding]
                if (bytes.is_binary() || bytes.is_null()) && (encoding.is_string() || encoding.is_null()) =>
            {
                Ok(vec![DataType::Binary, DataType::Utf8])
            }
            [bytes, _] if bytes.is_string() => plan_err!("convert_from takes a BYTEA, and this is a TEXT already"),
            _ => plan_err!("convert_from takes a BYTEA and the name of its encoding"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [bytes, ColumnarValue::Scalar(encoding)] => match encoding.try_as_str().flatten() {
                Some(name) => Encoding::named(name).and_then(|encoding| texts_of(bytes, |b| encoding.text(b))),
                None => Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None))),
            },
            [bytes, ColumnarValue::Array(encodings)] => {
                let bytes = bytes.to_array(args.number_rows)?;
                let rows = bytes.as_binary::<i32>().iter().zip(encodings.as_string::<i32>());
                let text = |(bytes, name): (Option<&[u8]>, Option<&str>)| match (bytes, name) {
                    (Some(bytes), Some(name)) => Encoding::named(name)?.text(bytes).map(Some),
                    _ => Ok(None),
                };
                Ok(ColumnarValue::Array(Arc::new(rows.map(text).collect::<Result<StringArray>>()?)))
            }
            _ => exec_err!("convert_from takes a BYTEA and the name of its encoding"),
        }
    }
}

/// How bytes say text.
#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Latin1,
}

impl Encoding {
    /// The encoding of a name, in any case and with any dashes.
    fn named(name: &str) -> Result<Self> {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        match plain.to_ascii_lowercase().as_str() {
            "utf8" | "unicode" => Ok(Self::Utf8),
            "latin1" | "iso88591" => Ok(Self::Latin1),
            _ => exec_err!("there is no source encoding '{name}' for convert_from: there are UTF8 and LATIN1"),
        }
    }

    /// # Errors
    /// Bytes that say no text, which has no zeros.
    fn text(self, bytes: &[u8]) -> Result<String> {
        let zero = bytes.iter().position(|byte| *byte == 0);
        match self {
            Self::Latin1 => match zero {
                Some(at) => invalid("LATIN1", at, &bytes[at..=at]),
                None => Ok(bytes.iter().copied().map(char::from).collect()),
            },
            Self::Utf8 => match (std::str::from_utf8(bytes), zero) {
                (Ok(text), None) => Ok(text.into()),
                (Err(e), zero) if zero.is_none_or(|zero| zero > e.valid_up_to()) => {
                    let rest = &bytes[e.valid_up_to()..];
                    invalid("UTF8", e.valid_up_to(), &rest[..length(rest[0]).min(rest.len())])
                }
                (_, zero) => invalid("UTF8", zero.unwrap_or_default(), &[0]),
            },
        }
    }
}

/// How many bytes a character has that begins with this one.
fn length(first: u8) -> usize {
    match first {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    }
}

fn invalid<T>(encoding: &str, at: usize, bytes: &[u8]) -> Result<T> {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
    let bytes = bytes.join(" ");
    exec_err!("invalid byte sequence for encoding \"{encoding}\": {bytes}, at byte {at} of the value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_escaped_as_postgresql_does() {
        assert_eq!(escaped(b"a'\\\"\n\x01\x7f"), "a'\\\\\"\n\x01\x7f");
        assert_eq!(escaped(b"\x00\x80\xde\xff"), "\\000\\200\\336\\377");
        assert_eq!(escaped("ü".as_bytes()), "\\303\\274");
    }

    #[test]
    fn what_is_no_text_is_told_as_postgresql_does() {
        let utf8 = |bytes: &[u8]| Encoding::Utf8.text(bytes).map_err(|e| e.strip_backtrace());
        assert_eq!(utf8("aü€😀".as_bytes()).unwrap(), "aü€😀");
        for (bytes, said) in [
            (&b"a\xff"[..], "\"UTF8\": 0xff, at byte 1 "),
            (b"\xe2\x82", "\"UTF8\": 0xe2 0x82, at byte 0 "),
            (b"ab\xe4b c", "\"UTF8\": 0xe4 0x62 0x20, at byte 2 "),
            (b"\xed\xa0\x80", "\"UTF8\": 0xed 0xa0 0x80, at byte 0 "),
            (b"a\0\xff", "\"UTF8\": 0x00, at byte 1 "),
            (b"\xff\0", "\"UTF8\": 0xff, at byte 0 "),
            (b"a\0", "\"UTF8\": 0x00, at byte 1 "),
        ] {
            let error = utf8(bytes).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(Encoding::Latin1.text(b"gr\xfc\xdf\x80").unwrap(), "grüß\u{80}");
        assert!(Encoding::Latin1.text(b"a\0").is_err());
    }

    #[test]
    fn encodings_have_many_names() {
        for name in ["UTF8", "utf-8", "Unicode"] {
            assert!(matches!(Encoding::named(name), Ok(Encoding::Utf8)), "{name}");
        }
        for name in ["LATIN1", "iso-8859-1", "ISO_8859_1"] {
            assert!(matches!(Encoding::named(name), Ok(Encoding::Latin1)), "{name}");
        }
        assert!(Encoding::named("utf16").is_err());
    }
}
