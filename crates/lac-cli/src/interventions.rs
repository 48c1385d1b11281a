//! The flags that intervene: `--ablate`, `--add`, `--patch`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use clap::Args;
use lac_core::error::StateAt;
use lac_core::generation::prompt_pass;
use lac_core::intervention::{Ablated, Captured, Intervened, Intervention, TokenSelection};
use lac_core::stack::Sublayer;
use lac_core::{CausalLm, LayerPolicy, Off, Phase};
use lac_models::tuned_lens::read_vector;
use lac_models::{Decoder, Tokenizer};
use sha2::{Digest, Sha256};

use crate::numbers::number;
use crate::out_file::Named;

/// Interventions in the residual stream, under any policy.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Interventions")]
pub struct InterventionArgs {
    /// Take layers out, or their attentions (a) or MLPs (m): 3,5a,7-9m. With @prompt, @response, a
    /// position or positions, only for those tokens: 3@prompt,5a@4-7,6@response@20
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    ablate: Vec<Ablation>,
    /// Add the vector of a safetensors file to the residual stream after a layer, or to the
    /// embedding: 12=FILE, embedding@prompt=FILE. May be given several times
    #[arg(long, value_name = "AT=FILE")]
    add: Vec<Addition>,
    /// What --add multiplies its vectors by
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = number::<f32>)]
    add_scale: f32,
}

/// States of another prompt, put into the run.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Interventions")]
pub struct PatchArgs {
    /// Replace states by those of --patch-from: after which layers (or embedding), and at which
    /// positions: 5@3, 4-6@0-9
    #[arg(
        long,
        value_name = "AT@POSITIONS",
        value_delimiter = ',',
        requires = "patch_from"
    )]
    patch: Vec<Patch>,
    /// The prompt whose states --patch takes, encoded as the prompt is
    #[arg(long, value_name = "TEXT", requires = "patch")]
    patch_from: Option<String>,
}

/// `5a@response`.
#[derive(Clone, Debug, PartialEq)]
struct Ablation {
    layers: Range<usize>,
    what: Ablated,
    tokens: TokenSelection,
}

/// `12@prompt=FILE`.
#[derive(Clone, Debug, PartialEq)]
struct Addition {
    at: StateAt,
    tokens: TokenSelection,
    path: PathBuf,
}

/// `4-6@0-9`.
#[derive(Clone, Debug, PartialEq)]
struct Patch {
    at: Vec<StateAt>,
    positions: Range<usize>,
}

const EMBEDDING: &str = "embedding";

/// Reads `3` and `3-7`.
fn range(word: &str) -> Option<Range<usize>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let number = |word: &str| {
        let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| word.parse::<usize>().ok()).flatten()
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && last < usize::MAX).then(|| first..last + 1)
}

/// Reads what stands behind each `@`.
fn tokens<'a>(words: impl Iterator<Item = &'a str>) -> Result<TokenSelection, String> {
    let (mut phase, mut positions) = (None, None);
    for word in words {
        let named = Phase::ALL.into_iter().find(|phase| phase.name() == word);
        match (named, range(word)) {
            (Some(named), _) if phase.is_none() => phase = Some(named),
            (None, Some(range)) if positions.is_none() => positions = Some(range),
            _ => {
                return Err(format!(
                    "@{word}: expected @prompt, @response, or positions such as @4 or @4-7, each once"
                ));
            }
        }
    }
    let selection = positions.map_or_else(TokenSelection::all, TokenSelection::positions);
    Ok(match phase {
        Some(phase) => selection.in_phase(phase),
        None => selection,
    })
}

impl FromStr for Ablation {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let mut words = word.split('@');
        let unit = words.next().unwrap_or_default();
        let (layers, what) = match unit.strip_suffix(['a', 'm']) {
            None => (unit, Ablated::Layer),
            Some(layers) if unit.ends_with('a') => (layers, Ablated::Sublayer(Sublayer::Attention)),
            Some(layers) => (layers, Ablated::Sublayer(Sublayer::Mlp)),
        };
        let layers = range(layers).ok_or_else(|| {
            format!("{unit:?}: expected a layer or layers, such as 3, 3a, 3m or 5-8")
        })?;
        let tokens = tokens(words)?;
        Ok(Self {
            layers,
            what,
            tokens,
        })
    }
}

