//! `fleuve slt`: sqllogictest files, each query as it stands and, if wanted, as a view made before and after the data.

mod address;
mod compare;
mod database;
mod external;
mod foreign;
mod message;
mod parse;
mod run;
mod shell;
mod show;
mod statement;
mod vars;
mod wire;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use fleuve_types::{Error, Result};
use tokio::sync::Semaphore;

use super::args::SltArgs;
use super::on_its_own;
use super::term::{Out, Paint};
use address::Address;
use database::{Database, Server};
use parse::{Record, Wanted};
use run::{Options, Tally, Way};
use vars::Variables;

/// `fleuve slt`
pub async fn run(args: SltArgs) -> Result<ExitCode> {
    let begun = Instant::now();
    let files = files(&args.files)?;
    let ways = match args.as_views {
        true => vec![Way::Plain, Way::Before, Way::After],
        false => vec![Way::Plain],
    };
    let login = match &args.postgres {
        Some(text) => {
            let address: Address = text.parse().unwrap_or_else(|why| {
                // Clap would show the text, which may hold a password.
                let message = format!("the address after --postgres cannot be read, {why}\n");
                clap::Error::raw(clap::error::ErrorKind::ValueValidation, message).exit()
            });
            Some(address.login(|name| std::env::var(name).ok()).map_err(Error::input)?)
        }
        None => None,
    };
    let server = Arc::new(Server::find(login).await?);
    // A running server is one for all files; those of our own are one each.
    let own = matches!(*server, Server::Own);
    let at_once = if own { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    let (turn, ways) = (Arc::new(Semaphore::new(at_once)), Arc::new(ways));
    let options = Arc::new(Options {
        data: args.data.clone().unwrap_or_default(),
        system: args.allow_system,
        strict_errors: args.strict_errors,
    });
    let mut running = vec![];
    for path in files {
        let name = path.display().to_string();
        let (turn, ways, server, options, write) =
            (turn.clone(), ways.clone(), server.clone(), options.clone(), args.write);
        let file = move || async move {
            let _turn = turn.acquire().await.map_err(|e| Error::bug(e.to_string()))?;
            let records = parse::read(&path, server.labels())?;
            let mut tally = Tally::default();
            for way in ways.iter() {
                let mut database = Database::open(&server).await?;
                let mut variables = Variables::new(server.database().to_string());
                let done = run::run(&records, *way, &options, &mut variables, &mut database).await;
                tally.left.extend(database.close().await?);
                tally.add(done?);
            }
            if write {
                fill_in(&path, &records, &tally)?;
            }
            let queries = records.iter().filter(|r| matches!(r.wanted, Wanted::Rows(_))).count();
            Ok::<_, Error>((queries, records.len() - queries, tally))
        };
        running.push((name, on_its_own(file)));
    }
    let (mut all, mut queries, mut statements) = (Tally::default(), 0, 0);
    let (count, mut out, paint) = (running.len(), Out::new(), Paint::stdout());
    for (name, file) in running {
        let (q, s, tally) = match file.await.map_err(|e| Error::bug(format!("a file's run broke off: {e}")))? {
            Ok(done) => done,
            // One file that cannot be read or run does not keep the others.
            Err(e) => (0, 0, Tally { failures: vec![format!("{name}: {e}")], ..Tally::default() }),
        };
        for failure in &tally.failures {
            out.line(&format!("{} {failure}", paint.red("FAIL")))?;
        }
        if !tally.left.is_empty() {
            let left = tally.left.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            out.line(&format!("{name}: new on the server, and left over there: {left}"))?;
        }
        out.flush()?;
        (queries, statements) = (queries + q, statements + s);
        all.add(tally);
    }
    let as_views = if args.as_views { ", as they stand and as views made before and after the data" } else { "" };
    let seconds = begun.elapsed().as_secs_f64();
    out.line(&format!("{queries} queries and {statements} statements of {count} files{as_views}, in {seconds:.1} s"))?;
    if all.uncompared > 0 {
        let errors =
            "expected errors are DataFusion's and told in other words here: that there is an error was compared";
        out.line(&format!("{} {errors}", all.uncompared))?;
    }
    let skipped = told(&mut out, &all)?;
    let (passed, failed) = (all.passed, all.failures.len());
    let skips = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    out.line(&format!("{passed} passed, {failed} failed{skips}"))?;
    out.flush()?;
    let well = args.write || (failed == 0 && (skipped == 0 || !args.deny_skips));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Why records were skipped; their number.
fn told(out: &mut Out, tally: &Tally) -> Result<usize> {
    let mut reasons: Vec<(&String, &usize)> = tally.skipped.iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    if !reasons.is_empty() {
        out.line("skipped:")?;
    }
    for (reason, n) in &reasons {
        out.line(&format!("{n:>6}  {reason}"))?;
    }
    Ok(reasons.iter().map(|(_, n)| **n).sum())
}

/// The files, and those of folders.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut out = vec![];
    for path in paths {
        match path.is_dir() {
            true => collect(path, &mut out)?,
            false => out.push(path.clone()),
        }
    }
    match out.is_empty() {
        true => Err(Error::not_found("there is no .slt file")),
        false => Ok(out),
    }
}

fn collect(folder: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = |e| Error::io(format!("cannot read the folder {}", folder.display()), e);
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths: Vec<PathBuf> = entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(unreadable)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "slt") {
            out.push(path);
        }
    }
    Ok(())
}

/// Puts the rows that were found into the file.
fn fill_in(path: &Path, records: &[Record], tally: &Tally) -> Result<()> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(format!("cannot read {}", path.display()), e))?;
    let mut lines: Vec<String> = text.split('\n').map(Into::into).collect();
    let name = path.display().to_string();
    for record in records.iter().rev().filter(|r| *r.file == *name) {
        let (Wanted::Rows(rows), Some(found)) = (&record.wanted, tally.found.get(&record.key())) else { continue };
        let (first, last) = rows.at;
        match first {
            Some(first) => drop(lines.splice(first..last, found.iter().cloned())),
            None => drop(lines.splice(last..last, std::iter::once("----".into()).chain(found.iter().cloned()))),
        }
    }
    std::fs::write(path, lines.join("\n")).map_err(|e| Error::io(format!("cannot write {}", path.display()), e))
}
