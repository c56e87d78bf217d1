//! Work that is carried to its end, whatever becomes of the one who waits for it.
//!
//! A client that hangs up drops its handler in the middle of an await. What such a handler writes to disk must
//! all the same reach the live table and the scheduler, or memory would stay behind the disk until the next
//! start. Work that nobody leaves costs no task of its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// `work` as a future that, dropped before its end, goes on as a task of `tracker`.
pub(super) fn unbroken<F>(tracker: &TaskTracker, work: F) -> Unbroken<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    Unbroken {
        work: Some(Box::pin(work)),
        tracker: tracker.clone(),
    }
}

/// See [`unbroken`].
pub(super) struct Unbroken<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    /// `None` once it has ended, by a panic included: that is not polled again.
    work: Option<Pin<Box<F>>>,
    tracker: TaskTracker,
}

impl<F> Future for Unbroken<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut work = self.work.take().expect("not polled after its end");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<F> Drop for Unbroken<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        // Without a runtime the process is ending, and the next start reads what is on disk.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let rest = async move {
                work.await;
            };
            self.tracker.spawn_on(rest, &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn goes_on_when_nobody_waits_any_more() {
        let tracker = TaskTracker::new();
        let (release, released) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let work = unbroken(&tracker, async move {
            released.await.unwrap();
            done.send("to its end").unwrap();
        });
        let waited = tokio::time::timeout(Duration::from_millis(1), work).await;
        assert!(waited.is_err(), "it cannot have ended yet");
        release.send(()).unwrap();
        assert_eq!(ended.await, Ok("to its end"));
    }

    #[tokio::test]
    async fn starts_though_it_was_never_waited_for() {
        let tracker = TaskTracker::new();
        let (done, ended) = oneshot::channel();
        drop(unbroken(&tracker, async move { done.send(7) }));
        assert_eq!(ended.await, Ok(7));
    }

    #[tokio::test]
    async fn gives_the_result_without_a_task() {
        let tracker = TaskTracker::new();
        assert_eq!(unbroken(&tracker, async { 5 }).await, 5);
        assert!(tracker.is_empty());
    }
}
