//! Whether two texts are the same, without keeping them.

use ring::digest::{Context, SHA256};

/// A digest of some texts: equal for equal texts in the same order, and for no others that anyone could find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub fn of(texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut context = Context::new(&SHA256);
        for text in texts {
            let text = text.as_ref();
            // With its length before it, no text can pass for the end of another.
            context.update(&(text.len() as u64).to_le_bytes());
            context.update(text);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }

    pub fn into_bytes(self) -> [u8; 32] {
        self.0
    }
}

impl AsRef<[u8]> for Fingerprint {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_texts_and_other_cuts_have_other_fingerprints() {
        assert_eq!(Fingerprint::of(["a", "bc"]), Fingerprint::of(["a", "bc"]));
        assert_ne!(Fingerprint::of(["a", "bc"]), Fingerprint::of(["ab", "c"]));
        assert_ne!(Fingerprint::of(["a"]), Fingerprint::of(["a", ""]));
    }
}
