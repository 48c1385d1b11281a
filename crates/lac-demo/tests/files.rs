//! The committed files are what the generator writes today.
#![cfg(feature = "generate")]

use lac_demo::SEED;
use lac_demo::batches::{Plan, batches};
use lac_demo::document::{Document, Mark, Piece};
use lac_demo::formats::write_all;
use lac_demo::tokenizer::{SPECIAL, encode, train};
use lac_demo::world::World;

#[test]
fn training_the_tokenizer_twice_gives_the_same() {
    let world = World::new(SEED);
    let first = train(&world)
        .expect("trains")
        .to_string(false)
        .expect("prints");
    let again = train(&world)
        .expect("trains")
        .to_string(false)
        .expect("prints");
    assert_eq!(first, again);
}

#[test]
fn special_tokens_come_first_and_names_are_single_tokens() {
    let world = World::new(SEED);
    let tokenizer = train(&world).expect("trains");
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
    let world = World::new(SEED);
    let tokenizer = train(&world).expect("trains");
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
    let tokens = encode(&tokenizer, &Document { pieces }).expect("encodes");
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
    let tokenizer = train(&world).expect("trains");
    let plan = Plan {
        seed: 1,
        tokens_per_step: 1000,
        n_groups: 3,
    };
    let first = batches(&world, &tokenizer, &plan, 4).expect("draws");
    assert_eq!(first, batches(&world, &tokenizer, &plan, 4).expect("draws"));
    assert_ne!(first, batches(&world, &tokenizer, &plan, 5).expect("draws"));
    for batch in &first {
        assert_eq!(batch.ids.len(), batch.rows * batch.len);
        assert_eq!(batch.weights.len(), batch.ids.len());
    }
}

#[cfg(feature = "sets")]
#[test]
fn committed_sets_are_what_the_generator_writes() {
    let folder = std::env::temp_dir().join(format!("lac-demo-sets-{}", std::process::id()));
    write_all(&World::new(SEED), &folder).expect("writes");
    for (path, bytes) in lac_demo::embedded::set_files() {
        let written = std::fs::read(folder.join(path)).expect("was written");
        assert_eq!(written, *bytes, "{path}");
    }
    std::fs::remove_dir_all(&folder).expect("is removed");
}
