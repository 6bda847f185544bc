//! The JSON Schema of a config file (draft 2020-12), made from what the readers ask for.
//!
//! It serves editors, which complete and check a config while it is written. It says less than `gatherd check`: what a
//! filter means, which names are defined, and whatever one setting says of another is known to the readers alone.

use serde_json::{Map, Value as Json, json};

use super::kinds::{KindDescription, SECTION, describe_kinds};
use super::{expect, pipeline, sink};
use crate::config::{NOUNS, PIPELINE_KEYS};
use crate::settings::{ANY_KEY, Form, Inner, Presence, Record, describe};

/// The names of sections.
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_-]*$";

/// The names of variables.
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// What `${…}` asks for.
const FILL: &str = r"(^|[^$])\$\{(secret:[A-Za-z0-9_.-]*|[A-Za-z_][A-Za-z0-9_]*)\}";
const BROKEN_FILL: &str =
    r"(^|[^$])\$\{(?!(secret:[A-Za-z0-9_.-]*[A-Za-z0-9_][A-Za-z0-9_.-]*|[A-Za-z_][A-Za-z0-9_]*)\})";

/// What the readers of durations, sizes and rates take, as far as a pattern can tell.
const DURATION: &str = r"^\s*(0|[+]?\d.*[A-Za-z]|[Pp].*\d.*[A-Za-z])\s*$";
const RATE: &str = r"^\s*[+]?0*[1-9]\d*\s*/\s*[smhd]\s*$";

/// The schema, as one JSON document.
pub fn schema() -> Json {
    let kinds = describe_kinds();
    let mut definitions = Map::new();
    for kind in kinds.iter().filter(|kind| kind.role != SECTION) {
        definitions.insert(definition_of(kind), component(kind));
    }
    for role in [pipeline::SOURCE.name, pipeline::STEP.name, sink::ROLE.name] {
        let all = kinds.iter().filter(|kind| kind.role == role).map(|kind| reference(&definition_of(kind)));
        definitions.insert(role.to_owned(), json!({ "oneOf": all.collect::<Vec<_>>() }));
    }
    definitions.insert("text".to_owned(), text());
    definitions.insert("filled".to_owned(), filled());
    definitions.insert("pipeline".to_owned(), pipeline_schema());
    let nouns = NOUNS.iter().map(|noun| ((*noun).to_owned(), noun_schema(noun, &kinds))).collect::<Map<_, _>>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The config of gatherd",
        "type": "object",
        "properties": nouns,
        "additionalProperties": false,
        "$defs": definitions,
    })
}

/// What stands in the top level of a file under `noun`.
fn noun_schema(noun: &str, kinds: &[KindDescription]) -> Json {
    let (one, about) = match noun {
        "pipeline" => (reference("pipeline"), "From a source, through steps, to sinks."),
        "sink" => (reference(sink::ROLE.name), "Where items are delivered."),
        noun => {
            let is_meant = |kind: &&KindDescription| kind.role == SECTION && kind.noun() == noun;
            let kind = kinds.iter().find(is_meant).expect("every other section is described");
            let own = table(&kind.settings);
            if kind.name == format!("[{noun}]") {
                return described(own, kind.summary);
            }
            (own, kind.summary)
        }
    };
    let sections = json!({
        "type": "object",
        "propertyNames": { "pattern": NAME },
        "additionalProperties": one,
    });
    described(sections, about)
}

fn pipeline_schema() -> Json {
    let properties = PIPELINE_KEYS.iter().map(|key| {
        let schema = match *key {
            "from" => described(reference(pipeline::SOURCE.name), "The source of the items."),
            "steps" => {
                let steps = json!({ "type": "array", "items": reference(pipeline::STEP.name) });
                described(steps, "What each item goes through, in this order.")
            }
            "to" => {
                let target = json!({ "anyOf": [reference("text"), reference(sink::ROLE.name)] });
                let sinks = json!({ "type": "array", "items": target, "uniqueItems": true });
                described(sinks, "The sinks and queues, by name or written here. Without it the items are logged.")
            }
            "vars" => {
                let vars = json!({ "type": "object", "propertyNames": { "pattern": VARIABLE } });
                described(vars, "Values that filters call `$NAME`.")
            }
            "expect" => described(table(&describe(expect::read).records), expect::ABOUT),
            other => unreachable!("a pipeline has no `{other}`"),
        };
        ((*key).to_owned(), schema)
    });
    json!({
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
        "required": ["from"],
        "additionalProperties": false,
    })
}

