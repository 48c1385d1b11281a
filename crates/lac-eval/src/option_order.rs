//! The order in which the options of a question are shown.

use std::collections::HashMap;

use crate::benchmark::spec::OptionOrder;
use crate::data_set::DataSet;
use crate::item::{Content, Item, ItemId};
use crate::prompt_settings::PromptSettings;

/// The order of the options of every question whose file has no order: GPQA's.
///
/// The right answer takes each place equally often, to within one: the questions are ranked by
/// their hashes, and rank `r` puts it in place `r mod 4`. The order of the wrong answers comes
/// from the question's hash. So an order depends on the set's contents alone, not on the order of
/// its rows, on a seed, on a shard or on the number of questions asked.
#[derive(Clone, Debug, Default)]
pub struct OptionOrders {
    orders: HashMap<ItemId, Vec<usize>>,
}

impl OptionOrders {
    /// Finds the orders for a whole data set.
    pub fn new(data: &DataSet, settings: &PromptSettings) -> Self {
        if data.benchmark.spec().option_order == OptionOrder::AsInFile {
            return Self::default();
        }
        let mut ranked: Vec<&Item> = data.items.iter().collect();
        ranked.sort_by(|a, b| a.id.cmp(&b.id));
        let orders = ranked
            .iter()
            .enumerate()
            .filter_map(|(rank, item)| {
                let Content::Choices {
                    choices, answer, ..
                } = &item.content
                else {
                    return None;
                };
                let n = choices.len();
                let mut order: Vec<usize> = (0..n).filter(|i| i != answer).collect();
                let fixed = settings.quirks.right_option_place(n);
                let place = fixed.unwrap_or_else(|| {
                    shuffle(&mut order, item.id.number());
                    rank % n
                });
                order.insert(place, *answer);
                Some((item.id.clone(), order))
            })
            .collect();
        Self { orders }
    }

    /// Returns the order of an item's options: for each place the index in the file. `None` where
    /// the file's own order is shown.
    pub fn of(&self, item: &Item) -> Option<Vec<usize>> {
        self.orders.get(&item.id).cloned()
    }
}

/// Shuffles as Fisher and Yates do, by the digits of a number in a mixed radix.
fn shuffle(order: &mut [usize], mut number: u64) {
    for i in (1..order.len()).rev() {
        let radix = i as u64 + 1;
        order.swap(i, (number % radix) as usize);
        number /= radix;
    }
}
