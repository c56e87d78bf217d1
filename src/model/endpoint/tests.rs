//! What is taken and what is refused, class by class, and that the `url` crate reads the same.

use proptest::prelude::*;

use super::*;

fn code(text: &str) -> Option<&'static str> {
    Endpoint::parse(text).err().map(|error| error.code())
}

fn all_refused(expected: &str, texts: &[&str]) {
    assert!(texts.len() >= 3, "a class without neighbours proves little");
    for text in texts {
        assert_eq!(code(text), Some(expected), "{text:?}");
    }
}

#[test]
fn other_schemes_and_none_answer_https_required() {
    all_refused(
        "https_required",
        &[
            "",
            " ",
            "http://example.com/",
            "HTTP://example.com/",
            "ftp://example.com/",
            "ftp:x",
            "file:///etc/passwd",
            "gopher://example.com/",
            "unix:/run/docker.sock",
            "//example.com/x",
            "/path",
            "example.com",
            "example.com/hook",
            "example.com:443/hook",
            "httpss://example.com",
            "https//example.com",
            "https",
            "ws://example.com",
            "javascript:alert(1)",
            "data:text/plain,x",
            " http://example.com",
            "ht\ntps://example.com",
            "https\t://example.com",
            "xhttps://a.com",
            "view-source:https://example.com",
            "http:\\\\example.com",
            "\u{feff}https://example.com",
        ],
    );
}

#[test]
fn what_lenient_parsers_repair_is_refused() {
    all_refused(
        "url_invalid",
        &[
            "https:",
            "https:/",
            "https://",
            "https:///",
            "https:///path",
            "https:////example.com",
            "https:example.com",
            "https:/example.com",
            "https:?x",
            "https://?x",
            "https://#x",
            "https:\\\\example.com\\hook",
            "https://\\example.com",
            "https:/\\example.com",
            "https://example.com\\hook",
            "https://example.com/a\\b",
            "https://example.com\\@evil.com",
            " https://example.com/",
            "https://example.com/ ",
            "https://example.com/\n",
            "\thttps://example.com",
            "https://exa\tmple.com/",
            "https://exa\nmple.com/",
            "https://exa mple.com/",
            "https://example.com/a b",
            "https://example.com/a\tb",
            "https://example.com/a\0",
            "https://exam\u{ad}ple.com/",
            "https://example\u{200b}.com/",
            "https://example.com/\u{ad}",
            "https://example.com/a/../b",
            "https://example.com/./a",
            "https://example.com/a/..",
            "https://example.com/a/%2e%2e/b",
            "https://example.com/%2E",
            "https://example.com/%",
            "https://example.com/%2",
            "https://example.com/%zz",
            "https://example.com/?a=%g0",
            "https://example.com/\"x\"",
            "https://example.com/{id}",
            "https://example.com/<x>",
            "https://example.com/a|b",
            "https://example.com/^",
            "https://example.com/?q=`",
            "https://example.com/ä",
            "https://example.com/?q=ä",
            "https://example.com/a[0]",
            "https://%65xample.com/",
            "https://example%2ecom/",
        ],
    );
}

#[test]
fn ports_are_plain_numbers_from_1_to_65535() {
    all_refused(
        "url_invalid",
        &[
            "https://example.com:0/",
            "https://example.com:00/",
            "https://example.com:/",
            "https://example.com:",
            "https://example.com:0443/",
            "https://example.com:65536/",
            "https://example.com:99999999999999999999/",
            "https://example.com:-1/",
            "https://example.com:+443/",
            "https://example.com:4 43/",
            "https://example.com:https/",
            "https://example.com:443:443/",
            "https://example.com:４４３/",
            "https://[::1]:0/",
            "https://[::1]x:443/",
            "https://[::1]443/",
            "https://:443/",
        ],
    );
    for (text, port) in [
        ("https://example.com", 443),
        ("https://example.com:443/", 443),
        ("https://example.com:1/", 1),
        ("https://example.com:8443/x:9", 8443),
        ("https://example.com:65535/", 65535),
        ("https://[2606:4700::1]:8443/", 8443),
        ("https://[2606:4700::1]/", 443),
    ] {
        assert_eq!(Endpoint::parse(text).unwrap().port(), port, "{text}");
    }
}

