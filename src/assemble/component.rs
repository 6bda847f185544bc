//! One component of a config: which kind it is, its settings, and what stands beside them.

use std::sync::Arc;

use crate::component::{Kind, find};
use crate::expr::Vars;
use crate::settings::{Entry, Node, Reading, Record, Rule, Section, Table, Unread, way_out};

/// What a component can be, and how its author speaks of it.
pub(super) struct Role<S: ?Sized + 'static> {
    pub name: &'static str,
    pub kinds: &'static [Kind<S>],
    /// How one is written.
    pub example: &'static str,
    /// The settings that any of them may have beside its component key.
    pub common: &'static [&'static str],
    pub others: &'static [OtherRole],
}

/// A role that a component of this name may have been meant for.
pub(super) struct OtherRole {
    pub name: &'static str,
    pub has_kind: fn(&str) -> bool,
    /// Where such a component stands.
    pub way_out: &'static str,
}

/// A component whose table has been read.
pub(super) struct Component<S: ?Sized, C> {
    pub kind: &'static str,
    /// Nothing if they are wrong: that has been reported then.
    pub settings: Option<Arc<S>>,
    pub common: C,
    pub inner: Vec<Record>,
    pub beside: Vec<Record>,
}

/// Reads a component's table. `common` reads what stands beside the component key, knowing the component if its own
/// settings were right. Nothing if it cannot even be told what kind it is: that has been reported then.
pub(super) fn read<S: ?Sized, C>(
    role: &Role<S>,
    node: &Node,
    vars: &Vars,
    reading: &Reading,
    common: impl FnOnce(&mut Section<'_>, Option<&S>) -> C,
) -> Option<Component<S, C>> {
    let table = table_of(role, node, reading)?;
    let (kind, entry) = kind_of(role, node, table, reading)?;
    let keys_beside: Vec<String> = role.common.iter().map(|key| (*key).to_owned()).collect();
    let unread = Unread {
        name: kind.name,
        place: &entry.key_place,
        node: &entry.node,
        beside: Some(table),
        keys_beside: &keys_beside,
    };
    let read = reading.read(unread, vars, kind.read);
    let settings: Option<Arc<S>> = read.value.map(Arc::from);
    let (inner, mut beside): (Vec<Record>, Vec<Record>) =
        read.records.into_iter().partition(|record| !record.is_beside);
    for record in &beside {
        reading.check_inner(record, table, &[]);
    }
    let (common, records) =
        reading.read_part(kind.name, &entry.key_place, table, vars, |section| common(section, settings.as_deref()));
    beside.extend(records);
    let known = Known { kind: kind.name, inner: &inner, beside: &beside, short: read.short };
    report_misplaced(role, &known, entry, table, reading);
    Some(Component { kind: kind.name, settings, common, inner, beside })
}

fn table_of<'n, S: ?Sized>(role: &Role<S>, node: &'n Node, reading: &Reading) -> Option<&'n Table> {
    let table = node.as_table();
    if table.is_none() {
        let message = format!("a {} cannot be {}", role.name, node.kind());
        let way_out = format!("write a table such as `{}`", role.example);
        reading.mistakes.report(Rule::NotAComponent, node.place.clone(), message, way_out);
    }
    table
}

/// Finds the one component key.
fn kind_of<'n, S: ?Sized>(
    role: &Role<S>,
    node: &Node,
    table: &'n Table,
    reading: &Reading,
) -> Option<(&'static Kind<S>, &'n Entry)> {
    let mistakes = &reading.mistakes;
    let found: Vec<(&Kind<S>, &Entry)> =
        table.iter().filter_map(|(key, entry)| Some((find(role.kinds, key)?, entry))).collect();
    match found[..] {
        [only] => return Some(only),
        [] => {}
        [(first, _), (second, entry), ..] => {
            let message = format!("`{}` and `{}` stand in one {}", first.name, second.name, role.name);
            let way_out = format!("write a table for each: {{ {} = … }}, {{ {} = … }}", first.name, second.name);
            mistakes.report(Rule::TwoComponents, entry.key_place.clone(), message, way_out);
            return None;
        }
    }
    let names = role.kinds.iter().map(|kind| kind.name);
    let candidates: Vec<(&str, &Entry)> = table.iter().filter(|(key, _)| !role.common.contains(key)).collect();
    for (key, entry) in &candidates {
        if let Some(other) = role.others.iter().find(|other| (other.has_kind)(key)) {
            let message = format!("`{key}` is a {}, not a {}", other.name, role.name);
            mistakes.report(Rule::WrongRole, entry.key_place.clone(), message, other.way_out);
            return None;
        }
    }
    match candidates.first() {
        Some((key, entry)) => {
            let message = format!("there is no {} `{key}`", role.name);
            mistakes.report(Rule::UnknownComponent, entry.key_place.clone(), message, way_out(key, names));
        }
        None => {
            let message = format!("this {} does not say what it is", role.name);
            let way_out = format!("write one such as `{}`; `gatherd kinds` shows them all", role.example);
            mistakes.report(Rule::NoComponent, node.place.clone(), message, way_out);
        }
    }
    None
}

/// The settings that a component has, and where they stand.
struct Known<'a> {
    kind: &'a str,
    inner: &'a [Record],
    beside: &'a [Record],
    /// The setting that may stand in place of the inner table.
    short: Option<&'a str>,
}

/// Reports the keys beside the component key that do not belong there.
fn report_misplaced<S: ?Sized>(role: &Role<S>, known: &Known<'_>, entry: &Entry, table: &Table, reading: &Reading) {
    let Known { kind, inner, beside, .. } = known;
    // What is wrong with a common setting has been reported where it was read.
    let is_known =
        |key: &str| key == *kind || role.common.contains(&key) || beside.iter().any(|record| record.key == key);
    for (key, misplaced) in table.iter().filter(|(key, _)| !is_known(key)) {
        let place = misplaced.key_place.clone();
        if inner.iter().any(|record| record.key == key) {
            let message = format!("`{key}` is a setting of `{kind}`");
            let way_out = format!("write it inside: {}", written_inside(known, &entry.node, key, &misplaced.node));
            reading.mistakes.report(Rule::MisplacedKey, place, message, way_out);
        } else {
            let keys = inner.iter().chain(beside.iter()).map(|record| record.key.as_str());
            let message = format!("the {} `{kind}` has no setting `{key}`", role.name);
            reading.mistakes.report(Rule::UnknownKey, place, message, way_out(key, keys));
        }
    }
}

/// `get = { url = "…", timeout = "5s" }`: how the component looks with `key` where it belongs.
fn written_inside(known: &Known<'_>, node: &Node, key: &str, value: &Node) -> String {
    const LONGEST: usize = 60;
    let shown = |node: &Node| {
        let written = node.to_toml();
        if written.len() > LONGEST { "…".to_owned() } else { written }
    };
    let before = match (node.as_table(), known.short) {
        (Some(table), _) if table.is_empty() => String::new(),
        (Some(_), _) => "…, ".to_owned(),
        (None, Some(short)) => format!("{short} = {}, ", shown(node)),
        (None, None) => String::new(),
    };
    format!("{} = {{ {before}{key} = {} }}", known.kind, shown(value))
}
