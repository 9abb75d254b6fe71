use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::*;

use super::*;
use crate::types;

/// The values of a column as they go out; `None` is NULL.
fn values(array: ArrayRef, binary: bool) -> Vec<Option<Vec<u8>>> {
    let schema = Arc::new(Schema::new(vec![Field::new("v", array.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema, vec![array]).unwrap();
    let mut out = Out::new();
    let mut encoder = BatchEncoder::new(&batch, &[i16::from(binary)]).unwrap();
    assert_eq!(encoder.put_rows(&mut out, usize::MAX, usize::MAX), batch.num_rows());
    let mut bytes = &out.bytes[..];
    let mut values = Vec::new();
    while !bytes.is_empty() {
        assert_eq!((bytes[0], &bytes[5..7]), (b'D', &[0, 1][..]));
        let message = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        let length = i32::from_be_bytes(bytes[7..11].try_into().unwrap());
        values.push((length >= 0).then(|| bytes[11..11 + length as usize].to_vec()));
        assert_eq!(message, 10 + length.max(0) as usize);
        bytes = &bytes[message + 1..];
    }
    values
}

fn text(array: impl Array + 'static) -> Vec<String> {
    let shown = values(Arc::new(array), false);
    shown.into_iter().map(|v| v.map_or("NULL".to_string(), |v| String::from_utf8(v).unwrap())).collect()
}

fn hex(array: impl Array + 'static) -> Vec<String> {
    let shown = values(Arc::new(array), true);
    shown
        .into_iter()
        .map(|v| v.map_or("NULL".to_string(), |v| v.iter().map(|b| format!("{b:02x}")).collect::<String>()))
        .collect()
}

#[test]
fn integers_and_booleans() {
    assert_eq!(text(Int64Array::from(vec![Some(i64::MIN), None, Some(0)])), ["-9223372036854775808", "NULL", "0"]);
    assert_eq!(text(UInt64Array::from(vec![u64::MAX])), ["18446744073709551615"]);
    assert_eq!(text(Int8Array::from(vec![-7])), ["-7"]);
    assert_eq!(text(BooleanArray::from(vec![Some(true), Some(false), None])), ["t", "f", "NULL"]);
    assert_eq!(hex(Int8Array::from(vec![-2])), ["fffe"]);
    assert_eq!(hex(UInt32Array::from(vec![u32::MAX])), ["00000000ffffffff"]);
    assert_eq!(hex(BooleanArray::from(vec![true])), ["01"]);
    assert_eq!(text(NullArray::new(2)), ["NULL", "NULL"]);
}

#[test]
fn floats_are_laid_out_as_postgresql_does() {
    let v =
        vec![0.0, -0.0, 1.0, 0.1, 1.5e-5, 0.0001, 123456789.125, 1e14, 1e15, 1.0 / 3.0, f64::NAN, f64::NEG_INFINITY];
    let shown = ["0", "-0", "1", "0.1", "1.5e-05", "0.0001", "123456789.125", "100000000000000", "1e+15"];
    assert_eq!(text(Float64Array::from(v))[..9], shown);
    let v = vec![1.0 / 3.0, f64::NAN, f64::NEG_INFINITY, f64::MAX, 5e-324];
    let shown = ["0.3333333333333333", "NaN", "-Infinity", "1.7976931348623157e+308", "5e-324"];
    assert_eq!(text(Float64Array::from(v)), shown);
    assert_eq!(text(Float32Array::from(vec![0.1f32, 1e6, 123456.0])), ["0.1", "1e+06", "123456"]);
}

#[test]
fn decimals_of_every_scale() {
    let d = |v: Vec<i128>, p, s| Decimal128Array::from(v).with_precision_and_scale(p, s).unwrap();
    assert_eq!(text(d(vec![12345, -5, 0, 100], 10, 2)), ["123.45", "-0.05", "0.00", "1.00"]);
    assert_eq!(text(d(vec![7], 10, -3)), ["7000"]);
    let large = "99999999999999999999999999999999999999";
    assert_eq!(text(d(vec![large.parse().unwrap()], 38, 0)), [large]);
    let wide = i256::from_string(&large.repeat(2)).unwrap();
    let wide = Decimal256Array::from(vec![wide]).with_precision_and_scale(76, 10).unwrap();
    assert_eq!(text(wide), [format!("{}.{}", &large.repeat(2)[..66], &large.repeat(2)[66..])]);
    // 123.45 = 0123 4500: two groups, weight 0, scale 2.
    assert_eq!(hex(d(vec![12345], 10, 2)), ["0002000000000002007b1194"]);
    // -0.05: one group 0500, weight -1.
    assert_eq!(hex(d(vec![-5], 10, 2)), ["0001ffff4000000201f4"]);
    assert_eq!(hex(d(vec![0], 10, 2)), ["0000000000000002"]);
    // 10000: the group 0001 of weight 1; trailing zero groups are left out.
    assert_eq!(hex(d(vec![10000], 10, 0)), ["00010001000000000001"]);
}

#[test]
fn times_and_dates() {
    assert_eq!(
        text(Date32Array::from(vec![0, -1, 19_858, -719_528])),
        ["1970-01-01", "1969-12-31", "2024-05-15", "0001-01-01 BC"]
    );
    assert_eq!(hex(Date32Array::from(vec![10_957, 0])), ["00000000", "ffffd533"]);
    let us = vec![0, -1, 1_700_000_000_123_400];
    let shown = ["1970-01-01 00:00:00", "1969-12-31 23:59:59.999999", "2023-11-14 22:13:20.1234"];
    assert_eq!(text(TimestampMicrosecondArray::from(us.clone())), shown);
    let zoned = TimestampMicrosecondArray::from(us).with_timezone("+02:00");
    assert_eq!(text(zoned)[2], "2023-11-14 22:13:20.1234+00");
    assert_eq!(text(TimestampNanosecondArray::from(vec![-1])), ["1969-12-31 23:59:59.999999"]);
    assert_eq!(hex(TimestampSecondArray::from(vec![946_684_801])), ["00000000000f4240"]);
    assert_eq!(text(Time64NanosecondArray::from(vec![3_723_000_001_000])), ["01:02:03.000001"]);
}

#[test]
fn intervals_read_as_in_psql() {
    let v = |m, d, us: i64| IntervalMonthDayNano::new(m, d, us * 1000);
    let a = IntervalMonthDayNanoArray::from(vec![
        Some(v(14, 3, 4_000_000)),
        Some(v(0, 0, 0)),
        Some(v(-1, 2, -1)),
        None,
        Some(v(0, 1, 0)),
    ]);
    let shown = ["1 year 2 mons 3 days 00:00:04", "00:00:00", "-1 mons +2 days -00:00:00.000001", "NULL", "1 day"];
    assert_eq!(text(a), shown);
    assert_eq!(text(DurationMillisecondArray::from(vec![1500])), ["00:00:01.5"]);
    let a = IntervalMonthDayNanoArray::from(vec![v(1, 2, 3)]);
    assert_eq!(hex(a), ["00000000000000030000000200000001"]);
}

#[test]
fn bytes_and_texts() {
    assert_eq!(text(BinaryArray::from(vec![&b"\x00\xff"[..], b""])), ["\\x00ff", "\\x"]);
    assert_eq!(hex(BinaryArray::from(vec![&b"\x00\xff"[..]])), ["00ff"]);
    assert_eq!(text(StringViewArray::from(vec![Some("é"), None, Some("")])), ["é", "NULL", ""]);
    let dictionary = cast(
        &StringArray::from(vec![Some("a"), None, Some("a")]),
        &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
    );
    assert_eq!(values(dictionary.unwrap(), false), [Some(b"a".to_vec()), None, Some(b"a".to_vec())]);
}

#[test]
fn lists_are_arrays() {
    let mut b = ListBuilder::new(StringBuilder::new());
    b.append_value([Some("a"), None, Some("x y"), Some("NULL"), Some(""), Some("q\"\\")]);
    b.append_null();
    b.append_value([None::<&str>; 0]);
    assert_eq!(text(b.finish()), ["{a,NULL,\"x y\",\"NULL\",\"\",\"q\\\"\\\\\"}", "NULL", "{}"]);
    let ints = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), Some(vec![])]);
    assert_eq!(types::type_oid(ints.data_type()), 1007);
    let one = "00000001".to_string()
        + "00000001"
        + "00000017"
        + "00000002"
        + "00000001"
        + "00000004"
        + "00000001"
        + "ffffffff";
    assert_eq!(hex(ints.clone()), [one, "00000000".to_string() + "00000000" + "00000017"]);
    let sliced = ints.slice(1, 1);
    assert_eq!(text(sliced), ["{}"]);
    let large = cast(&ints, &DataType::LargeList(Arc::new(Field::new_list_field(DataType::Int32, true)))).unwrap();
    assert_eq!(values(large, false)[0], Some(b"{1,NULL}".to_vec()));
}

