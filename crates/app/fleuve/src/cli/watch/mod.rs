//! `fleuve watch`: views as they change.

mod pane;
mod screen;

#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fleuve_types::{Error, Result};
use tokio::sync::mpsc;

use super::args::{SortColumn, WatchArgs};
use super::http::Server;
use super::render::Column;
use super::subscription::{Step, Subscription, change_line};
use super::term::Out;
use pane::Pane;
use screen::Screen;

/// Steps that may wait to be drawn.
const QUEUE_STEPS: usize = 4096;
/// The screen is not drawn more often than this.
const FRAME: Duration = Duration::from_millis(100);

/// A step of one of the views.
type Event = (usize, Result<Option<Step>>);

/// `fleuve watch`
pub async fn run(args: WatchArgs) -> Result<ExitCode> {
    let server = Server::find(&args.server);
    let (sender, mut events) = mpsc::channel(QUEUE_STEPS);
    let mut columns = Vec::with_capacity(args.views.len());
    for (index, view) in args.views.iter().enumerate() {
        let subscription = Subscription::open(&server, view).await?;
        columns.push(subscription.columns.clone());
        tokio::spawn(forward(index, subscription, sender.clone()));
    }
    drop(sender);
    let is_terminal = std::io::stdout().is_terminal();
    if !is_terminal && (!args.sort.is_empty() || args.limit.is_some()) {
        eprintln!("note: --sort and --limit are for a terminal; here every change is a line");
    }
    let until = args.seconds.map(|s| Instant::now() + Duration::from_secs(s));
    match is_terminal {
        true => draw(&args, &server, columns, &mut events, until).await,
        false => print_lines(&args, &columns, &mut events, until).await,
    }
}

async fn forward(index: usize, mut subscription: Subscription, sender: mpsc::Sender<Event>) {
    loop {
        let step = subscription.next().await;
        let last = !matches!(step, Ok(Some(_)));
        // Nobody listens any more once the command ends.
        if sender.send((index, step)).await.is_err() || last {
            return;
        }
    }
}

/// Ends at the time, or never.
async fn reached(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

async fn print_lines(
    args: &WatchArgs,
    columns: &[Vec<Column>],
    events: &mut mpsc::Receiver<Event>,
    until: Option<Instant>,
) -> Result<ExitCode> {
    let mut out = Out::new();
    loop {
        let (index, step) = tokio::select! {
            event = events.recv() => match event {
                Some(event) => event,
                None => return Ok(ExitCode::SUCCESS),
            },
            () = reached(until) => {
                out.flush()?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        match step? {
            Some(Step::Change(change)) => {
                let line = change_line(&columns[index], &change, args.format);
                match args.views.len() {
                    1 => out.line(&line)?,
                    _ => out.line(&format!("{} {line}", args.views[index]))?,
                }
            }
            Some(Step::Epoch(_)) => out.flush()?,
            None => return Err(ended(&args.views[index])),
        }
    }
}

async fn draw(
    args: &WatchArgs,
    server: &Server,
    columns: Vec<Vec<Column>>,
    events: &mut mpsc::Receiver<Event>,
    until: Option<Instant>,
) -> Result<ExitCode> {
    let mut panes: Vec<Pane> = Vec::with_capacity(columns.len());
    for (view, columns) in args.views.iter().zip(columns) {
        let order = sort_of(&args.sort, view, &columns)?;
        panes.push(Pane::new(view, columns, order, args.limit));
    }
    let mut heading = vec![format!("{}   Ctrl-C leaves", server.url())];
    heading.extend(args.note.iter().cloned());
    let mut screen = Screen::enter()?;
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some((index, step)) => match step? {
                    Some(Step::Change(change)) => panes[index].change(change.row, change.weight),
                    Some(Step::Epoch(epoch)) => panes[index].epoch(epoch),
                    None => return Err(ended(&args.views[index])),
                },
                None => return Ok(ExitCode::SUCCESS),
            },
            _ = frames.tick() => screen.draw(&heading, &panes)?,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            () = reached(until) => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn ended(view: &str) -> Error {
    Error::new(fleuve_types::ErrorKind::Retry, format!("the server ended the subscription to {view}"))
}

/// The columns to order a view's rows by, the first one first: those named for it, else those named for all.
fn sort_of(sorts: &[SortColumn], view: &str, columns: &[Column]) -> Result<Vec<(usize, bool)>> {
    let specific: Vec<&SortColumn> =
        sorts.iter().filter(|s| s.view.as_deref().is_some_and(|v| v.eq_ignore_ascii_case(view))).collect();
    let general: Vec<&SortColumn> = sorts.iter().filter(|s| s.view.is_none()).collect();
    let mut order = Vec::new();
    for sort in if specific.is_empty() { &general } else { &specific } {
        match columns.iter().position(|c| c.name.eq_ignore_ascii_case(&sort.column)) {
            Some(at) => order.push((at, sort.descending)),
            // A plain --sort is for the views that have the column.
            None if sort.view.is_none() && general.len() > 1 => {}
            None => {
                let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
                return Err(Error::input(format!("{view} has no column {}; it has {}", sort.column, names.join(", "))));
            }
        }
    }
    Ok(order)
}
