//! The defects of the paper's released code, which are left out unless they are asked for by name.
//!
//! Everything that reproduces a defect stands here: which [`Quirk`]s there are, and what each
//! changes in prompts, option orders, tokens, gates, batches and settings. The rest of the crate
//! asks [`Quirks`], and without quirks it gets the answer of a correct program.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use lac_core::named::{UnknownName, by_name};
use lac_core::{
    GenerationConfig,
    generation::Sampling,
    released_code::{FirstThreshold, PromptPadding},
    text_model::{AddSpecialTokens, TextModel},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::item::ItemId;
use crate::short_hash::short_hash;

/// A defect of the paper's released code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Quirk {
    /// GPQA: the right answer is always option D.
    CorrectIsD,
    /// BoolQ: the question stands under `Options:`.
    QuestionUnderOptions,
    /// The rendered chat is tokenised with special tokens again, which doubles BOS where the
    /// template writes one.
    DoubleBos,
    /// The first generated token is missing from the stored answer.
    FirstTokenLost,
    /// There is no seed, so that every run draws other tokens; the seed is taken from the clock.
    NoSeed,
    /// The first layer's threshold is a range over the batch
    /// ([`FirstThreshold::BatchRange`]), so that questions of
    /// a batch change each other's flags.
    BatchThreshold,
    /// Questions shorter than the longest of their batch are padded on the right. The answer begins
    /// after the padding and attends to it, and usage counts it
    /// ([`PromptPadding::AsTokens`]).
    PaddingAttended,
}

impl Quirk {
    /// All quirks.
    pub const ALL: &'static [Quirk] = &[
        Quirk::CorrectIsD,
        Quirk::QuestionUnderOptions,
        Quirk::DoubleBos,
        Quirk::FirstTokenLost,
        Quirk::NoSeed,
        Quirk::BatchThreshold,
        Quirk::PaddingAttended,
    ];

    /// Returns the name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Quirk::CorrectIsD => "correct-is-d",
            Quirk::QuestionUnderOptions => "question-under-options",
            Quirk::DoubleBos => "double-bos",
            Quirk::FirstTokenLost => "first-token-lost",
            Quirk::NoSeed => "no-seed",
            Quirk::BatchThreshold => "batch-threshold",
            Quirk::PaddingAttended => "padding-attended",
        }
    }

    /// Returns whether results depend on which questions share a batch.
    pub fn depends_on_batch(self) -> bool {
        matches!(self, Quirk::BatchThreshold | Quirk::PaddingAttended)
    }
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Quirk {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("quirk", Self::ALL, Self::name, name)
    }
}

/// The quirks of a run, in the order in which they were given; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quirks(Vec<Quirk>);

impl FromIterator<Quirk> for Quirks {
    fn from_iter<I: IntoIterator<Item = Quirk>>(quirks: I) -> Self {
        Self(quirks.into_iter().collect())
    }
}

impl<const N: usize> From<[Quirk; N]> for Quirks {
    fn from(quirks: [Quirk; N]) -> Self {
        quirks.into_iter().collect()
    }
}

