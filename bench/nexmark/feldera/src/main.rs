//! A Nexmark query as a circuit of dbsp, Feldera's engine, over a file of events.

mod cells;
mod events;
mod queries;
mod run;
mod text;
mod time;

use std::process::ExitCode;

use run::{Error, Run};

// What Feldera allocates with.
#[global_allocator]
static ALLOCATOR: dbsp::mimalloc::MiMalloc = dbsp::mimalloc::MiMalloc;

const USAGE: &str = "\
nexmark-dbsp QUERY FILE [--workers 2] [--batch 20000] [--answer CSV]
  QUERY      q0 to q22, without q6
  FILE       events, one JSON object per line
  --workers  threads of the circuit, and as many that parse
  --batch    events for each step of the circuit
  --answer   writes the complete answer there, after the measurement";

fn main() -> ExitCode {
    match measure() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what the arguments ask for; gives the line to print.
fn measure() -> Result<String, Error> {
    let (mut named, mut workers, mut batch, mut answer) = (Vec::new(), 2, 20_000, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} takes a value\n{USAGE}"));
        match argument.as_str() {
            "--workers" => workers = value()?.parse()?,
            "--batch" => batch = value()?.parse()?,
            "--answer" => answer = Some(value()?.into()),
            _ => named.push(argument),
        }
    }
    let [query, events] = named.try_into().map_err(|_| USAGE)?;
    let run = Run { events: events.into(), answer, workers, batch };
    let did = queries::run(&query, &run)?;
    Ok(format!(
        r#"{{"seconds": {:.4}, "cpu_seconds": {:.2}, "peak_mb": {:.1}, "rows": {}}}"#,
        did.seconds, did.cpu_seconds, did.peak_mb, did.rows
    ))
}
