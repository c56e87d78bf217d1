//! Many pieces of work in one task, a few milliseconds at a time.
//!
//! A piece may take a millisecond before it first waits for anything, and there may be a thousand of them: in one go
//! they would hold a worker thread for seconds, and with it whoever waits for that thread. So after some time the task
//! goes to the end of the queue, and then goes on where it stopped. Only pieces that were woken are looked at.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How long a thread is held before others get their turn: far below what a client, the scheduler or the watchdog
/// would notice, and long enough that the change from one task to another costs nothing beside it.
const TURN_MAX: Duration = Duration::from_millis(4);

/// Who wakes the whole when a piece can go on.
type Task = Arc<Mutex<Waker>>;

struct Call {
    /// Whether the piece is to be looked at.
    is_due: AtomicBool,
    task: Task,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // First this, then the task's waker: a turn stores its waker, and then looks who is due.
        self.is_due.store(true, Ordering::SeqCst);
        let task = self.task.lock().expect("no holder of this lock panics");
        task.wake_by_ref();
    }
}

struct Piece<F: Future> {
    /// `None` once it has ended.
    work: Option<Pin<Box<F>>>,
    result: Option<F::Output>,
    call: Arc<Call>,
    waker: Waker,
}

impl<F: Future> Piece<F> {
    fn new(work: F, task: &Task) -> Self {
        let call = Arc::new(Call {
            is_due: AtomicBool::new(true),
            task: Arc::clone(task),
        });
        Self {
            work: Some(Box::pin(work)),
            result: None,
            waker: Waker::from(Arc::clone(&call)),
            call,
        }
    }

    /// Goes on with it if it was woken; gives whether it has ended by this.
    fn go_on(&mut self) -> bool {
        let Some(work) = &mut self.work else {
            return false;
        };
        if !self.call.is_due.swap(false, Ordering::SeqCst) {
            return false;
        }
        let Poll::Ready(value) = work.as_mut().poll(&mut Context::from_waker(&self.waker)) else {
            return false;
        };
        (self.work, self.result) = (None, Some(value));
        true
    }
}

/// Runs all to their end side by side; results in the given order. The caller bounds how many there are.
pub(super) async fn together<F: Future>(work: impl Iterator<Item = F>) -> Vec<F::Output> {
    let task: Task = Arc::new(Mutex::new(Waker::noop().clone()));
    let mut pieces: Vec<Piece<F>> = work.map(|work| Piece::new(work, &task)).collect();
    let (mut left, mut next) = (pieces.len(), 0);
    std::future::poll_fn(|context| {
        task.lock()
            .expect("no holder of this lock panics")
            .clone_from(context.waker());
        let until = Instant::now() + TURN_MAX;
        for _ in 0..pieces.len() {
            let Some(piece) = pieces.get_mut(next) else {
                break;
            };
            left -= usize::from(piece.go_on());
            next += 1;
            if next == pieces.len() {
                next = 0;
            }
            if left > 0 && Instant::now() >= until {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        match left {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    pieces
        .into_iter()
        .filter_map(|piece| piece.result)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::oneshot;

    use super::*;

    /// Holds the thread, as matching does.
    fn busy(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {}
    }

    #[tokio::test]
    async fn others_on_the_thread_get_their_turn_while_a_thousand_pieces_are_begun() {
        let piece_time = Duration::from_micros(200);
        let (begun, all_done) = (Cell::new(0_usize), Cell::new(false));
        let piece = |number: usize| {
            let begun = &begun;
            async move {
                busy(piece_time);
                begun.set(begun.get() + 1);
                tokio::task::yield_now().await;
                number
            }
        };
        let batch = async {
            let results = together((0..1000).map(piece)).await;
            all_done.set(true);
            results
        };
        let other = async {
            let mut most_at_once = 0;
            while !all_done.get() {
                let before = begun.get();
                tokio::task::yield_now().await;
                most_at_once = most_at_once.max(begun.get() - before);
            }
            most_at_once
        };
        let (results, most_at_once) = tokio::join!(batch, other);
        assert_eq!(results, (0..1000).collect::<Vec<_>>());
        // 4 ms hold 20 such pieces, fewer on a busy machine; between two looks there may be two turns.
        assert!(
            most_at_once <= 42,
            "{most_at_once} before others had their turn"
        );
    }

    #[tokio::test]
    async fn a_piece_that_waits_is_looked_at_only_when_it_is_woken() {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..100).map(|_| oneshot::channel::<usize>()).unzip();
        let looks = Cell::new(0);
        let piece = |mut receiver: oneshot::Receiver<usize>| {
            let looks = &looks;
            std::future::poll_fn(move |context| {
                looks.set(looks.get() + 1);
                Pin::new(&mut receiver).poll(context)
            })
        };
        let batch = together(receivers.into_iter().map(piece));
        let answers = async {
            // The last is answered first, and each on its own.
            for (number, sender) in senders.into_iter().enumerate().rev() {
                sender.send(number).unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (results, ()) = tokio::join!(batch, answers);
        let results: Vec<usize> = results.into_iter().map(Result::unwrap).collect();
        assert_eq!(results, (0..100).collect::<Vec<_>>());
        assert_eq!(looks.get(), 200);
    }

    #[tokio::test]
    async fn nothing_to_do_ends_at_once() {
        let none: Vec<()> = together(std::iter::empty::<std::future::Ready<()>>()).await;
        assert!(none.is_empty());
    }
}
