//! `[alerts]`: which account gets the operational events, and from which backlog on.

use crate::engine::AlertOptions;
use crate::model::{Account, did_you_mean};

use super::reader::Reader;

/// To count so far takes some tenths of a second of each ten.
const BACKLOG_HIGH_MAX: usize = 1_000_000;

/// Reads the section; `accounts` are those of the same config.
pub(super) fn read(mut reader: Reader<'_, '_>, accounts: &[Account]) -> AlertOptions {
    let text = reader.text("account");
    let backlog_high = reader.count("backlog_high", 10_000, 0..=BACKLOG_HIGH_MAX);
    let account = text.and_then(|text| {
        let named = |account: &&Account| account.name.as_str() == text.value;
        if let Some(account) = accounts.iter().find(named) {
            return Some(account.name.clone());
        }
        let hint = did_you_mean(
            &text.value,
            accounts.iter().map(|account| account.name.as_str()),
        );
        reader.refuse(
            &text,
            format!("there is no account `{}`", text.value),
            format!("{hint}name one of the [[accounts]], or remove the line: then there are log lines only"),
        );
        None
    });
    reader.finish();
    AlertOptions {
        account,
        backlog_high: backlog_high.value,
    }
}