fn definition_of(kind: &KindDescription) -> String {
    format!("{}.{}", kind.role, kind.name)
}

fn reference(definition: &str) -> Json {
    json!({ "$ref": format!("#/$defs/{definition}") })
}

/// A component's table: its key, and what stands beside.
fn component(kind: &KindDescription) -> Json {
    let (beside, inner): (Vec<Record>, Vec<Record>) =
        kind.settings.iter().cloned().partition(|record| record.is_beside);
    let beside = beside.iter().chain(&kind.beside);
    let mut properties: Map<String, Json> = beside.map(|record| (record.key.clone(), setting(record))).collect();
    let own = described(or_short(table(&inner), &inner, kind.short), kind.summary);
    properties.insert(kind.name.to_owned(), own);
    json!({
        "type": "object",
        "properties": properties,
        "required": [kind.name],
        "additionalProperties": false,
    })
}

fn table(records: &[Record]) -> Json {
    let (free, named): (Vec<&Record>, Vec<&Record>) = records.iter().partition(|record| record.key == ANY_KEY);
    let properties = named.iter().map(|record| (record.key.clone(), setting(record))).collect::<Map<_, _>>();
    let required: Vec<&str> =
        named.iter().filter(|record| record.presence == Presence::Required).map(|record| record.key.as_str()).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": free.first().map_or(Json::Bool(false), |record| setting(record)),
    })
}

/// `table`, or the value of its one obvious setting.
fn or_short(table: Json, records: &[Record], short: Option<&str>) -> Json {
    match records.iter().find(|record| Some(record.key.as_str()) == short) {
        Some(record) => json!({ "anyOf": [form(record), table] }),
        None => table,
    }
}

fn setting(record: &Record) -> Json {
    let mut schema = described(form(record), record.about);
    if let (Presence::Default(default), Some(schema)) = (&record.presence, schema.as_object_mut())
        && let Some(default) = json_of_toml(default)
    {
        schema.insert("default".to_owned(), default);
    }
    schema
}

fn form(record: &Record) -> Json {
    match (&record.form, &record.inner) {
        (Form::Table, Inner::Table(inner)) => or_short(table(inner), inner, record.short),
        (Form::Tables, Inner::List(elements)) => {
            let inner = elements.first().map_or(&[][..], Vec::as_slice);
            json!({ "type": "array", "items": or_short(table(inner), inner, record.short) })
        }
        (form, _) => form_schema(form),
    }
}

fn form_schema(form: &Form) -> Json {
    match form {
        Form::Boolean => json!({ "anyOf": [{ "type": "boolean" }, reference("filled")] }),
        Form::Integer { least, most } => {
            let integer = json!({ "type": "integer", "minimum": bound(*least), "maximum": bound(*most) });
            json!({ "anyOf": [integer, reference("filled")] })
        }
        Form::Number => json!({ "anyOf": [{ "type": "number" }, reference("filled")] }),
        Form::Text => reference("text"),
        Form::Duration => pattern(DURATION),
        Form::Rate => pattern(RATE),
        Form::Size { least } => {
            json!({ "anyOf": [{ "type": "integer", "minimum": least }, pattern(&size_of_at_least(*least))] })
        }
        Form::Name => pattern(NAME),
        Form::Filter => json!({ "type": "string", "not": { "pattern": FILL } }),
        Form::Words(words) => json!({ "anyOf": [{ "enum": words }, reference("filled")] }),
        Form::List(element) => json!({ "type": "array", "items": form_schema(element) }),
        Form::Map(value) => json!({ "type": "object", "additionalProperties": form_schema(value) }),
        Form::Table => json!({ "type": "object" }),
        Form::Tables => json!({ "type": "array", "items": { "type": "object" } }),
        Form::Any => json!({}),
    }
}

