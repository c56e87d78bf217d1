//! What holds of the generated code as text; that it runs and judges right is seen by `tests/it/verifier.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::profile::{Profiles, RawProfile};

fn profile(more: &str) -> Arc<Profile> {
    let text = format!("[own]\nextends = \"standard\"\n{more}");
    let custom: BTreeMap<String, RawProfile> = toml::from_str(&text).unwrap();
    let profiles = Profiles::build(custom).unwrap_or_else(|errors| panic!("{errors:?}"));
    Arc::clone(profiles.get("own").unwrap())
}

#[test]
fn a_language_is_found_by_its_name() {
    for language in Language::ALL {
        assert_eq!(Language::named(language.as_str()), Some(language));
    }
    assert_eq!(Language::named("cobol"), None);
}

#[test]
fn a_profile_that_signs_nothing_has_a_note_in_place_of_code() {
    let unsigned = profile("signature = []\n");
    for language in Language::ALL {
        let made = receiver_code(&unsigned, language);
        assert_eq!(made.code, "");
        assert!(made.notes[0].contains("signs nothing"), "{:?}", made.notes);
    }
}

#[test]
fn notes_say_what_holds_of_the_profile() {
    let notes = |profile: &Profile| receiver_code(profile, Language::Node).notes.join("\n");
    let profiles = Profiles::built_in();
    let standard = notes(profiles.get("standard").unwrap());
    assert!(standard.contains("webhook-id") && standard.contains("signatures by both"));
    assert!(standard.contains("300 s from the receiver's clock"));
    let untimed = profile(
        "[own.secret]\nrotation = \"staged\"\n[[own.signature]]\nheader = \"X-S\"\nalgorithm = \"hmac-sha256\"\n\
         signed = \"{body}\"\nvalue = \"{hex}\"\n",
    );
    let untimed = notes(&untimed);
    assert!(
        untimed.contains("covers no time") && untimed.contains("until the new one is promoted")
    );
    let both = profile(
        "[own.secret]\ngenerate = \"whsec_{base64:32} whsk_{base64:32}\"\n[[own.signature]]\nheader = \"A\"\n\
         algorithm = \"hmac-sha256\"\nsigned = \"{body}\"\nvalue = \"{hex}\"\n[[own.signature]]\nheader = \"B\"\n\
         algorithm = \"ed25519\"\nsigned = \"{body}\"\nvalue = \"{hex}\"\n",
    );
    let both = notes(&both);
    assert!(
        both.contains("in 2 ways (A, B)") && both.contains("the first of them only"),
        "{both}"
    );
}

proptest! {
    /// Whatever an operator's contract says, there is a program, and no text of the contract ends a comment in it.
    #[test]
    fn every_contract_has_its_programs(before in "[ -~]{0,12}", between in "[!-~]{1,6}", signed in "[ -~\n]{0,12}") {
        let plain = |text: &str| text.replace(['{', '}'], "-");
        let (before, between, signed) = (plain(&before), plain(&between), plain(&signed));
        let text = toml::to_string(&format!("{before}t={{timestamp}}{between}{{hex}}"));
        let signed = toml::to_string(&format!("{signed}{{timestamp}}{{body}}{signed}"));
        let (Ok(value), Ok(signed)) = (text, signed) else { return Ok(()); };
        let text = format!(
            "[own]\nextends = \"standard\"\n[[own.signature]]\nheader = \"X-S\"\nalgorithm = \"hmac-sha256\"\n\
             signed = {signed}\nvalue = {value}\n"
        );
        let custom: BTreeMap<String, RawProfile> = toml::from_str(&text).unwrap();
        let Ok(profiles) = Profiles::build(custom) else { return Ok(()); };
        for language in Language::ALL {
            let made = receiver_code(profiles.get("own").unwrap(), language);
            prop_assert!(made.code.len() > 500);
            if language == Language::Php {
                prop_assert_eq!(made.code.matches("*/").count(), made.code.matches("/**").count());
            }
            if language == Language::Python {
                prop_assert_eq!(made.code.matches("\"\"\"").count(), 6);
            }
        }
    }
}
