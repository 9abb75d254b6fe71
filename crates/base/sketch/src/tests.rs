use std::collections::BTreeMap;

use proptest::prelude::*;

use super::hash::murmur3;
use super::*;

fn hll(values: impl IntoIterator<Item = u64>) -> Hll {
    let mut sketch = Hll::default();
    values.into_iter().for_each(|v| sketch.add(murmur3(&v.to_le_bytes())));
    sketch
}

#[test]
fn the_hash_is_murmur3() {
    // Of the reference implementation, with seed 0.
    assert_eq!(murmur3(b""), 0);
    assert_eq!(murmur3(b"hello"), 0xcbd8_a7b3_41bd_9b02);
    assert_eq!(murmur3(b"hello, world"), 0x342f_ac62_3a5e_bc8e);
    assert_eq!(murmur3(b"The quick brown fox jumps over the lazy dog."), 0xcd99_481f_9ee9_02c9);
}

#[test]
fn distinct_counts_are_near_the_truth() {
    for n in [0_u64, 1, 2, 10, 100, 1_000, 5_000, 50_000, 300_000] {
        let count = hll(0..n).count() as f64;
        // Five standard errors.
        assert!((count - n as f64).abs() <= 0.041 * n as f64, "{n}: {count}");
        if n <= 100 {
            assert_eq!(count, n as f64);
        }
    }
}

#[test]
fn quantiles_are_as_accurate_as_asked() {
    for accuracy in [0.001, 0.01, 0.2] {
        let mut sketch = Quantiles::new(accuracy).unwrap();
        let mut values: Vec<f64> = (0..10_000).map(|i| (f64::from(i) - 2_000.0) * 1.7).collect();
        values.iter().for_each(|v| sketch.add(*v, 1));
        values.sort_by(f64::total_cmp);
        for p in [0.0, 0.01, 0.2, 0.5, 0.9, 0.99, 1.0] {
            let exact = values[(p * 9_999.0) as usize];
            let found = sketch.quantile(p).unwrap();
            assert!((found - exact).abs() <= exact.abs() * accuracy * 1.000_001, "{p}: {found} for {exact}");
        }
    }
    let mut sketch = Quantiles::new(0.01).unwrap();
    assert_eq!(sketch.quantile(0.5), None);
    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0].into_iter().for_each(|v| sketch.add(v, 1));
    assert_eq!([0.0, 0.5, 1.0].map(|p| sketch.quantile(p)), [f64::NEG_INFINITY, 0.0, f64::INFINITY].map(Some));
    for extreme in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, f64::from_bits(1)] {
        let mut sketch = Quantiles::new(Quantiles::LEAST).unwrap();
        sketch.add(extreme, 1);
        assert_eq!(Quantiles::decode(&sketch.encode()).unwrap(), sketch);
        assert!(sketch.quantile(0.5).unwrap().is_finite());
    }
}

#[test]
fn frequent_values_are_within_their_bounds_in_any_order() {
    // Value i comes 20000 / (i + 1) times, in three orders; 5,000 values for 80 counters.
    let truth: Vec<i64> = (0..5_000).map(|i| 20_000 / (i + 1)).collect();
    let rows: Vec<usize> = (0..5_000).flat_map(|i| std::iter::repeat_n(i, truth[i] as usize)).collect();
    let mut mixed = rows.clone();
    mixed.sort_by_key(|i| murmur3(&i.to_le_bytes()).wrapping_mul(*i as u64 | 1));
    for order in [rows.clone(), rows.iter().rev().copied().collect(), mixed] {
        let mut whole = Frequent::new(10).unwrap();
        order.iter().for_each(|i| whole.add(&i.to_string()));
        let mut merged = Frequent::new(10).unwrap();
        for part in order.chunks(1_000) {
            let mut sketch = Frequent::new(10).unwrap();
            part.iter().for_each(|i| sketch.add(&i.to_string()));
            merged.merge(&Frequent::decode(&sketch.encode()).unwrap());
        }
        for mut sketch in [whole, merged] {
            let sketch = Frequent::decode(&sketch.encode()).unwrap();
            assert_eq!(sketch.rows(), rows.len() as i64);
            let top = sketch.top();
            assert_eq!(top.len(), 10);
            for (at, heavy) in top.iter().enumerate() {
                let true_count = truth[heavy.value.parse::<usize>().unwrap()];
                assert!(heavy.count <= true_count && true_count <= heavy.count + heavy.error, "{at}: {heavy:?}");
                assert!(heavy.error <= sketch.rows() / (sketch.counters() as i64 + 1), "{heavy:?}");
            }
            // What is more frequent than any error is there.
            let error = top[0].error;
            let sure = truth.iter().take(10).filter(|n| **n > truth[10] + error).count();
            (0..sure).for_each(|i| assert!(top.iter().any(|h| h.value == i.to_string()), "{i} of {top:?}"));
        }
    }
}

