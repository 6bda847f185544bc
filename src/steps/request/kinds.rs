//! The kinds of steps that send a request: one for each method, and one for any.

use super::{Carries, read};
use crate::component::{Kind, StepSettings};
use crate::http::Method;
use crate::settings::Section;

/// What kinds of requests have in common; `read` says in what they differ.
const fn kind(
    name: &'static str,
    summary: &'static str,
    sample: &'static str,
    read: fn(&mut Section<'_>) -> Option<Box<dyn StepSettings>>,
) -> Kind<dyn StepSettings> {
    Kind { name, summary, sample, read }
}

pub(in crate::steps) const GET: Kind<dyn StepSettings> = kind(
    "get",
    "Gets a URL. The item's value becomes the reply's: JSON, text or bytes, by its content type.",
    r#"
[pipeline.users]
from  = { every = "10m" }
steps = [
  { get = "https://api.example/users" },
  { each = ".users[]" },
  { get = { url = "https://api.example/users/{.id}", into = ".detail" }, on = [{ when = "labels.status == 404", do = "filter" }] },
]
"#,
    |section| read(section, Method::Get, Carries::Nothing),
);

pub(in crate::steps) const HEAD: Kind<dyn StepSettings> = kind(
    "head",
    "Gets the head of a URL: its status and headers become labels, and the item's value null.",
    r#"
[pipeline.up]
from  = { every = "1m" }
steps = [{ head = "https://www.example/" }, { map = "{status: labels.status, seconds: labels.elapsed}" }]
"#,
    |section| read(section, Method::Head, Carries::Nothing),
);

pub(in crate::steps) const POST: Kind<dyn StepSettings> = kind(
    "post",
    "Posts JSON, a form or text. The item's value becomes the reply's.",
    r#"
[pipeline.search]
from  = { every = "10m" }
steps = [{ post = { url = "https://api.example/search", json = '{query: "open", since: window.start}' } }]
"#,
    |section| read(section, Method::Post, Carries::Payload),
);

pub(in crate::steps) const PUT: Kind<dyn StepSettings> = kind(
    "put",
    "Puts JSON, a form or text to a URL. The item's value becomes the reply's.",
    r#"
[pipeline.mirror]
from  = { items = [{ id = 1, name = "a" }] }
steps = [{ put = { url = "https://api.example/users/{.id}", json = "." } }]
"#,
    |section| read(section, Method::Put, Carries::Payload),
);

pub(in crate::steps) const PATCH: Kind<dyn StepSettings> = kind(
    "patch",
    "Patches what stands at a URL. The item's value becomes the reply's.",
    r#"
[pipeline.close]
from  = { items = [{ id = 1 }] }
steps = [{ patch = { url = "https://api.example/tickets/{.id}", json = '{state: "closed"}' } }]
"#,
    |section| read(section, Method::Patch, Carries::Payload),
);

pub(in crate::steps) const DELETE: Kind<dyn StepSettings> = kind(
    "delete",
    "Deletes what stands at a URL. The item's value becomes the reply's.",
    r#"
[pipeline.tidy]
from  = { items = [{ id = 1 }] }
steps = [{ delete = "https://api.example/tickets/{.id}" }]
"#,
    |section| read(section, Method::Delete, Carries::Payload),
);

pub(in crate::steps) const REQUEST: Kind<dyn StepSettings> = kind(
    "request",
    "Sends a request of any method. The item's value becomes the reply's.",
    r#"
[pipeline.options]
from  = { every = "1h" }
steps = [
  { request = { method = "OPTIONS", url = "https://api.example/users" } },
  { map = "labels.headers.allow" },
]
"#,
    read_request,
);

/// Reads a request whose method its author names.
fn read_request(section: &mut Section<'_>) -> Option<Box<dyn StepSettings>> {
    section.shorthand("url");
    let method: Option<String> = section.required("method", "the request's method, such as \"OPTIONS\"");
    let known = method.as_ref().and_then(|name| name.parse().ok()).filter(|known| *known != Method::Connect);
    if let (Some(name), None) = (&method, known) {
        let message = match name.as_str() {
            "CONNECT" => "`CONNECT` opens a tunnel, and gets no reply to hand on".to_owned(),
            _ => format!("`{name}` is not a method of HTTP"),
        };
        section.mistake("method", message, "write one such as \"GET\", \"POST\" or \"OPTIONS\"");
    }
    read(section, known.unwrap_or(Method::Get), Carries::Payload)
}
