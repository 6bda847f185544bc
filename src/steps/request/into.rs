//! The place inside an item's value that a reply goes to: `into = ".detail"`.

use crate::model::{Fault, FaultKind, Object, Text, Value};
use crate::settings::Section;

/// A path of keys, such as `.detail` or `.meta.reply`.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: String,
    keys: Vec<Text>,
}

impl Place {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        const ABOUT: &str = "where in the item's value the reply goes, such as \".detail\"; without it the reply takes \
                             the value's place";
        let path: String = section.optional("into", ABOUT)?;
        let place = Self::parse(&path);
        if place.is_none() {
            section.mistake(
                "into",
                format!("`{path}` is not a path of keys"),
                "write one such as \".detail\" or \".meta.reply\", with letters, digits and underscores",
            );
        }
        place
    }

    pub(super) fn parse(path: &str) -> Option<Self> {
        let is_key = |key: &&str| {
            !key.is_empty()
                && !key.starts_with(|first: char| first.is_ascii_digit())
                && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        };
        let keys: Vec<&str> = path.strip_prefix('.')?.split('.').collect();
        let is_path = keys.iter().all(is_key);
        is_path.then(|| Self { path: path.to_owned(), keys: keys.into_iter().map(Text::from).collect() })
    }

    /// As it is written.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn is_one_key(&self) -> bool {
        self.keys.len() == 1
    }

    /// Whether the reply would find its place: what stands on the way there must be objects, or nothing yet.
    pub(super) fn check(&self, value: &Value) -> Result<(), Fault> {
        let mut value = Some(value);
        for key in &self.keys {
            match value {
                None | Some(Value::Null) => return Ok(()),
                Some(Value::Object(object)) => value = object.get(key),
                Some(other) => {
                    let message = format!(
                        "cannot put the reply into `{}`: there is no place for `{key}`, since what holds it is not an \
                         object but of type {}",
                        self.path,
                        other.type_name()
                    );
                    return Err(Fault::reject(FaultKind::Request, message));
                }
            }
        }
        Ok(())
    }

    /// `value` with the reply in its place. What [`Place::check`] refuses is replaced.
    pub(super) fn put(&self, value: &Value, reply: Value) -> Value {
        put(value, &self.keys, reply)
    }
}

fn put(value: &Value, keys: &[Text], reply: Value) -> Value {
    let Some((key, inner)) = keys.split_first() else { return reply };
    let mut object = match value {
        Value::Object(object) => object.clone(),
        _ => Object::default(),
    };
    let placed = put(object.get(key).unwrap_or(&Value::Null), inner, reply);
    object.insert(key.clone(), placed);
    Value::object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json;

    #[test]
    fn a_reply_goes_to_its_place_and_leaves_the_rest() {
        for (path, before, after) in [
            (".a", r#"{"b":1}"#, r#"{"b":1,"a":"reply"}"#),
            (".b", r#"{"b":1,"c":2}"#, r#"{"b":"reply","c":2}"#),
            (".a.b_2", r#"{"a":{"c":3}}"#, r#"{"a":{"c":3,"b_2":"reply"}}"#),
            (".a.b", "null", r#"{"a":{"b":"reply"}}"#),
            (".a.b", r#"{"a":null}"#, r#"{"a":{"b":"reply"}}"#),
        ] {
            let place = Place::parse(path).unwrap();
            let value = json::parse(before.as_bytes()).unwrap();
            assert!(place.check(&value).is_ok(), "{path} {before}");
            assert_eq!(place.put(&value, Value::from("reply")).to_string(), after);
        }
    }

    #[test]
    fn a_value_without_a_place_for_it_is_refused() {
        for (path, value) in [(".a", "1"), (".a", "[]"), (".a.b", r#"{"a":"x"}"#)] {
            let value = json::parse(value.as_bytes()).unwrap();
            assert!(Place::parse(path).unwrap().check(&value).is_err(), "{path} {value}");
        }
        for wrong in ["", ".", "a", ".a.", ".a b", ".1", ".a[0]"] {
            assert!(Place::parse(wrong).is_none(), "{wrong}");
        }
    }
}