#[test]
fn numbers_as_hosts_answer_address_blocked() {
    all_refused(
        "address_blocked",
        &[
            "https://127.1/",
            "https://127.0.1/",
            "https://0177.0.0.1/",
            "https://0x7f.1/",
            "https://0x7f.0.0.1/",
            "https://0X7F000001/",
            "https://2130706433/",
            "https://0/",
            "https://017700000001/",
            "https://127.0.0.01/",
            "https://127.0.0.1./",
            "https://127.1:8443/x",
            "https://256.1.1.1/",
            "https://1.2.3.4.5/",
            "https://99999999999/",
            "https://0x/",
            "https://１２７.0.0.1/",
            "https://１２７。０。０。１/",
            "https://127。0。0。1/",
            "https://①②⑦.0.0.1/",
            "https://%31%32%37.0.0.1/",
            "https://1.1/",
            "https://134744072/",
        ],
    );
    for name in [
        "https://127.example.com/",
        "https://0x7f.example.com/",
        "https://1e100.net/",
        "https://3com.com/",
        "https://0x7g.example/",
    ] {
        assert_eq!(code(name), None, "{name}");
    }
    // A name cannot end in a number (RFC 3696, 2), and this is no address either.
    assert_eq!(code("https://example.123/"), Some("url_invalid"));
    assert_eq!(code("https://example.0x1/"), Some("url_invalid"));
}

#[test]
fn host_names_are_checked_label_by_label() {
    let long = "a".repeat(63);
    let too_long = "a".repeat(64);
    assert_eq!(code(&format!("https://{long}.example/")), None);
    assert_eq!(
        code(&format!("https://{too_long}.example/")),
        Some("url_invalid")
    );
    assert_eq!(
        code(&format!("https://example.{too_long}/")),
        Some("url_invalid")
    );
    let name_253 = [long.as_str(), &long, &long, &"b".repeat(61)].join(".");
    assert_eq!(name_253.len(), 253);
    assert_eq!(code(&format!("https://{name_253}/")), None);
    assert_eq!(code(&format!("https://{name_253}c/")), Some("url_invalid"));
    all_refused(
        "url_invalid",
        &[
            "https://example..com/",
            "https://.example.com/",
            "https://example.com./",
            "https://./",
            "https://../",
            "https://-example.com/",
            "https://example-.com/",
            "https://exa$mple.com/",
            "https://exa!mple.com/",
            "https://ex*mple.com/",
            "https://*.example.com/",
            "https://a,b/",
            "https://münchen.example/",
            "https://例え.jp/",
            "https://exаmple.com/",
            "https://ß.example/",
            "https://xn--/",
            "https://xn--a.example/",
            "https://localhost./",
        ],
    );
    for taken in [
        "https://xn--mnchen-3ya.example/",
        "https://a_b.example/",
        "https://a--b.example/",
        "https://localhost/",
        "https://intranet/",
        "https://1.example/",
    ] {
        assert_eq!(code(taken), None, "{taken}");
    }
}

