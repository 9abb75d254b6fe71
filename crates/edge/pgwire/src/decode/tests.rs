use arrow::datatypes::TimeUnit;
use bytes::BufMut;

use super::*;
use crate::types::oid;

fn decode(declared_oid: u32, wanted: DataType, binary: bool, value: &[u8]) -> PgResult<ScalarValue> {
    let value = Bytes::copy_from_slice(value);
    Parameter { number: 1, declared_oid, wanted: &wanted, binary, value: Some(&value) }.decode()
}

fn text(wanted: DataType, value: &str) -> PgResult<ScalarValue> {
    decode(0, wanted, false, value.as_bytes())
}

#[test]
fn undeclared_text_becomes_what_the_statement_needs() {
    assert_eq!(text(DataType::Int64, " 42 ").unwrap(), ScalarValue::Int64(Some(42)));
    assert_eq!(text(DataType::Int32, "-7").unwrap(), ScalarValue::Int32(Some(-7)));
    assert_eq!(text(DataType::Boolean, "yes").unwrap(), ScalarValue::Boolean(Some(true)));
    assert_eq!(text(DataType::Float64, "1e3").unwrap(), ScalarValue::Float64(Some(1000.0)));
    assert_eq!(text(DataType::Utf8, " x ").unwrap(), ScalarValue::Utf8(Some(" x ".into())));
    assert_eq!(text(DataType::Utf8View, "x").unwrap(), ScalarValue::Utf8View(Some("x".into())));
    assert_eq!(text(DataType::Decimal128(10, 2), "12.5").unwrap(), ScalarValue::Decimal128(Some(1250), 10, 2));
    assert_eq!(text(DataType::UInt64, "18446744073709551615").unwrap(), ScalarValue::UInt64(Some(u64::MAX)));
    assert_eq!(text(DataType::Binary, "\\x00Ff").unwrap(), ScalarValue::Binary(Some(vec![0, 255])));
    assert_eq!(text(DataType::Binary, "a\\\\\\001").unwrap(), ScalarValue::Binary(Some(b"a\\\x01".to_vec())));
    assert_eq!(text(DataType::Date32, "2000-01-01").unwrap(), ScalarValue::Date32(Some(10_957)));
    let ts = DataType::Timestamp(TimeUnit::Millisecond, None);
    assert_eq!(text(ts.clone(), "1970-01-01 00:00:01.5").unwrap(), ScalarValue::TimestampMillisecond(Some(1500), None));
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let hour = ScalarValue::TimestampMicrosecond(Some(3_600_000_000), Some("+00:00".into()));
    assert_eq!(text(zoned, "1970-01-01 03:00:00+02").unwrap(), hour);
}

#[test]
fn what_cannot_be_read_has_its_code() {
    let code_of = |wanted, value| text(wanted, value).unwrap_err().code;
    assert_eq!(code_of(DataType::Int64, "x"), code::INVALID_TEXT_REPRESENTATION);
    assert_eq!(code_of(DataType::Int32, "3000000000"), code::NUMERIC_OUT_OF_RANGE);
    assert_eq!(code_of(DataType::Int64, "99999999999999999999"), code::NUMERIC_OUT_OF_RANGE);
    assert_eq!(code_of(DataType::Date32, "soon"), code::INVALID_DATETIME);
    assert_eq!(code_of(DataType::Binary, "\\xf"), code::INVALID_TEXT_REPRESENTATION);
    assert_eq!(code_of(DataType::Decimal128(4, 2), "12345"), code::NUMERIC_OUT_OF_RANGE);
    let bad = decode(oid::INT8, DataType::Int64, true, &[0; 7]).unwrap_err();
    assert_eq!(bad.code, code::INVALID_BINARY_REPRESENTATION);
    assert_eq!(decode(600, DataType::Utf8, false, b"(1,2)").unwrap_err().code, code::FEATURE_NOT_SUPPORTED);
}

#[test]
fn a_declared_type_is_cast_to_the_needed_one_without_loss() {
    assert_eq!(decode(oid::INT2, DataType::Int64, true, &[0, 5]).unwrap(), ScalarValue::Int64(Some(5)));
    assert_eq!(decode(oid::FLOAT8, DataType::Int64, true, &2.0f64.to_be_bytes()).unwrap(), ScalarValue::Int64(Some(2)));
    let e = decode(oid::FLOAT8, DataType::Int64, true, &2.5f64.to_be_bytes()).unwrap_err();
    assert_eq!(e.code, code::NUMERIC_OUT_OF_RANGE);
    let null = Parameter { number: 1, declared_oid: oid::INT4, wanted: &DataType::Int64, binary: true, value: None };
    assert_eq!(null.decode().unwrap(), ScalarValue::Int64(None));
}

fn numeric(weight: i16, sign: u16, scale: u16, groups: &[u16]) -> Vec<u8> {
    let mut b = Vec::new();
    b.put_u16(groups.len() as u16);
    b.put_i16(weight);
    b.put_u16(sign);
    b.put_u16(scale);
    groups.iter().for_each(|g| b.put_u16(*g));
    b
}

