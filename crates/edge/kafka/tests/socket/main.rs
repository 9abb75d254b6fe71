//! The door at its socket, with hand-made requests.

#![allow(clippy::unwrap_used)] // tests

mod client;
mod connections;
mod groups;
mod records;
mod topics;

/// The test cases run where disk reads may block.
pub(crate) fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}
