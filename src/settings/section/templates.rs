//! Reading templates.

use super::{Presence, Section};
use crate::expr::{Encoding, Template};
use crate::settings::fill::{Name, name};
use crate::settings::record::Inner;
use crate::settings::setting::Wrong;
use crate::settings::tree::{Data, Node, Table, key_to_toml, text_to_toml};
use crate::settings::types::is_credential;
use crate::settings::{Form, Rule};

impl Section<'_> {
    /// A template that must be there.
    pub fn template(&mut self, key: &'static str, encoding: Encoding, about: &'static str) -> Option<Template> {
        self.read_template(key, encoding, about, Presence::Required)
    }

    /// A template that may be left out.
    pub fn optional_template(
        &mut self,
        key: &'static str,
        encoding: Encoding,
        about: &'static str,
    ) -> Option<Template> {
        self.read_template(key, encoding, about, Presence::Optional)
    }

    /// A table of templates under free keys, such as `headers`, in the order in which they are written.
    pub fn templates(&mut self, key: &'static str, encoding: Encoding, about: &'static str) -> Vec<(String, Template)> {
        let expects = format!("a table, each value {}", expects_template(encoding));
        let form = Form::Map(Box::new(Form::Text));
        let found = self.find(key, expects.clone(), form, about, Presence::Optional);
        self.last_record().inner = Inner::Free;
        let Some(node) = found else { return Vec::new() };
        let Data::Table(table) = &node.data else {
            self.report(key, node, &expects, Wrong::Type);
            return Vec::new();
        };
        self.last_record().given = Some(show_templates(table));
        let mut templates = Vec::new();
        for (key, entry) in table.iter() {
            templates.extend(self.compile(key, &entry.node, encoding).map(|template| (key.to_owned(), template)));
        }
        self.last_record().engine = templates.iter().filter_map(|(_, template)| template.engine()).max();
        templates
    }

    fn read_template(
        &mut self,
        key: &'static str,
        encoding: Encoding,
        about: &'static str,
        presence: Presence,
    ) -> Option<Template> {
        let is_required = presence == Presence::Required;
        match self.find(key, expects_template(encoding), Form::Text, about, presence) {
            Some(node) => {
                let template = self.compile(key, node, encoding);
                self.last_record().engine = template.as_ref().and_then(Template::engine);
                template
            }
            None if is_required && self.reading.is_describing() => {
                Template::compile("x", encoding, self.vars, &mut |name| Ok(name.to_owned())).ok()
            }
            None => None,
        }
    }

    fn compile(&self, key: &str, node: &Node, encoding: Encoding) -> Option<Template> {
        let Data::Text(source) = &node.data else {
            self.report(key, node, &expects_template(encoding), Wrong::Type);
            return None;
        };
        let mut missing: Vec<Name> = Vec::new();
        let compiled = Template::compile(source, encoding, self.vars, &mut |written| {
            if let Some(literal) = written.strip_prefix('$').filter(|rest| rest.starts_with("${")) {
                return Ok(literal.to_owned());
            }
            let inner = written.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            let Some(name) = inner.and_then(name) else {
                let start = source.find(written).unwrap_or(0);
                self.reading.report_broken_fill(node, start..start + written.len());
                return Ok(String::new());
            };
            let found = self.reading.fill.look_up(&name);
            if found.is_none() && !missing.contains(&name) {
                missing.push(name);
            }
            // A word that passes in most places, so that nothing else is reported of a value that is not known.
            Ok(found.unwrap_or_else(|| "unset".to_owned()))
        });
        for name in &missing {
            let start = source.find(&name.to_string()).unwrap_or(0);
            self.reading.look_up(name, node, start..start + name.to_string().len());
        }
        compiled.map_err(|error| self.report(key, node, "", Wrong::syntax(Rule::BadTemplate, error))).ok()
    }
}

fn expects_template(encoding: Encoding) -> String {
    match encoding {
        Encoding::Plain => "a text, in which `{…}` holds a filter",
        Encoding::Url => "a URL, in which `{…}` holds a filter",
        Encoding::Path => "a path, in which `{…}` holds a filter",
    }
    .to_owned()
}

/// The table as it is written, without credentials that stand in it as they are.
fn show_templates(table: &Table) -> String {
    let entries = table.iter().map(|(key, entry)| {
        let is_open = matches!(&entry.node.data, Data::Text(text) if !text.contains("${"));
        let shown = if is_credential(key) && is_open { text_to_toml("***") } else { entry.node.to_toml() };
        format!("{} = {shown}", key_to_toml(key))
    });
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}
