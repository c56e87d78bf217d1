//! Where requests go and which way: proxies, TLS by name, the daemon's own listener, and what tenants are told of it.

mod mistakes;
mod proxy;
mod withdrawn;

use crate::client::Client;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookwheel::receiver::{Answer, Identity, Options, Receiver};
use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Daemon, Site, delivery, delivery_in, get, post, register, registered, until};
use crate::web::Web;
use proxy::Proxy;

const BLOCKED: &str = "this address cannot be sent to; ask the operator if it should be";
const PASSWORD: &str = "correct horse: battery";

/// The config with more lines in its `[egress]`, and all that `localhost` may mean allowed.
fn with_egress(site: &Site, lines: &str) -> String {
    let config = site.config(true);
    let allow = "allow = [\"127.0.0.0/8\"]\n";
    assert!(config.contains(allow));
    let more = format!("allow = [\"127.0.0.0/8\", \"::1/128\"]\n{lines}\n");
    config.replace(allow, &more)
}

fn start(site: &Site, lines: &str) -> Daemon {
    Daemon::start(&site.path("config.toml"), &with_egress(site, lines))
}

/// The first attempt of a delivery, once it is made.
async fn attempt(client: &mut Client, webhook: &str, event: &str) -> Value {
    until("the first attempt", async || {
        let shown = delivery(client, webhook, event).await;
        let first = shown["attempts"].get(0).cloned();
        first.filter(|first| !first.is_null())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_go_through_either_proxy_with_a_login_or_without() {
    let site = Site::new(&["standard"]);
    std::fs::write(site.path("proxy.password"), format!("{PASSWORD}\n")).unwrap();
    let web = Web::start(&site.authority, |_| 200).await;
    let login = Some(("wheel", PASSWORD));
    for (scheme, proxy, has_login) in [
        ("http", Proxy::http(None).await, false),
        ("http", Proxy::http(login).await, true),
        ("socks5", Proxy::socks5(None).await, false),
        ("socks5", Proxy::socks5(login).await, true),
    ] {
        let mut lines = format!("proxy = \"{scheme}://{}\"", proxy.address);
        if has_login {
            lines += "\nproxy_user = \"wheel\"\nproxy_password_file = \"proxy.password\"";
        }
        let daemon = start(&site, &lines);
        let mut client = daemon.client("standard");
        let before = web.count();
        // A name, and an address.
        for url in [web.url("/"), web.url("/").replace("127.0.0.1", "localhost")] {
            let body = json!({ "url": url, "retry": { "delays": [] } });
            let webhook = registered(&mut client, body).await;
            let test = format!("/api/v1/webhooks/{webhook}/test");
            let answer = client.call(Method::POST, &test, None).await.unwrap();
            let outcome = &answer.body["attempt"]["outcome"];
            if url.contains("localhost") {
                // The certificate is for the address: verified inside of the tunnel.
                assert_eq!(outcome["kind"], "tls", "{}", answer.body);
            } else {
                assert_eq!(answer.body["delivered"], true, "{}", answer.body);
            }
        }
        assert_eq!(web.count(), before + 1);
        let asked = proxy.asked();
        // `localhost` may have an address where nobody listens; then the next one is asked for.
        assert_eq!(asked.first(), Some(&web.address().to_string()));
        assert!(asked.len() >= 2, "{asked:?}");
        assert_eq!(asked.last(), asked.first());
        assert!(
            !asked.iter().any(|target| target.contains("localhost")),
            "{asked:?}"
        );
        let log = daemon.log();
        assert!(!log.contains(PASSWORD) && !log.contains(&STANDARD.encode(PASSWORD)));
        assert!(daemon.terminate().success());
        std::fs::remove_dir_all(site.path("data")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_told_to_tenants_without_its_place() {
    let site = Site::new(&["standard"]);
    std::fs::write(site.path("proxy.password"), "wrong").unwrap();
    let web = Web::start(&site.authority, |_| 200).await;
    let proxy = Proxy::http(Some(("wheel", PASSWORD))).await;
    let lines = format!(
        "proxy = \"http://{}\"\nproxy_user = \"wheel\"\nproxy_password_file = \"proxy.password\"",
        proxy.address
    );
    let daemon = start(&site, &lines);
    let mut client = daemon.client("standard");
    let body = json!({ "url": web.url("/"), "retry": { "delays": ["1ms", "1h"] } });
    let webhook = registered(&mut client, body).await;
    let event = post(&mut client, "a", json!({})).await;
    let shown = until("two attempts", async || {
        let shown = delivery(&mut client, &webhook, &event).await;
        (shown["attempts"].as_array().unwrap().len() == 2).then_some(shown)
    })
    .await;
    let outcome = &shown["attempts"][0]["outcome"];
    assert_eq!(
        *outcome,
        json!({ "kind": "connect", "detail": "the proxy that requests go through refused the connection with the status 407" })
    );
    assert!(!shown.to_string().contains(&proxy.address.to_string()));
    let log = daemon.log();
    let told = format!("the proxy http://{} refused the connection", proxy.address);
    // Once, though two attempts met it.
    assert_eq!(log.matches(&told).count(), 1, "{log}");
    assert!(log.contains("does not take [egress] proxy_user"), "{log}");
    assert!(!log.contains("wrong"), "{log}");
    assert_eq!(web.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bypassed_is_dialled_directly() {
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let proxy = Proxy::socks5(None).await;
    let lines = format!(
        "proxy = \"socks5://{}\"\nproxy_bypass = [\"127.0.0.0/8\", \".corp.example\"]",
        proxy.address
    );
    let daemon = start(&site, &lines);
    let mut client = daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let event = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &webhook, &event, "delivered").await;
    assert!(proxy.asked().is_empty());
}

fn write_pem(site: &Site, name: &str, identity: &Identity) {
    let pem = |label: &str, der: &[u8]| {
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            STANDARD.encode(der)
        )
    };
    let chain: String = identity
        .chain()
        .iter()
        .map(|one| pem("CERTIFICATE", one))
        .collect();
    std::fs::write(site.path(&format!("{name}.pem")), chain).unwrap();
    let key = pem("PRIVATE KEY", identity.key().secret_der());
    std::fs::write(site.path(&format!("{name}.key")), key).unwrap();
}

const PARTNER: &str = "certificate = \"client.pem\"\nkey = \"client.key\"\n";

fn partner(accounts: &str) -> String {
    format!("[egress.tls.partner]\n{PARTNER}accounts = {accounts}\n")
}

/// Writes a config and has the daemon read it.
async fn reload(site: &Site, daemon: &Daemon, config: &str) {
    let from = daemon.log().lines().count();
    std::fs::write(site.path("config.toml"), config).unwrap();
    daemon.signal(Signal::HUP);
    until("the reload", async || {
        daemon.said_since(from, "were read again")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_there_is_not_and_one_of_another_account_are_answered_alike() {
    let site = Site::new(&["standard", "driftlock"]);
    let client = site.authority.issue_client("hookwheel").unwrap();
    write_pem(&site, "client", &client);
    let named = site.config(true) + &partner("[\"standard\"]");
    let daemon = Daemon::start(&site.path("config.toml"), &named);
    let mut client = daemon.client("standard");
    let url = "https://127.0.0.1:9/";
    let body = json!({ "url": url, "tls": "nobody" });
    let answer = client
        .call(Method::POST, "/api/v1/webhooks", Some(&body))
        .await
        .unwrap();
    let error = &answer.body["errors"][0];
    assert_eq!(
        (answer.status.as_u16(), &error["code"]),
        (400, &json!("tls_unknown"))
    );
    assert_eq!(error["pointer"], "/tls");
    assert_eq!(
        error["detail"],
        "names no TLS settings of this account, which has partner"
    );
    let mut other = daemon.client("driftlock");
    for name in ["partner", "nobody"] {
        let body = json!({ "url": url, "events": ["anomaly.detected"], "tls": name });
        let answer = other
            .call(Method::POST, "/api/v1/webhooks", Some(&body))
            .await
            .unwrap();
        let error = &answer.body["errors"][0];
        assert_eq!(
            (answer.status.as_u16(), &error["code"]),
            (400, &json!("tls_unknown"))
        );
        let none =
            "names no TLS settings of this account, which has none; the operator sets them up";
        assert_eq!(error["detail"], none);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_names_its_client_certificate_and_is_held_while_there_is_none() {
    let site = Site::new(&["standard", "driftlock"]);
    let issued = site.authority.issue_client("hookwheel").unwrap();
    write_pem(&site, "client", &issued);
    let identity = site.authority.issue(&["127.0.0.1"]).unwrap();
    let identity = identity.asking_clients_of(&site.authority);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let handler = |_| async { Answer::status(200) };
    let receiver = Receiver::start(listener, &identity, Options::default(), handler).unwrap();
    let url = receiver.url("/");
    let plain = site.config(true);
    let named = plain.clone() + &partner("[\"standard\"]");
    let daemon = Daemon::start(&site.path("config.toml"), &named);
    let mut client = daemon.client("standard");

    // Without it the receiver refuses; with it a test and a delivery arrive.
    let shown = register(
        &mut client,
        json!({ "url": url, "retry": { "delays": [] } }),
    )
    .await;
    let webhook = shown["id"].as_str().unwrap().to_owned();
    assert_eq!(shown["tls"], Value::Null);
    let event = post(&mut client, "a", json!({})).await;
    let shown = delivery_in(&mut client, &webhook, &event, "failed").await;
    assert_ne!(shown["attempts"][0]["outcome"]["kind"], "status", "{shown}");
    let path = format!("/api/v1/webhooks/{webhook}");
    let change = json!({ "tls": "partner" });
    let answer = client
        .call(Method::PATCH, &path, Some(&change))
        .await
        .unwrap();
    assert_eq!(answer.body["tls"], "partner", "{}", answer.body);
    let test = client
        .call(Method::POST, &format!("{path}/test"), None)
        .await
        .unwrap();
    assert_eq!(test.body["delivered"], true, "{}", test.body);
    let event = post(&mut client, "a", json!({})).await;
    delivery_in(&mut client, &webhook, &event, "delivered").await;

    // The name goes, or is another account's: what comes is held and says why; it flows when the name is back.
    for gone in [plain.clone(), plain + &partner("[\"driftlock\"]")] {
        reload(&site, &daemon, &gone).await;
        let event = post(&mut client, "a", json!({})).await;
        let shown = get(&mut client, &path).await.body;
        assert!(
            shown["held"]
                .as_str()
                .unwrap()
                .contains("no `tls` is called `partner`"),
            "{shown}"
        );
        let told = get(&mut client, &format!("/api/v1/events/{event}/explain"))
            .await
            .body;
        assert_eq!(
            told["webhooks"][0]["rule"],
            json!({ "kind": "tls", "tls": "partner" }),
            "{told}"
        );
        assert_eq!(
            delivery(&mut client, &webhook, &event).await["attempts"],
            json!([])
        );
        reload(&site, &daemon, &named).await;
        delivery_in(&mut client, &webhook, &event, "delivered").await;
    }
    let shown = client
        .call(Method::PATCH, &path, Some(&json!({ "tls": null })))
        .await
        .unwrap();
    assert_eq!(shown.body["tls"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemons_own_listener_is_refused_though_its_range_is_allowed() {
    let site = Site::new(&["standard"]);
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let config = with_egress(&site, "").replace("127.0.0.1:0", listen);
        let daemon = Daemon::start(&site.path("config.toml"), &config);
        let port = daemon.address.port();
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        let mut client = Client::new(address, &crate::support::key_of("standard"));
        let body = json!({ "url": format!("https://127.0.0.1:{port}/") });
        let answer = client
            .call(Method::POST, "/api/v1/webhooks", Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{}", answer.body);
        let error = &answer.body["errors"][0];
        assert_eq!(
            (&error["code"], &error["detail"]),
            (&json!("address_blocked"), &json!(BLOCKED))
        );
        // A name is judged when it has been resolved.
        let body =
            json!({ "url": format!("https://localhost:{port}/"), "retry": { "delays": ["1h"] } });
        let webhook = registered(&mut client, body).await;
        let event = post(&mut client, "a", json!({})).await;
        let first = attempt(&mut client, &webhook, &event).await;
        assert_eq!(
            first["outcome"],
            json!({ "kind": "address_blocked", "detail": BLOCKED })
        );
        let log = daemon.log();
        assert_eq!(log.matches("own-listener").count(), 2, "{log}");
        assert!(log.contains("no setting allows it"), "{log}");
        assert!(daemon.terminate().success());
        std::fs::remove_dir_all(site.path("data")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_registrations_cannot_flood_the_log() {
    let site = Site::new(&["standard"]);
    let daemon = site.start();
    let mut client = daemon.client("standard");
    for _ in 0..20 {
        for host in ["10.0.0.1", "169.254.169.254"] {
            let body = json!({ "url": format!("https://{host}/?token=hush") });
            let answer = client
                .call(Method::POST, "/api/v1/webhooks", Some(&body))
                .await
                .unwrap();
            assert_eq!(answer.body["errors"][0]["detail"], BLOCKED);
        }
    }
    let log = daemon.log();
    let told = "a webhook's URL was refused by the address policy";
    assert_eq!(log.matches(told).count(), 2, "{log}");
    assert!(!log.contains("hush"), "{log}");
}
