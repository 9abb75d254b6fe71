//! A log without threads: writer and mover do their work in the calls of those who wait for it. Then nothing depends on how
//! threads happen to run, and a simulation can repeat it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::log::Running;
use crate::mover::Mover;
use crate::writer::Writer;

/// The two, one at a time.
#[derive(Debug)]
pub(crate) struct Stepped(Mutex<(Writer, Mover)>);

impl Stepped {
    pub(crate) fn new(writer: Writer, mover: Mover) -> Self {
        Self(Mutex::new((writer, mover)))
    }

    /// Writes what is queued.
    pub(crate) fn write(&self) {
        self.0.lock().0.write_queued();
    }

    /// Does one piece of the mover's work; false when there is none, or it failed.
    pub(crate) fn move_one(&self) -> bool {
        self.0.lock().1.step()
    }
}

/// An answer of the writer. Of a log without threads, to wait for it is to make it: in the second poll, so that all who queue
/// side by side come into one group.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    answer: oneshot::Receiver<T>,
    running: Option<Arc<Running>>,
    was_polled: bool,
}

impl<T> Answer<T> {
    pub(crate) fn new(answer: oneshot::Receiver<T>, running: &Arc<Running>) -> Self {
        let running = running.stepped.is_some().then(|| running.clone());
        Self { answer, running, was_polled: false }
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, oneshot::error::RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(stepped) = this.running.as_ref().and_then(|r| r.stepped.as_ref()) {
            if !this.was_polled {
                this.was_polled = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            stepped.write();
        }
        Pin::new(&mut this.answer).poll(cx)
    }
}
