//! The queries, written from their SQL in `bench/nexmark/queries`. Each gives the rows that it needs of an event, and the circuit over them.

mod counts;
mod joins;
mod rows;
mod tops;
mod windows;

use crate::run::{Error, Measured, Run};

/// Runs the query of this name.
pub fn run(name: &str, run: &Run) -> Result<Measured, Error> {
    match name {
        "q0" => rows::q0(run),
        "q1" => rows::q1(run),
        "q2" => rows::q2(run),
        "q3" => joins::q3(run),
        "q4" => joins::q4(run),
        "q5" => windows::q5(run),
        "q7" => windows::q7(run),
        "q8" => windows::q8(run),
        "q9" => tops::q9(run),
        "q10" => rows::q10(run),
        "q11" => windows::q11(run),
        "q12" => windows::q12(run),
        "q13" => joins::q13(run),
        "q14" => rows::q14(run),
        "q15" => counts::q15(run),
        "q16" => counts::q16(run),
        "q17" => counts::q17(run),
        "q18" => tops::q18(run),
        "q19" => tops::q19(run),
        "q20" => joins::q20(run),
        "q21" => rows::q21(run),
        "q22" => rows::q22(run),
        _ => Err(format!("there is no query {name}; there are q0 to q22, without q6").into()),
    }
}
