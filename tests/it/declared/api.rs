//! What the API may do to a webhook that the config declares, and what it shows of it.

use http::Method;
use serde_json::{Value, json};

use super::{SECRET, entry, id, only, reload, site, start};
use crate::support::{get, post};

#[tokio::test(flavor = "multi_thread")]
async fn only_the_config_changes_it() {
    let site = site();
    let daemon = start(&site, &entry("crm", "https://127.0.0.1:1/", ""));
    let mut client = daemon.client("standard");
    let crm = only(&mut client).await;
    assert_eq!(crm["declared"], "crm");
    let path = format!("/api/v1/webhooks/{}", id(&crm));
    let refused = [
        (Method::PATCH, "", json!({ "url": "https://127.0.0.1:2/" })),
        (Method::PATCH, "", json!({ "active": false, "name": "x" })),
        (Method::PATCH, "", json!({})),
        (Method::DELETE, "", Value::Null),
        (Method::POST, "/secret/rotate", json!({})),
        (Method::POST, "/secret/abort", json!({})),
    ];
    for (method, verb, body) in refused {
        let answer = client
            .call(method.clone(), &format!("{path}{verb}"), Some(&body))
            .await
            .unwrap();
        let code = answer.body["code"].as_str().unwrap_or("");
        assert_eq!(
            (answer.status.as_u16(), code),
            (409, "webhook_declared"),
            "{method} {verb} {body}"
        );
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(
            detail.contains("`crm`") && detail.contains("[[webhooks]]"),
            "{detail}"
        );
    }
    assert_eq!(only(&mut client).await, crm, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_needs_at_night_is_allowed() {
    let site = site();
    let daemon = start(&site, &entry("crm", "https://127.0.0.1:1/", ""));
    let mut client = daemon.client("standard");
    let crm = only(&mut client).await;
    let path = format!("/api/v1/webhooks/{}", id(&crm));
    let event = post(&mut client, "a", json!(1)).await;
    let allowed = [
        (
            Method::PATCH,
            String::new(),
            json!({ "active": false }),
            200,
        ),
        (Method::POST, "/held/discard".to_owned(), json!({}), 200),
        (Method::PATCH, String::new(), json!({ "active": true }), 200),
        (Method::POST, "/test".to_owned(), json!({}), 200),
        (
            Method::POST,
            format!("/deliveries/{event}/retry"),
            json!({}),
            202,
        ),
        (
            Method::POST,
            "/replay".to_owned(),
            json!({ "dry_run": true }),
            200,
        ),
    ];
    for (method, verb, body, expected) in allowed {
        let answer = client
            .call(method, &format!("{path}{verb}"), Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), expected, "{verb}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_no_more_it_can_be_removed_and_nothing_else() {
    let site = site();
    let daemon = start(&site, &entry("crm", "https://127.0.0.1:1/", ""));
    let mut client = daemon.client("standard");
    let crm = only(&mut client).await;
    let path = format!("/api/v1/webhooks/{}", id(&crm));
    reload(&site, &daemon, "").await;
    for active in [true, false] {
        let body = json!({ "active": active });
        let answer = client
            .call(Method::PATCH, &path, Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 409, "{}", answer.body);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("remove it here"), "{detail}");
    }
    let removed = client.call(Method::DELETE, &path, None).await.unwrap();
    assert_eq!(removed.status, 204, "{}", removed.body);
    reload(&site, &daemon, &entry("crm", "https://127.0.0.1:1/", "")).await;
    assert_ne!(
        id(&only(&mut client).await),
        id(&crm),
        "it is another one now"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_shows_marks_of_secrets_to_who_manages_only() {
    let site = site();
    let more = "headers = { X-Token = \"abc\" }\n";
    let both =
        entry("crm", "https://127.0.0.1:1/", more) + &entry("erp", "https://127.0.0.1:2/", more);
    let config = site.config(true) + &both;
    let reader =
        "[[accounts.keys]]\nname = \"reader\"\nscopes = [\"read\"]\nfile = \"reader.key\"\n";
    std::fs::write(site.path("reader.key"), "key-of-the-reader").unwrap();
    let config = config.replacen("[[webhooks]]", &format!("{reader}[[webhooks]]"), 1);
    let daemon = crate::support::Daemon::start(&site.path("config.toml"), &config);
    let mut client = daemon.client("standard");
    let shown = get(&mut client, "/api/v1/declared").await.body;
    assert_eq!(shown["account"], "standard");
    assert_eq!(shown["undone"], json!([]));
    assert_eq!(shown["config"]["revision"].as_str().unwrap().len(), 16);
    let row = &shown["data"][0];
    assert_eq!(
        (&row["name"], &row["declared"]),
        (&json!("crm"), &json!(true))
    );
    let marks = [
        &row["fingerprints"]["secret"],
        &row["fingerprints"]["headers"]["X-Token"],
    ];
    for mark in marks {
        assert_eq!(mark.as_str().unwrap().len(), 4, "16 bits: {row}");
    }
    assert!(!shown.to_string().contains(SECRET));
    // At another webhook the same value shows the same bits: other ones would add up.
    assert_eq!(shown["data"][1]["name"], "erp");
    assert_eq!(shown["data"][1]["fingerprints"], row["fingerprints"]);
    let mut reader = crate::client::Client::new(daemon.address, "key-of-the-reader");
    let shown = get(&mut reader, "/api/v1/declared").await.body;
    assert_eq!(shown["data"][0]["fingerprints"], Value::Null);
}
