//! The byte-level BPE tokenizer and the files around it.

use crate::chat_format::{CHAT_TEMPLATE, END, END_OF_TEXT, PAD, SPECIAL};
use crate::conversation::document;
use crate::document::{Document, Mark};
use crate::error::Error;
use crate::random::Random;
use crate::world::{
    COLOURS, DEEDS, FRUITS, GOODS, JOBS, OBJECTS, PETS, PLACES, REGIONS, TOOLS, TOWNS, World,
};
use serde_json::json;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// The upper limit of the vocabulary.
pub const VOCABULARY: usize = 1024;

/// Trains the tokenizer on documents of the world.
///
/// # Errors
/// Fails if the training library refuses its input.
pub fn train(world: &World) -> Result<Tokenizer, Error> {
    let mut random = Random::new(world.seed ^ 0x70_6b);
    let mut texts: Vec<String> = (0..6000)
        .map(|i| document(world, i % 1500, &mut random).text())
        .collect();
    // Words that answer stand at the start of a line, without a space
    // before them; listing them makes each a token of its own.
    let names = world.names();
    let lists: [&[&str]; 10] = [
        &PETS, &TOWNS, &REGIONS, &JOBS, &TOOLS, &COLOURS, &FRUITS, &OBJECTS, &PLACES, &GOODS,
    ];
    let deeds: Vec<&str> = DEEDS.iter().flat_map(|d| [d.0, d.1]).collect();
    for _ in 0..300 {
        for list in lists.iter().copied().chain([deeds.as_slice()]) {
            texts.push(list.join("\n"));
            texts.push(list.iter().map(|w| format!(" {w}")).collect());
        }
        texts.push(names.iter().map(|n| format!(" {n}")).collect());
        texts.push("user\nassistant\nsystem\nyes\nno\nTrue\nFalse".into());
        texts.push(" yes no A B C D\nA\nB\nC\nD\nHere\nWhat\nWhich\nWho\nTell".into());
        texts.push((0..=20).map(|n| format!("\n{n} {n}")).collect());
    }
    for special in SPECIAL {
        for text in &mut texts {
            *text = text.replace(special, " ");
        }
    }
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, false, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let trainer = BpeTrainer::builder()
        .vocab_size(VOCABULARY)
        .min_frequency(20)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(SPECIAL.map(|s| AddedToken::from(s, true)).to_vec())
        .build();
    let mut wrapper = TrainerWrapper::BpeTrainer(trainer);
    tokenizer
        .train(&mut wrapper, texts.into_iter())
        .map_err(|source| Error::Tokenizer(source.to_string()))?;
    Ok(tokenizer)
}

/// A document as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The token at each place.
    pub ids: Vec<u32>,
    /// What is to be predicted for each place: the token, unless a mark
    /// takes its place.
    pub targets: Vec<u32>,
    /// The weight of predicting it.
    pub weights: Vec<f32>,
}

/// Encodes a document.
///
/// # Errors
/// Fails if the tokenizer does.
pub fn encode(tokenizer: &Tokenizer, doc: &Document) -> Result<Encoded, Error> {
    let encoding = tokenizer
        .encode(doc.text(), false)
        .map_err(|source| Error::Tokenizer(source.to_string()))?;
    let ids = encoding.get_ids().to_vec();
    let (mut targets, mut weights) = (ids.clone(), Vec::with_capacity(ids.len()));
    let mut pieces = doc.pieces.iter();
    let (mut piece, mut end) = (None, 0);
    // A mark is due at the place after the last token of its piece.
    let mut due = None;
    for (place, (_, last)) in encoding.get_offsets().iter().enumerate() {
        while *last > end {
            let Some(next) = pieces.next() else { break };
            end += next.text.len();
            piece = Some(next);
        }
        weights.push(piece.map_or(0.0, |p| p.weight));
        if let Some(mark) = due.take() {
            let mark: &Mark = mark;
            targets[place] = single(tokenizer, &mark.token)?;
            weights[place] = mark.weight;
        }
        due = piece.filter(|_| *last == end).and_then(|p| p.mark.as_ref());
    }
    Ok(Encoded {
        ids,
        targets,
        weights,
    })
}

/// Returns the one token that a text consists of.
fn single(tokenizer: &Tokenizer, text: &str) -> Result<u32, Error> {
    let encoding = tokenizer
        .encode(text, false)
        .map_err(|source| Error::Tokenizer(source.to_string()))?;
    match encoding.get_ids() {
        [id] => Ok(*id),
        _ => Err(Error::Tokenizer(format!("{text:?} is not a single token"))),
    }
}

/// Returns the contents of `config.json`, `generation_config.json` and `tokenizer_config.json`.
pub fn configs(tokenizer: &Tokenizer) -> [(&'static str, serde_json::Value); 3] {
    let id = |token: &str| tokenizer.token_to_id(token);
    let n_tokens = tokenizer.get_vocab_size(true);
    let added: serde_json::Map<String, serde_json::Value> = SPECIAL
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let token = json!({"content": s, "lstrip": false, "normalized": false,
                "rstrip": false, "single_word": false, "special": true});
            (i.to_string(), token)
        })
        .collect();
    let config = json!({
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": id(END_OF_TEXT),
        "eos_token_id": id(END),
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": 0.02,
        "intermediate_size": 384,
        "max_position_embeddings": 512,
        "max_window_layers": 12,
        "model_type": "qwen2",
        "num_attention_heads": 4,
        "num_hidden_layers": 12,
        "num_key_value_heads": 2,
        "pad_token_id": id(PAD),
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "sliding_window": null,
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
        "use_cache": true,
        "use_sliding_window": false,
        "vocab_size": n_tokens,
    });
    let generation = json!({
        "do_sample": false,
        "eos_token_id": [id(END), id(END_OF_TEXT)],
        "pad_token_id": id(PAD),
    });
    let tokenizer = json!({
        "added_tokens_decoder": added,
        "additional_special_tokens": SPECIAL,
        "bos_token": null,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": false,
        "eos_token": END,
        "model_max_length": 512,
        "pad_token": PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": null,
    });
    [
        ("config.json", config),
        ("generation_config.json", generation),
        ("tokenizer_config.json", tokenizer),
    ]
}
