//! Webhooks whose requests carry an access token: how it is got, kept, renewed, and never shown.

mod fields;
mod party;

use std::time::Duration;

use crate::client::Client;
use bytes::Bytes;
use hookwheel::receiver::Answer;
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Daemon, Site, delivery, delivery_in, get, post, post_all, registered, until};
use crate::web::{Web, header};
use party::{
    Gate, Issuer, SECRET, assert_hidden, assert_hides, assert_not_on_disk, bearer, json_answer,
    token,
};

/// A token endpoint, a receiver that asks for its tokens, and a daemon with a client of its API.
async fn ground(site: &Site) -> (Issuer, Gate, Daemon, Client) {
    let issuer = Issuer::start(&site.authority).await;
    let gate = Gate::start(&site.authority).await;
    let daemon = site.start();
    let client = daemon.client("standard");
    (issuer, gate, daemon, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_once_for_many_deliveries_and_never_shown() {
    // The cap of what is kept of receivers' answers is another one than a token endpoint's.
    let site = Site::new(&["standard"]).with("[delivery]\nresponse_body_max = \"0B\"\n");
    let (issuer, gate, daemon, mut client) = ground(&site).await;
    let mut oauth2 = issuer.oauth2();
    oauth2["scope"] = json!("hooks:write hooks:read");
    oauth2["audience"] = json!("https://api.example.com");
    let body = json!({ "url": gate.url(), "oauth2": oauth2 });
    let first = registered(&mut client, body.clone()).await;
    // Another webhook that asks in the same way shares the token.
    let second = registered(&mut client, body).await;
    let events = post_all(&mut client, "a", (0..100).map(Value::from)).await;
    for id in [&first, &second] {
        for event in &events {
            delivery_in(&mut client, id, event, "delivered").await;
        }
    }
    assert_eq!((issuer.asked(), gate.count()), (1, 200));
    assert!(gate.given().iter().all(|given| *given == bearer(1)));

    let request = &issuer.requests()[0];
    assert_eq!(request.method, Method::POST);
    assert_eq!(header(request, "accept"), "application/json");
    let content_type = header(request, "content-type");
    assert_eq!(content_type, "application/x-www-form-urlencoded");
    let (authorization, form) = issuer.last();
    // hook+wheel:cs-7Yq0-hidden
    assert_eq!(authorization, "Basic aG9vayt3aGVlbDpjcy03WXEwLWhpZGRlbg==");
    assert_eq!(
        form,
        "grant_type=client_credentials&scope=hooks%3Awrite+hooks%3Aread&audience=https%3A%2F%2Fapi.example.com"
    );

    let shown = delivery(&mut client, &first, &events[0]).await;
    let headers = shown["attempts"][0]["request_headers"].to_string();
    assert!(!headers.to_lowercase().contains("authorization"), "{shown}");
    let test = format!("/api/v1/webhooks/{first}/test");
    let tested = client.call(Method::POST, &test, None).await.unwrap();
    assert_eq!(tested.body["delivered"], true, "{}", tested.body);
    assert_hides("a test", &tested.body.to_string());
    let paths = [
        format!("/api/v1/webhooks/{first}"),
        "/api/v1/webhooks".to_owned(),
        format!("/api/v1/webhooks/{first}/deliveries"),
        format!("/api/v1/webhooks/{first}/deliveries/{}", events[0]),
        format!("/api/v1/events/{}/explain", events[0]),
        "/metrics".to_owned(),
    ];
    assert_hidden(&daemon, &mut client, &paths).await;
    assert!(daemon.terminate().success());
    assert_not_on_disk(&site.path("data"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_hangs_is_asked_once_and_holds_up_no_other_webhook() {
    let site = Site::new(&["standard"]);
    let (issuer, gate) = (
        Issuer::start(&site.authority).await,
        Gate::start(&site.authority).await,
    );
    let web = Web::start(&site.authority, |_| 200).await;
    issuer.answer(Answer::hang());
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({ "url": gate.url(), "timeout": "2m", "oauth2": issuer.oauth2() });
    registered(&mut client, body).await;
    let other = registered(&mut client, json!({ "url": web.url("/") })).await;
    let events = post_all(&mut client, "a", (0..100).map(Value::from)).await;
    for event in &events {
        delivery_in(&mut client, &other, event, "delivered").await;
    }
    until("it is asked", async || (issuer.asked() > 0).then_some(())).await;
    assert_eq!((issuer.asked(), gate.count()), (1, 0));
    let failed = metric(&mut client, "attempts_total{outcome=\"token\"}").await;
    assert_eq!(failed, 0, "they still wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_never_share_a_token() {
    let site = Site::new(&["standard", "driftlock"]);
    let (issuer, gate) = (
        Issuer::start(&site.authority).await,
        Gate::start(&site.authority).await,
    );
    let daemon = site.start();
    for (number, account, event_type) in [
        (1, "standard", "anomaly.detected"),
        (2, "driftlock", "anomaly.detected"),
    ] {
        let mut client = daemon.client(account);
        let body = json!({ "url": gate.url(), "events": [event_type], "oauth2": issuer.oauth2() });
        let id = registered(&mut client, body).await;
        for _ in 0..2 {
            let event = post(&mut client, event_type, json!({})).await;
            delivery_in(&mut client, &id, &event, "delivered").await;
            assert_eq!(gate.given().last().unwrap(), &bearer(number), "{account}");
        }
    }
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_its_end_and_when_its_receiver_refuses_it() {
    let site = Site::new(&["standard"]);
    let (issuer, gate) = (
        Issuer::start(&site.authority).await,
        Gate::start(&site.authority).await,
    );
    issuer.issue(2);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body = json!({
        "url": gate.url(), "retry": { "delays": ["50ms", "50ms"] }, "oauth2": issuer.oauth2(),
    });
    let id = registered(&mut client, body).await;
    let begun = Instant::now();
    until("the second token is sent", async || {
        let event = post(&mut client, "a", json!({})).await;
        delivery_in(&mut client, &id, &event, "delivered").await;
        (gate.given().last() == Some(&bearer(2))).then_some(())
    })
    .await;
    assert!(
        begun.elapsed() >= Duration::from_millis(1_700),
        "it lives for two seconds"
    );

    issuer.issue(3600);
    until("one that lasts is sent", async || {
        let event = post(&mut client, "a", json!({})).await;
        delivery_in(&mut client, &id, &event, "delivered").await;
        (issuer.asked() == 3).then_some(())
    })
    .await;
    gate.revoke(3);
    let sent = gate.count();
    let event = post(&mut client, "a", json!({})).await;
    let shown = delivery_in(&mut client, &id, &event, "delivered").await;
    let attempts = shown["attempts"].as_array().unwrap();
    let statuses: Vec<&Value> = attempts.iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!(statuses, [&json!(401), &json!(200)]);
    assert_eq!(gate.given()[sent..], [bearer(3), bearer(4)]);
    assert_eq!(issuer.asked(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_every_token_is_not_a_storm_at_the_token_endpoint() {
    let site = Site::new(&["standard"]);
    let issuer = Issuer::start(&site.authority).await;
    let web = Web::start(&site.authority, |_| 401).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let body =
        json!({ "url": web.url("/"), "retry": { "delays": ["10ms"] }, "oauth2": issuer.oauth2() });
    let id = registered(&mut client, body).await;
    let events = post_all(&mut client, "a", (0..50).map(Value::from)).await;
    for event in &events {
        delivery_in(&mut client, &id, event, "failed").await;
    }
    assert_eq!(web.count(), 100);
    // The first, one for each of three that were dropped, and one or two where this took more than half a minute.
    assert!(
        (4..=6).contains(&issuer.asked()),
        "asked {} times",
        issuer.asked()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_endpoint_is_left_alone_costs_others_nothing_and_all_comes_when_it_is_back() {
    let site = Site::new(&["standard"]);
    let (issuer, gate) = (
        Issuer::start(&site.authority).await,
        Gate::start(&site.authority).await,
    );
    let web = Web::start(&site.authority, |_| 200).await;
    let daemon = site.start();
    let mut client = daemon.client("standard");
    let error = json!({ "error": "invalid_client", "error_description": format!("not {SECRET}") });
    issuer.answer(json_answer(401, &error));
    let delays: Vec<&str> = std::iter::repeat_n("100ms", 10).collect();
    let body = json!({
        "url": gate.url(), "events": ["a"], "retry": { "delays": delays }, "oauth2": issuer.oauth2(),
    });
    let id = registered(&mut client, body).await;
    let other = registered(&mut client, json!({ "url": web.url("/"), "events": ["a"] })).await;
    let events = post_all(&mut client, "a", (0..60).map(Value::from)).await;
    for event in &events {
        delivery_in(&mut client, &other, event, "delivered").await;
    }
    let attempts = until("some attempts failed", async || {
        let count = metric(&mut client, "attempts_total{outcome=\"token\"}").await;
        (count >= 6).then_some(count)
    })
    .await;
    // Those that began side by side asked once.
    assert!(
        issuer.asked() < attempts,
        "{} of {attempts}",
        issuer.asked()
    );
    assert_eq!(gate.count(), 0, "nothing is sent without a token");
    // The oldest goes first.
    let tried = &events[0];
    assert_told(&mut client, &id, tried).await;

    issuer.issue(3600);
    // By hand, so the lane's gap is not waited for.
    let again = format!("/api/v1/webhooks/{id}/deliveries/{tried}/retry");
    until("it is sent again", async || {
        let answer = client.call(Method::POST, &again, None).await.unwrap();
        assert!(
            [202, 409].contains(&answer.status.as_u16()),
            "{}",
            answer.body
        );
        let shown = delivery(&mut client, &id, tried).await;
        (shown["state"] == "delivered").then_some(())
    })
    .await;
    for event in &events {
        delivery_in(&mut client, &id, event, "delivered").await;
    }
    let paths = [
        format!("/api/v1/webhooks/{id}/deliveries/{tried}"),
        format!("/api/v1/events/{tried}/explain"),
    ];
    assert_hidden(&daemon, &mut client, &paths).await;
}

/// The log and the explanation tell why there was no token, and nothing of what the endpoint said besides.
async fn assert_told(client: &mut Client, id: &str, event: &str) {
    let shown = until("it was tried", async || {
        let shown = delivery(client, id, event).await;
        let attempts = shown["attempts"].as_array().unwrap().len();
        (attempts > 0).then_some(shown)
    })
    .await;
    let outcome = &shown["attempts"][0]["outcome"];
    assert_eq!(outcome["kind"], "token", "{shown}");
    let detail = outcome["detail"].as_str().unwrap();
    let expected =
        "no access token: the token endpoint answered with 401 and the error `invalid_client`";
    assert!(detail.starts_with(expected), "{detail}");
    let explained = get(client, &format!("/api/v1/events/{event}/explain"))
        .await
        .body;
    let told = "no access token could be had";
    assert!(explained.to_string().contains(told), "{explained}");
}

/// A counter's value.
async fn metric(client: &mut Client, name: &str) -> usize {
    let metrics = get(client, "/metrics").await.body;
    let text = metrics.as_str().unwrap_or_default();
    let line = text.lines().find(|line| line.contains(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_default()
}

/// What a token endpoint may do, and what is said of it.
fn hostile() -> Vec<(Answer, &'static str)> {
    let good = json!({ "access_token": token(9), "token_type": "Bearer" });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        json_answer(200, &body)
    };
    let to_itself = Answer::Status {
        code: 307,
        headers: vec![("location".to_owned(), "/oauth/token".to_owned())],
        body: Bytes::from(good.to_string()),
    };
    vec![
        (Answer::hang(), "did not answer in time"),
        (
            Answer::drip(Duration::from_millis(100)),
            "did not answer in time",
        ),
        (Answer::endless_body(), "more than 65536 bytes"),
        (
            with("padding", json!("x".repeat(70_000))),
            "more than 65536 bytes",
        ),
        (to_itself, "redirect 307"),
        (Answer::status(503), "answered with 503"),
        (Answer::text(200, "<html>sign in</html>"), "RFC 6749, 5.1"),
        (
            with("access_token", json!("a\r\nX-Evil: b")),
            "no header can carry",
        ),
        (with("token_type", json!("mac")), "another token_type"),
        (
            json_answer(400, &json!({ "error": SECRET })),
            "answered with 400",
        ),
        (Answer::reset(), "closed the connection"),
        (Answer::close(), "closed the connection"),
        (Answer::raw("SSH-2.0-x\r\n\r\n"), "not valid HTTP"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_token_endpoint_does_the_attempt_ends_in_time_with_a_reason() {
    let site = Site::new(&["standard"]);
    let (issuer, gate, daemon, mut client) = ground(&site).await;
    let mut oauth2 = issuer.oauth2();
    for (number, (answer, expected)) in hostile().into_iter().enumerate() {
        issuer.answer(answer);
        // Another client each time, so none goes by what the one before has met.
        oauth2["client_id"] = json!(format!("client {number}"));
        let body = json!({ "url": gate.url(), "timeout": "2s", "oauth2": oauth2 });
        let id = registered(&mut client, body).await;
        let path = format!("/api/v1/webhooks/{id}/test");
        let begun = Instant::now();
        let tested = client.call(Method::POST, &path, None).await.unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{expected}: {:?}",
            begun.elapsed()
        );
        let outcome = &tested.body["attempt"]["outcome"];
        assert_eq!(outcome["kind"], "token", "{expected}: {}", tested.body);
        let detail = outcome["detail"].as_str().unwrap();
        assert!(
            detail.contains(expected),
            "`{expected}` is not in: {detail}"
        );
        assert_hides("a test", &tested.body.to_string());
    }
    assert_eq!(gate.count(), 0);
    assert_hidden(&daemon, &mut client, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_client_drops_the_token_of_the_old_one() {
    let site = Site::new(&["standard"]);
    let (issuer, gate, daemon, mut client) = ground(&site).await;
    let body = json!({ "url": gate.url(), "oauth2": issuer.oauth2() });
    let id = registered(&mut client, body).await;
    let path = format!("/api/v1/webhooks/{id}");
    let mut other = issuer.oauth2();
    other["client_auth"] = json!("body");
    other["client_secret"] = json!("another secret");
    let changes = [
        json!({}),
        json!({ "oauth2": other }),
        json!({ "oauth2": issuer.oauth2() }),
    ];
    for (number, change) in (1..).zip(&changes) {
        let answer = client
            .call(Method::PATCH, &path, Some(change))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let event = post(&mut client, "a", json!({})).await;
        delivery_in(&mut client, &id, &event, "delivered").await;
        // Back to the first client, its token is not there any more.
        assert_eq!(issuer.asked(), number);
        assert_eq!(gate.given().last().unwrap(), &bearer(number));
    }
    let forms: Vec<Bytes> = issuer
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    let in_body = "grant_type=client_credentials&client_id=hook+wheel&client_secret=another+secret";
    assert_eq!(forms[1], in_body);
    assert_eq!(forms[2], "grant_type=client_credentials");

    let change = json!({ "oauth2": null });
    let answer = client
        .call(Method::PATCH, &path, Some(&change))
        .await
        .unwrap();
    assert_eq!(answer.body["oauth2"], Value::Null);
    let event = post(&mut client, "a", json!({})).await;
    until("it goes out without a token", async || {
        (gate.count() == 4).then_some(())
    })
    .await;
    assert_eq!(gate.given()[3], "");
    let shown = delivery(&mut client, &id, &event).await;
    assert_ne!(shown["state"], "delivered");
    assert_hidden(&daemon, &mut client, &[]).await;
}
