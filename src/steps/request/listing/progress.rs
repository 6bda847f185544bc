//! How far an item has come in its pages: what a page hands to the next one, and what the store keeps of a run.

use super::circle::Circle;
use super::parameter::Parameter;
use crate::model::{Number, Text, Value};
use crate::store::Digest;

/// Which page comes next.
#[derive(Clone, Debug)]
pub(super) enum Next {
    /// The request as it is written.
    First,
    /// The one at this URL.
    Url(Text),
    /// The one that this value leads to.
    Parameter(Parameter, Value),
    /// None that can be fetched: the item is given up there.
    Never(Refusal),
}

/// Why a next page is not fetched.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// It leads where data may not lead; else to a page that was there before.
    pub is_forbidden: bool,
    pub message: Text,
}

/// How far an item has come in its pages.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Of the request as it is written: a run that was kept goes on only for an item that asks for the same.
    pub request: Digest,
    pub next: Next,
    /// Pages, items in them, and items of them that were passed on.
    pub pages: u64,
    pub items: u64,
    pub children: u64,
    /// How many items the first page had, if that can be told.
    pub page_size: Option<u64>,
    /// Next pages that were asked for, and what pages held.
    pub asked: Circle,
    pub held: Circle,
    pub run: RunProgress,
}

/// What of it belongs to a cursor.
#[derive(Clone, Debug, Default)]
pub(super) struct RunProgress {
    /// The cursor that the run began at.
    pub began_at: Option<Value>,
    /// For [`crate::store::CursorChange::edition`]; of no use after a restart.
    pub edition: u64,
    /// The greatest value so far, and the last one.
    pub maximum: Option<Value>,
    pub last: Option<Value>,
    /// Whether no value has been less than the one before it.
    pub ascends: bool,
    /// Whether the cursor has moved in the course of the run.
    pub has_moved: bool,
    /// Whether items may come that have settled in this run already: after a restart, or a page that was refused.
    pub comes_again: bool,
}

impl Progress {
    pub(super) fn new(request: Digest, first: Next) -> Self {
        let (asked, held) = (Circle::default(), Circle::default());
        let run = RunProgress::default();
        Self { request, next: first, pages: 0, items: 0, children: 0, page_size: None, asked, held, run }
    }

    pub(super) fn to_value(&self) -> Value {
        let RunProgress { began_at, edition, maximum, last, ascends, has_moved, comes_again } = &self.run;
        let next = match &self.next {
            Next::First => Value::Null,
            Next::Url(url) => object([("url", Value::Text(url.clone()))]),
            Next::Parameter(parameter, value) => object([("send_as", parameter.to_value()), ("value", value.clone())]),
            Next::Never(Refusal { is_forbidden, message }) => {
                object([("never", Value::Text(message.clone())), ("is_forbidden", Value::Bool(*is_forbidden))])
            }
        };
        let optional = |value: &Option<Value>| value.clone().unwrap_or_default();
        object([
            ("next", next),
            ("pages", number(self.pages)),
            ("items", number(self.items)),
            ("children", number(self.children)),
            ("page_size", self.page_size.map_or(Value::Null, number)),
            ("began_at", optional(began_at)),
            ("maximum", optional(maximum)),
            ("last", optional(last)),
            ("ascends", Value::Bool(*ascends)),
            ("has_moved", Value::Bool(*has_moved)),
            ("comes_again", Value::Bool(*comes_again)),
            ("edition", number(*edition)),
            ("request", Value::from(data_encoding::BASE64.encode(&self.request))),
            ("asked", self.asked.to_value()),
            ("held", self.held.to_value()),
        ])
    }

    /// Nothing if it is not what [`Progress::to_value`] makes, such as that of a later gatherd.
    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let count = |key| value.get(key).and_then(Value::as_i64).and_then(|count| u64::try_from(count).ok());
        let flag = |key| matches!(value.get(key), Some(Value::Bool(true)));
        let optional = |key| value.get(key).filter(|value| **value != Value::Null).cloned();
        let next = value.get("next")?;
        let next = match (next, next.get("url"), next.get("send_as"), next.get("never")) {
            (Value::Null, ..) => Next::First,
            (_, Some(Value::Text(url)), ..) => Next::Url(url.clone()),
            (_, _, Some(parameter), _) => {
                Next::Parameter(Parameter::from_value(parameter)?, next.get("value")?.clone())
            }
            (.., Some(Value::Text(message))) => {
                let is_forbidden = next.get("is_forbidden") == Some(&Value::Bool(true));
                Next::Never(Refusal { is_forbidden, message: message.clone() })
            }
            _ => return None,
        };
        let request = data_encoding::BASE64.decode(value.get("request")?.as_text()?.as_bytes()).ok()?;
        Some(Self {
            request: request.try_into().ok()?,
            next,
            pages: count("pages")?,
            items: count("items")?,
            children: count("children")?,
            page_size: count("page_size"),
            asked: Circle::from_value(value.get("asked")?)?,
            held: Circle::from_value(value.get("held")?)?,
            run: RunProgress {
                began_at: optional("began_at"),
                edition: count("edition")?,
                maximum: optional("maximum"),
                last: optional("last"),
                ascends: flag("ascends"),
                has_moved: flag("has_moved"),
                comes_again: flag("comes_again"),
            },
        })
    }
}

fn object<const N: usize>(entries: [(&'static str, Value); N]) -> Value {
    entries.into_iter().map(|(key, value)| (Text::from(key), value)).collect()
}

fn number(count: u64) -> Value {
    Value::Number(Number::Int(i64::try_from(count).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_from_the_store_as_it_was() {
        let parameter = Parameter::Query("page".into());
        let never = Refusal { is_forbidden: true, message: "no".into() };
        let nexts = [
            Next::First,
            Next::Url("http://a/".into()),
            Next::Parameter(parameter, Value::from(7)),
            Next::Never(never),
        ];
        for next in nexts {
            let mut progress = Progress::new([7; 32], next);
            progress.pages = 3;
            progress.page_size = Some(100);
            progress.asked.closes_with(9);
            progress.run = RunProgress { maximum: Some(Value::from(9)), ascends: true, ..RunProgress::default() };
            let value = progress.to_value();
            assert_eq!(Progress::from_value(&value).unwrap().to_value(), value);
        }
        assert!(Progress::from_value(&Value::Null).is_none());
    }
}
