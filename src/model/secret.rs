//! Texts that must not stand in anything that gatherd says of itself: passwords, keys, tokens.
//!
//! One registry for the process. Whoever reads or is given a secret registers it; whoever writes a text for people
//! (a line of the log, a fault that is kept, a status) masks it first. A secret is found as it is, and as it stands in
//! a URL, in JSON and in base64, there also within a longer text such as `user:password`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Text, Value};

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Shorter texts are not masked: they stand in too many words by chance, so that masking them would spoil every
/// message and tell by its gaps what they are.
const SHORTEST: usize = 6;

/// How many secrets that follow one another are remembered, such as the access tokens of a client, and of how many such
/// rows; the oldest are forgotten.
const PASSING: usize = 8;
const ROWS: usize = 1024;

static REGISTRY: Registry = Registry { any: AtomicBool::new(false), known: RwLock::new(Known::NONE) };

struct Registry {
    /// Whether there is any secret: without one, masking costs nothing.
    any: AtomicBool,
    known: RwLock<Known>,
}

struct Known {
    lasting: BTreeSet<String>,
    passing: BTreeMap<String, VecDeque<String>>,
    /// Finds all of them; made when it is needed.
    finder: Option<Arc<AhoCorasick>>,
}

impl Known {
    const NONE: Self = Self { lasting: BTreeSet::new(), passing: BTreeMap::new(), finder: None };
}

/// Registers a secret that stands in the config.
pub fn keep(secret: &str) {
    if secret.len() < SHORTEST || REGISTRY.read(|known| known.lasting.contains(secret)) {
        return;
    }
    REGISTRY.write(|known| {
        known.lasting.insert(secret.to_owned());
    });
}

/// Registers a secret that was come by at run time, and will be replaced by another in the same `row`.
pub fn keep_passing(row: &str, secret: &str) {
    let is_known = |known: &Known| known.passing.get(row).is_some_and(|row| row.iter().any(|other| other == secret));
    if secret.len() < SHORTEST || REGISTRY.read(is_known) {
        return;
    }
    REGISTRY.write(|known| {
        if known.passing.len() >= ROWS && !known.passing.contains_key(row) {
            known.passing.pop_first();
        }
        let row = known.passing.entry(row.to_owned()).or_default();
        if row.len() >= PASSING {
            row.pop_front();
        }
        row.push_back(secret.to_owned());
    });
}

/// `text` with every registered secret in it masked.
pub fn mask(text: &str) -> Cow<'_, str> {
    match REGISTRY.finder() {
        Some(finder) if finder.is_match(text) => Cow::Owned(masked(&finder, text)),
        _ => Cow::Borrowed(text),
    }
}

/// A value with every registered secret in its texts masked.
pub fn mask_in(value: Value) -> Value {
    if REGISTRY.finder().is_none() {
        return value;
    }
    match value {
        Value::Text(text) => match mask(&text) {
            Cow::Borrowed(_) => Value::Text(text),
            Cow::Owned(masked) => masked.into(),
        },
        Value::Array(values) => Value::array(values.iter().cloned().map(mask_in).collect()),
        Value::Object(object) => {
            object.iter().map(|(key, value)| (Text::from(&*mask(key)), mask_in(value.clone()))).collect()
        }
        other => other,
    }
}

impl Registry {
    fn finder(&self) -> Option<Arc<AhoCorasick>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let made = self.read(|known| known.finder.clone());
        made.or_else(|| {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.finder.is_none() {
                known.finder = finder(known.lasting.iter().chain(known.passing.values().flatten())).map(Arc::new);
            }
            known.finder.clone()
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whole even if a holder panicked: each change is one call.
    fn write(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        known.finder = None;
        self.any.store(true, Ordering::Release);
    }
}

fn finder<'s>(secrets: impl Iterator<Item = &'s String>) -> Option<AhoCorasick> {
    let forms: BTreeSet<String> = secrets.flat_map(|secret| forms(secret)).collect();
    // It fails only beyond two thousand million states.
    AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(forms).ok()
}

fn masked(finder: &AhoCorasick, text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut after = 0;
    for found in finder.find_iter(text) {
        // Two secrets side by side, or one that follows itself, are one gap.
        if found.start() > after || after == 0 {
            masked.push_str(&text[after..found.start()]);
            masked.push_str(MASK);
        }
        after = found.end();
    }
    masked.push_str(&text[after..]);
    masked
}

/// All but the unreserved characters of RFC 3986.
const DATA: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// As an HTML form encodes a field (<https://url.spec.whatwg.org/#application-x-www-form-urlencoded-percent-encode-set>).
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b' ');
/// As the URL standard encodes a query, a path, and a user and password.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'\'');
const PATH: &AsciiSet = &QUERY.remove(b'\'').add(b'?').add(b'`').add(b'{').add(b'}');
const USER: &AsciiSet =
    &PATH.add(b'^').add(b'/').add(b':').add(b';').add(b'=').add(b'@').add(b'[').add(b'\\').add(b']').add(b'|');

