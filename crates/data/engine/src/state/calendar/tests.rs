use super::{COLUMN_BITS, COLUMNS, FIRST_PLACE, place};

#[test]
fn places_are_in_the_order_of_times() {
    let mut times = vec![i64::MIN, i64::MAX];
    for shift in 0..63 {
        for near in [-3, -1, 0, 1, 3] {
            times.extend([(1_i64 << shift) + near, -(1_i64 << shift) + near]);
        }
    }
    let mut state = 7_u64;
    for shift in 0..2_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        times.push(state as i64 >> (shift % 64));
    }
    times.sort_unstable();
    for column in [0, 1, 7, COLUMNS - 1, COLUMNS, u8::MAX] {
        assert!(times.iter().map(|time| place(column, *time)).is_sorted());
        let first = (FIRST_PLACE >> COLUMN_BITS) + u64::from(column.min(COLUMNS - 1));
        assert!(
            times.iter().all(|time| place(column, *time) >> COLUMN_BITS == first),
            "a column has places of its own"
        );
    }
}

#[test]
fn small_times_have_places_of_their_own() {
    for time in [0, 1, 20_000, 1_800_000_000, 1_800_000_000_000, 4_000_000_000_000] {
        for time in [time, -time] {
            assert!(place(0, time) < place(0, time + 1), "{time}");
        }
    }
}
