//! The commands. One file each; `args` says what they take, `term` how they write.

mod apply;
mod args;
mod config;
mod consume;
mod exact;
mod http;
mod kafka;
mod produce;
mod render;
mod replay;
mod serve;
mod slt;
mod sql;
mod status;
mod subscription;
mod term;
mod test;
mod topics;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use fleuve_types::{Error, Result};

use args::{Cli, Command};

/// It went wrong; the reason is on standard error. (2 is a wrong command line, and clap's.)
const FAILED: u8 = 1;

/// Reads the command line, runs the command and says how it ended.
pub fn main() -> ExitCode {
    term::quiet_broken_pipe();
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            term::print_error(&error);
            ExitCode::from(FAILED)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Apply(args) => client(apply::run(args)),
        Command::Sql(args) => client(sql::run(args)),
        Command::Watch(args) => client(watch::run(args)),
        Command::Verify(args) => client(verify::run(args)),
        Command::Replay(args) => client(replay::run(args)),
        Command::Produce(args) => client(produce::run(args)),
        Command::Consume(args) => client(consume::run(args)),
        Command::Topics(args) => client(topics::run(args)),
        Command::Status(args) => client(status::run(args)),
        Command::Test(args) => in_process(test::run(args)),
        Command::Slt(args) => in_process(slt::run(args)),
    }
}

/// The threads that servers run on: they plan, too.
fn threads() -> tokio::runtime::Builder {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.enable_all().thread_stack_size(fleuve_engine::STACK_BYTES);
    threads
}

/// Runs a client command on one thread: it mostly waits.
fn client(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::io("cannot start the command", e))?;
    let result = runtime.block_on(command);
    // A prompt that still reads from the terminal must not keep the process.
    runtime.shutdown_background();
    result
}

/// Runs a command that has servers in this process. Ctrl-C ends it, and their folders go.
fn in_process(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = threads().build().map_err(|e| Error::io("cannot start the command", e))?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = command => result,
            _ = tokio::signal::ctrl_c() => Err(Error::input("interrupted")),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// Runs something beside everything else, on a thread of its own: a future that starts a server cannot move between threads.
fn on_its_own<F: Future>(work: impl FnOnce() -> F + Send + 'static) -> tokio::task::JoinHandle<F::Output>
where
    F::Output: Send + 'static,
{
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work()))
}
