//! What the API's document says, made ready to judge requests and answers by it.
//!
//! It judges more strictly than a client should: objects of answers may have no members that are not described.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex};

use hookwheel::api::openapi;
use hookwheel::cli::client::Answer;
use hookwheel::profile::Profiles;
use http::{Method, StatusCode};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Where a schema stands in the document: a JSON pointer.
type Place = String;

/// The document, its paths, and the validators that were needed so far.
pub struct Described {
    pub document: Value,
    paths: Vec<Vec<String>>,
    validators: Mutex<HashMap<Place, Arc<Validator>>>,
}

/// A call that the document describes.
#[derive(Clone, Debug)]
pub struct Call {
    /// A pointer to it.
    pub place: Place,
    pub path: String,
    pub method: Method,
    pub shown: Value,
}

impl Call {
    pub fn id(&self) -> &str {
        self.shown["operationId"].as_str().unwrap()
    }

    /// Whether it is made with a key.
    pub fn has_key(&self) -> bool {
        let ways = self.shown["security"].as_array().unwrap();
        !ways.is_empty()
    }

    /// The scope that the key needs; none: any key will do.
    pub fn scope(&self) -> Option<&str> {
        self.shown["x-scope"].as_str()
    }
}

impl Described {
    /// The document of a daemon with the built-in profiles.
    pub fn api() -> &'static Self {
        static API: LazyLock<Described> = LazyLock::new(|| {
            let mut document = openapi::document(&Profiles::built_in());
            close(&mut document["components"]["schemas"]);
            Described::new(document)
        });
        &API
    }

    pub fn new(document: Value) -> Self {
        let paths = document["paths"].as_object().unwrap().keys();
        let paths = paths.map(|path| parts(path)).collect();
        Self {
            document,
            paths,
            validators: Mutex::default(),
        }
    }

    /// Every call, in the document's order.
    pub fn calls(&self) -> Vec<Call> {
        let paths = self.document["paths"].as_object().unwrap();
        let of_path = |(path, methods): (&String, &Value)| -> Vec<Call> {
            let methods = methods.as_object().unwrap();
            let call = |(method, shown): (&String, &Value)| Call {
                place: format!("/paths/{}/{method}", escaped(path)),
                path: path.clone(),
                method: method.to_ascii_uppercase().parse().unwrap(),
                shown: shown.clone(),
            };
            methods.iter().map(call).collect()
        };
        paths.iter().flat_map(of_path).collect()
    }

    /// The call of this name.
    pub fn call(&self, id: &str) -> Call {
        let found = self.calls().into_iter().find(|call| call.id() == id);
        found.unwrap_or_else(|| panic!("no call is named {id}"))
    }

    /// The described path that a path is of: the one with the fewest names in it.
    fn path_of(&self, path: &str) -> Option<String> {
        let given = parts(path);
        let fits = |known: &&Vec<String>| {
            known.len() == given.len()
                && known
                    .iter()
                    .zip(&given)
                    .all(|(known, given)| is_name(known) && !given.is_empty() || known == given)
        };
        let names = |known: &&Vec<String>| known.iter().filter(|part| is_name(part)).count();
        let found = self.paths.iter().filter(fits).min_by_key(names)?;
        Some(found.join("/"))
    }

    /// The call that a request makes, where there is one.
    pub fn find(&self, method: &Method, path: &str) -> Option<Call> {
        let path = self.path_of(path)?;
        let name = method.as_str().to_ascii_lowercase();
        let place = format!("/paths/{}/{name}", escaped(&path));
        let shown = self.document.pointer(&place)?.clone();
        let method = method.clone();
        Some(Call {
            place,
            path,
            method,
            shown,
        })
    }

    /// Whether an answer is one that the document knows, and a request that was taken, too.
    pub fn judge(
        &self,
        method: &Method,
        target: &str,
        body: Option<&str>,
        answer: &Answer,
    ) -> Result<(), String> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Some(known) = self.path_of(path) else {
            return expect(
                answer.status == StatusCode::NOT_FOUND,
                "the path is not described",
            );
        };
        let Some(call) = self.find(method, path) else {
            let methods: BTreeSet<String> = self.document["paths"][&known]
                .as_object()
                .unwrap()
                .keys()
                .map(|name| name.to_ascii_uppercase())
                .collect();
            expect(
                answer.status == StatusCode::METHOD_NOT_ALLOWED,
                "the method is not described",
            )?;
            let allowed = answer
                .headers
                .get("allow")
                .map(|list| list.to_str().unwrap_or_default());
            let mut allowed: BTreeSet<String> = allowed
                .unwrap_or_default()
                .split(',')
                .map(|one| one.trim().to_owned())
                .collect();
            allowed.remove("HEAD");
            return expect(
                allowed == methods,
                &format!("Allow is {allowed:?}, described are {methods:?}"),
            );
        };
        // Of a batch some events may have been refused: 207.
        if answer.status.is_success() && answer.status != StatusCode::MULTI_STATUS {
            self.judge_request(&call, query, body)?;
        }
        self.judge_answer(&call, answer)
    }

    /// What was taken must be what the document says can be given.
    fn judge_request(&self, call: &Call, query: &str, body: Option<&str>) -> Result<(), String> {
        let parameters = call.shown["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let known: BTreeSet<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let asked = query.split('&').filter(|pair| !pair.is_empty());
        for name in asked.map(|pair| pair.split('=').next().unwrap_or_default()) {
            // A call without parameters does not look at its query.
            expect(
                known.is_empty() || known.contains(name),
                &format!("the parameter {name} is not described"),
            )?;
        }
        let Some(body) = body.filter(|body| !body.trim().is_empty()) else {
            return Ok(());
        };
        let place = format!(
            "{}/requestBody/content/application~1json/schema",
            call.place
        );
        // What no tree can hold is not judged: data may be nested more deeply than that.
        let (Some(_), Ok(given)) = (self.document.pointer(&place), serde_json::from_str(body))
        else {
            return Ok(());
        };
        self.fits(&place, &given)
            .map_err(|why| format!("the request was taken, but {why}"))
    }

    fn judge_answer(&self, call: &Call, answer: &Answer) -> Result<(), String> {
        let status = answer.status.as_u16();
        let mut place = format!("{}/responses/{status}", call.place);
        let Some(mut described) = self.document.pointer(&place) else {
            return Err(format!(
                "the status {status} is not described for {}",
                call.id()
            ));
        };
        if let Some(reference) = described["$ref"].as_str() {
            place = reference.trim_start_matches('#').to_owned();
            described = self.document.pointer(&place).unwrap();
        }
        self.judge_headers(described, answer)?;
        let Some(content) = described["content"].as_object() else {
            return expect(
                answer.body.is_null(),
                "there is a body where none is described",
            );
        };
        let kind = answer
            .headers
            .get("content-type")
            .and_then(|kind| kind.to_str().ok());
        let kind = kind
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        expect(
            content.contains_key(kind),
            &format!("the content type {kind:?} is not described"),
        )?;
        self.fits(
            &format!("{place}/content/{}/schema", escaped(kind)),
            &answer.body,
        )
    }

    fn judge_headers(&self, described: &Value, answer: &Answer) -> Result<(), String> {
        let headers = described["headers"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for (name, reference) in &headers {
            let reference = reference["$ref"].as_str().unwrap().trim_start_matches('#');
            let header = self.document.pointer(reference).unwrap();
            let there = answer.headers.contains_key(name.to_ascii_lowercase());
            expect(
                there || header["required"] != true,
                &format!("the header {name} is missing"),
            )?;
        }
        Ok(())
    }

    /// Whether a value fits the schema at a place of the document.
    pub fn fits(&self, place: &str, value: &Value) -> Result<(), String> {
        let validator = self.validator(place);
        let faults: Vec<String> = validator
            .iter_errors(value)
            .take(3)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        expect(
            faults.is_empty(),
            &format!("it does not fit {place}: {}", faults.join("; ")),
        )
    }

    fn validator(&self, place: &str) -> Arc<Validator> {
        let mut kept = self.validators.lock().unwrap();
        if let Some(validator) = kept.get(place) {
            return Arc::clone(validator);
        }
        let mut schema = self
            .document
            .pointer(place)
            .unwrap_or_else(|| panic!("no schema at {place}"))
            .clone();
        let needed = self.reached(&schema);
        schema["components"] = json!({ "schemas": needed });
        let built = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .build(&schema);
        let validator = Arc::new(built.unwrap_or_else(|fault| panic!("{place}: {fault}")));
        kept.insert(place.to_owned(), Arc::clone(&validator));
        validator
    }

    /// The named schemas that a schema leads to.
    fn reached(&self, schema: &Value) -> Map<String, Value> {
        let all = &self.document["components"]["schemas"];
        let (mut found, mut open) = (BTreeMap::new(), references(schema));
        while let Some(reference) = open.pop() {
            let Some(name) = reference.strip_prefix("#/components/schemas/") else {
                panic!("{reference} leads elsewhere");
            };
            if !found.contains_key(name) {
                let schema = all
                    .get(name)
                    .unwrap_or_else(|| panic!("{reference} leads nowhere"));
                open.extend(references(schema));
                found.insert(name.to_owned(), schema.clone());
            }
        }
        found.into_iter().collect()
    }
}

fn expect(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

fn parts(path: &str) -> Vec<String> {
    path.split('/').map(str::to_owned).collect()
}

fn is_name(part: &str) -> bool {
    part.starts_with('{')
}

pub fn escaped(path: &str) -> String {
    path.replace('~', "~0").replace('/', "~1")
}

/// Every `$ref` in a value.
pub fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(members) => {
            let own = members
                .get("$ref")
                .and_then(Value::as_str)
                .map(str::to_owned);
            own.into_iter()
                .chain(members.values().flat_map(references))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Lets no object have members that its schema does not name.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(members) => {
            let is_object = match members.get("type") {
                Some(Value::String(kind)) => kind == "object",
                Some(Value::Array(kinds)) => kinds.contains(&json!("object")),
                _ => false,
            };
            if is_object
                && members.contains_key("properties")
                && !members.contains_key("additionalProperties")
            {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            members.values_mut().for_each(close);
        }
        _ => {}
    }
}
