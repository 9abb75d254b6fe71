//! `fleuve test`: the tests of a project's SQL. Each runs in a server of its own in this process.

mod file;
mod report;
mod run;
mod table;

#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use fleuve_sql::ProjectFile;
use fleuve_types::{Error, Result};
use futures::future::{BoxFuture, FutureExt, ready};
use tokio::sync::Semaphore;

use super::apply::{TESTS, project, read, sql_files};
use super::args::{TestArgs, TestFormat};
use super::on_its_own;
use super::render::TableStyle;
use super::term::{self, Out, Paint};
use file::Test;
use run::Report;
use table::Place;

/// What a file that cannot be read fails in.
const READING: &str = "the file is read";

/// A test that runs, with its name.
type Running = (String, BoxFuture<'static, Result<Report>>);

/// `fleuve test`
pub async fn run(args: TestArgs) -> Result<ExitCode> {
    let begun = Instant::now();
    let files = test_files(&args)?;
    let project: Arc<[ProjectFile]> = project(&args.dir)?.into();
    // Each test has threads of its own, and waits for the disk as much as it computes.
    let turn = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
    let running: Vec<(String, Vec<Running>)> = files
        .into_iter()
        .map(|(path, tests)| {
            let running = match tests {
                Ok(tests) => tests.into_iter().map(|test| start(&project, test, &turn, args.write)).collect(),
                Err(e) => vec![(READING.to_string(), ready(Ok(Report::unreadable(&path, e))).boxed())],
            };
            (path, running)
        })
        .collect();
    let (mut done, mut written, mut out) = (vec![], vec![], Out::new());
    for (path, tests) in running {
        let mut reports = vec![];
        if args.format == TestFormat::Text {
            out.line(&path)?;
        }
        for (name, report) in tests {
            let report = report.await?;
            if args.format == TestFormat::Text {
                print(&mut out, &name, &report)?;
            }
            reports.push((name, report));
        }
        match fill_in(&path, &reports)? {
            0 => {}
            1 => written.push(format!("{path}: 1 table written")),
            n => written.push(format!("{path}: {n} tables written")),
        }
        done.push((path, reports));
    }
    let all = done.iter().flat_map(|(_, tests)| tests);
    let (count, failed) = (all.clone().count(), all.filter(|(_, report)| report.failure.is_some()).count());
    match args.format {
        TestFormat::Junit => {
            out.bytes(report::junit(&done).as_bytes())?;
            // For the person who watches, not for the program that reads the results.
            written.iter().for_each(|line| drop(writeln!(std::io::stderr(), "{line}")));
        }
        TestFormat::Text => {
            written.iter().try_for_each(|line| out.line(line))?;
            out.line(&format!("{} passed, {failed} failed in {:.1} s", count - failed, begun.elapsed().as_secs_f64()))?;
        }
    }
    out.flush()?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Starts a test; it runs when it is its turn.
fn start(project: &Arc<[ProjectFile]>, test: Test, turn: &Arc<Semaphore>, write: bool) -> Running {
    let (project, turn, name) = (project.clone(), turn.clone(), test.name.clone());
    let task = on_its_own(move || async move {
        let _turn = turn.acquire().await.map_err(|e| Error::bug(e.to_string()))?;
        run::run(&project, &test, write).await
    });
    let of = name.clone();
    let report = async move { task.await.map_err(|e| Error::bug(format!("the test '{of}' broke off: {e}")))? };
    (name, report.boxed())
}

/// The files with the tests that are wanted, or why they cannot be read.
fn test_files(args: &TestArgs) -> Result<Vec<(String, Result<Vec<Test>>)>> {
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
    let files: Vec<_> = paths.iter().filter_map(|path| tests_of(path, args.only.as_deref())).collect();
    match files.is_empty() {
        true => Err(Error::not_found("no test has that name")),
        false => Ok(files),
    }
}

/// The tests of a file whose name or file holds a text; `None` if there are none. Of a file that cannot be read, what stands in it tells
/// whether there would be.
fn tests_of(path: &Path, only: Option<&str>) -> Option<(String, Result<Vec<Test>>)> {
    let is_wanted = |text: &str| only.is_none_or(|only| text.contains(only));
    let name = path.display().to_string();
    let file = match read(path) {
        Ok(file) => file,
        Err(e) => return Some((name, Err(e))),
    };
    let tests = file::read(&file);
    if is_wanted(&name) {
        return Some((name, tests));
    }
    match tests {
        Ok(mut tests) => {
            tests.retain(|test| is_wanted(&test.name));
            (!tests.is_empty()).then_some((name, Ok(tests)))
        }
        Err(e) => is_wanted(&file.text).then_some((name, Err(e))),
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

/// Puts the tables that are to be written into a file; gives their number.
fn fill_in(path: &str, reports: &[(String, Report)]) -> Result<usize> {
    if reports.iter().all(|(_, report)| report.tables.is_empty()) {
        return Ok(0);
    }
    let text = read(Path::new(path))?.text;
    let mut lines: Vec<String> = text.lines().map(ToString::to_string).collect();
    let mut tables: Vec<&(Place, Vec<String>)> = reports.iter().flat_map(|(_, report)| &report.tables).collect();
    tables.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
    // What happens in every test stands in the file once.
    tables.dedup_by_key(|(place, _)| place.start);
    let count = tables.len();
    for (place, table) in tables {
        let place = place.start.min(lines.len())..place.end.min(lines.len());
        lines.splice(place, table.iter().cloned());
    }
    std::fs::write(path, lines.join("\n") + "\n").map_err(|e| Error::io(format!("cannot write {path}"), e))?;
    Ok(count)
}
