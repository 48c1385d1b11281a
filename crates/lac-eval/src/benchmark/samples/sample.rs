//! A row of the harness's log.

use serde_json::Value;

use super::target::{Reading, readings, says};
use crate::error::Result;
use crate::item::Logged;
use crate::judgement::Judgement;
use crate::table::row::DataRow;

/// A row of the log.
pub(super) struct Sample {
    /// Contexts and continuations.
    pub(super) options: Vec<(String, String)>,
    pub(super) judgement: Judgement,
    /// The right options, by each way of reading the target; at least one way.
    pub(super) readings: Vec<(Reading, Vec<usize>)>,
    pub(super) logged: Logged,
}

impl Sample {
    pub(super) fn read(row: &DataRow<'_>) -> Result<Self> {
        let options = options(row)?;
        let kind = Kind::of(row, &options);
        let judgement = kind.judgement();
        let n_options = judgement.n_options(options.len());
        let target = row.cell("target").ok_or_else(|| row.no_column("target"))?;
        let mut found = match kind {
            Kind::Continuation => vec![(Reading::Text, vec![0])],
            Kind::Contexts { .. } => Vec::new(),
            Kind::Choice { .. } => {
                let continuations: Vec<&str> = options[..n_options]
                    .iter()
                    .map(|(_, continuation)| continuation.as_str())
                    .collect();
                let expected = "an option: its index, its text or its letter";
                Some(readings(target, &continuations))
                    .filter(|found| !found.is_empty())
                    .ok_or_else(|| row.unexpected("target", target, expected))?
            }
        };
        let mut logged = logged(row, options.len())?;
        logged.score = score(row, judgement);
        if matches!(kind, Kind::Contexts { .. }) {
            let right = right_context(row, &logged, n_options)?;
            found.push((Reading::Index, vec![right]));
        }
        if n_options < 2 && judgement != Judgement::Greedy && logged.score.is_none() {
            return Err(row.fail(
                "column arguments does not hold two or more pairs of context and continuation, and the target is not \
                 the continuation of the only one",
            ));
        }
        Ok(Self {
            options,
            judgement,
            readings: found,
            logged,
        })
    }

    /// Returns whether the harness's score is the one of these right options; `true` where it did
    /// not log one, or one of another kind.
    pub(super) fn agrees(&self, right: &[usize]) -> bool {
        let Logged {
            log_likelihoods,
            greedy,
            score,
        } = &self.logged;
        let is_right = |option: usize| right.contains(&option);
        match score {
            Some(score) if (*score == 0.0 || *score == 1.0) && !log_likelihoods.is_empty() => {
                let chosen = self.judgement.chosen(log_likelihoods, greedy, is_right);
                chosen.is_some_and(is_right) == (*score == 1.0)
            }
            _ => true,
        }
    }
}

/// What kind of task the row is of.
enum Kind {
    /// One continuation that is right if the model writes it: a `loglikelihood` task.
    Continuation,
    /// Continuations to choose from.
    Choice { judgement: Judgement },
    /// Contexts to choose from, with one continuation: winogrande's form.
    Contexts { judgement: Judgement },
}

impl Kind {
    fn of(row: &DataRow<'_>, options: &[(String, String)]) -> Self {
        let target = row.cell("target").and_then(Value::as_str);
        let has = |metric: &str| row.cell(metric).is_some();
        let is_target = |continuation: &str| target.is_some_and(|text| says(continuation, text));
        if let [(_, continuation)] = options
            && (is_target(continuation) || has("perplexity"))
        {
            return Kind::Continuation;
        }
        let judgement = if has_unconditional(options, has("acc_mutual_info")) {
            Judgement::HighestAndUnconditional
        } else if has("exact_match") && !has("acc") && !has("acc_norm") {
            Judgement::Greedy
        } else {
            Judgement::Highest
        };
        let choices = &options[..judgement.n_options(options.len())];
        let same = |of: fn(&(String, String)) -> &String| {
            choices.windows(2).all(|pair| of(&pair[0]) == of(&pair[1]))
        };
        let is_shared = choices.len() > 1 && same(|pair| &pair.1) && !same(|pair| &pair.0);
        if is_shared && is_target(&choices[0].1) {
            Kind::Contexts { judgement }
        } else {
            Kind::Choice { judgement }
        }
    }

    fn judgement(&self) -> Judgement {
        match self {
            Kind::Continuation => Judgement::Greedy,
            Kind::Choice { judgement } | Kind::Contexts { judgement } => *judgement,
        }
    }
}

