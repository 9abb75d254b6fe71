//! Sketches come back from users as bytes: any are read or refused.
#![no_main]

use fleuve_sketch::{Frequent, Hll, Quantiles};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(sketch) = Hll::decode(bytes) {
        assert_eq!(Hll::decode(&sketch.encode()).expect("its own bytes"), sketch);
        sketch.count();
    }
    if let Ok(mut sketch) = Quantiles::decode(bytes) {
        assert_eq!(Quantiles::decode(&sketch.encode()).expect("its own bytes"), sketch);
        let same = sketch.clone();
        sketch.merge(&same, 1).expect("of one accuracy");
        sketch.quantile(0.5);
    }
    if let Ok(mut sketch) = Frequent::decode(bytes) {
        assert_eq!(Frequent::decode(&sketch.encode()).expect("its own bytes"), sketch);
        let same = sketch.clone();
        sketch.merge(&same);
        sketch.top();
    }
});
