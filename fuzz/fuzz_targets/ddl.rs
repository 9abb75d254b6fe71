//! Any text as SQL: no panic, no overflow of the stack, no endless parse; and what is read has a canonical text that reads as
//! itself again.

#![no_main]

use fleuve_sql::parse::{Statement, parse, parse_one};
use libfuzzer_sys::fuzz_target;

/// The text that the catalog would keep.
fn canonical(statement: &Statement) -> Option<String> {
    match statement {
        Statement::CreateStream(s) => Some(s.to_string()),
        Statement::CreateSource(s) => Some(s.to_string()),
        Statement::CreateView(s) => Some(s.to_string()),
        Statement::CreateSink(s) => Some(s.to_string()),
        _ => None,
    }
}

fuzz_target!(|text: &str| {
    let Ok(parsed) = parse(text) else { return };
    for one in parsed {
        let Some(kept) = canonical(&one.statement) else { continue };
        // sqlparser prints some queries in words that it does not read (dialects differ); what it reads must be stable.
        if let Ok(again) = parse_one(&kept) {
            assert_eq!(canonical(&again.statement).as_deref(), Some(kept.as_str()));
        }
    }
});
