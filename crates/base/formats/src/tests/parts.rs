use proptest::prelude::*;

use super::*;
use crate::number::{DecimalError, parse_decimal, parse_integer};
use crate::time::{civil_from_days, days_from_civil, parse_timestamp, write_timestamp};
use crate::{Headers, pseudo_columns};

#[test]
fn decimals() {
    let parse = |text: &str, precision, scale| parse_decimal::<i128>(text.as_bytes(), precision, scale, false);
    assert_eq!(parse("12.345", 10, 2), Ok(1235));
    assert_eq!(parse("-12.345", 10, 2), Ok(-1235));
    assert_eq!(parse("12.344999", 10, 2), Ok(1234));
    assert_eq!(parse("+.5", 10, 0), Ok(1));
    assert_eq!(parse("1e3", 10, 0), Ok(1000));
    assert_eq!(parse("15e-1", 10, 0), Ok(2));
    assert_eq!(parse("0e99999999999999", 10, 0), Ok(0));
    assert_eq!(parse("1e-99999999999999", 10, 0), Ok(0));
    assert_eq!(parse("1e99999999999999", 10, 0), Err(DecimalError::Range));
    assert_eq!(parse("99999999999999999999999999999999999999", 38, 0), Ok(10i128.pow(38) - 1));
    assert_eq!(parse("99999999999999999999999999999999999999.4", 38, 0), Ok(10i128.pow(38) - 1));
    assert_eq!(parse("99999999999999999999999999999999999999.5", 38, 0), Err(DecimalError::Range));
    assert_eq!(parse("100000000000000000000000000000000000000", 38, 0), Err(DecimalError::Range));
    assert_eq!(parse("1234.00000000000000000000000000000000000000000000001", 6, 2), Ok(123_400));
    assert_eq!(parse("12345", 4, -1), Ok(1235));
    for wrong in ["", "-", ".", "1e", "1e+", "1.2.3", "0x1", "1 ", "e5", "1_0"] {
        assert_eq!(parse(wrong, 10, 2), Err(DecimalError::Syntax), "{wrong}");
    }
    assert_eq!(parse_integer(b"1.50e1"), Ok(15));
    assert_eq!(parse_integer(b"1.55e1"), Err(DecimalError::Inexact));
}

proptest! {
    #[test]
    fn a_decimal_is_its_text(value in -(10i128.pow(38) - 1)..10i128.pow(38), scale in 0i8..=38) {
        use arrow::datatypes::{Decimal128Type, DecimalType};
        let text = Decimal128Type::format_decimal(value, 38, scale);
        prop_assert_eq!(parse_decimal::<i128>(text.as_bytes(), 38, scale, true), Ok(value));
    }

    /// Rounding, against plain integer arithmetic.
    #[test]
    fn decimals_round_half_away_from_zero(value in -1_000_000_000i64..1_000_000_000, places in 1u32..8) {
        let text = format!("{value}e-{places}");
        let unit = 10i128.pow(places);
        let whole = (i128::from(value).abs() + unit / 2) / unit * i128::from(value.signum());
        prop_assert_eq!(parse_decimal::<i128>(text.as_bytes(), 38, 0, false), Ok(whole));
    }

    #[test]
    fn a_day_is_its_date(days in -400_000_000i64..400_000_000) {
        let (year, month, day) = civil_from_days(days);
        prop_assert_eq!(days_from_civil(year, month, day), days);
    }

    /// Against Arrow's own parser.
    #[test]
    fn timestamps_are_those_of_arrow(ticks in -60_000_000_000_000_000i64..250_000_000_000_000_000) {
        let mut text = Vec::new();
        prop_assert!(write_timestamp(&mut text, ticks, TimeUnit::Microsecond, true));
        prop_assert_eq!(parse_timestamp(&text, TimeUnit::Microsecond), Ok(ticks));
        let zone: arrow::array::timezone::Tz = "+00:00".parse().unwrap();
        let text = String::from_utf8(text).unwrap();
        let parsed = arrow::compute::kernels::cast_utils::string_to_datetime(&zone, &text).unwrap();
        prop_assert_eq!(parsed.timestamp_micros(), ticks);
    }
}

