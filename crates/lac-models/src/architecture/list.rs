//! The list of families, and the one that a `config.json` names.

use serde_json::Value;

use super::family::Family;
use super::fields::Fields;
use super::{
    gemma2, gemma3, granite, llama, ministral, ministral3, mistral, mixtral, olmo2, olmo3, phi3,
    qwen2, qwen2_moe, qwen3, qwen3_moe, smollm3,
};

/// The families of checkpoints that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 2, 3, 3.1, 3.2, 3.3 and their relatives.
    Llama,
    /// Mistral 7B, Nemo, Small and their relatives.
    Mistral,
    /// Ministral 8B: a Mistral with windows in some layers.
    Ministral,
    /// Ministral 3: a Mistral whose queries grow with their position.
    Ministral3,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
    /// Mixtral: a Mistral with experts.
    Mixtral,
    /// Qwen1.5 and Qwen2 with experts, and one that every token goes through.
    Qwen2Moe,
    /// Qwen3 with experts.
    Qwen3Moe,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, models of text alone.
    Gemma3,
    /// SmolLM3.
    SmolLm3,
    /// Granite 3 and the dense models of Granite 4.
    Granite,
    /// OLMo 2.
    Olmo2,
    /// OLMo 3.
    Olmo3,
    /// Phi-3, Phi-3.5, Phi-4 and Phi-4-mini.
    Phi3,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Llama,
        Self::Mistral,
        Self::Ministral,
        Self::Ministral3,
        Self::Qwen2,
        Self::Qwen3,
        Self::Mixtral,
        Self::Qwen2Moe,
        Self::Qwen3Moe,
        Self::Gemma2,
        Self::Gemma3,
        Self::SmolLm3,
        Self::Granite,
        Self::Olmo2,
        Self::Olmo3,
        Self::Phi3,
    ];

    /// Returns the name in `model_type`.
    pub fn model_type(self) -> &'static str {
        self.family().model_type
    }

    pub(super) fn family(self) -> &'static Family {
        match self {
            Self::Llama => &llama::FAMILY,
            Self::Mistral => &mistral::FAMILY,
            Self::Ministral => &ministral::FAMILY,
            Self::Ministral3 => &ministral3::FAMILY,
            Self::Qwen2 => &qwen2::FAMILY,
            Self::Qwen3 => &qwen3::FAMILY,
            Self::Mixtral => &mixtral::FAMILY,
            Self::Qwen2Moe => &qwen2_moe::FAMILY,
            Self::Qwen3Moe => &qwen3_moe::FAMILY,
            Self::Gemma2 => &gemma2::FAMILY,
            Self::Gemma3 => &gemma3::FAMILY,
            Self::SmolLm3 => &smollm3::FAMILY,
            Self::Granite => &granite::FAMILY,
            Self::Olmo2 => &olmo2::FAMILY,
            Self::Olmo3 => &olmo3::FAMILY,
            Self::Phi3 => &phi3::FAMILY,
        }
    }
}

/// What families need that is not computed here.
const LACKING: &[(&[&str], &str)] = &[
    (
        &["gemma3", "mistral3"],
        "a vision tower beside the text model, which a GGUF file holds alone",
    ),
    (
        &[
            "gemma4",
            "llava",
            "llava_next",
            "llama4",
            "mllama",
            "paligemma",
            "phi3_v",
            "phi4_multimodal",
            "pixtral",
            "qwen2_vl",
            "qwen2_5_vl",
            "qwen3_vl",
            "idefics3",
            "smolvlm",
        ],
        "a vision tower beside the text model",
    ),
    (
        &[
            "olmoe",
            "granitemoe",
            "granitemoeshared",
            "phimoe",
            "minimax",
            "dbrx",
            "ernie4_5_moe",
            "glm4_moe",
        ],
        "another router than Mixtral's and Qwen's, or experts in other layers",
    ),
    (&["gpt_oss"], "attention sinks, experts and a router"),
    (
        &[
            "deepseek_v2",
            "deepseek_v3",
            "deepseek_v32",
            "minicpm3",
            "kimi_k2",
            "mistral4",
        ],
        "multi-head latent attention",
    ),
    (
        &[
            "mamba",
            "mamba2",
            "falcon_mamba",
            "falcon_h1",
            "jamba",
            "bamba",
            "zamba2",
            "nemotron_h",
            "granitemoehybrid",
            "lfm2",
            "recurrent_gemma",
            "qwen3_next",
            "olmo_hybrid",
            "rwkv",
        ],
        "layers that keep a state in place of keys and values",
    ),
    (
        &["gemma3n"],
        "embeddings of every layer and layers that share keys and values",
    ),
    (
        &["cohere", "cohere2", "phi", "gpt_neox", "falcon"],
        "attention and MLP of one input, side by side",
    ),
    (&["t5", "bart", "whisper"], "an encoder"),
];

