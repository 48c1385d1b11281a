//! Turns tokens into text while they come: whole characters only, stop strings cut off.

use std::fmt;

use super::sink::{Flow, TokenSink};
use crate::error::BoxError;

/// Turns the tokens of one row into text, one after the other. Tokenizers live outside this crate and implement this.
pub trait TextDecoder {
    /// Takes the row's next token and returns the text that is now certain: possibly none, and never a part of a
    /// character. Called once for each token, in their order.
    ///
    /// # Errors
    /// A token that the tokenizer does not know. The error ends the generation, as [`Error::Sink`](crate::Error::Sink).
    fn push(&mut self, id: u32) -> Result<String, BoxError>;

    /// Returns the text that is left after the last token. Called once, after the last [`push`](Self::push).
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    fn finish(&mut self) -> Result<String, BoxError>;
}

/// A [`TokenSink`] that decodes each row, streams its text, and ends the row at a stop string.
///
/// Neither the stop string nor anything after it reaches the text or the callback.
pub struct TextSink<D, F> {
    rows: Vec<TextRow<D>>,
    on_text: F,
}

impl<D, F> fmt::Debug for TextSink<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.rows.iter().map(|row| &row.text);
        f.debug_list().entries(texts).finish()
    }
}

struct TextRow<D> {
    decoder: D,
    stops: StopStrings,
    text: String,
}

impl<D: TextDecoder, F: FnMut(usize, &str)> TextSink<D, F> {
    /// Creates a sink with one decoder for each row. `on_text` is called with a row's index and its newest piece of text.
    pub fn new(decoders: Vec<D>, stop_strings: &[String], on_text: F) -> Self {
        let rows = decoders
            .into_iter()
            .map(|decoder| TextRow {
                decoder,
                stops: StopStrings::new(stop_strings),
                text: String::new(),
            })
            .collect();
        Self { rows, on_text }
    }

    /// Returns the rows' whole texts.
    pub fn into_texts(self) -> Vec<String> {
        self.rows.into_iter().map(|row| row.text).collect()
    }

    fn emit(&mut self, row: usize, text: &str) {
        if !text.is_empty() {
            self.rows[row].text.push_str(text);
            (self.on_text)(row, text);
        }
    }
}

impl<D: TextDecoder, F: FnMut(usize, &str)> TokenSink for TextSink<D, F> {
    fn token(&mut self, row: usize, id: u32) -> Result<Flow, BoxError> {
        let text_row = &mut self.rows[row];
        let new_text = text_row.decoder.push(id)?;
        let (text, flow) = text_row.stops.push(&new_text);
        self.emit(row, &text);
        Ok(flow)
    }

    fn end(&mut self, row: usize) -> Result<(), BoxError> {
        let text_row = &mut self.rows[row];
        let rest = text_row.decoder.finish()?;
        let (mut text, flow) = text_row.stops.push(&rest);
        if flow == Flow::Continue {
            text.push_str(&text_row.stops.finish());
        }
        self.emit(row, &text);
        Ok(())
    }
}

/// Finds stop strings in a stream of text, holding back whatever may be the start of one.
struct StopStrings {
    stops: Vec<String>,
    held: String,
    found: bool,
}

impl StopStrings {
    fn new(stops: &[String]) -> Self {
        Self {
            stops: stops
                .iter()
                .filter(|stop| !stop.is_empty())
                .cloned()
                .collect(),
            held: String::new(),
            found: false,
        }
    }

    /// Takes text and returns what is certain not to belong to a stop string.
    fn push(&mut self, text: &str) -> (String, Flow) {
        if self.found {
            return (String::new(), Flow::Stop);
        }
        self.held.push_str(text);
        let first = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop))
            .min();
        if let Some(start) = first {
            self.found = true;
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), Flow::Stop);
        }
        let certain = self.held.len() - self.longest_started();
        let rest = self.held.split_off(certain);
        (std::mem::replace(&mut self.held, rest), Flow::Continue)
    }

    /// Length of the longest end of the held text that a stop string starts with.
    fn longest_started(&self) -> usize {
        self.stops
            .iter()
            .flat_map(|stop| stop.char_indices().skip(1).map(|(end, _)| &stop[..end]))
            .filter(|start| self.held.ends_with(start))
            .map(str::len)
            .max()
            .unwrap_or(0)
    }

    fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(stops: &[&str], pieces: &[&str]) -> (String, Flow) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stops = StopStrings::new(&stops);
        let mut text = String::new();
        for piece in pieces {
            let (certain, flow) = stops.push(piece);
            text.push_str(&certain);
            if flow == Flow::Stop {
                return (text, flow);
            }
        }
        text.push_str(&stops.finish());
        (text, Flow::Continue)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces_and_cut_off() {
        let check = |stops: &[&str], pieces: &[&str], text: &str, flow| {
            assert_eq!(
                stream(stops, pieces),
                (text.to_owned(), flow),
                "{stops:?} {pieces:?}"
            );
        };
        check(&["\n\n"], &["a\n", "b\n", "\nc"], "a\nb", Flow::Stop);
        check(&["END"], &["the E", "N", "d"], "the ENd", Flow::Continue);
        check(&["END"], &["the E", "N", "D and"], "the ", Flow::Stop);
        check(&["é!", "ab"], &["xé", "!"], "x", Flow::Stop);
        check(&["aab"], &["a", "a", "a", "b"], "a", Flow::Stop);
        check(&["bc", "abcd"], &["ab", "c"], "a", Flow::Stop);
        check(&[""], &["text"], "text", Flow::Continue);
    }

    proptest! {
        /// However the text is cut into pieces, the result is that of the whole text.
        #[test]
        fn pieces_do_not_matter(text in "[abé\n]{0,20}", stop in "[abé\n]{1,3}", cut in 1usize..4) {
            let chars: Vec<char> = text.chars().collect();
            let pieces: Vec<String> = chars.chunks(cut).map(|piece| piece.iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let expected = match text.find(&stop) {
                Some(start) => (text[..start].to_owned(), Flow::Stop),
                None => (text.clone(), Flow::Continue),
            };
            prop_assert_eq!(stream(&[&stop], &pieces), expected);
        }
    }
}
