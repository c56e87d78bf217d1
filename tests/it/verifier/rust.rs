//! Asks the generated Rust verifiers what they say of a request.

use super::made;
use super::requests::Case;

/// What the verifier of a profile says.
pub fn verdict(profile: &str, case: &Case) -> Result<(), &'static str> {
    let keys: Vec<&str> = case.keys.iter().map(String::as_str).collect();
    let header = |name: &str| {
        let found = case
            .headers
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    macro_rules! ask {
        ($verifier:ident) => {
            made::$verifier::verify(&case.body, header, &keys).map_err(|why| why.0)
        };
        ($verifier:ident, timed) => {
            made::$verifier::verify(&case.body, header, &keys, case.now).map_err(|why| why.0)
        };
    }
    match profile {
        "anomalyarmor" => ask!(anomalyarmor),
        "dataflow" => ask!(dataflow, timed),
        "driftguard" => ask!(driftguard),
        "driftlock" => ask!(driftlock),
        "flock" => ask!(flock),
        "odd" => ask!(odd, timed),
        "odd_key" => ask!(odd_key),
        "signed_by_both" => ask!(signed_by_both, timed),
        "signed_by_key" => ask!(signed_by_key, timed),
        "standard" => ask!(standard, timed),
        other => panic!("no verifier of {other} is compiled in"),
    }
}
