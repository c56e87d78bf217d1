//! Declared webhooks of which some cannot be written.

use super::*;
use crate::engine::declared::{Declaration, Undone};
use crate::model::{Header, InactiveReason, Secret};

fn declaration(name: &str, value: &str) -> Declaration {
    let mut wanted = webhook();
    wanted.headers = vec![Header {
        name: "X-A".to_owned(),
        value: Secret::new(value.to_owned()),
    }];
    Declaration::new(wanted, name, None)
}

fn named(site: &Site) -> Vec<(String, bool)> {
    let all = site.engine.webhooks(&account());
    let shown = all.iter().map(|live| {
        let name = live.webhook.declared.clone().unwrap();
        (name, live.webhook.active)
    });
    let mut shown: Vec<_> = shown.collect();
    shown.sort();
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_told_and_keeps_nothing_else_from_being_done() {
    let site = site();
    let reserved = format!("{}0:0", Secret::SEALED);
    let wanted = vec![declaration("bad", &reserved), declaration("good", "1")];
    let done = site.engine.set_declared(wanted).await;
    assert_eq!((done.created, done.undone.len()), (1, 1), "{done:?}");
    let told = site.engine.undone(&account());
    let [Undone { name, why, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(name, "bad");
    assert!(!why.is_empty() && !why.contains(&reserved), "{why}");
    assert_eq!(named(&site), [("good".to_owned(), true)]);

    let wanted = vec![declaration("bad", "2"), declaration("good", "1")];
    let done = site.engine.set_declared(wanted).await;
    assert_eq!((done.created, done.unchanged, done.undone.len()), (1, 1, 0));
    assert_eq!(site.engine.undone(&account()), []);

    let done = site.engine.set_declared(Vec::new()).await;
    assert_eq!((done.disabled, done.unchanged), (2, 0));
    assert_eq!(
        site.engine.set_declared(Vec::new()).await,
        Default::default()
    );
    let expected = [("bad".to_owned(), false), ("good".to_owned(), false)];
    assert_eq!(named(&site), expected);
    site.stop().await;
}

#[test]
fn only_an_entry_that_says_so_turns_what_somebody_or_a_rule_has_turned() {
    use InactiveReason::{Exhausted, Failing, Gone, Request, Undeclared};
    let turns = |active, reason, moved| {
        let one = Declaration {
            active,
            ..declaration("a", "1")
        };
        one.turns(reason, moved)
    };
    for moved in [false, true] {
        for active in [None, Some(true)] {
            assert_eq!(turns(active, None, moved), None);
            assert_eq!(turns(active, Some(Undeclared), moved), Some(true));
            assert_eq!(turns(active, Some(Request), moved), active);
            for rule in [Exhausted, Gone, Failing] {
                assert_eq!(turns(active, Some(rule), moved), moved.then_some(true));
            }
        }
        assert_eq!(turns(Some(false), Some(Request), moved), None);
        for other in [None, Some(Undeclared), Some(Gone), Some(Failing)] {
            assert_eq!(turns(Some(false), other, moved), Some(false));
        }
    }
}
