//! Names what a folder, a file or a list of files is that holds no weights in safetensors form, and what to do about it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::file;

/// Returns what the files of a folder or repository are and what to do, for one without `model.safetensors` and without
/// an index. `None` where the names say nothing.
pub(crate) fn describe_names(names: &BTreeSet<String>) -> Option<String> {
    (!has_weights(names)).then(|| describe(names, "DIR"))?
}

fn has_weights(names: &BTreeSet<String>) -> bool {
    names.contains("model.safetensors") || names.contains("model.safetensors.index.json")
}

/// Returns what a folder is and what to do, for one that lacks `config.json` or weights. `None` where nothing is known
/// of it.
pub(crate) fn describe_folder(folder: &Path) -> Option<String> {
    let mut names = file_names(folder);
    if has_weights(&names) {
        return None;
    }
    if let Some(text) = hub_cache(folder) {
        return Some(text);
    }
    if names.contains("adapter_config.json") {
        return Some(adapter(folder));
    }
    if let Some(what) = unfinished(folder) {
        return Some(what);
    }
    // Where published models have the forms of other programs.
    for inner in ["original", "onnx"] {
        let of_inner = file_names(&folder.join(inner)).into_iter();
        names.extend(of_inner.map(|name| format!("{inner}/{name}")));
    }
    describe(&names, &folder.display().to_string()).or_else(|| one_level_down(folder))
}

fn describe(names: &BTreeSet<String>, place: &str) -> Option<String> {
    let first = |is_it: &dyn Fn(&str) -> bool| names.iter().find(|name| is_it(name));
    let ends_with = |end: &'static str| first(&move |name| name.ends_with(end));
    if names.contains("adapter_config.json") {
        return Some(adapter_text("its base model"));
    }
    if names.contains("model_index.json") {
        return Some("it is a diffusers pipeline and not a language model".to_owned());
    }
    if let Some(name) = ends_with(".gguf") {
        return Some(gguf_text(name));
    }
    let is_consolidated = |name: &str| {
        name.trim_start_matches("original/")
            .starts_with("consolidated.")
    };
    if let Some(name) = first(&is_consolidated) {
        return Some(format!(
            "{name} is in the form of the model's maker (Mistral, Meta), which is not read; take the repository's files \
             for transformers: config.json with model.safetensors, or convert it with transformers' script \
             convert_llama_weights_to_hf.py or convert_mistral_weights_to_hf.py"
        ));
    }
    let is_safetensors = |name: &str| name.ends_with(".safetensors") && !name.contains('/');
    if let Some(name) = first(&is_safetensors) {
        return Some(safetensors_text(name, names));
    }
    let is_pickle = |name: &str| {
        let is_torch = [".pt", ".pth", ".ckpt"]
            .iter()
            .any(|end| name.ends_with(end));
        let is_weights = name.starts_with("pytorch_model") || name.starts_with("model");
        is_torch || (name.ends_with(".bin") && is_weights) || name == "pytorch_model.bin.index.json"
    };
    if let Some(name) = first(&is_pickle) {
        return Some(format!(
            "its weights are in PyTorch's pickle form ({name}), which is not read; convert them with: {}",
            conversion(place, "")
        ));
    }
    const OTHERS: [(&str, &str, &str); 9] = [
        (".h5", "TensorFlow", ", from_tf=True"),
        (".msgpack", "Flax", ", from_flax=True"),
        (".onnx", "ONNX", ""),
        (".tflite", "TensorFlow Lite", ""),
        (".ot", "rust-bert", ""),
        (".npz", "MLX", ""),
        (".mlpackage", "Core ML", ""),
        ("openvino_model.xml", "OpenVINO", ""),
        (".xml", "OpenVINO", ""),
    ];
    for (end, form, flag) in OTHERS {
        if let Some(name) = ends_with(end) {
            let what = format!("its weights are in the form of {form} ({name}), which is not read");
            return Some(if flag.is_empty() {
                format!("{what}; take the original model with model.safetensors")
            } else {
                format!("{what}; convert them with: {}", conversion(place, flag))
            });
        }
    }
    let is_sentence = |name: &str| {
        name == "config_sentence_transformers.json" || name == "sentence_bert_config.json"
    };
    if let Some(name) = first(&is_sentence) {
        return Some(format!(
            "it is a sentence-transformers model ({name}), which gives vectors and no text"
        ));
    }
    None
}

/// Says which files of weights an index names that are not there.
pub(super) fn missing_shards(folder: &Path, missing: &[&str], n_shards: usize) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = missing
        .iter()
        .take(SHOWN)
        .map(|name| file::excerpt(name))
        .collect();
    let shown = shown.join(", ");
    let names = match (missing.len(), missing.len().saturating_sub(SHOWN)) {
        (1, _) => format!("it names {shown}, which is not beside it"),
        (n, 0) => format!("it names {shown}, which are not beside it ({n} of {n_shards} files)"),
        (n, more) => format!(
            "it names {shown} and {more} more, which are not beside it ({n} of {n_shards} files)"
        ),
    };
    match unfinished(folder) {
        None => format!("{names}; download them from the model's repository"),
        Some(what) => format!("{names}; {what}"),
    }
}

/// Says which downloads into a folder were begun and not finished, and what to do.
fn unfinished(folder: &Path) -> Option<String> {
    const ENDS: [&str; 5] = [".incomplete", ".part", ".crdownload", ".aria2", ".partial"];
    let in_cache = folder.join(".cache/huggingface/download");
    let mut names = [folder, in_cache.as_path()]
        .into_iter()
        .flat_map(file_names);
    let name = names.find(|name| ENDS.iter().any(|end| name.ends_with(end)))?;
    Some(format!(
        "a download was begun and not finished ({}): run it again",
        file::excerpt(&name)
    ))
}

