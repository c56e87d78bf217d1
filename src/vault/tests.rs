//! Sealed secrets: they open where they belong and nowhere else, and the cipher is the drafted one.

use proptest::prelude::*;

use super::*;
use crate::model::{ClientAuth, Endpoint, OAuth2};

fn key(text: u8) -> MasterKey {
    MasterKey::parse(&format!("hwmk_{}", format!("{text:02x}").repeat(32))).unwrap()
}

fn webhook() -> Webhook {
    let mut webhook = crate::store::tests::webhook(7);
    webhook.oauth2 = Some(OAuth2 {
        token_url: Endpoint::parse("https://id.example.com/token").unwrap(),
        client_id: "hookwheel".to_owned(),
        client_secret: Secret::new("client".to_owned()),
        scope: None,
        audience: None,
        client_auth: ClientAuth::Basic,
    });
    webhook
}

fn texts(webhook: &Webhook) -> Vec<String> {
    let mut webhook = webhook.clone();
    let slots = slots(&mut webhook);
    slots
        .into_iter()
        .map(|(_, secret)| secret.expose().to_owned())
        .collect()
}

#[test]
fn every_secret_is_sealed_and_opens() {
    let vault = Vault::new(Some(key(1)), Vec::new());
    let (plain, sealed) = (webhook(), vault.seal(webhook()).unwrap());
    assert_eq!(
        texts(&plain),
        ["whsec_abc", "whsec_next", "whsec_old", "client", "b"]
    );
    let kept = format!("{:?}", texts(&sealed));
    for (plain, sealed) in texts(&plain).iter().zip(texts(&sealed)) {
        assert!(sealed.starts_with(SEALED), "{sealed}");
        assert!(
            plain.len() < 3 || !kept.contains(plain),
            "{plain} in {kept}"
        );
    }
    assert_eq!(vault.open(sealed.clone()).unwrap(), plain);
    assert!(vault.is_current(&sealed) && !vault.is_current(&plain));
    // What is not secret is as it was, and another time the texts are others.
    assert_eq!(sealed.url, plain.url);
    assert_ne!(texts(&vault.seal(plain).unwrap()), texts(&sealed));
}

#[test]
fn without_a_key_secrets_are_stored_as_they_are() {
    let vault = Vault::default();
    assert_eq!(vault.seal(webhook()).unwrap(), webhook());
    assert_eq!(vault.open(webhook()).unwrap(), webhook());
    assert!(vault.is_current(&webhook()));
    let sealed = Vault::new(Some(key(1)), Vec::new())
        .seal(webhook())
        .unwrap();
    assert!(!vault.is_current(&sealed));
    let refused = vault.open(sealed).unwrap_err();
    let name = key(1).name().to_owned();
    assert_eq!(refused, VaultError::UnknownKey { key: name.clone() });
    assert!(refused.to_string().contains(&name) && refused.to_string().contains("old_key_files"));
}

#[test]
fn an_old_key_opens_and_the_new_one_seals() {
    let before = Vault::new(Some(key(1)), Vec::new());
    let after = Vault::new(Some(key(2)), vec![key(1)]);
    let old = before.seal(webhook()).unwrap();
    assert!(!after.is_current(&old));
    let new = after.seal(after.open(old).unwrap()).unwrap();
    assert!(after.is_current(&new));
    assert!(before.open(new.clone()).is_err());
    assert_eq!(
        Vault::new(Some(key(2)), Vec::new())
            .open(new.clone())
            .unwrap(),
        webhook()
    );
    // Sealing is given up: the old key opens, and nothing is sealed.
    let none = Vault::new(None, vec![key(2)]);
    assert_eq!(none.seal(none.open(new).unwrap()).unwrap(), webhook());
}

#[test]
fn a_sealed_text_opens_at_its_own_place_only() {
    let vault = Vault::new(Some(key(1)), Vec::new());
    let sealed = vault.seal(webhook()).unwrap();
    let moved: [fn(&mut Webhook); 4] = [
        |it| std::mem::swap(&mut it.secret, &mut it.staged_secret),
        |it| it.id.0 += 1,
        |it| it.account = crate::model::AccountName::new("other").unwrap(),
        |it| it.headers[0].name = "X-B".to_owned(),
    ];
    for change in moved {
        let mut other = sealed.clone();
        change(&mut other);
        let refused = vault.open(other).unwrap_err();
        assert!(matches!(refused, VaultError::Damaged { .. }), "{refused}");
    }
}

#[test]
fn any_altered_byte_is_noticed() {
    let vault = Vault::new(Some(key(1)), Vec::new());
    let sealed = vault.seal(webhook()).unwrap();
    let text = sealed.secret.as_ref().unwrap().expose().to_owned();
    for at in SEALED.len()..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let altered = Webhook {
            secret: Some(Secret::new(String::from_utf8(bytes).unwrap())),
            ..sealed.clone()
        };
        assert!(vault.open(altered).is_err(), "at {at}");
    }
}

#[test]
fn a_secret_that_looks_sealed_is_refused_with_or_without_a_key() {
    for vault in [Vault::default(), Vault::new(Some(key(1)), Vec::new())] {
        let mut webhook = webhook();
        webhook.headers[0].value = Secret::new(format!("{SEALED}x"));
        let refused = vault.seal(webhook).unwrap_err();
        assert_eq!(
            refused,
            VaultError::Reserved {
                slot: "header x-a".to_owned()
            }
        );
    }
}

#[test]
fn a_key_reads_back_and_prints_nothing() {
    let text = MasterKey::generate().unwrap();
    let made = MasterKey::parse(text.expose()).unwrap();
    assert_ne!(
        made,
        MasterKey::parse(MasterKey::generate().unwrap().expose()).unwrap()
    );
    assert!(!text.expose().contains(made.name()));
    assert_eq!(format!("{made:?}"), format!("MasterKey({})", made.name()));
    let long = format!("{}0", text.expose());
    for wrong in [
        "",
        "hwmk_",
        "hwmk_00",
        &long,
        &text.expose()[5..],
        &text.expose().replace('_', "-"),
    ] {
        assert!(
            MasterKey::parse(wrong)
                .unwrap_err()
                .contains("64 hexadecimal")
        );
    }
}

#[test]
fn it_is_xchacha20_poly1305_as_drafted() {
    // draft-irtf-cfrg-xchacha-03, A.3.1.
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    };
    let key = MasterKey {
        name: String::new(),
        bytes: Zeroizing::new(std::array::from_fn(|at| 0x80 + u8::try_from(at).unwrap())),
    };
    let nonce: [u8; NONCE_BYTES] = std::array::from_fn(|at| 0x40 + u8::try_from(at).unwrap());
    let aad = bytes("50515253c0c1c2c3c4c5c6c7");
    let msg: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let sealed = cipher(&key)
        .encrypt(&XNonce::from(nonce), Payload { msg, aad: &aad })
        .unwrap();
    assert_eq!(sealed[..16], bytes("bd6d179d3e83d43b9576579493c0e939"));
    assert_eq!(
        sealed[msg.len()..],
        bytes("c0875924c1c7987947deafd8780acf49")
    );
}

proptest! {
    #[test]
    fn any_text_opens_as_it_was(text in ".{0,200}") {
        prop_assume!(!text.starts_with(SEALED));
        let vault = Vault::new(Some(key(9)), Vec::new());
        let plain = Webhook { secret: Some(Secret::new(text)), ..webhook() };
        prop_assert_eq!(vault.open(vault.seal(plain.clone()).unwrap()).unwrap(), plain);
    }
}