/// Returns whether the second half of the options is the first without its contexts.
fn has_unconditional(options: &[(String, String)], is_named: bool) -> bool {
    let n_options = options.len() / 2;
    let (with, without) = options.split_at(n_options);
    let is_repeated = || with.iter().zip(without).all(|(a, b)| a.1 == b.1);
    n_options >= 2
        && with.len() == without.len()
        && without.iter().all(|(context, _)| context.is_empty())
        && (is_named || is_repeated())
}

/// Finds the right context of winogrande's form. The target is the continuation there: that one of
/// the contexts is right shows in the score alone.
fn right_context(row: &DataRow<'_>, logged: &Logged, n_options: usize) -> Result<usize> {
    let chosen = Judgement::Highest.chosen(
        logged.log_likelihoods.get(..n_options).unwrap_or_default(),
        &[],
        |_| false,
    );
    match (chosen, logged.score) {
        (Some(chosen), Some(1.0)) => Ok(chosen),
        (Some(chosen), Some(0.0)) if n_options == 2 => Ok(1 - chosen),
        _ => Err(row.fail(
            "several contexts share one continuation, as in winogrande, and the right one does not follow from the \
             row: it needs acc and resps, and two contexts where acc is 0 (an index for the target says it too)",
        )),
    }
}

/// Reads the requests, `{"gen_args_0": {"arg_0": context, "arg_1": continuation}, …}` or
/// `[[context, continuation], …]`.
fn options(row: &DataRow<'_>) -> Result<Vec<(String, String)>> {
    let cell = row
        .cell("arguments")
        .ok_or_else(|| row.no_column("arguments"))?;
    let requests: Vec<&Value> = match cell {
        // Any other name leaves a gap, which is an error below.
        Value::Object(requests) => (0..requests.len())
            .map(|i| {
                requests
                    .get(&format!("gen_args_{i}"))
                    .unwrap_or(&Value::Null)
            })
            .collect(),
        Value::Array(requests) => requests.iter().collect(),
        _ => Vec::new(),
    };
    let pair = |request: &&Value| {
        let part = |name: &str, i: usize| request.get(name).or_else(|| request.get(i));
        let kind = match (part("arg_0", 0), part("arg_1", 1), part("arg_2", 2)) {
            (Some(Value::String(context)), Some(Value::String(continuation)), None) => {
                return Ok((context.clone(), continuation.clone()));
            }
            (Some(Value::String(_)), Some(Value::String(_)), Some(_)) => {
                "of a task with images or sound"
            }
            (Some(Value::String(_)), Some(Value::Object(_)), _) => "of a generate_until task",
            (Some(Value::String(_)), None, None) => {
                "of a loglikelihood_rolling task, the perplexity of whole texts"
            }
            _ => "something else",
        };
        Err(row.fail(format!(
            "column arguments does not hold pairs of context and continuation: it is {kind}, and only tasks that \
             compare log-likelihoods (loglikelihood, multiple_choice) can be read"
        )))
    };
    let options: Vec<_> = requests.iter().map(pair).collect::<Result<_>>()?;
    if options.is_empty() {
        return Err(row.fail("column arguments holds no pairs of context and continuation"));
    }
    Ok(options)
}

/// Reads the log-likelihoods: `resps` is `[[["-1.5", "False"]], …]`, or the same with numbers and
/// truth values.
fn logged(row: &DataRow<'_>, n_options: usize) -> Result<Logged> {
    fn answer(value: &Value) -> Option<(f64, bool)> {
        match value {
            Value::Array(list) => match &list[..] {
                [number, greedy, ..] if !number.is_array() => {
                    let is_greedy = matches!(greedy, Value::Bool(true)) || greedy == "True";
                    Some((number_of(number)?, is_greedy))
                }
                [first, ..] => answer(first),
                [] => None,
            },
            other => Some((number_of(other)?, false)),
        }
    }
    let Some(Value::Array(responses)) = row.cell("resps") else {
        return Ok(Logged::default());
    };
    let answers: Option<Vec<(f64, bool)>> = responses.iter().map(answer).collect();
    let answers = answers
        .filter(|answers| answers.len() == n_options && !answers.iter().any(|(n, _)| n.is_nan()))
        .ok_or_else(|| row.fail("column resps does not hold one log-likelihood per option"))?;
    let (log_likelihoods, greedy) = answers.into_iter().unzip();
    Ok(Logged {
        log_likelihoods,
        greedy,
        score: None,
    })
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Bool(flag) => Some(f64::from(*flag)),
        other => other.as_f64(),
    }
}

/// Reads what the harness made of the row: `acc`, or `exact_match` where a task has that alone.
fn score(row: &DataRow<'_>, judgement: Judgement) -> Option<f64> {
    let metric = match (judgement, row.cell("acc")) {
        (_, Some(acc)) => acc,
        (Judgement::Greedy, None) => row.cell("exact_match")?,
        _ => return None,
    };
    number_of(metric)
}