fn conversion(place: &str, flag: &str) -> String {
    format!(
        "python -c \"from transformers import AutoModelForCausalLM; \
         AutoModelForCausalLM.from_pretrained('{place}'{flag}).save_pretrained('{place}')\""
    )
}

fn gguf_text(name: &str) -> String {
    format!(
        "{name} is a GGUF file, without a model in safetensors beside it; name the file itself, or on the hub its type \
         behind a colon, such as :Q4_K_M"
    )
}

/// What to do about a file of safetensors that is called otherwise than those of a whole model.
fn safetensors_text(name: &str, names: &BTreeSet<String>) -> String {
    let Some((_, n_shards)) = shard_of(name) else {
        return format!(
            "its weights are called {name}, expected model.safetensors or model.safetensors.index.json; if {name} \
             holds the whole model, rename it"
        );
    };
    if n_shards == 1 {
        return format!("its weights are called {name}: rename it to model.safetensors");
    }
    let n_there = names.iter().filter(|name| shard_of(name).is_some()).count();
    let others = if n_there < n_shards {
        ", and so are the other files"
    } else {
        ""
    };
    format!(
        "{name} is one of {n_shards} files of weights, and model.safetensors.index.json, which names them, is missing\
         {others}: download them from the model's repository"
    )
}

/// The number of a file among several, and how many there are: 1 and 3 of `model-00001-of-00003.safetensors`.
fn shard_of(name: &str) -> Option<(usize, usize)> {
    let stem = name.strip_suffix(".safetensors")?;
    let mut parts = stem.rsplitn(4, '-');
    let n_shards = parts.next()?.parse().ok()?;
    let is_of = parts.next()? == "of";
    let shard = parts.next()?.parse().ok()?;
    (is_of && parts.next().is_some()).then_some((shard, n_shards))
}

fn adapter(folder: &Path) -> String {
    let base = file::read_to_string(&folder.join("adapter_config.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
        .and_then(|config| Some(config.get("base_model_name_or_path")?.as_str()?.to_owned()));
    match base {
        None => adapter_text("its base model"),
        Some(base) => adapter_text(&file::excerpt(&base)),
    }
}

fn adapter_text(base: &str) -> String {
    format!(
        "it is an adapter (adapter_config.json) and not a model; merge it into {base} with: python -c \"from peft import \
         AutoPeftModelForCausalLM; AutoPeftModelForCausalLM.from_pretrained('ADAPTER').merge_and_unload()\
         .save_pretrained('MERGED')\""
    )
}

/// A repository's folder in a hub cache, or a cache as a whole, in place of a snapshot.
fn hub_cache(folder: &Path) -> Option<String> {
    let snapshots = folder.join("snapshots");
    if snapshots.is_dir() {
        let commits = folder_names(&snapshots);
        let main = file::read_to_string(&folder.join("refs/main")).ok();
        let main = main.map(|commit| commit.trim().to_owned());
        let commit = main
            .filter(|commit| commits.contains(commit))
            .or_else(|| commits.first().cloned());
        return Some(match commit {
            None => "it is a repository's folder in the hub cache, without a snapshot".to_owned(),
            Some(commit) => format!(
                "it is a repository's folder in the hub cache; the model is {}",
                snapshots.join(commit).display()
            ),
        });
    }
    let repositories = folder_names(folder);
    let repository = repositories
        .iter()
        .find(|name| name.starts_with("models--"))?;
    let id = repository.trim_start_matches("models--").replace("--", "/");
    Some(format!(
        "it is a hub cache; name one of its models, such as {id}"
    ))
}

fn one_level_down(folder: &Path) -> Option<String> {
    const SHOWN: usize = 3;
    let mut inside = folder_names(folder).into_iter().filter(|name| {
        let inner = folder.join(name);
        inner.join("config.json").exists()
            || !file_names(&inner).iter().all(|name| !is_weights(name))
    });
    let first = inside.next()?;
    let mut shown = folder.join(&first).display().to_string();
    for more in inside.by_ref().take(SHOWN - 1) {
        shown.push_str(&format!(" or {}", folder.join(more).display()));
    }
    Some(format!("it holds no model itself; did you mean {shown}?"))
}

fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

/// Returns what a file is that was named in place of a folder.
pub(crate) fn describe_file(path: &Path) -> String {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.display().to_string(),
        _ => ".".to_owned(),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Err(error) = file::open(path) {
        return format!("it is a file and not a folder, and {error}");
    }
    let is_in_model = name.ends_with(".safetensors") || name.ends_with(".json");
    if is_in_model {
        format!(
            "it is a file and not a folder: name its folder, {folder}, which also holds the other files of the model"
        )
    } else {
        "it is a file and not a folder: expected a folder with config.json and model.safetensors"
            .to_owned()
    }
}

/// The names of the files in a folder.
fn file_names(folder: &Path) -> BTreeSet<String> {
    names(folder, |path| {
        !file::is_folder(path) || path.extension().is_some_and(|end| end == "mlpackage")
    })
}

fn folder_names(folder: &Path) -> Vec<String> {
    names(folder, file::is_folder).into_iter().collect()
}

/// Names in a folder, not more of them than an error needs.
fn names(folder: &Path, is_it: impl Fn(&Path) -> bool) -> BTreeSet<String> {
    const MAX_ENTRIES: usize = 10_000;
    let paths = file::paths_in(folder).into_iter().flatten().flatten();
    paths
        .take(MAX_ENTRIES)
        .filter(|path| is_it(path))
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect()
}
