//! What the store answers, or does not, when calls to the disk fail.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::stepped::Machine;
use super::*;
use crate::journal::Faults;

fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

#[test]
fn a_delivery_that_cannot_be_read_is_not_called_unknown() {
    let machine = Machine::new(1, UnixMillis(1_700_000_000_000));
    let mut store = machine
        .open(&options(Path::new("/model")), &Metrics::new(), false)
        .unwrap();
    let writer = store.writer.clone();
    let mut put = pin!(writer.put_webhook(webhook(1), None));
    let mut accepted = pin!(writer.accept(new_event("one", "{}", &[1])));
    assert!(poll(put.as_mut()).is_none() && poll(accepted.as_mut()).is_none());
    store.step(usize::MAX).unwrap();
    let Some(Ok(Accepted::New { event, .. })) = poll(accepted.as_mut()) else {
        panic!("the event was not taken");
    };
    let mut requeued = pin!(writer.requeue(WebhookId(1), event));
    assert!(poll(requeued.as_mut()).is_none());
    machine.disk.set_faults(Faults {
        reads: 1_000_000,
        ..Faults::default()
    });
    assert!(store.step(usize::MAX).is_err());
    let answer = poll(requeued.as_mut());
    assert!(
        matches!(answer, Some(Err(WriteError::Failed(_)))),
        "{answer:?}"
    );
}

#[test]
fn steady_time_outlives_every_segment_even_without_a_webhook() {
    let start = UnixMillis(1_700_000_000_000);
    let machine = Machine::new(1, start);
    let small = Options {
        segment_bytes_max: 500,
        ..options(Path::new("/model"))
    };
    let open = || machine.open(&small, &Metrics::new(), false).unwrap();
    let mut store = open();
    let writer = store.writer.clone();
    machine.time.pass(3_600_000);
    for number in 0..16 {
        let mut accepted = pin!(writer.accept(new_event(&format!("e{number}"), "{}", &[])));
        assert!(poll(accepted.as_mut()).is_none());
        store.step(usize::MAX).unwrap();
        assert!(matches!(poll(accepted.as_mut()), Some(Ok(_))));
    }
    let (_, recorded) = store.recorded();
    assert!(recorded.0 >= start.0 + 3_600_000);
    let mut deleted = pin!(writer.delete_through(u32::MAX));
    assert!(poll(deleted.as_mut()).is_none());
    store.step(usize::MAX).unwrap();
    assert!(matches!(poll(deleted.as_mut()), Some(Ok(1..))));
    drop(store);
    machine.gone(true, &mut crate::model::rng::Rng(1));
    machine.table.ruin();
    machine.time.set_wall(start);
    let store = open();
    assert!(store.report.moved_aside.is_some());
    assert!(store.clock.steady() >= recorded);
}
