//! What tells a value from every other, in 32 bytes.

use ring::digest::{Context, SHA256};

use super::{Number, Value, json};

/// SHA-256 of the value as JSON with sorted keys, whole numbers without a fraction.
pub fn digest(value: &Value) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    update(&mut context, value);
    context.finish().as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}

fn update(context: &mut Context, value: &Value) {
    match value {
        Value::Array(values) => {
            context.update(b"[");
            for (index, value) in values.iter().enumerate() {
                context.update(if index > 0 { b"," } else { b"" });
                update(context, value);
            }
            context.update(b"]");
        }
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            context.update(b"{");
            for (index, (key, value)) in entries.into_iter().enumerate() {
                context.update(if index > 0 { b"," } else { b"" });
                context.update(&json::to_vec(&Value::from(key)));
                context.update(b":");
                update(context, value);
            }
            context.update(b"}");
        }
        // Up to here a float tells every whole number from the next.
        Value::Number(Number::Float(float)) if float.fract() == 0.0 && float.abs() < 9e15 => {
            context.update((*float as i64).to_string().as_bytes());
        }
        scalar => context.update(&json::to_vec(scalar)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_makes_no_difference_and_all_else_does() {
        let of = |text: &str| digest(&json::parse(text.as_bytes()).expect("JSON"));
        assert_eq!(of(r#"{"a":1,"b":[2.0]}"#), of(r#"{"b":[2],"a":1.0}"#));
        let different =
            [r#"[1,2]"#, "[[1],2]", "[12]", r#"["1","2"]"#, r#"["1,\"2"]"#, "[]", "[null]", r#"{"a":[1,2]}"#];
        for (index, left) in different.iter().enumerate() {
            for right in &different[index + 1..] {
                assert_ne!(of(left), of(right), "{left} {right}");
            }
        }
    }
}
