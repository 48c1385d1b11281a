//! Which family a `config.json` belongs to.

use serde_json::Value;

use super::fields::Fields;

/// The families of checkpoints that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 2, 3, 3.1, 3.2 and their relatives.
    Llama,
    /// Mistral 7B and its relatives.
    Mistral,
    /// Qwen2 and Qwen2.5.
    Qwen2,
}

impl Architecture {
    /// Returns the name in `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Mistral => "mistral",
            Architecture::Qwen2 => "qwen2",
        }
    }

    /// Returns the name in `architectures`.
    fn class_name(self) -> &'static str {
        match self {
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Mistral => "MistralForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
        }
    }

    const ALL: [Architecture; 3] = [
        Architecture::Llama,
        Architecture::Mistral,
        Architecture::Qwen2,
    ];
}

const SUPPORTED: &str = "llama, mistral and qwen2 are";

/// Finds the family as transformers does, by `model_type`; without one, by the class in `architectures`. Names are
/// compared without regard to case, since older files write `LLaMAForCausalLM`.
pub(super) fn architecture(fields: &mut Fields<'_>) -> Option<Architecture> {
    let named = fields.text("model_type").or(None, None);
    let classes = classes(fields);
    let is_named = |name: &str, known: &str| name.eq_ignore_ascii_case(known);
    let by_class = |class: &String| {
        let mut all = Architecture::ALL.into_iter();
        all.find(|architecture| is_named(class, architecture.class_name()))
    };
    let Some(model_type) = named else {
        let architecture = classes.iter().find_map(by_class);
        match (architecture, classes.is_empty()) {
            (Some(_), _) => {}
            (None, true) => fields.missing("model_type", "llama, mistral or qwen2"),
            (None, false) => unsupported_class(fields, &classes),
        }
        return architecture;
    };
    let mut all = Architecture::ALL.into_iter();
    let found = all.find(|architecture| is_named(&model_type, architecture.model_type()));
    let Some(architecture) = found else {
        fields.unsupported("model_type", &model_type, SUPPORTED);
        return None;
    };
    // Each of the three computes what model_type says, whichever class saved the file.
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

fn unsupported_class(fields: &mut Fields<'_>, classes: &[String]) {
    let supported = Architecture::ALL.map(Architecture::class_name).join(", ");
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