/// Finds the family as transformers does, by `model_type`; without one, by the class in `architectures`. Names are
/// compared without regard to case, since older files write `LLaMAForCausalLM`.
pub(super) fn architecture(fields: &mut Fields<'_>) -> Option<Architecture> {
    let named = fields.text("model_type").or(None, None);
    let classes = classes(fields);
    let is_named = |name: &str, known: &str| name.eq_ignore_ascii_case(known);
    let by_class = |class: &String| {
        let mut all = Architecture::ALL.into_iter();
        all.find(|architecture| is_named(class, architecture.family().class_name))
    };
    let Some(model_type) = named else {
        let architecture = classes.iter().find_map(by_class);
        match (architecture, classes.is_empty()) {
            (Some(_), _) => {}
            (None, true) => {
                fields.missing("model_type", "the name of a family, such as llama or qwen3")
            }
            (None, false) => unsupported_class(fields, &classes),
        }
        return architecture;
    };
    let mut all = Architecture::ALL.into_iter();
    let found = all.find(|architecture| is_named(&model_type, architecture.model_type()));
    let Some(architecture) = found else {
        unsupported_type(fields, &model_type);
        return None;
    };
    // Each of them computes what model_type says, whichever class saved the file.
    if classes.is_empty() || classes.iter().any(|class| by_class(class).is_some()) {
        return Some(architecture);
    }
    // A model of another kind has another head; another model that predicts tokens may be the same under a new name.
    if classes.iter().any(|class| class.ends_with("ForCausalLM")) {
        fields.ignore_unknown("architectures");
    } else {
        unsupported_class(fields, &classes);
    }
    Some(architecture)
}

fn unsupported_type(fields: &mut Fields<'_>, model_type: &str) {
    let supported = Architecture::ALL.map(Architecture::model_type).join(", ");
    let name = model_type.to_ascii_lowercase();
    let row = LACKING
        .iter()
        .find(|(names, _)| names.iter().any(|known| name == *known));
    let supported = match row {
        None => format!("{supported} are"),
        Some((_, lacking)) => format!("it needs {lacking}; {supported} are"),
    };
    fields.unsupported("model_type", &model_type, &supported);
}

fn unsupported_class(fields: &mut Fields<'_>, classes: &[String]) {
    let supported = Architecture::ALL
        .map(|architecture| architecture.family().class_name)
        .join(", ");
    let supported = format!("models that predict the next token are ({supported})");
    fields.unsupported("architectures", &classes.join(", "), &supported);
}

/// Takes the names of the classes. Some writers leave out the list around a single one.
fn classes(fields: &mut Fields<'_>) -> Vec<String> {
    let names = match fields.take("architectures") {
        None => return Vec::new(),
        Some(Value::String(name)) => return vec![name],
        Some(Value::Array(names)) => names,
        Some(other) => {
            fields.invalid("architectures", &other, "a list of class names");
            return Vec::new();
        }
    };
    let texts: Option<Vec<String>> = names
        .iter()
        .map(|name| name.as_str().map(str::to_owned))
        .collect();
    texts.unwrap_or_else(|| {
        fields.invalid(
            "architectures",
            &Value::from(names),
            "a list of class names",
        );
        Vec::new()
    })
}
