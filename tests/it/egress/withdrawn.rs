//! TLS settings that a reload takes away or replaces: nobody sends under them any more, and no attempt is used up.

use std::sync::Arc;

use crate::client::Client;
use hookwheel::receiver::{Answer, Options, Receiver};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{partner, reload, write_pem};
use crate::support::{Daemon, Site, delivery, delivery_in, get, post, registered, until};

/// A receiver that lets in only who has a certificate of the site's authority.
async fn asking(site: &Site) -> Receiver {
    let identity = site.authority.issue(&["127.0.0.1"]).unwrap();
    let identity = identity.asking_clients_of(&site.authority);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let handler = |_| async { Answer::status(200) };
    Receiver::start(listener, &identity, Options::default(), handler).unwrap()
}

fn oauth2(token_url: &str) -> Value {
    json!({ "token_url": token_url, "client_id": "c", "client_secret": "s" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_does_not_present_a_certificate_that_is_another_accounts_now() {
    let site = Site::new(&["standard", "driftlock"]);
    write_pem(&site, "client", &site.authority.issue_client("a").unwrap());
    let receiver = asking(&site).await;
    let named = site.config(true) + &partner("[\"standard\"]");
    let daemon = Daemon::start(&site.path("config.toml"), &named);
    let mut client = daemon.client("standard");
    let body = json!({ "url": receiver.url("/"), "tls": "partner" });
    let webhook = registered(&mut client, body).await;
    let path = format!("/api/v1/webhooks/{webhook}");
    let test = format!("{path}/test");

    write_pem(&site, "client", &site.authority.issue_client("b").unwrap());
    let moved = site.config(true) + &partner("[\"driftlock\"]");
    for config in [moved, site.config(true)] {
        reload(&site, &daemon, &config).await;
        for change in [
            json!({ "oauth2": oauth2(&receiver.url("/any")) }),
            json!({ "oauth2": null }),
        ] {
            let answer = client.call(Method::PATCH, &path, Some(&change)).await;
            assert_eq!(answer.unwrap().status, 200);
            let tested = client.call(Method::POST, &test, None).await.unwrap();
            let refused = (tested.status.as_u16(), &tested.body["code"]);
            assert_eq!(refused, (409, &json!("webhook_held")), "{}", tested.body);
            let detail = tested.body["detail"].as_str().unwrap();
            assert!(detail.contains("no `tls` is called `partner`"), "{detail}");
        }
    }
    assert_eq!(receiver.connections_count(), 0);
    reload(&site, &daemon, &named).await;
    let tested = client.call(Method::POST, &test, None).await.unwrap();
    assert_eq!(tested.body["delivered"], true, "{}", tested.body);
}

/// A token endpoint that answers as often as the gate lets it, with tokens for so many seconds; and a client certificate
/// for whoever asks.
async fn gated_issuer(site: &Site, gate: &Arc<Semaphore>, expires_in: u32) -> Receiver {
    write_pem(site, "client", &site.authority.issue_client("a").unwrap());
    let gate = Arc::clone(gate);
    let identity = site.authority.issue(&["127.0.0.1"]).unwrap();
    let issuer = Receiver::local(&identity, move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            let token =
                json!({ "access_token": "t", "token_type": "bearer", "expires_in": expires_in });
            Answer::text(200, &token.to_string())
        }
    });
    issuer.await.unwrap()
}

/// Registers a webhook under the TLS settings, with one attempt, which asks the issuer for a token first.
async fn waiting_for_token(client: &mut Client, receiver: &Receiver, issuer: &Receiver) -> String {
    let body = json!({
        "url": receiver.url("/"), "tls": "partner", "oauth2": oauth2(&issuer.url("/token")),
        "retry": { "delays": [] },
    });
    registered(client, body).await
}

/// A webhook whose attempt waits for its token while the config is read again.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_a_reload_overtakes_is_given_back_unrecorded() {
    let site = Site::new(&["standard", "driftlock"]);
    let receiver = asking(&site).await;
    let gate = Arc::new(Semaphore::new(0));
    let issuer = gated_issuer(&site, &gate, 1).await;
    let named = site.config(true) + &partner("[\"standard\"]");
    let daemon = Daemon::start(&site.path("config.toml"), &named);
    let mut client = daemon.client("standard");
    let webhook = waiting_for_token(&mut client, &receiver, &issuer).await;
    let path = format!("/api/v1/webhooks/{webhook}");

    // The name goes while the token is waited for: the delivery is held, as if it had not been granted.
    let event = post(&mut client, "a", json!({})).await;
    issuer.wait_for_requests(1).await;
    reload(
        &site,
        &daemon,
        &(site.config(true) + &partner("[\"driftlock\"]")),
    )
    .await;
    gate.add_permits(1);
    until("it is given back", async || {
        let said = "nothing was sent, and no attempt is recorded";
        daemon.log().contains(said).then_some(())
    })
    .await;
    let shown = delivery(&mut client, &webhook, &event).await;
    let stands = (&shown["state"], &shown["attempts"]);
    assert_eq!(stands, (&json!("held"), &json!([])), "{shown}");
    assert_eq!(receiver.connections_count(), 0);
    assert!(get(&mut client, &path).await.body["held"].is_string());
    gate.add_permits(100);
    reload(&site, &daemon, &named).await;
    let shown = delivery_in(&mut client, &webhook, &event, "delivered").await;
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(receiver.requests_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_renewed_meanwhile_costs_no_attempt() {
    let site = Site::new(&["standard"]);
    let receiver = asking(&site).await;
    let gate = Arc::new(Semaphore::new(0));
    let issuer = gated_issuer(&site, &gate, 3600).await;
    let named = site.config(true) + &partner("[\"standard\"]");
    let daemon = Daemon::start(&site.path("config.toml"), &named);
    let mut client = daemon.client("standard");
    let webhook = waiting_for_token(&mut client, &receiver, &issuer).await;
    let event = post(&mut client, "a", json!({})).await;
    issuer.wait_for_requests(1).await;
    write_pem(&site, "client", &site.authority.issue_client("b").unwrap());
    reload(&site, &daemon, &named).await;
    gate.add_permits(100);
    let shown = delivery_in(&mut client, &webhook, &event, "delivered").await;
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(receiver.requests_count(), 1);
}
