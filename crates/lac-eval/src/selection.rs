//! Which questions of a data set are asked.

use crate::error::{Error, Result};
use crate::item::Item;

/// Selects the questions that are asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemSelection {
    /// These subjects only; all subjects when empty.
    pub subjects: Vec<String>,
    /// At most this many questions: those with the smallest hashes. This is a random choice that is
    /// the same on every machine, and a larger limit only adds to it.
    pub limit: Option<usize>,
    /// One shard of several.
    pub shard: Option<Shard>,
}

/// One of `count` shards of a benchmark. A question's hash decides which shard it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The shard, counted from 0.
    pub index: u64,
    /// Number of shards, at least 1.
    pub count: u64,
}

impl ItemSelection {
    /// Returns the questions that are asked, in the data set's order.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a subject that no question has, and for a shard that is not below its
    /// count.
    pub fn of<'a>(&self, items: &'a [Item]) -> Result<Vec<&'a Item>> {
        let invalid = |field, value: String, expected: String| Error::Invalid {
            field,
            value,
            expected,
        };
        for subject in &self.subjects {
            if !items.iter().any(|item| item.subject == *subject) {
                let mut known: Vec<&str> = items.iter().map(|item| &*item.subject).collect();
                known.sort_unstable();
                known.dedup();
                let expected = format!("one of {}", known.join(", "));
                return Err(invalid("subject", subject.clone(), expected));
            }
        }
        let mut chosen: Vec<&Item> = items
            .iter()
            .filter(|item| self.subjects.is_empty() || self.subjects.contains(&item.subject))
            .collect();
        if let Some(limit) = self.limit {
            chosen.sort_by(|a, b| a.id.cmp(&b.id));
            chosen.truncate(limit);
            chosen.sort_by_key(|item| item.row);
        }
        if let Some(Shard { index, count }) = self.shard {
            if index >= count {
                let expected = "an index from 0 to the count less one, as in 0/4".to_owned();
                return Err(invalid("shard", format!("{index}/{count}"), expected));
            }
            chosen.retain(|item| item.id.number() % count == index);
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::made_up_items;

    #[test]
    fn shards_part_the_questions_and_limits_grow() {
        let items = made_up_items(100);
        let shard = |index| ItemSelection {
            shard: Some(Shard { index, count: 3 }),
            ..ItemSelection::default()
        };
        let mut rows: Vec<usize> = (0..3)
            .flat_map(|index| shard(index).of(&items).unwrap())
            .map(|item| item.row)
            .collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..100).collect::<Vec<_>>());

        let limited = |n| ItemSelection {
            limit: Some(n),
            ..ItemSelection::default()
        };
        let few = limited(10).of(&items).unwrap();
        let many = limited(40).of(&items).unwrap();
        assert_eq!(few.len(), 10);
        assert!(few.iter().all(|item| many.contains(item)));

        let error = shard(3).of(&items).unwrap_err().to_string();
        assert!(error.contains("3/3"), "{error}");
        let unknown = ItemSelection {
            subjects: vec!["z".into()],
            ..ItemSelection::default()
        };
        let error = unknown.of(&items).unwrap_err().to_string();
        assert!(error.contains("one of x, y"), "{error}");
    }
}
