//! Bytes changed, inserted, removed, repeated and cut off.

use proptest::prelude::*;

/// One change; places are shares of the length.
#[derive(Clone, Debug)]
enum Change {
    Flip { at: f64, bits: u8 },
    Set { at: f64, bytes: Vec<u8> },
    Insert { at: f64, bytes: Vec<u8> },
    Remove { at: f64, n: usize },
    Repeat { at: f64, n: usize },
    CutOff { at: f64 },
}

/// Up to four changes to good bytes.
pub fn damaged_bytes(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(change(), 1..5).prop_map(move |changes| {
        let mut bytes = good.clone();
        changes.iter().for_each(|change| apply(change, &mut bytes));
        bytes
    })
}

fn change() -> impl Strategy<Value = Change> {
    // Headers stand at the ends: half of all places lie within a hundredth of one.
    let at = || {
        prop_oneof![
            2 => 0.0..1.0f64,
            1 => 0.0..0.01f64,
            1 => 0.99..1.0f64,
        ]
    };
    let few = || prop::collection::vec(any::<u8>(), 1..9);
    let extreme = prop_oneof![
        Just(vec![0xff; 8]),
        Just(vec![0; 8]),
        Just(vec![0xff, 0xff, 0xff, 0x7f]),
        Just(vec![0, 0, 0, 0, 0, 0, 0, 0x80]),
        few(),
    ];
    prop_oneof![
        4 => (at(), 1..=u8::MAX).prop_map(|(at, bits)| Change::Flip { at, bits }),
        3 => (at(), extreme).prop_map(|(at, bytes)| Change::Set { at, bytes }),
        2 => (at(), few()).prop_map(|(at, bytes)| Change::Insert { at, bytes }),
        2 => (at(), 1..64usize).prop_map(|(at, n)| Change::Remove { at, n }),
        1 => (at(), 1..64usize).prop_map(|(at, n)| Change::Repeat { at, n }),
        1 => at().prop_map(|at| Change::CutOff { at }),
    ]
}

fn apply(change: &Change, bytes: &mut Vec<u8>) {
    let place = |at: f64| ((at * bytes.len() as f64) as usize).min(bytes.len());
    match change {
        Change::Flip { at, bits } => {
            let at = place(*at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= bits;
            }
        }
        Change::Set { at, bytes: new } => {
            let at = place(*at);
            for (byte, new) in bytes[at..].iter_mut().zip(new) {
                *byte = *new;
            }
        }
        Change::Insert { at, bytes: new } => {
            let at = place(*at);
            bytes.splice(at..at, new.iter().copied());
        }
        Change::Remove { at, n } => {
            let at = place(*at);
            bytes.drain(at..(at + n).min(bytes.len()));
        }
        Change::Repeat { at, n } => {
            let at = place(*at);
            let part = bytes[at..(at + n).min(bytes.len())].to_vec();
            bytes.splice(at..at, part);
        }
        Change::CutOff { at } => bytes.truncate(place(*at)),
    }
}
