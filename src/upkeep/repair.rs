//! `hookwheel repair`: what is derived from the journal is compared with it, and made again if asked for.

use std::process::ExitCode;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::progress::Progress;
use super::{as_json, config, content, damage, pace, print, with};
use crate::cli::upkeep::RepairOptions;
use crate::journal::raw::IndexFound;
use crate::store::{Findings, RegistryFound, Repair};

/// Looks, repairs if asked for, and looks again. The exit code is 0 only where nothing is wrong in the end.
///
/// # Errors
/// Where the data cannot be looked at, such as while a daemon runs.
pub fn repair(options: &RepairOptions) -> anyhow::Result<ExitCode> {
    let config = match config(&options.config.config, options.json) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let path = config.storage.path.clone();
    let mut repair = Repair::begin(config.storage)?;
    let (found, seconds) = look(&repair)?;
    let mut lines = vec![format!(
        "{}{}",
        path.display(),
        if options.apply {
            ":"
        } else {
            ": a look only, nothing is changed"
        }
    )];
    lines.extend(told(&found, seconds));
    let mut answer = with(report(&found, seconds), json!({ "applied": false }));
    let (mut wrong, mut lost) = (found.is_wrong(), found.survey.damaged > 0);
    if options.apply && wrong {
        let moved = repair.apply(&found)?;
        let (after, seconds) = look(&repair)?;
        (wrong, lost) = (after.is_wrong(), after.survey.damaged > 0);
        lines.push("repaired; looked at again:".to_owned());
        if let Some(moved) = &moved {
            lines.push(format!(
                "  moved       the old registry is {}; delete it when all is well",
                moved.display()
            ));
        }
        lines.extend(told(&after, seconds));
        let after = report(&after, seconds);
        answer = with(
            answer,
            json!({ "applied": true, "moved_aside": moved, "after": after }),
        );
    }
    lines.push(verdict(wrong, options.apply, lost).to_owned());
    if options.json {
        print(&[with(answer, json!({ "wrong": wrong })).to_string()]);
    } else {
        print(&lines);
    }
    Ok(if wrong {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// `lost`: there is damage, which is known by now.
const fn verdict(wrong: bool, applied: bool, lost: bool) -> &'static str {
    match (wrong, applied) {
        (false, _) if lost => {
            "Put right, as far as it can be: what stood in the damaged places is lost, unless a backup has it."
        }
        (false, false) => "Nothing is wrong.",
        (false, true) => "Nothing is wrong now.",
        (true, false) => "Something is wrong: --apply puts it right, as far as it can be.",
        (true, true) => {
            "Something is still wrong: look at the disk's health, and restore a backup."
        }
    }
}

fn look(repair: &Repair) -> anyhow::Result<(Findings, f64)> {
    let started = Instant::now();
    let mut progress = Progress::new("repair", 0);
    let found = repair.look(&mut |bytes| progress.add(bytes))?;
    Ok((found, started.elapsed().as_secs_f64()))
}

fn told(found: &Findings, seconds: f64) -> Vec<String> {
    let survey = &found.survey;
    let mut lines = content(survey);
    lines.push(format!("  read in     {}", pace(survey.bytes, seconds)));
    lines.push(format!(
        "  frames      {} good, {} pieces of damage ({} new), {}",
        survey.records,
        survey.damaged,
        survey.new_damage(),
        match &survey.torn {
            Some(torn) => format!(
                "{} bytes torn at the end of {}",
                torn.bytes,
                torn.path.display()
            ),
            None => "no torn tail".to_owned(),
        }
    ));
    lines.extend(damage(survey));
    lines.push(format!("  set aside   {} pieces", found.set_aside));
    if survey.indexes.is_empty() {
        lines.push("  indexes     good".to_owned());
    }
    for fault in survey.indexes.iter().take(super::SHOWN_MAX) {
        let path = fault.path.display();
        lines.push(format!("  index       {path}: {}", index(fault.found)));
    }
    if survey.indexes.len() > super::SHOWN_MAX {
        let more = survey.indexes.len() - super::SHOWN_MAX;
        lines.push(format!("  index       … and {more} more"));
    }
    lines.push(format!("  registry    {}", registry(found)));
    lines
}

const fn index(found: IndexFound) -> &'static str {
    match found {
        IndexFound::Good => "good",
        IndexFound::Missing => "missing",
        IndexFound::Damaged => "damaged",
        IndexFound::Differs => "differs from the segment's records",
    }
}

fn registry(found: &Findings) -> String {
    match &found.registry {
        RegistryFound::Good => "agrees with the journal".to_owned(),
        RegistryFound::Missing => "there is none; it is made from the journal".to_owned(),
        RegistryFound::Unusable(why) => format!("cannot be used: {why}"),
        RegistryFound::Uncovered(at) => {
            format!("stands at {at}, which the journal does not have")
        }
        RegistryFound::Differs(by) => {
            let kept = if found.remakes_registry() {
                ""
            } else {
                "; it is kept, as the journal is damaged and may lack what made them differ (to have it made from the \
                 journal all the same, move it out of the data directory)"
            };
            format!(
                "differs: {} pending deliveries are missing, {} too many, {} changed, {} webhooks, {} counts{kept}",
                by.missing, by.surplus, by.changed, by.webhooks, by.counts
            )
        }
        RegistryFound::NotCompared(why) => format!("was not compared: {why}"),
    }
}

fn report(found: &Findings, seconds: f64) -> Value {
    let indexes: Vec<Value> = found
        .survey
        .indexes
        .iter()
        .map(|fault| json!({ "file": fault.path, "found": index(fault.found) }))
        .collect();
    let state = match found.registry {
        RegistryFound::Good => "good",
        RegistryFound::Missing => "missing",
        RegistryFound::Unusable(_) => "unusable",
        RegistryFound::Uncovered(_) => "uncovered",
        RegistryFound::Differs(_) => "differs",
        RegistryFound::NotCompared(_) => "not_compared",
    };
    let torn = found.survey.torn.as_ref().map_or(0, |torn| torn.bytes);
    let more = json!({
        "torn_bytes": torn, "new_damage": found.survey.new_damage(), "set_aside": found.set_aside,
        "indexes": indexes, "registry": state, "registry_detail": registry(found), "seconds": seconds,
    });
    with(as_json(&found.survey), more)
}