#[test]
fn structs_and_nested_lists_are_json() {
    let a: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let s = StructArray::from(vec![(Arc::new(Field::new("a", DataType::Int32, true)), a)]);
    assert_eq!(types::type_oid(s.data_type()), types::oid::JSON);
    assert_eq!(text(s), ["{\"a\":1}", "{\"a\":null}"]);
    let inner = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)]), Some(vec![Some(2), None])]);
    let field = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
    let nested = ListArray::new(field, OffsetBuffer::from_lengths([2]), Arc::new(inner), None);
    assert_eq!(types::type_oid(nested.data_type()), types::oid::JSON);
    assert_eq!(text(nested), ["[[1],[2,null]]"]);
}

#[test]
fn rows_come_in_portions() {
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int32, true)]));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(Int32Array::from_iter_values(0..10))]).unwrap();
    let mut encoder = BatchEncoder::new(&batch, &[]).unwrap();
    let mut out = Out::new();
    assert_eq!(encoder.put_rows(&mut out, 4, usize::MAX), 4);
    assert_eq!(encoder.left(), 6);
    let full = out.bytes.len() + 1;
    assert_eq!(encoder.put_rows(&mut out, usize::MAX, full), 1);
    assert_eq!(encoder.put_rows(&mut out, usize::MAX, usize::MAX), 5);
    assert_eq!(encoder.left(), 0);
}
