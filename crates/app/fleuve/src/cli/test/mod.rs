//! `fleuve test`: the tests of a project's SQL. Each runs in a server of its own in this process.

mod file;
mod report;
mod run;
mod table;

#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use fleuve_types::{Error, Result};
use tokio::sync::Semaphore;

use super::apply::{TESTS, project, read, sql_files};
use super::args::{TestArgs, TestFormat};
use super::on_its_own;
use super::render::TableStyle;
use super::term::{self, Out, Paint};
use file::TestFile;
use run::Report;
use table::Place;

/// `fleuve test`
pub async fn run(args: TestArgs) -> Result<ExitCode> {
    let begun = Instant::now();
    let files = test_files(&args)?;
    let project = Arc::new(project(&args.dir)?);
    // Each test has threads of its own, and waits for the disk as much as it computes.
    let turn = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
    let mut running = vec![];
    for file in files {
        let tests = file.tests.into_iter().map(|test| {
            let (turn, project) = (turn.clone(), project.clone());
            let name = test.name.clone();
            let task = on_its_own(move || async move {
                let _turn = turn.acquire().await.map_err(|e| Error::bug(e.to_string()))?;
                run::run(&project, &test).await
            });
            (name, task)
        });
        running.push((file.path, tests.collect::<Vec<_>>()));
    }
    let (mut done, mut out) = (vec![], Out::new());
    for (path, tests) in running {
        let mut reports = vec![];
        if args.format == TestFormat::Text {
            out.line(&path)?;
        }
        for (name, task) in tests {
            let report = task.await.map_err(|e| Error::bug(format!("the test '{name}' broke off: {e}")))??;
            if args.format == TestFormat::Text {
                print(&mut out, &name, &report)?;
            }
            reports.push((name, report));
        }
        if args.write {
            fill_in(&path, &reports)?;
        }
        done.push((path, reports));
    }
    let all = done.iter().flat_map(|(_, tests)| tests);
    let (count, failed) = (all.clone().count(), all.filter(|(_, report)| report.failure.is_some()).count());
    match args.format {
        TestFormat::Junit => out.bytes(report::junit(&done).as_bytes())?,
        TestFormat::Text => {
            out.line(&format!("{} passed, {failed} failed in {:.1} s", count - failed, begun.elapsed().as_secs_f64()))?;
        }
    }
    out.flush()?;
    Ok(if failed == 0 || args.write { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The files with the tests that are wanted.
fn test_files(args: &TestArgs) -> Result<Vec<TestFile>> {
    let folder = args.dir.join(TESTS);
    let paths = match folder.is_dir() {
        true => sql_files(&folder)?,
        false => {
            let error = Error::not_found(format!("{} holds no tests", args.dir.display()));
            return Err(
                error.hint(format!("they are .sql files in {}; `fleuve test --help` shows one", folder.display()))
            );
        }
    };
    let mut files = vec![];
    for path in &paths {
        let mut file = file::read(&read(path)?, args.write)?;
        if let Some(text) = args.only.as_ref().filter(|text| !file.path.contains(text.as_str())) {
            file.tests.retain(|test| test.name.contains(text.as_str()));
        }
        if !file.tests.is_empty() {
            files.push(file);
        }
    }
    match files.is_empty() {
        true => Err(Error::not_found("no test has that name")),
        false => Ok(files),
    }
}

fn print(out: &mut Out, name: &str, report: &Report) -> Result<()> {
    let paint = Paint::stdout();
    let took = paint.dim(&format!("({:.2} s)", report.took.as_secs_f64()));
    match &report.failure {
        None => out.line(&format!("  {}    {name} {took}", paint.green("ok")))?,
        Some(failure) => {
            out.line(&format!("  {}  {name} {took}", paint.red("FAIL")))?;
            let width = std::io::stdout().is_terminal().then(|| term::size().0.saturating_sub(INDENT.len()));
            for line in report::told(failure, TableStyle { paint, max_width: width }) {
                out.line(&format!("{INDENT}{line}"))?;
            }
        }
    }
    out.flush()
}

const INDENT: &str = "        ";

/// Puts the tables that queries gave into a file.
fn fill_in(path: &str, reports: &[(String, Report)]) -> Result<()> {
    let text = read(Path::new(path))?.text;
    let mut lines: Vec<String> = text.lines().map(ToString::to_string).collect();
    let mut tables: Vec<&(Place, Vec<String>)> = reports.iter().flat_map(|(_, report)| &report.tables).collect();
    tables.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
    // What happens in every test stands in the file once.
    tables.dedup_by_key(|(place, _)| place.start);
    for (place, table) in tables {
        let place = place.start.min(lines.len())..place.end.min(lines.len());
        lines.splice(place, table.iter().cloned());
    }
    std::fs::write(path, lines.join("\n") + "\n").map_err(|e| Error::io(format!("cannot write {path}"), e))
}