#[test]
fn binary_numerics() {
    let wanted = DataType::Decimal128(20, 4);
    let read = |bytes: Vec<u8>| decode(oid::NUMERIC, wanted.clone(), true, &bytes);
    assert_eq!(read(numeric(0, 0, 2, &[123, 4500])).unwrap(), ScalarValue::Decimal128(Some(1_234_500), 20, 4));
    assert_eq!(read(numeric(-1, 0x4000, 2, &[500])).unwrap(), ScalarValue::Decimal128(Some(-500), 20, 4));
    assert_eq!(read(numeric(1, 0, 0, &[1])).unwrap(), ScalarValue::Decimal128(Some(100_000_000), 20, 4));
    assert_eq!(read(numeric(0, 0, 3, &[])).unwrap(), ScalarValue::Decimal128(Some(0), 20, 4));
    assert_eq!(read(numeric(0, 0xC000, 0, &[])).unwrap_err().code, code::NUMERIC_OUT_OF_RANGE);
    assert!(read(numeric(0, 0, 0, &[10_000])).is_err());
}

#[test]
fn binary_times() {
    let ts = DataType::Timestamp(TimeUnit::Microsecond, None);
    let read = decode(oid::TIMESTAMP, ts.clone(), true, &1_000_000i64.to_be_bytes()).unwrap();
    assert_eq!(read, ScalarValue::TimestampMicrosecond(Some(946_684_801_000_000), None));
    assert!(decode(oid::TIMESTAMP, ts, true, &i64::MAX.to_be_bytes()).is_err());
    assert_eq!(
        decode(oid::DATE, DataType::Date32, true, &0i32.to_be_bytes()).unwrap(),
        ScalarValue::Date32(Some(10_957))
    );
}

fn list_of(value: &ScalarValue) -> Vec<ScalarValue> {
    let ScalarValue::List(list) = value else { panic!("{value:?}") };
    let items = list.value(0);
    (0..items.len()).map(|i| ScalarValue::try_from_array(&items, i).unwrap()).collect()
}

use arrow::array::Array;

#[test]
fn arrays_in_both_forms() {
    let wanted = parameter_type(1016).unwrap();
    let read = decode(1016, wanted.clone(), false, b"{1, NULL,3}").unwrap();
    assert_eq!(list_of(&read), [ScalarValue::Int64(Some(1)), ScalarValue::Int64(None), ScalarValue::Int64(Some(3))]);
    let texts = decode(1009, parameter_type(1009).unwrap(), false, b"{\"a,\\\"b\",null, c d ,\"null\"}").unwrap();
    let shown: Vec<Option<String>> = list_of(&texts)
        .into_iter()
        .map(|v| match v {
            ScalarValue::Utf8(v) => v,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shown, [Some("a,\"b".into()), None, Some("c d".into()), Some("null".into())]);
    let mut b = Vec::new();
    for v in [1, 1, oid::INT2 as i32, 2, 1, 2] {
        b.put_i32(v);
    }
    b.put_i16(9);
    b.put_i32(-1);
    let read = decode(1005, wanted.clone(), true, &b).unwrap();
    assert_eq!(list_of(&read), [ScalarValue::Int64(Some(9)), ScalarValue::Int64(None)]);
    for cut in 0..b.len() {
        assert!(decode(1005, wanted.clone(), true, &b[..cut]).is_err(), "{cut}");
    }
    assert!(list_of(&decode(1016, wanted.clone(), false, b"{}").unwrap()).is_empty());
    for bad in ["", "{", "{1,}", "{1}}", "{{1},{2}}", "{\"a}"] {
        assert!(decode(1016, wanted.clone(), false, bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn no_bytes_make_the_decoder_panic() {
    let mut state = 11u64;
    let oids =
        [16, 17, 20, 21, 23, 25, 700, 701, 1082, 1083, 1114, 1184, 1186, 1700, 2950, 3802, 1007, 1231, 1115, 1009];
    for type_oid in oids {
        for length in 0..48usize {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let v = (state >> 33) as u8;
                    if v < 128 { v % 8 } else { v }
                })
                .collect();
            let wanted = parameter_type(type_oid).unwrap();
            let _ = decode(type_oid, wanted.clone(), true, &bytes);
            let _ = decode(type_oid, wanted, false, &bytes);
        }
    }
}

#[test]
fn intervals_in_the_words_of_drivers() {
    let wanted = parameter_type(oid::INTERVAL).unwrap();
    let of = |m, d, ns| ScalarValue::IntervalMonthDayNano(Some(arrow::datatypes::IntervalMonthDayNano::new(m, d, ns)));
    assert_eq!(text(wanted.clone(), "1 day 02:03:04.5").unwrap(), of(0, 1, 7_384_500_000_000));
    assert_eq!(text(wanted.clone(), "1 mon -00:00:01").unwrap(), of(1, 0, -1_000_000_000));
    assert_eq!(text(wanted, "2 days").unwrap(), of(0, 2, 0));
}
