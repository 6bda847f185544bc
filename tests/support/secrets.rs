//! Whether secrets show.

use data_encoding::{BASE64, BASE64URL};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Every form in which a secret could show.
fn forms(secret: &str) -> Vec<String> {
    let quoted = serde_json::to_string(secret).unwrap();
    let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let mut forms = vec![secret.to_owned(), quoted[1..quoted.len() - 1].to_owned(), percent.to_lowercase(), percent];
    forms.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
    for place in 0..3 {
        let padded = format!("{}{secret}", "x".repeat(place));
        for encoded in [BASE64.encode(padded.as_bytes()), BASE64URL.encode(padded.as_bytes())] {
            let encoded = encoded.trim_end_matches('=');
            forms.push(encoded[(place * 4).div_ceil(3)..encoded.len() - 1].to_owned());
        }
    }
    forms
}

/// None of these secrets shows in what was said, in any form.
#[track_caller]
pub(crate) fn check_silent(what: &str, output: &str, secrets: &[impl AsRef<str>]) {
    assert_eq!(shown(what, output, secrets), Vec::<String>::new());
}

/// Where secrets show in what was said, in whatever form: a finding each.
pub(crate) fn shown(what: &str, output: &str, secrets: &[impl AsRef<str>]) -> Vec<String> {
    let finding = |form: String| {
        let at = output.find(&form)?;
        let start = (0..=at.saturating_sub(200)).rev().find(|start| output.is_char_boundary(*start))?;
        let around: String = output[start..].chars().take(400).collect();
        Some(format!("{what} shows `{form}`: {around}"))
    };
    secrets.iter().flat_map(|secret| forms(secret.as_ref())).filter_map(finding).collect()
}
