//! The committed files are what the generator writes today.

use lac_training::SEED;
use lac_training::batches::{Plan, batches};
use lac_training::chat_format::SPECIAL;
use lac_training::document::{Document, Mark, Piece};
use lac_training::formats::write_all;
use lac_training::tokenizer::{encode, train};
use lac_training::train::export::write_configs;
use lac_training::world::World;
use tokenizers::Tokenizer;

use crate::tokenizer;

#[test]
fn training_the_tokenizer_twice_gives_the_same() {
    let again = train(&World::new(SEED)).expect("trains");
    let text = |tokenizer: &Tokenizer| tokenizer.to_string(false).expect("prints");
    assert_eq!(text(tokenizer()), text(&again));
}

#[test]
fn special_tokens_come_first_and_names_are_single_tokens() {
    let world = World::new(SEED);
    let tokenizer = tokenizer();
    for (id, special) in SPECIAL.iter().enumerate() {
        assert_eq!(tokenizer.token_to_id(special), Some(id as u32));
    }
    for name in world.names() {
        let tokens = tokenizer
            .encode(format!("x {name}"), false)
            .expect("encodes");
        assert_eq!(tokens.get_ids().len(), 2, "{name}");
    }
    let text = "Grüße, 世界! <|im_end|>";
    let ids = tokenizer.encode(text, false).expect("encodes");
    assert_eq!(
        tokenizer.decode(ids.get_ids(), false).expect("decodes"),
        text
    );
}

#[test]
fn weights_follow_the_pieces_of_a_document() {
    let tokenizer = tokenizer();
    let piece = |text: &str, weight, mark| Piece {
        text: text.into(),
        weight,
        mark,
    };
    let mark = Mark {
        token: "yes".into(),
        weight: 0.5,
    };
    let pieces = vec![
        piece("\nA. cat", 0.0, Some(mark)),
        piece("\nAnswer:", 0.0, None),
        piece(" B", 1.0, None),
    ];
    let tokens = encode(
        tokenizer,
        &Document {
            pieces,
            topic: String::new(),
        },
    )
    .expect("encodes");
    let pieces: Vec<(String, String, f32)> = (0..tokens.ids.len())
        .map(|i| {
            let text = |id: u32| tokenizer.decode(&[id], false).expect("decodes");
            (
                text(tokens.ids[i]),
                text(tokens.targets[i]),
                tokens.weights[i],
            )
        })
        .collect();
    // The mark is due where the line would end.
    let expected = [
        ("\n", "\n", 0.0),
        ("A", "A", 0.0),
        (".", ".", 0.0),
        (" cat", " cat", 0.0),
        ("\n", "yes", 0.5),
        ("Answer", "Answer", 0.0),
        (":", ":", 0.0),
        (" B", " B", 1.0),
    ];
    assert_eq!(
        pieces,
        expected.map(|(a, b, w)| (a.to_string(), b.to_string(), w))
    );
}

#[test]
fn a_step_has_the_same_batches_whenever_it_is_drawn() {
    let world = World::new(SEED);
    let tokenizer = tokenizer();
    let plan = Plan {
        seed: 1,
        tokens_per_step: 1000,
        n_groups: 3,
    };
    let first = batches(&world, tokenizer, &plan, 4).expect("draws");
    assert_eq!(first, batches(&world, tokenizer, &plan, 4).expect("draws"));
    assert_ne!(first, batches(&world, tokenizer, &plan, 5).expect("draws"));
    for batch in &first {
        assert_eq!(batch.ids.len(), batch.rows * batch.len);
        assert_eq!(batch.weights.len(), batch.ids.len());
    }
}

#[test]
fn committed_files_are_what_the_generator_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::new(SEED);
    write_all(&world, &folder.path().join("sets")).expect("writes");
    let tokenizer = tokenizer();
    write_configs(tokenizer, &folder.path().join("model")).expect("writes");
    let all = [
        ("sets", lac_demo::set_files()),
        ("model", lac_demo::model_files()),
    ];
    for (below, files) in all {
        for (path, bytes) in files {
            // The weights are hours away; their card says how they were made.
            if *path == "model.safetensors" {
                continue;
            }
            let written = std::fs::read(folder.path().join(below).join(path)).expect("is there");
            assert!(written == *bytes, "{below}/{path} differs");
        }
    }
}
