//! `hookwheel webhook rotate`: a new secret, at once or staged, as the profile has it.

use serde_json::{Map, Value, json};

use super::options::RotateOptions;
use super::path;
use super::show::{secrets, shown_as};
use crate::cli::ask::fault::Done;
use crate::cli::ask::fields::input;
use crate::cli::ask::secret::{SecretFile, hand_over};
use crate::cli::ask::session::Session;
use crate::cli::ask::text::{Style, Text};

pub(super) async fn rotate(session: &mut Session<'_>, options: RotateOptions) -> Done<()> {
    let steps = [
        (options.stage, "stage"),
        (options.promote, "promote"),
        (options.abort, "abort"),
        (options.rollback, "rollback"),
    ];
    let verb = steps
        .iter()
        .find(|(is_asked, _)| *is_asked)
        .map_or("rotate", |(_, verb)| verb);
    let id = session.webhook_id(&options.webhook).await?;
    let mut body = Map::new();
    if let Some(keep_old) = &options.keep_old {
        body.insert("keep_old".to_owned(), json!(keep_old));
    }
    if let Some(path) = &options.secret_file {
        body.insert(
            "secret".to_owned(),
            json!(input(path)?.trim_end_matches(['\r', '\n'])),
        );
    }
    let file = SecretFile::make(options.secret_out.as_deref())?;
    let turned = session
        .post(
            &format!("{}/secret/{verb}", path(&id)),
            Some(&Value::Object(body)),
        )
        .await;
    let answer = turned.map_err(|fault| match (fault.code.as_str(), verb) {
        ("rotation_not_offered", "rotate") => {
            fault.hint(format!("so: hookwheel webhook rotate {id} --stage"))
        }
        ("rotation_not_offered", _) => fault.hint(format!("so: hookwheel webhook rotate {id}")),
        _ => fault,
    })?;
    let mut webhook = answer.body;
    let screen = session.screen;
    if !screen.json {
        let done = match verb {
            "rotate" => "a new secret signs; the old one signs as well for a while",
            "stage" => "a new secret is staged; the old one signs until --promote",
            "promote" => "the staged secret signs from now on; --rollback takes the old one back",
            "abort" => "the staged secret is dropped",
            _ => "the secret before signs again; the promoted one is staged",
        };
        screen.line(Text::styled(Style::Good, done).put(&format!("  {}", shown_as(&webhook))))?;
    }
    hand_over(session, &mut webhook, &answer.text, file)?;
    if screen.json {
        Ok(())
    } else {
        secrets(session, &webhook)
    }
}
