//! `key`: an API key in a header or in the query of each request.

use std::sync::Arc;

use http::HeaderName;

use super::Kind;
use super::outgoing::Outgoing;
use super::scheme::{Scheme, Token};
use crate::http::failure::Failure;
use crate::http::settings::{check_header_value, read_header_name};
use crate::settings::{Secret, Section};

pub(super) const KIND: Kind =
    Kind { name: "key", about: "an API key in a header or in the query of each request", read };

struct Key {
    place: Place,
    value: String,
}

enum Place {
    Header(HeaderName),
    Query(String),
}

fn read(section: &mut Section<'_>) -> Option<Arc<dyn Scheme>> {
    let header = read_header_name(section, "header", "the header that holds the key, such as \"X-Api-Key\"");
    let query: Option<String> =
        section.optional("query", "the parameter of the query that holds the key, such as \"api_key\"");
    let value: Option<Secret> = section.required("value", "the key; write it as \"${secret:NAME}\"");
    match (section.has("header"), section.has("query")) {
        (true, true) => section.mistake("query", "a key stands in one place", "keep `header` or `query`"),
        (false, false) => {
            let way_out = "add `header = \"X-Api-Key\"` or `query = \"api_key\"`";
            section.mistake("key", "this does not say where the key goes", way_out);
        }
        _ => {}
    }
    if let (Some(Secret(value)), Some(_)) = (&value, &header) {
        check_header_value(section, "value", value);
    }
    let place = header.map(Place::Header).or(query.map(Place::Query));
    Some(Arc::new(Key { place: place?, value: value?.0 }))
}

impl Scheme for Key {
    fn sign(&self, request: &mut Outgoing<'_>, _: &Token) -> Result<(), Failure> {
        match &self.place {
            Place::Header(name) => request.set_header(name.as_str(), &self.value),
            Place::Query(name) => {
                request.append_query(name, &self.value);
                Ok(())
            }
        }
    }

    fn signs_alike(&self) -> bool {
        matches!(self.place, Place::Header(_))
    }
}
