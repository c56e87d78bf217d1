//! `hookwheel replay`, and what it has in common with other jobs: count, ask, start, and show how far it is.
//!
//! A job is the daemon's: who stops looking at it does not stop it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::fault::{Done, Fault};
use super::screen::Screen;
use super::session::{Session, count, part, text};
use super::text::{Style, Text};
use super::when;

/// How often a job is looked at: what it does is counted in seconds.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A daemon that restarts is back sooner.
const AWAY_MAX: Duration = Duration::from_secs(60);
const BAR: usize = 24;

/// What jobs of both kinds are told.
#[derive(Clone, Debug, Args)]
pub(super) struct JobOptions {
    /// Only events created from this time on: RFC 3339, or how long ago, such as 2h.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events created up to this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only events of this type; can be given many times.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// How many are queued in a second [default: 100].
    #[arg(long, value_name = "N")]
    per_second: Option<u32>,
    /// Count, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Start it, and do not wait for its end.
    #[arg(long)]
    no_wait: bool,
}

/// What is sent again.
#[derive(Debug, Args)]
pub struct ReplayOptions {
    /// The webhook whose deliveries are sent again.
    webhook: String,
    /// Send them to this webhook in place of that one.
    #[arg(long, value_name = "WEBHOOK")]
    to: Option<String>,
    /// Only deliveries that ended so: failed, cancelled, dropped, expired, delivered; can be given many times
    /// [default: all but delivered].
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',')]
    states: Vec<String>,
    #[command(flatten)]
    job: JobOptions,
}

impl JobOptions {
    /// The fields as the API takes them.
    pub(super) fn body(&self, screen: &Screen) -> Done<Map<String, Value>> {
        let mut body = Map::new();
        for (name, given) in [("since", &self.since), ("until", &self.until)] {
            if let Some(given) = given {
                let at = when::argument(given, screen.now())
                    .map_err(|why| Fault::usage("time_invalid", why))?;
                body.insert(name.to_owned(), json!(at));
            }
        }
        if !self.types.is_empty() {
            body.insert("types".to_owned(), json!(self.types));
        }
        if let Some(per_second) = self.per_second {
            body.insert("per_second".to_owned(), json!(per_second));
        }
        Ok(body)
    }
}

pub(super) async fn run(session: &mut Session<'_>, options: ReplayOptions) -> Done<ExitCode> {
    let mut body = options.job.body(session.screen)?;
    if !options.states.is_empty() {
        body.insert("states".to_owned(), json!(options.states));
    }
    let webhook = session.webhook_id(&options.webhook).await?;
    if let Some(to) = &options.to {
        let to = session.webhook_id(to).await?;
        body.insert("to".to_owned(), json!(to));
    }
    order(
        session,
        &format!("/api/v1/webhooks/{webhook}/replay"),
        body,
        &options.job,
        "Send",
    )
    .await
}

