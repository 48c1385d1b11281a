//! `lac prune`: a model without the layers that a plan leaves out.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lac_core::plan::{PhasePlan, VoidPlan};
use lac_core::{Decision, Phase};
use lac_session::LocalModel;

use crate::args::read_plan;
use crate::model::{Strictness, open_folder};
use crate::one_of::one_of;
use crate::output::{print_line, tell};
use crate::progress;

/// Write a checkpoint without the layers that a plan leaves out, for lac and transformers
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac plan --model DIR --by influence --keep-layers 24 --prompts prompts.txt --out plan.json\n  lac prune --model DIR --plan plan.json --phase prompt --out SMALLER\n  lac perplexity --model SMALLER --text wiki.test.raw\n\nThe layers are whole and the same for every token: a plan that leaves out other layers in each phase needs --phase."
)]
pub struct Prune {
    /// Folder in Hugging Face layout, an id on the Hugging Face hub, or demo
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The plan, as `lac plan` writes it
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// The phase whose layers are left out, where the plan leaves out others in each
    #[arg(long, value_parser = one_of(&Phase::ALL, Phase::name))]
    phase: Option<Phase>,
    /// The folder to write, which is not there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    strictness: Strictness,
}

impl Prune {
    pub fn run(&self) -> Result<()> {
        let path = self.plan.display();
        let plan = read_plan(&self.plan)?;
        let kept = self.kept(&plan).with_context(|| path.to_string())?;
        ensure!(
            !self.out.exists(),
            "--out {} is already there: name a folder that is not",
            self.out.display()
        );
        let local = LocalModel::find(&self.model, &mut tell)?;
        let folder = open_folder(&local, self.strictness)?;
        // Reads all weights once, to know them.
        plan.check(&folder.fingerprint()?)
            .with_context(|| path.to_string())?;
        let bar = progress::bytes("writing");
        let summary = folder.write_pruned(&kept, &self.out, &mut |n_bytes| {
            bar.set_position(n_bytes);
        })?;
        bar.finish_and_clear();
        print_line(&format!(
            "{}: {} of {} layers, {} tensors, {:.1} MB",
            self.out.display(),
            summary.n_layers,
            kept.len(),
            summary.n_tensors,
            summary.n_bytes as f64 / 1e6
        ))
    }

    /// Returns which layers are kept.
    fn kept(&self, plan: &VoidPlan) -> Result<Vec<bool>> {
        let phase = match self.phase {
            Some(phase) => plan.phase(phase),
            None if plan.prompt == plan.response => &plan.prompt,
            None => bail!(
                "the plan leaves out {} in the prompt and {} in the response, and a checkpoint has the same layers for \
                 every token: --phase prompt or --phase response takes those of one",
                left_out(&plan.prompt),
                left_out(&plan.response)
            ),
        };
        ensure!(
            !phase.skips_sublayers(),
            "the plan leaves out attentions or MLPs alone, and a checkpoint has whole layers: make a plan without --parts"
        );
        let decisions = phase.decisions().iter();
        Ok(decisions.map(|layer| *layer == Decision::Run).collect())
    }
}

/// Names the layers that are not run.
fn left_out(plan: &PhasePlan) -> String {
    let layers = plan.decisions().iter().enumerate();
    let layers: Vec<String> = layers
        .filter(|(_, layer)| **layer != Decision::Run)
        .map(|(idx, _)| idx.to_string())
        .collect();
    match layers.len() {
        0 => "no layer".to_owned(),
        1 => format!("layer {}", layers[0]),
        _ => format!("layers {}", layers.join(", ")),
    }
}
