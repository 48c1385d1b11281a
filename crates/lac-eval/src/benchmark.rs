//! The benchmarks and their tasks of lm-evaluation-harness.
//!
//! Everything that is particular to a benchmark stands in one file of this module: which files it
//! reads, its words in each harness task, how it is reported. The table below names them all, so
//! that a new benchmark is a new file and a new row. The row's name and the names of its tasks are
//! what the command line takes and what files of results hold; what its settings may be (protocols,
//! solved examples) follows from its file. The protocols `paper` and `generative` ask by the kind
//! of an item's [`Content`](crate::data::Content), so that a new benchmark needs no prompts of its
//! own there.

mod boolq;
mod gpqa;
mod mmlu;
mod samples;
pub(crate) mod spec;

use std::fmt;
use std::str::FromStr;

use lac_core::named::{UnknownName, by_name};
use serde::{Deserialize, Serialize};

use self::spec::{BenchmarkSpec, HarnessTaskSpec, SolvedExamples, StoredTexts};
use crate::protocol::Protocol;

macro_rules! benchmarks {
    ($(
        $(#[$about:meta])*
        $benchmark:ident = $spec:path {
            $($(#[$about_task:meta])* $task:ident = $task_spec:path,)+
        }
    )+) => {
        /// A benchmark.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "lowercase")]
        #[non_exhaustive]
        pub enum Benchmark {
            $($(#[$about])* $benchmark,)+
        }

        /// A task of lm-evaluation-harness.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum HarnessTask {
            $($($(#[$about_task])* $task,)+)+
        }

        impl Benchmark {
            /// All benchmarks.
            pub const ALL: &'static [Benchmark] = &[$(Benchmark::$benchmark),+];

            /// Returns the harness's tasks for the benchmark, the usual one first.
            pub fn harness_tasks(self) -> &'static [HarnessTask] {
                match self {
                    $(Benchmark::$benchmark => &[$(HarnessTask::$task),+],)+
                }
            }

            pub(crate) fn spec(self) -> &'static BenchmarkSpec {
                match self {
                    $(Benchmark::$benchmark => &$spec,)+
                }
            }
        }

        impl HarnessTask {
            /// All tasks.
            pub const ALL: &'static [HarnessTask] = &[$($(HarnessTask::$task,)+)+];

            /// Returns the benchmark that the task belongs to.
            pub fn benchmark(self) -> Benchmark {
                match self {
                    $($(HarnessTask::$task)|+ => Benchmark::$benchmark,)+
                }
            }

            pub(crate) fn spec(self) -> &'static HarnessTaskSpec {
                match self {
                    $($(HarnessTask::$task => &$task_spec,)+)+
                }
            }
        }
    };
}

benchmarks! {
    /// Four choices, 57 subjects (Hendrycks et al. 2021).
    Mmlu = mmlu::BENCHMARK {
        /// `mmlu`: the letters are scored.
        Mmlu = mmlu::LETTERS,
        /// `mmlu_continuation`: the texts of the choices are scored.
        MmluContinuation = mmlu::CONTINUATION,
    }
    /// Four choices, questions for experts (Rein et al. 2023).
    Gpqa = gpqa::BENCHMARK {
        /// `gpqa_diamond_zeroshot`.
        GpqaZeroshot = gpqa::ZEROSHOT,
        /// `gpqa_diamond_n_shot`, without examples.
        GpqaNShot = gpqa::N_SHOT,
    }
    /// Yes or no about a passage (Clark et al. 2019).
    Boolq = boolq::BENCHMARK {
        /// `boolq`.
        Boolq = boolq::TASK,
    }
    /// Prompts and continuations that lm-evaluation-harness wrote down.
    Samples = samples::BENCHMARK {
        /// The prompts as the harness wrote them down.
        Samples = samples::TASK,
    }
}

impl Benchmark {
    /// Returns the name on the command line and in files.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Returns the protocols under which the benchmark can be asked.
    pub fn protocols(self) -> &'static [Protocol] {
        self.spec().protocols
    }

    /// Returns what results hold besides numbers, unless a run says otherwise.
    pub fn stored_texts(self) -> StoredTexts {
        self.spec().stored_texts
    }

    /// Returns the category of a subject, as the benchmark's authors group them; `None` where they
    /// do not.
    ///
    /// ```
    /// use lac_eval::Benchmark;
    ///
    /// assert_eq!(Benchmark::Mmlu.category("anatomy"), Some("stem"));
    /// assert_eq!(Benchmark::Gpqa.category("anatomy"), None);
    /// ```
    pub fn category(self, subject: &str) -> Option<&'static str> {
        (self.spec().category)(subject)
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Benchmark {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("benchmark", Self::ALL, Self::name, name)
    }
}

impl HarnessTask {
    /// Returns the usual task of a benchmark.
    pub fn of(benchmark: Benchmark) -> Self {
        // Every row of the table has at least one task.
        benchmark.harness_tasks()[0]
    }

    /// Returns the name in files of results.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Returns the name on the command line.
    pub fn flag(self) -> &'static str {
        self.spec().flag
    }

    /// Returns what is scored, in a few words.
    pub fn about(self) -> &'static str {
        self.spec().about
    }

    /// Returns whether the task can show solved examples before a question.
    pub fn has_examples(self) -> bool {
        self.spec().examples == SolvedExamples::PerSubject
    }
}

impl fmt::Display for HarnessTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HarnessTask {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("harness task", Self::ALL, Self::name, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_in_files() {
        for &benchmark in Benchmark::ALL {
            let written = serde_json::to_value(benchmark).unwrap();
            assert_eq!(written, benchmark.name());
            assert_eq!(benchmark.name().parse(), Ok(benchmark));
            assert_eq!(HarnessTask::of(benchmark).benchmark(), benchmark);
        }
        for &task in HarnessTask::ALL {
            assert_eq!(serde_json::to_value(task).unwrap(), task.name());
            assert_eq!(task.name().parse(), Ok(task));
            assert_eq!(task.flag(), task.name().replace('_', "-"));
            assert!(task.benchmark().harness_tasks().contains(&task));
        }
    }
}