/// Sizes of at least so many bytes, in whatever unit. With a fraction, one that is too small by less than a unit passes.
fn size_of_at_least(least: u64) -> String {
    // As the crate bytesize reads them: a letter is a power of 1000, with an `i` one of 1024.
    let units = "kmgtpe".chars().zip(1..).flat_map(|(letter, power)| {
        let either = format!("[{letter}{}]", letter.to_ascii_uppercase());
        [(format!("{either}[bB]?"), 1000_u64.pow(power)), (format!("{either}[iI][bB]?"), 1024_u64.pow(power))]
    });
    let of_unit = |(unit, bytes): (String, u64)| {
        let whole = least.div_ceil(bytes);
        let cut = at_least(whole.saturating_sub(1));
        format!(r"({}|{cut}\.\d*)\s*{unit}", at_least(whole))
    };
    let all: Vec<String> = [("[bB]?".to_owned(), 1)].into_iter().chain(units).map(of_unit).collect();
    format!(r"^\s*({})\s*$", all.join("|"))
}

/// The whole numbers from `least` on, as a pattern.
fn at_least(least: u64) -> String {
    if least == 0 {
        return r"\d+".to_owned();
    }
    let digits = least.to_string();
    // As many digits, of which one is larger and those before it are the same; the number itself; or more digits.
    let larger = digits.char_indices().filter(|(_, digit)| *digit != '9').map(|(place, digit)| {
        let next = char::from_u32(digit as u32 + 1).unwrap_or('9');
        format!(r"{}[{next}-9]\d{{{}}}", &digits[..place], digits.len() - place - 1)
    });
    let more = format!(r"[1-9]\d{{{},}}", digits.len());
    let all: Vec<String> = larger.chain([digits.clone(), more]).collect();
    format!("0*({})", all.join("|"))
}

/// JSON's numbers reach beyond those of most of its readers; a bound that does too is left to them.
fn bound(bound: i128) -> Json {
    i64::try_from(bound).map_or_else(|_| json!(u64::try_from(bound).unwrap_or(u64::MAX)), |bound| json!(bound))
}

fn pattern(pattern: &str) -> Json {
    json!({ "anyOf": [{ "type": "string", "pattern": pattern }, reference("filled")] })
}

fn text() -> Json {
    json!({ "type": "string", "not": { "pattern": BROKEN_FILL } })
}

/// A text that something is filled into, so that it may become whatever is asked for.
fn filled() -> Json {
    json!({ "type": "string", "pattern": FILL, "not": { "pattern": BROKEN_FILL } })
}

/// `schema` with what it is for.
fn described(mut schema: Json, about: &str) -> Json {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(about));
    }
    schema
}

/// A default, which its reader shows in TOML.
fn json_of_toml(value: &str) -> Option<Json> {
    let document: toml::Table = toml::from_str(&format!("value = {value}")).ok()?;
    serde_json::to_value(document.get("value")?).ok()
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::model::Size;

    #[test]
    fn a_pattern_takes_the_sizes_that_their_reader_takes_and_that_are_large_enough() {
        const TEXTS: [&str; 26] = [
            "0",
            "1",
            "16777215",
            "16777216",
            "99999999",
            "000",
            "0016777216",
            "15MiB",
            "16MiB",
            "16 mib",
            "17M",
            "16M",
            "16777KB",
            "16778kB",
            "16383KiB",
            "16384ki",
            "0GB",
            "1G",
            "1e",
            "0.5GiB",
            "16.0MiB",
            "0.0",
            "1TiB",
            "MiB",
            "16XiB",
            "-1",
        ];
        for least in [0, 1, 16 << 20] {
            let pattern = Regex::new(&size_of_at_least(least)).unwrap();
            for text in TEXTS {
                let is_taken = text.parse::<Size>().is_ok_and(|size| size.0 >= least);
                // What a fraction makes of it takes arithmetic.
                let is_allowed = pattern.is_match(text);
                assert!(is_allowed == is_taken || text.contains('.') && is_allowed, "{text} and {least}");
            }
        }
    }
}