impl Quirks {
    /// Returns the quirks.
    pub fn iter(&self) -> impl Iterator<Item = Quirk> + '_ {
        self.0.iter().copied()
    }

    /// Returns whether a quirk is among them.
    pub fn contains(&self, quirk: Quirk) -> bool {
        self.0.contains(&quirk)
    }

    /// Returns whether results depend on which questions share a batch.
    pub fn depends_on_batch(&self) -> bool {
        self.iter().any(Quirk::depends_on_batch)
    }

    /// Returns what gates have to compare the first layer with.
    pub fn first_threshold(&self) -> FirstThreshold {
        if self.contains(Quirk::BatchThreshold) {
            FirstThreshold::BatchRange
        } else {
            FirstThreshold::Zero
        }
    }

    /// Takes the seed from the clock under [`Quirk::NoSeed`]; without it the sampling is left as it
    /// is.
    pub fn reseed(&self, sampling: &mut Sampling) {
        if self.contains(Quirk::NoSeed)
            && let Sampling::Random(config) = sampling
        {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            config.seed = since.unwrap_or_default().as_secs();
        }
    }

    /// Returns the place of the right option among `n_options` shown, if a quirk fixes it; the
    /// others then keep the file's order.
    pub(crate) fn right_option_place(&self, n_options: usize) -> Option<usize> {
        self.contains(Quirk::CorrectIsD).then(|| n_options - 1)
    }

    /// Returns the heading of a yes-or-no question in the paper's prompt.
    pub(crate) fn yes_no_heading(&self) -> &'static str {
        if self.contains(Quirk::QuestionUnderOptions) {
            "Options:"
        } else {
            "Question:"
        }
    }

    /// Returns which special tokens are added to a generated answer's prompt.
    pub(crate) fn special_tokens(&self, special: AddSpecialTokens) -> AddSpecialTokens {
        match special {
            AddSpecialTokens::Never if self.contains(Quirk::DoubleBos) => AddSpecialTokens::Always,
            other => other,
        }
    }

    /// Returns the tokens of an answer that are stored.
    pub(crate) fn stored_tokens<'a>(&self, answer: &'a [u32]) -> &'a [u32] {
        let n_lost = usize::from(self.contains(Quirk::FirstTokenLost));
        answer.get(n_lost..).unwrap_or_default()
    }

    /// Sets how prompts of a batch are padded.
    pub(crate) fn pad(
        &self,
        config: GenerationConfig,
        text: &dyn TextModel,
    ) -> Result<GenerationConfig> {
        if !self.contains(Quirk::PaddingAttended) {
            return Ok(config);
        }
        match text.pad_token() {
            Some(pad_token) => Ok(config.with_padding(PromptPadding::AsTokens, pad_token)),
            None => Err(Error::Invalid {
                field: "quirk",
                value: Quirk::PaddingAttended.name().to_owned(),
                expected: "a tokenizer with a pad_token or an eos_token for it".to_owned(),
            }),
        }
    }

    /// Refuses runs that answer questions one at a time, if results depend on batches.
    pub(crate) fn check_one_by_one(&self) -> Result<()> {
        if !self.depends_on_batch() {
            return Ok(());
        }
        let names: Vec<&str> = Quirk::ALL
            .iter()
            .filter(|quirk| quirk.depends_on_batch())
            .map(|quirk| quirk.name())
            .collect();
        Err(Error::Invalid {
            field: "policy",
            value: "speculation, which has no batches".to_owned(),
            expected: format!("no quirk that depends on them ({})", names.join(", ")),
        })
    }

    /// Checks that the gates of a run compare the first layer as the quirks say.
    pub(crate) fn check_first_thresholds(
        &self,
        found: impl IntoIterator<Item = FirstThreshold>,
    ) -> Result<()> {
        let wanted = self.first_threshold();
        match found.into_iter().find(|&found| found != wanted) {
            Some(found) => Err(Error::Mismatch(format!(
                "a gate's first threshold is {found:?}, but the quirks ask for {wanted:?}"
            ))),
            None => Ok(()),
        }
    }
}

/// Which questions share a batch: as many as fit, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchMembers {
    /// Questions per batch.
    pub batch_size: usize,
    /// A hash of the ids of all questions in the order in which they are asked: another limit or
    /// another shard gives a question other members of its batch.
    pub questions: String,
}

impl BatchMembers {
    pub(crate) fn new<'a>(
        questions: impl IntoIterator<Item = &'a ItemId>,
        batch_size: usize,
    ) -> Self {
        let ids = questions.into_iter();
        let hash = ids.fold(Sha256::new(), |hash, id| hash.chain_update(id.to_string()));
        Self {
            batch_size,
            questions: short_hash(hash),
        }
    }
}