/// The texts as which a secret may stand in another text.
fn forms(secret: &str) -> Vec<String> {
    let percent = |set| utf8_percent_encode(secret, set).to_string();
    let mut forms: Vec<String> = [DATA, QUERY, PATH, USER].into_iter().map(percent).collect();
    forms.push(percent(FORM).replace(' ', "+"));
    let lower: Vec<String> = forms.iter().map(|form| lower_hex(form)).collect();
    forms.extend(lower);

    let json = quoted(secret);
    // As a message of ours quotes it; with the escapes that other encoders choose; and as JSON within JSON.
    forms.push(format!("{secret:?}").trim_matches('"').to_owned());
    forms.push(json.replace('/', "\\/"));
    forms.push(ascii_json(&json));
    forms.push(quoted(&json));
    forms.push(json);

    for place in 0..3 {
        for encoding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
            let bytes = [&[0; 2][..place.min(2)], secret.as_bytes()].concat();
            let encoded = encoding.encode(&bytes);
            // The digits that the bytes before and after have a part in are not its own.
            let (start, end) = ([0, 2, 3][place], bytes.len() * 8 / 6);
            forms.push(encoded[start..end].to_owned());
        }
    }
    forms.push(secret.to_owned());
    forms
}

/// A text as JSON writes it, without the quotes around it.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json[1..json.len() - 1].to_owned()
}

/// JSON in ASCII alone.
fn ascii_json(json: &str) -> String {
    let escape = |letter: char| {
        let mut units = [0; 2];
        letter.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    };
    json.chars().map(|letter| if letter.is_ascii() { letter.to_string() } else { escape(letter) }).collect()
}

/// `%2f` in place of `%2F`.
fn lower_hex(encoded: &str) -> String {
    let mut pieces = encoded.split('%');
    let mut lower = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (hex, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        lower.push('%');
        lower.push_str(&hex.to_ascii_lowercase());
        lower.push_str(rest);
    }
    lower
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, BASE64URL};

    use super::*;

    /// A secret with everything that some encoding changes.
    const SECRET: &str = "pä/s\"w\\ö r+d%?&='~^`{}|*-_.";

    fn check(text: &str) {
        let finder = finder([SECRET.to_owned()].iter()).unwrap();
        let shown = masked(&finder, text);
        assert!(shown.contains(MASK), "{text} stays {shown}");
        // What is left is at most the digits that are shared with what stands beside.
        assert!(shown.len() < text.len() - SECRET.len() / 2, "{text} becomes {shown}");
    }

    #[test]
    fn a_secret_is_masked_in_every_form() {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("password", SECRET);
        let json = serde_json::Value::from(SECRET).to_string();
        for text in [
            SECRET.to_owned(),
            format!("a{SECRET}b"),
            format!("{SECRET:?}"),
            utf8_percent_encode(SECRET, DATA).to_string(),
            form.finish(),
            json.clone(),
            json.replace('/', "\\/"),
            serde_json::Value::from(json.clone()).to_string(),
            ascii_json(&json),
        ] {
            check(&text);
        }
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "a", "ab", "abc"] {
                let pair = format!("{before}{SECRET}{after}");
                check(&BASE64.encode(pair.as_bytes()));
                check(&BASE64URL.encode(pair.as_bytes()));
            }
        }
    }

    #[test]
    fn what_the_url_standard_encodes_is_masked_too() {
        const SECRET: &str = "a b\"c<d>e'f^g`h{i}j|k";
        let finder = finder([SECRET.to_owned()].iter()).unwrap();
        let mut url = url::Url::parse("https://a.example/").unwrap();
        url.set_path(&format!("/x/{SECRET}"));
        url.set_query(Some(&format!("key={SECRET}&")));
        url.set_password(Some(SECRET)).unwrap();
        assert_eq!(masked(&finder, url.as_str()), "https://:***@a.example/x/***?key=***&");
    }

    #[test]
    fn the_rest_of_a_text_stays_as_it_is() {
        let finder = finder(["hunter2!", "hunter2!2"].map(str::to_owned).iter()).unwrap();
        assert_eq!(masked(&finder, "ü hunter2! é hunter2!2, hunter2!hunter2!."), "ü *** é ***, ***.");
        assert!(!finder.is_match("hunter"));
    }

    #[test]
    fn what_is_registered_is_masked_and_what_is_too_short_is_not() {
        keep("canary-of-the-registry");
        keep_passing("canaries", "passing-canary-1");
        keep("tiny");
        assert_eq!(mask("a canary-of-the-registry, passing-canary-1, tiny"), "a ***, ***, tiny");
    }
}
