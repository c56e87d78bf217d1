//! Every trial on its seeds, and every trial with a target.

use std::fs;
use std::path::{Path, PathBuf};

use super::{TRIALS, run};

fn below(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(path)
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Each seed as it is, cut in half, and with one byte altered: that it is a good or a bad input says little else.
#[test]
fn every_trial_holds_on_its_seeds() {
    for (name, _) in TRIALS {
        let directory = below("seeds").join(name);
        let seeds = names_in(&directory);
        assert!(seeds.len() >= 4, "{name} has {} seeds", seeds.len());
        for seed in seeds {
            let mut bytes = fs::read(directory.join(&seed)).unwrap();
            eprintln!("{name}/{seed}");
            run(name, &bytes);
            run(name, &bytes[..bytes.len() / 2]);
            let at = bytes.len() * 2 / 3;
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
            run(name, &bytes);
        }
    }
}

#[test]
fn every_trial_has_its_target_and_its_seeds_and_no_other_is_there() {
    let names: Vec<&str> = TRIALS.iter().map(|(name, _)| *name).collect();
    assert!(names.is_sorted());
    assert_eq!(names_in(&below("seeds")), names);
    let files: Vec<String> = names.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names_in(&below("fuzz_targets")), files);
    let manifest = fs::read_to_string(below("Cargo.toml")).unwrap();
    for name in names {
        let target = fs::read_to_string(below("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(
            target.contains(&format!("run(\"{name}\", bytes)")),
            "{name}"
        );
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
    }
}

#[test]
#[should_panic(expected = "each target is named for its trial")]
fn an_unknown_trial_is_no_silent_pass() {
    run("nothing", b"");
}