#[test]
fn rows_that_no_record_can_say() {
    use arrow::array::{Date32Array, ListArray, StructArray, TimestampMicrosecondArray, TimestampNanosecondArray};
    use arrow::datatypes::Int32Type;
    let ends = [-62_135_596_800_000_000, 253_402_300_799_999_999];
    let check = |array: arrow::array::ArrayRef| {
        let batch = RecordBatch::try_from_iter([("c", array)]).unwrap();
        crate::check_times(&batch).map_err(|e| e.message)
    };
    let micros = |ticks: Vec<Option<i64>>| Arc::new(TimestampMicrosecondArray::from(ticks));
    assert_eq!(check(micros(vec![Some(ends[0]), None, Some(ends[1])])), Ok(()));
    assert_eq!(check(micros(vec![None])), Ok(()));
    let far = |text: &str| Err(format!("column \"c\": {text} is outside of the years 1 to 9999"));
    assert_eq!(check(micros(vec![Some(ends[0] - 1)])), far("0000-12-31T23:59:59.999999"));
    assert_eq!(check(micros(vec![Some(ends[1] + 1)])), far("+010000-01-01T00:00:00"));
    assert_eq!(check(Arc::new(TimestampNanosecondArray::from(vec![i64::MIN, i64::MAX]))), Ok(()));
    assert_eq!(check(Arc::new(Date32Array::from(vec![-719_162, 2_932_896]))), Ok(()));
    assert_eq!(check(Arc::new(Date32Array::from(vec![-719_163]))), far("0000-12-31"));
    assert_eq!(check(Arc::new(Date32Array::from(vec![2_932_897]))), far("+010000-01-01"));
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(2_932_897)])]);
    let list = arrow::compute::cast(&list, &list_of(DataType::Date32)).unwrap();
    assert_eq!(check(list.clone()), far("+010000-01-01"));
    let inner = StructArray::from(vec![(Arc::new(column("l", list.data_type().clone())), list)]);
    assert_eq!(
        check(Arc::new(inner)),
        Err("column \"c.l\": +010000-01-01 is outside of the years 1 to 9999".to_string())
    );
}

#[test]
fn columns_of_the_record_itself() {
    // Two headers as Kafka writes them: "a" = "x", "b" = null.
    let wire = [4, 2, b'a', 2, b'x', 2, b'b', 1];
    let pairs: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"\xff")), (b"h", Some(b"again"))];
    let all = [
        RecordRef { offset: 5, timestamp_ms: 7, key: Some(b"k"), value: None, headers: Headers::Wire(&wire) },
        RecordRef { offset: 6, timestamp_ms: 8, key: None, value: None, headers: Headers::None },
        RecordRef { offset: 9, timestamp_ms: 9, key: Some(b""), value: None, headers: Headers::Pairs(&pairs) },
        RecordRef { offset: 10, timestamp_ms: 10, key: None, value: None, headers: Headers::Wire(&wire[..5]) },
    ];
    let fields = fleuve_types::pseudo_fields();
    let arrays = pseudo_columns(&all, &[0, 2, 3], 3, &[0, 1, 2, 3, 4]).unwrap();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    assert_eq!(
        rows(&batch),
        [
            r#"3|5|1970-01-01T00:00:00.007|6b|[["a","x"],["b",null]]"#,
            r#"3|9|1970-01-01T00:00:00.009||[["h","base64:/w=="],["h","again"]]"#,
            r#"3|10|1970-01-01T00:00:00.010|~|[["a","x"]]"#,
        ]
    );
    assert_eq!(pseudo_columns(&all, &[0], 0, &[1]).unwrap().len(), 1);
    assert!(pseudo_columns(&all, &[4], 0, &[]).is_err());
    assert!(pseudo_columns(&all, &[0], 0, &[5]).is_err());
}
