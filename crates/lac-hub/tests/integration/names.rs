//! What is taken for the name of a repository.

use lac_hub::{Repository, RepositoryKind};

#[test]
fn names_are_read_with_their_revision() {
    use RepositoryKind::{DataSet, Model};
    for (kind, text, id, revision, folder) in [
        (Model, "org/name", "org/name", None, "models--org--name"),
        (Model, "gpt2", "gpt2", None, "models--gpt2"),
        (
            Model,
            "org/name@v1.0",
            "org/name",
            Some("v1.0"),
            "models--org--name",
        ),
        (
            Model,
            "org/name@refs/pr/12",
            "org/name",
            Some("refs/pr/12"),
            "models--org--name",
        ),
        (
            Model,
            "org/name@5f0b02c",
            "org/name",
            Some("5f0b02c"),
            "models--org--name",
        ),
        (
            Model,
            "Qwen/Qwen2.5-0.5B_x",
            "Qwen/Qwen2.5-0.5B_x",
            None,
            "models--Qwen--Qwen2.5-0.5B_x",
        ),
        (
            Model,
            "https://huggingface.co/org/name",
            "org/name",
            None,
            "models--org--name",
        ),
        (
            Model,
            "https://huggingface.co/org/name/tree/dev",
            "org/name",
            Some("dev"),
            "models--org--name",
        ),
        (
            Model,
            "https://hf.co/org/name/",
            "org/name",
            None,
            "models--org--name",
        ),
        (
            Model,
            "hf://org/name@v2",
            "org/name",
            Some("v2"),
            "models--org--name",
        ),
        (
            Model,
            "hf://models/org/name",
            "org/name",
            None,
            "models--org--name",
        ),
        (
            DataSet,
            "cais/mmlu",
            "cais/mmlu",
            None,
            "datasets--cais--mmlu",
        ),
        (DataSet, "boolq", "boolq", None, "datasets--boolq"),
        (
            DataSet,
            "hf://datasets/cais/mmlu",
            "cais/mmlu",
            None,
            "datasets--cais--mmlu",
        ),
        (
            DataSet,
            "https://huggingface.co/datasets/cais/mmlu",
            "cais/mmlu",
            None,
            "datasets--cais--mmlu",
        ),
        (
            DataSet,
            "cais/mmlu@refs/convert/parquet",
            "cais/mmlu",
            Some("refs/convert/parquet"),
            "datasets--cais--mmlu",
        ),
    ] {
        let repository = Repository::parse(kind, text).unwrap();
        assert_eq!(repository.kind(), kind);
        assert_eq!(repository.id(), id, "{text}");
        assert_eq!(repository.revision(), revision, "{text}");
        assert_eq!(repository.folder_name(), folder, "{text}");
    }
}

#[test]
fn other_texts_are_refused_with_a_reason() {
    let long = format!("org/{}", "n".repeat(97));
    for (text, part) in [
        ("", "1 to 96 characters"),
        (&long, "1 to 96 characters"),
        ("./model", "begins"),
        ("../model", "begins"),
        ("/models/llama", "organisation/name"),
        ("a/b/c", "organisation/name"),
        ("org/", "letters"),
        ("org/na me", "letters"),
        ("org/näme", "letters"),
        ("org\\name", "letters"),
        ("-org/name", "begins"),
        ("org/name.", "ends"),
        ("org/.name", "begins"),
        ("org/na--me", "--"),
        ("org/na..me", ".."),
        ("org/name.git", ".git"),
        ("org/name@", "branch"),
        ("org/name@../../x", "branch"),
        ("org/name@/etc", "branch"),
        ("org/name@a\\b", "branch"),
        ("org/name@a//b", "branch"),
    ] {
        let error = Repository::parse(RepositoryKind::Model, text).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(part),
            "{text}: {part} is not in: {message}"
        );
    }
}
