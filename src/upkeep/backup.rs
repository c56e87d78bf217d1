//! `hookwheel backup`: a copy of the data, beside a running daemon or without one.

use std::cell::RefCell;
use std::process::ExitCode;

use serde_json::json;
use tokio::time::Instant;

use super::progress::Progress;
use super::{as_json, config, content, damage, pace, print, remedied, with};
use crate::cli::upkeep::BackupOptions;
use crate::store::{self, Backup, BackupOrder};

/// Makes a backup, and tells what is in it. The exit code is 1 also where the journal has damage that is not
/// told of in `set-aside`.
///
/// # Errors
/// Where there is no backup then.
pub fn backup(options: &BackupOptions) -> anyhow::Result<ExitCode> {
    let config = match config(&options.config.config, options.json) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let order = BackupOrder {
        from: config.storage.path,
        to: options.to.clone(),
        rate: options.rate,
    };
    let started = Instant::now();
    let progress = RefCell::new(Progress::new("backup", 0));
    // Everything is copied, and then read again.
    let made = store::backup(
        &order,
        &mut |total| *progress.borrow_mut() = Progress::new("backup", 2 * total),
        &mut |bytes| progress.borrow_mut().add(bytes),
    )
    .map_err(remedied)?;
    drop(progress);
    let seconds = started.elapsed().as_secs_f64();
    if options.json {
        let more = json!({
            "backup": order.to, "from": order.from, "set_aside": made.set_aside, "copied": made.copied,
            "seconds": seconds,
        });
        print(&[with(as_json(&made.survey), more).to_string()]);
    } else {
        print(&told(&order, &made, seconds));
    }
    let new = made.survey.new_damage();
    Ok(if new == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn told(order: &BackupOrder, made: &Backup, seconds: f64) -> Vec<String> {
    let mut lines = vec![format!(
        "{} is backed up in {}:",
        order.from.display(),
        order.to.display()
    )];
    lines.extend(content(&made.survey));
    lines.push(format!("  took        {}", pace(made.copied, seconds)));
    if made.set_aside > 0 {
        lines.push(format!(
            "  set aside   {} pieces of earlier damage, copied too",
            made.set_aside
        ));
    }
    lines.extend(damage(&made.survey));
    if made.survey.damaged > 0 {
        lines.push(
            "The journal is damaged: what stood there is in no backup. Everything else is; look at the disk's health."
                .to_owned(),
        );
    }
    lines
        .push("Not in it: the config, and the key and certificate files that it names.".to_owned());
    lines
}
