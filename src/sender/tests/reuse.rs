//! Idle connections: used again, bounded, expired, and replaced when they turn out to be closed.

use super::*;

#[tokio::test]
async fn an_open_connection_is_used_again() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::text(200, "ok")).await;
    for number in 1..=5 {
        let sent = bench.send(&receiver.url("/")).await;
        assert_eq!(sent.outcome, Outcome::Status(200));
        let reused = number > 1;
        assert_eq!(sent.phases.connect_us.is_none(), reused);
        assert_eq!(sent.phases.tls_us.is_none(), reused);
        assert!(sent.phases.first_byte_us.is_some());
    }
    assert_eq!(receiver.connections_count(), 1);
    assert_eq!(bench.metrics.connections_opened.get(), 1);
    assert_eq!(bench.metrics.connections_reused.get(), 4);
}

#[tokio::test]
async fn failed_answers_keep_their_connection() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::text(500, "later")).await;
    for _ in 0..3 {
        assert_eq!(
            bench.send(&receiver.url("/")).await.outcome,
            Outcome::Status(500)
        );
    }
    assert_eq!(receiver.connections_count(), 1);
}

#[tokio::test]
async fn connections_are_not_shared_between_hosts_or_ports() {
    let bench = Bench::with_names(&[("a.example", &["127.0.0.1"]), ("b.example", &["127.0.0.1"])]);
    let identity = bench.authority.issue(&["a.example", "b.example"]).unwrap();
    let receiver = Receiver::local(&identity, |_| async { Answer::status(200) })
        .await
        .unwrap();
    let port = receiver.address().port();
    for host in ["a.example", "b.example", "A.example", "b.EXAMPLE"] {
        let sent = bench.send(&format!("https://{host}:{port}/")).await;
        assert_eq!(sent.outcome, Outcome::Status(200));
    }
    assert_eq!(receiver.connections_count(), 2);
}

#[tokio::test]
async fn a_host_keeps_no_more_than_its_share() {
    let bench = Bench::with(|options| options.idle_per_host_max = 2, None);
    let receiver = bench.receiver(Answer::status(200)).await;
    let url = receiver.url("/");
    let all = (0..6).map(|_| bench.send(&url));
    for sent in join_all(all).await {
        assert_eq!(sent.outcome, Outcome::Status(200));
    }
    assert!(bench.sender.shared.pool.idle() <= 2);

    let none = Bench::with(|options| options.idle_per_host_max = 0, None);
    let receiver = none.receiver(Answer::status(200)).await;
    for _ in 0..2 {
        assert_eq!(
            none.send(&receiver.url("/")).await.outcome,
            Outcome::Status(200)
        );
    }
    assert_eq!(receiver.connections_count(), 2);
    assert_eq!(none.sender.shared.pool.idle(), 0);
}

