//! Any text as SQL: no panic, no overflow of the stack, no endless parse; and what the catalog keeps of it reads as the same again.

#![no_main]

use fleuve_sql::parse::{kept, parse, parse_one};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(parsed) = parse(text) else { return };
    for one in parsed {
        let Some(text) = kept(&one) else { continue };
        let again = parse_one(&text).expect("what is kept can be read");
        assert_eq!(kept(&again), Some(text));
    }
});
