//! `hookwheel webhook`: register, list, show, change, try out, remove; secrets, what is held, and receivers' code.

mod options;
mod rotate;
mod show;

use std::process::ExitCode;

use http::Method;
use serde_json::{Map, Value, json};

use super::PageOptions;
use super::fault::{Done, Fault};
use super::fields::input;
use super::secret::{SecretFile, hand_over};
use super::session::{Session, count, part, sum, text, text_if, with_query, words};
use super::table::{Column, Table};
use super::text::{Style, Text};
use super::timeline;
use super::when;

use options::{AddOptions, DiscardOptions, EditOptions, Named, Sure, VerifierOptions};
use rotate::rotate;
use show::{events, show, shown_as};

pub(super) use options::WebhookCommand;
pub(super) use show::standing;

/// Pages of what a webhook holds that one call of ours ends: each is a bounded piece of work for the daemon.
const DISCARDS_MAX: usize = 100_000;

pub(super) async fn run(session: &mut Session<'_>, command: WebhookCommand) -> Done<ExitCode> {
    match command {
        WebhookCommand::List(page) => list(session, &page).await?,
        WebhookCommand::Add(options) => add(session, *options).await?,
        WebhookCommand::Show(Named { webhook }) => {
            let id = session.webhook_id(&webhook).await?;
            let answer = session.get(&path(&id)).await?;
            if session.screen.json {
                session.screen.json_text(&answer.text)?;
            } else {
                show(session, &answer.body)?;
            }
        }
        WebhookCommand::Edit(options) => edit(session, *options).await?,
        WebhookCommand::Remove(sure) => remove(session, sure).await?,
        WebhookCommand::Enable(Named { webhook }) => switch(session, &webhook, true).await?,
        WebhookCommand::Disable(Named { webhook }) => switch(session, &webhook, false).await?,
        WebhookCommand::Test(Named { webhook }) => return test(session, &webhook).await,
        WebhookCommand::Rotate(options) => rotate(session, options).await?,
        WebhookCommand::Discard(options) => discard(session, options).await?,
        WebhookCommand::Verifier(options) => verifier(session, options).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("/api/v1/webhooks/{id}")
}

async fn list(session: &mut Session<'_>, page: &PageOptions) -> Done<()> {
    let listed = session.list("/api/v1/webhooks", &[], page).await?;
    let screen = session.screen;
    if screen.json {
        return screen.json_text(&listed.text);
    }
    if listed.rows.is_empty() {
        return screen.note("no webhooks yet; `hookwheel webhook add URL` registers one");
    }
    let mut table = Table::new(&[
        Column::cut("ID", 14),
        Column::cut("NAME", 10),
        Column::whole("STATE"),
        Column::cut("EVENTS", 8),
        Column::cut("URL", 12),
        Column::cut("CREATED", 8),
    ]);
    for webhook in &listed.rows {
        let (state, _) = standing(webhook);
        let failing = webhook["failing"].is_object() && state == "active";
        table.row(vec![
            text(webhook, "id").into(),
            text_if(webhook, "name").unwrap_or("–").into(),
            if failing {
                Text::state("failing")
            } else {
                Text::state(state)
            },
            events(webhook).into(),
            text(webhook, "url").into(),
            screen.time(text_if(webhook, "created_at")),
        ]);
    }
    screen.table(&table)?;
    session.tell_of_more(&listed)
}

async fn add(session: &mut Session<'_>, options: AddOptions) -> Done<()> {
    let mut fields = options.fields.read(session).await?;
    if let Some(url) = &options.target {
        fields.insert("url".to_owned(), json!(url));
    }
    if let Some(path) = &options.secret_file {
        fields.insert(
            "secret".to_owned(),
            json!(input(path)?.trim_end_matches(['\r', '\n'])),
        );
    }
    if options.inactive {
        fields.insert("active".to_owned(), json!(false));
    }
    let file = SecretFile::make(options.secret_out.as_deref())?;
    let added = session
        .post("/api/v1/webhooks", Some(&Value::Object(fields)))
        .await;
    let answer = match added {
        Err(fault) if fault.has_code("event_type_unknown") => {
            return Err(with_types(session, fault).await);
        }
        added => added?,
    };
    let mut webhook = answer.body;
    let screen = session.screen;
    if !screen.json {
        let id = text(&webhook, "id");
        screen.line(
            Text::styled(Style::Good, "registered")
                .put(" ")
                .with(Style::Bold, id),
        )?;
        screen.fact("url", text(&webhook, "url"))?;
        screen.fact("events", events(&webhook))?;
    }
    hand_over(session, &mut webhook, &answer.text, file)?;
    if screen.json {
        return Ok(());
    }
    if let Some(key) = text_if(&webhook, "public_key") {
        screen.fact("public key", key)?;
    }
    if let Some(hint) = text_if(&webhook, "hint") {
        screen.note(Text::styled(Style::Doubt, "hint: ").put(hint))?;
    }
    screen.note(format!(
        "try it: hookwheel webhook test {}",
        super::names::called(&webhook)
    ))
}

/// The types that there are, where one was named that there is not.
async fn with_types(session: &mut Session<'_>, fault: Fault) -> Fault {
    const NAMED_MAX: usize = 30;
    let Ok(answer) = session.get("/api/v1/event-types").await else {
        return fault;
    };
    let types: Vec<&str> = words(&answer.body, "data").collect();
    match types.len() {
        0 => fault,
        some if some <= NAMED_MAX => fault.hint(format!("the types are: {}", types.join(", "))),
        some => fault.hint(format!(
            "there are {some} types; GET /api/v1/event-types lists them"
        )),
    }
}

async fn edit(session: &mut Session<'_>, options: EditOptions) -> Done<()> {
    let mut fields = options.fields.read(session).await?;
    if let Some(url) = &options.to {
        fields.insert("url".to_owned(), json!(url));
    }
    for name in &options.clear {
        // Of a list, the empty one is none.
        let none = if name == "events" {
            json!([])
        } else {
            Value::Null
        };
        fields.insert(name.clone(), none);
    }
    if fields.is_empty() {
        return Err(Fault::usage(
            "nothing_given",
            "name what is to become another, such as --name or --to URL",
        ));
    }
    let id = session.webhook_id(&options.webhook).await?;
    change(session, &id, fields, "changed").await
}

async fn change(
    session: &mut Session<'_>,
    id: &str,
    fields: Map<String, Value>,
    done: &str,
) -> Done<()> {
    let answer = session
        .call(Method::PATCH, &path(id), Some(&Value::Object(fields)))
        .await;
    let answer = match answer {
        Err(fault) if fault.has_code("event_type_unknown") => {
            return Err(with_types(session, fault).await);
        }
        answer => answer?,
    };
    if session.screen.json {
        return session.screen.json_text(&answer.text);
    }
    session
        .screen
        .line(Text::styled(Style::Good, done).put(&format!(" {}", shown_as(&answer.body))))
}

async fn switch(session: &mut Session<'_>, webhook: &str, active: bool) -> Done<()> {
    let id = session.webhook_id(webhook).await?;
    let mut fields = Map::new();
    fields.insert("active".to_owned(), json!(active));
    change(
        session,
        &id,
        fields,
        if active { "enabled" } else { "disabled" },
    )
    .await
}

/// A webhook with how many deliveries it has pending, for a question.
async fn pending(session: &mut Session<'_>, webhook: &str) -> Done<(Value, u64)> {
    let id = session.webhook_id(webhook).await?;
    let webhook = session.get(&path(&id)).await?.body;
    let stats = session.get(&format!("{}/stats", path(&id))).await?.body;
    let now = part(&stats, "now");
    Ok((webhook, sum(now, &["waiting", "held"])))
}

async fn remove(session: &mut Session<'_>, sure: Sure) -> Done<()> {
    let (webhook, waiting) = pending(session, &sure.webhook).await?;
    let screen = session.screen;
    let waiting = match waiting {
        0 => "Nothing waits for it.".to_owned(),
        1 => "The one delivery that waits for it is cancelled.".to_owned(),
        some => format!(
            "The {} deliveries that wait for it are cancelled.",
            when::number(some)
        ),
    };
    let question = format!(
        "Remove {}, {}? {waiting}",
        shown_as(&webhook),
        text(&webhook, "url")
    );
    screen.confirm(&question, sure.yes)?;
    session
        .call(Method::DELETE, &path(text(&webhook, "id")), None)
        .await?;
    if screen.json {
        return screen.json_value(&json!({ "id": part(&webhook, "id"), "removed": true }));
    }
    screen.line(Text::styled(Style::Good, "removed").put(&format!(" {}", shown_as(&webhook))))
}

async fn test(session: &mut Session<'_>, webhook: &str) -> Done<ExitCode> {
    let id = session.webhook_id(webhook).await?;
    let answer = session.post(&format!("{}/test", path(&id)), None).await?;
    let (screen, tested) = (session.screen, &answer.body);
    let is_delivered = part(tested, "delivered") == true;
    let code = if is_delivered {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    if screen.json {
        screen.json_text(&answer.text)?;
        return Ok(code);
    }
    let word = match is_delivered {
        true => Text::styled(Style::Good, "✓ taken"),
        false => Text::styled(Style::Bad, "✗ not taken"),
    };
    screen.line(word.put("  ").put(text(tested, "event_id")))?;
    timeline::attempt(screen, &tested["attempt"], &mut String::new(), true)?;
    let body = text(tested, "request_body");
    if !body.is_empty() {
        screen.line(Text::styled(Style::Dim, "  sent:"))?;
        screen.json_block(body)?;
    }
    Ok(code)
}

async fn discard(session: &mut Session<'_>, options: DiscardOptions) -> Done<()> {
    let screen = session.screen;
    let until = options
        .until
        .as_deref()
        .map(|until| when::argument(until, screen.now()))
        .transpose();
    let until = until.map_err(|why| Fault::usage("time_invalid", why))?;
    let (webhook, held) = pending(session, &options.sure.webhook).await?;
    let some = match &until {
        Some(until) => format!(", of events created up to {}", when::plain(until)),
        None => String::new(),
    };
    let question = format!(
        "Discard what {} holds ({} deliveries{some})? They end as cancelled, and can be replayed.",
        shown_as(&webhook),
        when::number(held)
    );
    screen.confirm(&question, options.sure.yes)?;
    let url = format!("{}/held/discard", path(text(&webhook, "id")));
    let body = match &until {
        Some(until) => json!({ "until": until }),
        None => json!({}),
    };
    let mut discarded = 0;
    for _ in 0..DISCARDS_MAX {
        let answer = session.post(&url, Some(&body)).await?.body;
        discarded += count(&answer, "discarded");
        screen.progress(Some(
            format!("{} discarded", when::number(discarded)).into(),
        ));
        if part(&answer, "more") != true {
            break;
        }
    }
    screen.progress(None);
    if screen.json {
        return screen.json_value(
            &json!({ "webhook_id": part(&webhook, "id"), "discarded": discarded, "more": false }),
        );
    }
    screen.line(
        Text::styled(Style::Good, "discarded")
            .put(&format!(" {} deliveries", when::number(discarded))),
    )
}

async fn verifier(session: &mut Session<'_>, options: VerifierOptions) -> Done<()> {
    let id = session.webhook_id(&options.webhook).await?;
    let query = [("language", Some(options.language.as_str()))];
    let asked = session
        .get(&with_query(&format!("{}/verifier", path(&id)), &query))
        .await;
    let answer = asked.map_err(
        |fault| match fault.detail.contains("nothing at this path") {
            true => fault.hint("this daemon is older than the command, and has no such programs"),
            false => fault,
        },
    )?;
    let screen = session.screen;
    if screen.json {
        return screen.json_text(&answer.text);
    }
    screen.verbatim(text(&answer.body, "code"))?;
    for note in words(&answer.body, "notes") {
        screen.note(Text::styled(Style::Dim, "note: ").put(note))?;
    }
    Ok(())
}
