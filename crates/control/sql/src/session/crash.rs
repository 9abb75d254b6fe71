//! A panic on the way of a statement is that statement's error: nothing that was answered stands for the whole.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use fleuve_types::{Error, Result};
use futures::{FutureExt, Stream, StreamExt};

/// Runs `work`; a panic in it is its error.
pub(super) async fn guarded<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Err(crashed(panic.as_ref())))
}

/// Rows that end with an error where making them panics.
pub(super) fn guarded_rows<T>(rows: impl Stream<Item = Result<T>>) -> impl Stream<Item = Result<T>> {
    AssertUnwindSafe(rows).catch_unwind().map(|item| item.unwrap_or_else(|panic| Err(crashed(panic.as_ref()))))
}

fn crashed(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Error::bug(format!("the statement crashed: {text}"))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let failed = guarded::<()>(async { panic!("of one") }).await.unwrap_err();
        assert!(failed.message.contains("the statement crashed: of one"), "{failed}");
        let numbers = futures::stream::iter([1, 2, 3]).map(|n| if n == 2 { panic!("at {n}") } else { Ok(n) });
        let told: Vec<_> = guarded_rows(numbers).collect().await;
        assert!(matches!(&told[..], [Ok(1), Err(e)] if e.message.contains("crashed: at 2")), "{told:?}");
    }
}
