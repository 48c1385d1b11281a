//! Puts questions into the words of a protocol.

mod generative;
mod harness;
mod paper;

use crate::data_set::DataSet;
use crate::error::{Error, Result};
use crate::item::Item;
use crate::option_order::OptionOrders;
use crate::prompt_settings::PromptSettings;
use crate::protocol::Protocol;
use crate::question::{Question, ShownItem};

/// Puts an item into the words of a protocol.
///
/// # Errors
/// [`Error::Invalid`] when the settings ask for more solved examples than the data set has.
pub fn question(
    item: &Item,
    data: &DataSet,
    orders: &OptionOrders,
    settings: &PromptSettings,
) -> Result<Question> {
    let shown = ShownItem {
        item,
        order: orders.of(item),
    };
    match settings.protocol {
        Protocol::Paper => Ok(paper::question(&shown, settings)),
        Protocol::Generative => Ok(generative::question(&shown, settings)),
        Protocol::LmEval => {
            let examples = examples(item, data, settings.few_shot)?;
            Ok(harness::question(&shown, &examples, settings))
        }
    }
}

fn examples<'a>(item: &Item, data: &'a DataSet, n: usize) -> Result<Vec<ShownItem<'a>>> {
    let known = data.examples.get(&item.subject).map_or(&[][..], |all| all);
    if known.len() < n {
        return Err(Error::Invalid {
            field: "few-shot",
            value: n.to_string(),
            expected: format!(
                "at most {}, the number of solved examples of {} (MMLU's dev split has to lie \
                 beside its test split)",
                known.len(),
                item.subject
            ),
        });
    }
    Ok(known[..n].iter().map(ShownItem::as_in_file).collect())
}

#[cfg(test)]
mod tests;
