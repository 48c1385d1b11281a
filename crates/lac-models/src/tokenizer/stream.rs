//! Text from token ids that arrive one by one.

use std::sync::LazyLock;

use serde_json::Value;

use super::error::TokenizerError;
use super::{Spaces, SpecialTokensInText, Tokenizer, cleanup};

/// An incremental decoder.
///
/// The chunks it returns, put together, are exactly what
/// [`Tokenizer::decode`] gives for all ids at once. To keep that promise it
/// holds text back while the next token could still change it: an incomplete
/// character, a run of byte tokens, a space that may yet be cleaned up.
///
/// Made by [`Tokenizer::stream`].
#[derive(Clone, Debug)]
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    special: SpecialTokensInText,
    assembly: Assembly,
    /// Decoded text that the clean-up of spaces may still change.
    unsettled: String,
}

/// How tokens become text, as far as streaming is concerned.
#[derive(Clone, Debug)]
enum Assembly {
    /// Every token stands for bytes, and the bytes together are the text.
    Bytes { pending: Vec<u8> },
    /// A token's text depends on no more than the token before it, apart from
    /// runs of byte tokens, which are one text or none.
    Neighbours {
        previous: Option<u32>,
        pending: Vec<u32>,
    },
    /// The decoder may look at everything, so nothing is certain before the end.
    Whole { pending: Vec<u32> },
}

impl<'t> TextStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, special: SpecialTokensInText) -> Self {
        let assembly = match tokenizer.inner.get_decoder() {
            // Without a decoder, tokens are joined by spaces.
            None => neighbours(),
            Some(decoder) => match serde_json::to_value(decoder) {
                Ok(decoder) => assembly_of(&decoder),
                Err(_) => Assembly::Whole {
                    pending: Vec::new(),
                },
            },
        };
        Self {
            tokenizer,
            special,
            assembly,
            unsettled: String::new(),
        }
    }

    /// Takes the next id and returns the text that has become certain, if any.
    ///
    /// # Errors
    /// Fails if the tokenizer's decoder does.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, TokenizerError> {
        let Some(token) = self.tokenizer.shown_token(id, self.special) else {
            return Ok(None);
        };
        let text = match &mut self.assembly {
            Assembly::Bytes { pending } => {
                append_bytes(&token, pending);
                take_decided(pending)
            }
            Assembly::Neighbours { previous, pending } => {
                pending.push(id);
                if is_byte_token(&token) {
                    return Ok(None);
                }
                let text = continuation(self.tokenizer, self.special, *previous, pending)?;
                *previous = Some(id);
                pending.clear();
                text
            }
            Assembly::Whole { pending } => {
                pending.push(id);
                return Ok(None);
            }
        };
        Ok(self.settle(text))
    }

    /// Returns the text that was held back. The stream starts anew after that.
    ///
    /// # Errors
    /// Fails if the tokenizer's decoder does.
    pub fn finish(&mut self) -> Result<Option<String>, TokenizerError> {
        let text = match &mut self.assembly {
            Assembly::Bytes { pending } => {
                String::from_utf8_lossy(&std::mem::take(pending)).into_owned()
            }
            Assembly::Neighbours { previous, pending } => {
                let (previous, pending) = (previous.take(), std::mem::take(pending));
                continuation(self.tokenizer, self.special, previous, &pending)?
            }
            Assembly::Whole { pending } => self
                .tokenizer
                .decode_as_is(&std::mem::take(pending), self.special)?,
        };
        let mut rest = std::mem::take(&mut self.unsettled);
        rest.push_str(&text);
        if self.tokenizer.spaces == Spaces::CleanUp {
            rest = cleanup::clean_up(&rest);
        }
        Ok(Some(rest).filter(|rest| !rest.is_empty()))
    }

    fn settle(&mut self, text: String) -> Option<String> {
        let text = match self.tokenizer.spaces {
            Spaces::AsDecoded => text,
            Spaces::CleanUp => {
                self.unsettled.push_str(&text);
                let rest = self
                    .unsettled
                    .split_off(cleanup::settled_len(&self.unsettled));
                cleanup::clean_up(&std::mem::replace(&mut self.unsettled, rest))
            }
        };
        Some(text).filter(|text| !text.is_empty())
    }
}

fn neighbours() -> Assembly {
    Assembly::Neighbours {
        previous: None,
        pending: Vec::new(),
    }
}

/// Reads off a decoder's description how far its steps look.
fn assembly_of(decoder: &Value) -> Assembly {
    let steps = match decoder.get("decoders").and_then(Value::as_array) {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(decoder),
    };
    if let [only] = steps
        && kind(only) == "ByteLevel"
    {
        return Assembly::Bytes {
            pending: Vec::new(),
        };
    }
    let whole = Assembly::Whole {
        pending: Vec::new(),
    };
    let mut is_fused = false;
    for step in steps {
        let is_local = match kind(step) {
            "ByteFallback" | "Metaspace" | "WordPiece" | "BPEDecoder" | "Replace" => !is_fused,
            "Fuse" => {
                is_fused = true;
                true
            }
            // Once fused, one character off the start is the first token's,
            // while anything off the end depends on where the text ends.
            "Strip" if is_fused => step["start"].as_u64() <= Some(1) && step["stop"] == 0,
            "Strip" => true,
            _ => false,
        };
        if !is_local {
            return whole;
        }
    }
    neighbours()
}

fn kind(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// What ids add to the text of the one before them.
fn continuation(
    tokenizer: &Tokenizer,
    special: SpecialTokensInText,
    previous: Option<u32>,
    pending: &[u32],
) -> Result<String, TokenizerError> {
    let context = Vec::from_iter(previous);
    let known = tokenizer.decode_as_is(&context, special)?;
    let mut text = tokenizer.decode_as_is(&[&context, pending].concat(), special)?;
    Ok(match text.strip_prefix(&known) {
        Some(_) => text.split_off(known.len()),
        None => text,
    })
}

/// `<0x0A>`, as byte-fallback vocabularies spell a byte.
fn is_byte_token(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}

/// Byte-level vocabularies spell every byte as one printable character; an
/// added token with any other character stands for itself.
fn append_bytes(token: &str, bytes: &mut Vec<u8>) {
    static BYTES: LazyLock<[Option<u8>; 324]> = LazyLock::new(|| {
        let mut bytes = [None; 324];
        let mut n_shifted = 0;
        for byte in 0..=u8::MAX {
            let is_printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
            let character = if is_printable {
                usize::from(byte)
            } else {
                256 + n_shifted
            };
            n_shifted += usize::from(!is_printable);
            bytes[character] = Some(byte);
        }
        bytes
    });
    let start = bytes.len();
    for character in token.chars() {
        match BYTES.get(character as usize) {
            Some(Some(byte)) => bytes.push(*byte),
            _ => {
                bytes.truncate(start);
                bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

/// Takes every character that is complete, or certain never to be.
fn take_decided(pending: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut decided = 0;
    for chunk in pending.utf8_chunks() {
        text.push_str(chunk.valid());
        decided += chunk.valid().len();
        let invalid = chunk.invalid();
        let is_open = decided + invalid.len() == pending.len() && is_incomplete(invalid);
        if !invalid.is_empty() && !is_open {
            text.push(char::REPLACEMENT_CHARACTER);
            decided += invalid.len();
        }
    }
    pending.drain(..decided);
    text
}

/// Whether further bytes could make a character of these.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests;