#[test]
fn few_values_are_counted_exactly_and_long_ones_cut() {
    let mut sketch = Frequent::new(2).unwrap();
    let long = "ü".repeat(1_000);
    ["b", "a", "b", "c", long.as_str(), "a", "b"].into_iter().for_each(|v| sketch.add(v));
    let top: Vec<(String, i64, i64)> = sketch.top().into_iter().map(|h| (h.value, h.count, h.error)).collect();
    assert_eq!(top, [("b".to_string(), 3, 0), ("a".to_string(), 2, 0)]);
    assert!(Frequent::decode(&sketch.encode()).is_ok());
    assert!(Frequent::new(0).is_err() && Frequent::new(1_001).is_err());
}

/// What is made of parts, in any order, has the bytes of what is made of the whole.
fn same_whatever_the_order(values: &[u64], parts: usize) {
    let whole = hll(values.iter().copied());
    let mut quantiles = Quantiles::new(0.02).unwrap();
    let number = |v: u64| (v as f64 - 300.0) / 7.0;
    values.iter().for_each(|v| quantiles.add(number(*v), 1));
    let (mut merged, mut some) = (Hll::default(), Quantiles::new(0.02).unwrap());
    for part in values.chunks(values.len() / parts + 1).rev() {
        merged.merge(&Hll::decode(&hll(part.iter().rev().copied()).encode()).unwrap());
        let mut sketch = Quantiles::new(0.02).unwrap();
        part.iter().rev().for_each(|v| sketch.add(number(*v), 1));
        some.merge(&Quantiles::decode(&sketch.encode()).unwrap(), 1).unwrap();
    }
    assert_eq!(merged.encode(), whole.encode());
    assert_eq!(some.encode(), quantiles.encode());
    // Taking a part out again leaves what was there before.
    let (first, rest) = values.split_at(values.len() / 2);
    let mut only = Quantiles::new(0.02).unwrap();
    first.iter().for_each(|v| only.add(number(*v), 1));
    rest.iter().for_each(|v| some.add(number(*v), -1));
    assert_eq!(some.encode(), only.encode());
}

#[test]
fn large_sketches_do_not_depend_on_the_order_either() {
    same_whatever_the_order(&(0..40_000).map(|i| i * i % 30_011).collect::<Vec<_>>(), 7);
}

proptest! {
    #[test]
    fn sketches_do_not_depend_on_the_order(values in prop::collection::vec(0_u64..1_000, 1..400), parts in 1_usize..6) {
        same_whatever_the_order(&values, parts);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        kind in prop::sample::select(vec![*b"FH", *b"FQ", *b"FT"]),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let whole = [&kind[..], &[1], &bytes].concat();
        let _ = check(&whole);
        let _ = check(&bytes);
    }

    #[test]
    fn damage_does_no_harm(values in prop::collection::btree_map("[a-c]{0,3}", 1_usize..5, 0..20), at: usize, by: u8) {
        let values: BTreeMap<String, usize> = values;
        let mut frequent = Frequent::new(3).unwrap();
        let mut quantiles = Quantiles::new(0.05).unwrap();
        let mut distinct = Hll::default();
        for (value, n) in &values {
            (0..*n).for_each(|_| frequent.add(value));
            quantiles.add(*n as f64 - 2.0, *n as i64);
            distinct.add(murmur3(value.as_bytes()));
        }
        prop_assert_eq!(Frequent::decode(&frequent.encode()).unwrap(), frequent.clone());
        prop_assert_eq!(Quantiles::decode(&quantiles.encode()).unwrap(), quantiles.clone());
        prop_assert_eq!(Hll::decode(&distinct.encode()).unwrap(), distinct.clone());
        for mut bytes in [frequent.encode(), quantiles.encode(), distinct.encode()] {
            let at = at % bytes.len();
            bytes[at] ^= by;
            let _ = check(&bytes);
            let _ = check(&bytes[..at]);
            if let Ok(sketch) = Quantiles::decode(&bytes) {
                let _ = sketch.quantile(0.3);
            }
            if let Ok(mut sketch) = Frequent::decode(&bytes) {
                let _ = (sketch.top(), sketch.encode());
            }
        }
    }
}