/// Polls futures together to their ends.
async fn join_all<F: Future<Output = Sent>>(futures: impl Iterator<Item = F>) -> Vec<Sent> {
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    let mut ended = Vec::new();
    std::future::poll_fn(|cx| {
        running.retain_mut(|future| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(sent) => {
                ended.push(sent);
                false
            }
            std::task::Poll::Pending => true,
        });
        if running.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    ended
}

#[tokio::test]
async fn a_request_that_met_a_closed_connection_goes_once_more() {
    let bench = Bench::new();
    let receiver = bench
        .scripted(|number| match number {
            2 => Answer::close(),
            4 => Answer::reset(),
            6 => Answer::Script(vec![Step::Truncate]),
            _ => Answer::text(200, "ok"),
        })
        .await;
    for _ in 0..4 {
        let sent = bench.send(&receiver.url("/")).await;
        assert_eq!(sent.outcome, Outcome::Status(200));
    }
    // The first request, and three that came twice.
    assert_eq!(receiver.requests_count(), 7);
    assert_eq!(receiver.connections_count(), 4);
    let bodies: Vec<Bytes> = receiver.requests().into_iter().map(|r| r.body).collect();
    assert!(bodies.iter().all(|body| body == &bodies[0]));
}

#[tokio::test]
async fn it_goes_no_third_time() {
    let bench = Bench::new();
    let receiver = bench
        .scripted(|number| match number {
            1 => Answer::status(200),
            _ => Answer::close(),
        })
        .await;
    assert_eq!(
        bench.send(&receiver.url("/")).await.outcome,
        Outcome::Status(200)
    );
    let sent = bench.send(&receiver.url("/")).await;
    assert_fault(&sent, FaultKind::Reset, "before it answered");
    assert_eq!(receiver.requests_count(), 3);
}

#[tokio::test]
async fn a_request_with_a_byte_of_an_answer_does_not_go_again() {
    let bench = Bench::new();
    let receiver = bench
        .scripted(|number| match number {
            1 => Answer::status(200),
            _ => Answer::raw("H"),
        })
        .await;
    assert_eq!(
        bench.send(&receiver.url("/")).await.outcome,
        Outcome::Status(200)
    );
    let sent = bench.send(&receiver.url("/")).await;
    assert_fault(&sent, FaultKind::Reset, "in the middle");
    assert_eq!(receiver.requests_count(), 2);
}

#[tokio::test]
async fn the_second_try_has_what_is_left_of_the_deadline() {
    let bench = Bench::new();
    let receiver = bench
        .scripted(|number| match number {
            1 => Answer::status(200),
            2 => Answer::Script(vec![Step::Pause(SHORT / 2)]),
            _ => Answer::hang(),
        })
        .await;
    assert_eq!(
        bench.send(&receiver.url("/")).await.outcome,
        Outcome::Status(200)
    );
    assert_timeout(&bench, &receiver.url("/"), "waiting for the answer").await;
    assert_eq!(receiver.requests_count(), 3);
}

#[tokio::test]
async fn a_connection_that_its_receiver_closed_is_not_taken() {
    let bench = Bench::new();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let receiver = bench.receiver(Answer::raw(answer)).await;
    for number in 1..=3 {
        let sent = bench.send(&receiver.url("/")).await;
        assert_eq!(sent.outcome, Outcome::Status(200));
        assert_eq!(receiver.connections_count(), number);
    }
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let send = Step::Send(Bytes::from_static(closing.as_bytes()));
    let receiver = bench.receiver(Answer::Script(vec![send, Step::Hold])).await;
    for number in 1..=2 {
        assert_eq!(
            bench.send(&receiver.url("/")).await.outcome,
            Outcome::Status(200)
        );
        assert_eq!(receiver.connections_count(), number);
    }
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    let bench = Bench::with(
        |options| options.idle_timeout = Duration::from_millis(100),
        None,
    );
    let receiver = bench.receiver(Answer::status(200)).await;
    for round in 1..=2 {
        assert_eq!(
            bench.send(&receiver.url("/")).await.outcome,
            Outcome::Status(200)
        );
        until("the pool is empty", || bench.sender.shared.pool.idle() == 0).await;
        assert_eq!(receiver.connections_count(), round);
    }
    // Both connections' tasks and both sweeps end by themselves.
    until("no task is left", || bench.sender.shared.tasks.is_empty()).await;
}

#[tokio::test]
async fn closing_ends_what_is_idle_and_keeps_nothing_more() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::status(200)).await;
    assert_eq!(
        bench.send(&receiver.url("/")).await.outcome,
        Outcome::Status(200)
    );
    assert_eq!(bench.sender.shared.pool.idle(), 1);
    tokio::time::timeout(AMPLE, bench.sender.close())
        .await
        .unwrap();
    assert_eq!(bench.sender.shared.pool.idle(), 0);
    assert!(bench.sender.shared.tasks.is_empty());
    // A request that was still to come is served, and its connection is not kept.
    assert_eq!(
        bench.send(&receiver.url("/")).await.outcome,
        Outcome::Status(200)
    );
    assert_eq!(bench.sender.shared.pool.idle(), 0);
    tokio::time::timeout(AMPLE, receiver.stop()).await.unwrap();
}

#[tokio::test]
async fn a_dropped_request_closes_its_connection() {
    let bench = Bench::new();
    let receiver = bench.receiver(Answer::hang()).await;
    let url = receiver.url("/");
    tokio::select! {
        sent = bench.send(&url) => panic!("answered: {}", sent.outcome),
        () = receiver.wait_for_requests(1) => {}
    }
    until("no task is left", || bench.sender.shared.tasks.is_empty()).await;
    assert_eq!(bench.sender.shared.pool.idle(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_requests_at_once_all_arrive_once() {
    const LANES: u64 = 16;
    const EACH: u64 = 50;
    let bench = Bench::with(|options| options.idle_per_host_max = 16, None);
    let receiver = bench.receiver(Answer::text(200, "ok")).await;
    let tasks = TaskTracker::new();
    let lanes: Vec<_> = (0..LANES)
        .map(|_| {
            let (sender, url) = (bench.sender.clone(), receiver.url("/"));
            tasks.spawn(async move {
                for _ in 0..EACH {
                    let sent = sender.send(request(&url, AMPLE)).await;
                    assert_eq!(sent.outcome, Outcome::Status(200));
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let (opened, reused) = (
        bench.metrics.connections_opened.get(),
        bench.metrics.connections_reused.get(),
    );
    assert_eq!(receiver.requests_count(), LANES * EACH);
    assert_eq!(opened + reused, LANES * EACH);
    assert_eq!(opened, receiver.connections_count());
    // A connection is ready again before its lane asks for one: none is opened without need.
    assert!(opened <= LANES, "{opened} connections for {LANES} lanes");
}