#[test]
fn user_names_and_fragments_are_refused() {
    all_refused(
        "url_invalid",
        &[
            "https://user@example.com/",
            "https://user:password@example.com/",
            "https://@example.com/",
            "https://:@example.com/",
            "https://example.com@evil.example/",
            "https://a@b@c.example/",
            "https://user:pass@10.0.0.1/",
            "https://example.com:443@evil.example/",
        ],
    );
    all_refused(
        "url_invalid",
        &[
            "https://example.com/#",
            "https://example.com#x",
            "https://example.com/a?b#c",
            "https://example.com/?#",
        ],
    );
    assert_eq!(code("https://example.com/@user"), None);
    assert_eq!(code("https://example.com/?to=a@b.example"), None);
    let message = Endpoint::parse("https://u:hunter2@example.com/")
        .unwrap_err()
        .to_string();
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_url_has_at_most_2048_bytes() {
    let of = |length: usize| format!("https://example.com/{}", "a".repeat(length - 20));
    assert_eq!(code(&of(2047)), None);
    assert_eq!(code(&of(2048)), None);
    assert_eq!(code(&of(2049)), Some("url_invalid"));
    assert_eq!(code(&of(1_000_000)), Some("url_invalid"));
}

#[test]
fn address_literals_are_read_strictly() {
    let address = |text: &str| match Endpoint::parse(text).unwrap().host() {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name,
    };
    assert_eq!(address("https://10.0.0.1/"), "10.0.0.1");
    assert_eq!(address("https://[::1]:8443/"), "::1");
    assert_eq!(address("https://[::FFFF:127.0.0.1]/"), "::ffff:127.0.0.1");
    assert_eq!(address("https://[0:0:0:0:0:0:0:1]/"), "::1");
    assert_eq!(address("https://[64:ff9b::a00:1]/"), "64:ff9b::a00:1");
    all_refused(
        "url_invalid",
        &[
            "https://[]/",
            "https://[::1/",
            "https://::1/",
            "https://[::1%25eth0]/",
            "https://[::1%eth0]/",
            "https://[fe80::1%lo]/",
            "https://[127.0.0.1]/",
            "https://[example.com]/",
            "https://[::g]/",
            "https://[v1.x]/",
            "https://[::127.1]/",
            "https://[[::1]]/",
            "https://a[::1]/",
        ],
    );
}

#[test]
fn parts_are_those_of_a_request() {
    let endpoint =
        Endpoint::parse("HTTPS://Hooks.Example.COM:8443/In/A%2fb;c?X=1&y[]='z'").unwrap();
    assert_eq!(
        endpoint.as_str(),
        "https://hooks.example.com:8443/In/A%2fb;c?X=1&y[]='z'"
    );
    assert_eq!(endpoint.authority(), "hooks.example.com:8443");
    assert_eq!(endpoint.path_and_query(), "/In/A%2fb;c?X=1&y[]='z'");
    assert_eq!(endpoint.host(), Host::Name("hooks.example.com".to_owned()));
    for (text, authority, path) in [
        ("https://example.com", "example.com", "/"),
        ("https://example.com:443?x=1", "example.com", "/?x=1"),
        ("https://example.com:4430/?", "example.com:4430", "/?"),
        ("https://[2606:4700::1]:443/a//b", "[2606:4700::1]", "/a//b"),
        ("https://[2606:4700::443]/", "[2606:4700::443]", "/"),
        ("https://example.com/...", "example.com", "/..."),
    ] {
        let endpoint = Endpoint::parse(text).unwrap();
        assert_eq!(
            (endpoint.authority(), &*endpoint.path_and_query()),
            (authority, path)
        );
    }
}

#[test]
fn is_stored_as_its_text() {
    let endpoint = Endpoint::parse("https://example.com/hook?a=b").unwrap();
    let json = serde_json::to_string(&endpoint).unwrap();
    assert_eq!(json, "\"https://example.com/hook?a=b\"");
    assert_eq!(serde_json::from_str::<Endpoint>(&json).unwrap(), endpoint);
    let bytes = bincode::serialize(&endpoint).unwrap();
    assert_eq!(bytes, bincode::serialize(endpoint.as_str()).unwrap());
    assert_eq!(bincode::deserialize::<Endpoint>(&bytes).unwrap(), endpoint);
}

fn check_taken(text: &str) -> Result<(), TestCaseError> {
    let Ok(endpoint) = Endpoint::parse(text) else {
        return Ok(());
    };
    let url = url::Url::parse(text).expect("what is taken is a URL");
    prop_assert_eq!(url.scheme(), "https");
    let host = match endpoint.host() {
        Host::Name(name) => name,
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        Host::Address(address) => address.to_string(),
    };
    match url.host() {
        Some(url::Host::Ipv6(read)) => prop_assert_eq!(format!("[{read}]"), host),
        Some(read) => prop_assert_eq!(read.to_string(), host),
        None => prop_assert!(false, "no host in {}", text),
    }
    prop_assert_eq!(url.port_or_known_default(), Some(endpoint.port()));
    prop_assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    let path = endpoint.path_and_query();
    let origin_form: http::uri::PathAndQuery = path.parse().expect("a request line takes it");
    prop_assert_eq!(origin_form.as_str(), &*path);
    let again = Endpoint::parse(endpoint.as_str());
    prop_assert_eq!(again.as_ref(), Ok(&endpoint));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_that_is_taken_is_read_alike_by_the_url_crate(text in "\\PC{0,40}") {
        check_taken(&text)?;
    }

    #[test]
    fn any_https_text_that_is_taken_is_read_alike(
        rest in "[a-zA-Z0-9.:/?#@%\\[\\]\\\\ _~'\"<>|\t\n-]{0,24}"
    ) {
        check_taken(&format!("https://{rest}"))?;
    }

    #[test]
    fn plain_urls_are_taken(
        host in "[a-z]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z]{2,6}){1,2}", port in 1u16.., path in "(/[a-zA-Z0-9_~=+-]{1,8}){0,3}",
    ) {
        // Parts that begin like punycode are checked by the url crate beyond their letters.
        prop_assume!(!host.contains("--"));
        let text = format!("https://{host}:{port}{path}");
        prop_assert!(Endpoint::parse(&text).is_ok(), "{}", text);
        check_taken(&text)?;
    }
}
