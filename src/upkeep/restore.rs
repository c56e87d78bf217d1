//! `hookwheel restore`: a backup becomes the data directory that the config names.

use std::cell::RefCell;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use tokio::time::Instant;

use super::progress::Progress;
use super::{as_json, config, content, damage, pace, print, remedied, with};
use crate::cli::upkeep::RestoreOptions;
use crate::metrics::Metrics;
use crate::store::{self, RestoreOrder, Restored};

/// Restores a backup, opens it once so that the registry is made, and tells what is in it.
///
/// # Errors
/// Where there is no store then.
pub fn restore(options: &RestoreOptions) -> anyhow::Result<ExitCode> {
    let config = match config(&options.config.config, options.json) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let order = RestoreOrder {
        from: options.from.clone(),
        to: config.storage.path.clone(),
    };
    let started = Instant::now();
    let progress = RefCell::new(Progress::new("restore", 0));
    let restored = store::restore(
        &order,
        &mut |total| *progress.borrow_mut() = Progress::new("restore", 2 * total),
        &mut |bytes| progress.borrow_mut().add(bytes),
    )
    .map_err(remedied)?;
    drop(progress);
    // Here rather than at the daemon's start: whoever restores wants to know whether it opens.
    let opened = store::open(config.storage, Metrics::new())
        .map_err(remedied)
        .context("the data is restored, but does not open")?;
    opened.handle.stop().context(
        "the data is restored, but the registry could not be made; the daemon's start tries again",
    )?;
    let seconds = started.elapsed().as_secs_f64();
    if options.json {
        let more = json!({
            "restored": order.to, "from": order.from, "taken_at": restored.listed.taken_at.to_string(),
            "seconds": seconds,
        });
        print(&[with(as_json(&restored.survey), more).to_string()]);
    } else {
        print(&told(&order, &restored, seconds));
    }
    Ok(if restored.survey.new_damage() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn told(order: &RestoreOrder, restored: &Restored, seconds: f64) -> Vec<String> {
    let survey = &restored.survey;
    let mut lines = vec![format!(
        "{} is restored from {}, taken at {} by version {}:",
        order.to.display(),
        order.from.display(),
        restored.listed.taken_at,
        restored.listed.made_by
    )];
    lines.extend(content(survey));
    lines.push(format!("  took        {}", pace(survey.bytes, seconds)));
    lines.extend(damage(survey));
    if survey.damaged > restored.listed.damaged {
        lines.push(
            "The backup was damaged after it was made: what stood there is lost. Another backup may have it."
                .to_owned(),
        );
    }
    lines.push(
        "Deliveries that were made after the backup will be made again; what was posted after it is unknown."
            .to_owned(),
    );
    lines
}