impl FromStr for Addition {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let expected = "expected a layer (or embedding) and a file, such as 12=vector.safetensors";
        let (place, path) = word.split_once('=').ok_or(expected)?;
        let mut words = place.split('@');
        let at = match words.next().unwrap_or_default() {
            EMBEDDING => StateAt::Embedding,
            word => match range(word) {
                Some(layers) if layers.len() == 1 => StateAt::Layer(layers.start),
                _ => return Err(expected.to_owned()),
            },
        };
        Ok(Self {
            at,
            tokens: tokens(words)?,
            path: path.into(),
        })
    }
}

impl FromStr for Patch {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let expected = "expected layers (or embedding) and positions, such as 5@3 or 4-6@0-9";
        let (at, positions) = word.split_once('@').ok_or(expected)?;
        let at = match at {
            EMBEDDING => vec![StateAt::Embedding],
            word => range(word).ok_or(expected)?.map(StateAt::Layer).collect(),
        };
        let positions = range(positions).ok_or(expected)?;
        Ok(Self { at, positions })
    }
}

impl InterventionArgs {
    /// Returns whether nothing is intervened.
    pub fn is_empty(&self) -> bool {
        self.ablate.is_empty() && self.add.is_empty()
    }

    /// Returns the files that are read.
    pub fn files(&self) -> impl Iterator<Item = Named<'_>> {
        self.add.iter().map(|add| ("--add", add.path.as_path()))
    }

    /// Finds mistakes that these flags show without the model's weights.
    pub fn check(&self, n_layers: usize) -> Result<()> {
        for ablation in &self.ablate {
            check_layer("--ablate", ablation.layers.end - 1, n_layers)?;
        }
        for add in &self.add {
            if let StateAt::Layer(layer_idx) = add.at {
                check_layer("--add", layer_idx, n_layers)?;
            }
        }
        ensure!(
            self.add_scale.is_finite(),
            "--add-scale is {}, expected a finite number",
            self.add_scale
        );
        Ok(())
    }

    /// Wraps a policy in what these flags and `patches` say; without any it is returned as it is.
    pub fn around<'p>(
        &self,
        policy: Box<dyn LayerPolicy + 'p>,
        patches: Vec<Intervention>,
        model: &Decoder,
    ) -> Result<Box<dyn LayerPolicy + 'p>> {
        let mut interventions = Vec::new();
        for ablation in &self.ablate {
            let of_layer = |layer_idx| Intervention::Ablate {
                layer_idx,
                what: ablation.what,
                tokens: ablation.tokens.clone(),
            };
            interventions.extend(ablation.layers.clone().map(of_layer));
        }
        for add in &self.add {
            let hidden_size = model.config().hidden_size;
            let vector = read_vector(&add.path, hidden_size, &model.device()).context("--add")?;
            interventions.push(Intervention::Add {
                at: add.at,
                vector: vector * self.add_scale,
                tokens: add.tokens.clone(),
            });
        }
        interventions.extend(patches);
        if interventions.is_empty() {
            return Ok(policy);
        }
        let n_layers = model.config().n_layers;
        Ok(Box::new(Intervened::new(policy, interventions, n_layers)?))
    }

    /// Describes the interventions in words, with hashes of the vectors: results under other ones are told apart by it.
    pub fn describe(&self) -> Result<Option<String>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut words = Vec::new();
        for ablation in &self.ablate {
            let Ablation {
                layers,
                what,
                tokens,
            } = ablation;
            let sublayer = match what {
                Ablated::Layer => "",
                Ablated::Sublayer(Sublayer::Attention) => "a",
                Ablated::Sublayer(Sublayer::Mlp) => "m",
            };
            let layers = match layers.len() {
                1 => layers.start.to_string(),
                _ => format!("{}-{}", layers.start, layers.end - 1),
            };
            words.push(format!("ablate {layers}{sublayer}{tokens}"));
        }
        for add in &self.add {
            let scale = self.add_scale;
            let hash = short_hash(&add.path)?;
            let tokens = &add.tokens;
            words.push(format!("add {scale} × {hash} after {}{tokens}", add.at));
        }
        Ok(Some(words.join(", ")))
    }
}

impl PatchArgs {
    pub fn is_empty(&self) -> bool {
        self.patch.is_empty()
    }

    /// Finds mistakes that these flags show without the model's weights.
    pub fn check(&self, n_layers: usize) -> Result<()> {
        for at in self.patch.iter().flat_map(|patch| &patch.at) {
            if let StateAt::Layer(layer_idx) = at {
                check_layer("--patch", *layer_idx, n_layers)?;
            }
        }
        Ok(())
    }

