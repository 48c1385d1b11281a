//! Text from token ids that arrive one by one.

use std::sync::LazyLock;

use serde_json::Value;

use super::error::TokenizerError;
use super::{DecodedSpecialTokens, Spaces, Tokenizer, cleanup};

/// Decodes ids that arrive one by one. Made by [`Tokenizer::stream`].
///
/// The chunks that it returns, put together, are exactly what [`Tokenizer::decode`] gives for all ids at once. It holds
/// text back while the next token could still change it: an incomplete character, a run of byte tokens, a space that
/// the clean-up may remove.
#[derive(Clone, Debug)]
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    special: DecodedSpecialTokens,
    assembly: Assembly,
    /// Decoded text that the clean-up of spaces may still change.
    unsettled: String,
}

/// How much of a token's text is known when it arrives.
#[derive(Clone, Debug)]
enum Assembly {
    /// Every token stands for bytes, and the bytes together are the text.
    Bytes { pending: Vec<u8> },
    /// A token's text depends on the token before it alone. Runs of byte tokens are decoded together.
    Neighbours {
        previous: Option<u32>,
        pending: Vec<u32>,
    },
    /// A token's text may depend on all others, so it is known at the end alone.
    Whole { pending: Vec<u32> },
}

impl Tokenizer {
    /// Starts to decode ids that arrive one by one.
    pub fn stream(&self, special: DecodedSpecialTokens) -> TextStream<'_> {
        TextStream::new(self, special)
    }
}

impl<'t> TextStream<'t> {
    fn new(tokenizer: &'t Tokenizer, special: DecodedSpecialTokens) -> Self {
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

    /// Takes the next id and returns the text that no later id can change, if there is any.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`] when the tokenizer's decoder fails.
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

    /// Returns the text that was held back, if there is any. The next id begins a new text.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`] when the tokenizer's decoder fails.
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

/// Finds out from a decoder's description how many tokens its steps look at.
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

/// Returns what ids add to the text of the one before them.
fn continuation(
    tokenizer: &Tokenizer,
    special: DecodedSpecialTokens,
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

/// Takes the characters that are complete, and those that can no longer be completed.
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

/// Returns whether further bytes could make these a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests;