/// Counts what a job would take, asks, starts it, and waits for its end.
pub(super) async fn order(
    session: &mut Session<'_>,
    path: &str,
    mut body: Map<String, Value>,
    options: &JobOptions,
    verb: &str,
) -> Done<ExitCode> {
    let screen = session.screen;
    // Who is not asked need not be told a count first.
    if options.dry_run || !options.yes {
        body.insert("dry_run".to_owned(), json!(true));
        let counted = session
            .post(path, Some(&Value::Object(body.clone())))
            .await?;
        body.remove("dry_run");
        if options.dry_run && screen.json {
            screen.json_text(&counted.text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let matched = count(&counted.body, "matched");
        let at_least = if part(&counted.body, "complete") == false {
            "at least "
        } else {
            ""
        };
        let shown = format!("{at_least}{}", when::number(matched));
        if options.dry_run {
            screen.line(format!("{shown} would be queued"))?;
            return Ok(ExitCode::SUCCESS);
        }
        if matched == 0 && at_least.is_empty() {
            if screen.json {
                screen.json_text(&counted.text)?;
            } else {
                screen.line("nothing fits; nothing was started")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let rate = options.per_second.unwrap_or(100);
        let again = if verb == "Send" { " again" } else { "" };
        screen.confirm(
            &format!("{verb} {shown} deliveries{again}, up to {rate} a second?"),
            false,
        )?;
    }
    let answer = session.post(path, Some(&Value::Object(body))).await?;
    let id = text(&answer.body, "id").to_owned();
    if options.no_wait {
        if screen.json {
            screen.json_text(&answer.text)?;
        } else {
            screen.line(
                Text::styled(Style::Good, "started")
                    .put(" ")
                    .with(Style::Bold, &id),
            )?;
            screen.note(format!("hookwheel job wait {id} shows how far it is"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !screen.json {
        screen.note(format!(
            "started {id}; it goes on if this command is stopped"
        ))?;
    }
    follow(session, &id).await
}

/// Shows how far a job is until it has ended, or somebody pauses it.
pub(super) async fn follow(session: &mut Session<'_>, id: &str) -> Done<ExitCode> {
    let screen = session.screen;
    let url = format!("/api/v1/jobs/{id}");
    let (start, mut seen) = (Instant::now(), Instant::now());
    let mut first: Option<f64> = None;
    let answer = loop {
        match session.get(&url).await {
            Ok(answer) => {
                seen = Instant::now();
                let job = &answer.body;
                if text(job, "state") != "running" {
                    break answer;
                }
                let share = part(part(job, "progress"), "share").as_f64().unwrap_or(0.0);
                let first = *first.get_or_insert(share);
                screen.progress(Some(bar(
                    job,
                    share,
                    left(share - first, 1.0 - share, start.elapsed()),
                )));
            }
            // It may be restarting; the job goes on after that.
            Err(fault) if fault.status.is_none() && seen.elapsed() < AWAY_MAX => {
                screen.progress(Some("the daemon does not answer; trying on".into()));
            }
            Err(fault) => {
                screen.progress(None);
                return Err(fault);
            }
        }
        sleep(LOOK_EVERY).await;
    };
    screen.progress(None);
    if screen.json {
        screen.json_text(&answer.text)?;
    } else {
        screen.line(summary(&answer.body))?;
    }
    let is_done = text(&answer.body, "state") == "done";
    Ok(if is_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How long a job has yet, by how fast it was; nothing before that can be told.
fn left(share_done: f64, share_left: f64, elapsed: Duration) -> Option<Duration> {
    /// Below this share any guess is wild.
    const SHARE_MIN: f64 = 0.02;
    const DAY_S: f64 = 86_400.0;
    let seconds = elapsed.as_secs_f64() * share_left / share_done;
    (share_done > SHARE_MIN && (0.0..DAY_S).contains(&seconds))
        .then(|| Duration::from_secs_f64(seconds))
}

fn bar(job: &Value, share: f64, left: Option<Duration>) -> Text {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share from 0 to 1"
    )]
    let (full, percent) = (
        (share.clamp(0.0, 1.0) * BAR as f64) as usize,
        (share.clamp(0.0, 1.0) * 100.0) as usize,
    );
    let bar = format!(
        "[{}{}]",
        "#".repeat(full),
        "·".repeat(BAR.saturating_sub(full))
    );
    let queued = when::number(count(&job["progress"], "queued"));
    let left = left.map(|left| {
        format!(
            ", about {} left",
            when::span(u64::try_from(left.as_millis()).unwrap_or(0))
        )
    });
    Text::styled(Style::Good, &bar).put(&format!(
        " {percent}%  {queued} queued{}",
        left.unwrap_or_default()
    ))
}

/// What a job has done so far.
pub(super) fn summary(job: &Value) -> Text {
    let progress = &job["progress"];
    let state = text(job, "state");
    let mut told = format!(": {} queued", when::number(count(progress, "queued")));
    let skipped = count(progress, "skipped");
    if skipped > 0 {
        told.push_str(&format!(
            ", {} skipped, as they cannot be read any more",
            when::number(skipped)
        ));
    }
    Text::state(state).put(&told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_tells_how_far_and_how_long() {
        let job = json!({ "state": "running", "progress": { "queued": 1_250, "share": 0.5 } });
        let left = left(0.25, 0.5, Duration::from_secs(30));
        assert_eq!(left, Some(Duration::from_secs(60)));
        let shown = bar(&job, 0.5, left).render(false);
        assert_eq!(
            shown,
            "[############············] 50%  1,250 queued, about 1m left"
        );
        for (done, rest, elapsed) in [(0.0, 1.0, 5), (0.01, 0.9, 5), (0.03, 0.97, 86_400)] {
            assert_eq!(super::left(done, rest, Duration::from_secs(elapsed)), None);
        }
        assert!(bar(&job, 7.0, None).render(false).contains("] 100%"));
    }
}