    /// Describes the patches in words.
    pub fn describe(&self) -> Option<String> {
        let from = self.patch_from.as_ref()?;
        let words = self.patch.iter().map(|patch| {
            let places: Vec<String> = patch.at.iter().map(ToString::to_string).collect();
            let positions = &patch.positions;
            format!(
                "{} at {}-{}",
                places.join(" and "),
                positions.start,
                positions.end - 1
            )
        });
        let words: Vec<String> = words.collect();
        Some(format!("{} from {from:?}", words.join(", ")))
    }

    /// Runs the other prompt, and returns its states as interventions. `encode` makes tokens of its text.
    pub fn run(
        &self,
        model: &Decoder,
        tokenizer: Option<&Tokenizer>,
        encode: impl FnOnce(&str, &Tokenizer) -> Result<Vec<u32>>,
    ) -> Result<Vec<Intervention>> {
        let Some(text) = &self.patch_from else {
            return Ok(Vec::new());
        };
        let tokenizer = tokenizer.context("--patch-from needs a tokenizer.json")?;
        let ids = encode(text, tokenizer).context("--patch-from")?;
        let n_tokens = ids.len();
        for patch in &self.patch {
            ensure!(
                patch.positions.end <= n_tokens,
                "--patch: the prompt of --patch-from has positions 0 to {}, and {} is asked for",
                n_tokens - 1,
                patch.positions.end - 1
            );
        }
        let at = self.patch.iter().flat_map(|patch| patch.at.clone());
        let mut captured = Captured::new(Off, at.collect());
        prompt_pass(model, &[ids], 0, &mut captured).context("--patch-from")?;
        let states = captured.take();
        let mut interventions = Vec::new();
        for patch in &self.patch {
            for at in &patch.at {
                let Some((_, states)) = states.iter().find(|(place, _)| place == at) else {
                    continue;
                };
                let (start, len) = (patch.positions.start, patch.positions.len());
                interventions.push(Intervention::Replace {
                    at: *at,
                    states: states.clone().squeeze_dim::<2>(0).narrow(0, start, len),
                    first_position: start,
                });
            }
        }
        Ok(interventions)
    }
}

fn check_layer(flag: &str, layer_idx: usize, n_layers: usize) -> Result<()> {
    ensure!(
        layer_idx < n_layers,
        "{flag} {layer_idx}: the model's layers count from 0 to {}",
        n_layers.saturating_sub(1)
    );
    Ok(())
}

fn short_hash(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let digest = Sha256::digest(bytes);
    Ok(digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ablations_are_read_as_they_are_written() {
        let attention = Ablated::Sublayer(Sublayer::Attention);
        let mlp = Ablated::Sublayer(Sublayer::Mlp);
        let all = TokenSelection::all();
        let prompt = TokenSelection::phase(Phase::Prompt);
        for (word, layers, what, tokens) in [
            ("3", 3..4, Ablated::Layer, all.clone()),
            ("5a", 5..6, attention, all.clone()),
            ("7-9m", 7..10, mlp, all),
            ("3@prompt", 3..4, Ablated::Layer, prompt),
            ("0a@4", 0..1, attention, TokenSelection::positions(4..5)),
            (
                "6@2-5@response",
                6..7,
                Ablated::Layer,
                TokenSelection::positions(2..6).in_phase(Phase::Response),
            ),
        ] {
            let expected = Ablation {
                layers,
                what,
                tokens,
            };
            assert_eq!(word.parse(), Ok(expected), "{word}");
        }
        for word in [
            "",
            "a",
            "-1",
            "3b",
            "4-2",
            "3@",
            "3@all",
            "3@1@2",
            "3@prompt@response",
            "٣",
        ] {
            assert!(word.parse::<Ablation>().is_err(), "{word}");
        }
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        let add: Addition = "embedding@response=a=b@1.st".parse().unwrap();
        assert_eq!(add.at, StateAt::Embedding);
        assert_eq!(add.path, Path::new("a=b@1.st"));
        assert_eq!(add.tokens, TokenSelection::phase(Phase::Response));
        for word in ["12", "x=f", "1-2=f", "=f", "3@x=f"] {
            assert!(word.parse::<Addition>().is_err(), "{word}");
        }
        let patch: Patch = "4-5@0-9".parse().unwrap();
        assert_eq!(patch.at, [StateAt::Layer(4), StateAt::Layer(5)]);
        assert_eq!(patch.positions, 0..10);
        for word in ["4", "4@", "@3", "4@prompt", "x@3"] {
            assert!(word.parse::<Patch>().is_err(), "{word}");
        }
    }
}
