//! Documents: texts whose parts count differently in training.

use crate::chat_format::{END, START};

/// How much the words count that cannot be foreseen: names drawn at random and
/// questions. They teach little, and would drown the few words that answer.
pub(crate) const CONTEXT: f32 = 0.03;
/// How much the end of an answer counts: it is learnt at once.
pub(crate) const CLOSING: f32 = 0.1;
/// How much each of the many answers of a dense exercise counts, or they would drown the rest.
pub(crate) const EXERCISE: f32 = 0.4;
/// How much a mark on a choice or a question counts.
pub(crate) const MARK: f32 = 0.4;

/// A part of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// The weight of predicting each of its tokens.
    pub weight: f32,
    /// What the last token of the piece is to predict instead of the token that
    /// follows. A choice that is right predicts its letter, long before the
    /// answer is due: so every choice teaches, not only the answer.
    pub mark: Option<Mark>,
}

/// A prediction that the running text does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The one token that is to be predicted.
    pub token: String,
    /// The weight of predicting it.
    pub weight: f32,
}

/// A text in pieces, each with the weight of its tokens in the loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The pieces in order.
    pub pieces: Vec<Piece>,
    /// What the document is about, for reports of the loss; empty where the kind says it all.
    pub topic: String,
}

impl Document {
    /// Returns the whole text.
    pub fn text(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| piece.text.as_str())
            .collect()
    }

    pub(crate) fn add(&mut self, text: impl Into<String>, weight: f32) {
        let text = text.into();
        self.pieces.push(Piece {
            text,
            weight,
            mark: None,
        });
    }

    /// Adds text whose last token is to predict something else than what follows.
    pub(crate) fn mark(&mut self, text: &str, weight: f32, token: &str, mark_weight: f32) {
        let mark = Some(Mark {
            token: token.into(),
            weight: mark_weight,
        });
        self.pieces.push(Piece {
            text: text.into(),
            weight,
            mark,
        });
    }

    /// Adds text with some marked words.
    pub(crate) fn add_marked(&mut self, text: &str, marks: &[(String, String)]) {
        let mut rest = text;
        for (until, mark) in marks {
            let Some(at) = rest.find(until.as_str()) else {
                continue;
            };
            let (before, after) = rest.split_at(at + until.len());
            self.mark(before, CONTEXT, mark, MARK);
            rest = after;
        }
        self.add(rest, CONTEXT);
    }

    /// Adds a message that is only read.
    pub(crate) fn message(&mut self, role: &str, content: &str) {
        self.add(format!("{START}{role}\n{content}{END}\n"), CONTEXT);
    }

    /// Adds a question with some marked words.
    pub(crate) fn marked_message(&mut self, content: &str, marks: &[(String, String)]) {
        self.add(format!("{START}user\n"), 0.0);
        self.add_marked(content, marks);
        self.add(format!("{END}\n"), 0.0);
    }

    /// Adds an answer, which is what the model is trained to give.
    pub(crate) fn reply(&mut self, content: &str) {
        self.add(format!("{START}assistant\n"), 0.0);
        self.add(content, 1.0);
        self.add(END, CLOSING);
        self.add("\n", 0.0);
    }
}
