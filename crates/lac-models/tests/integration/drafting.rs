//! Drafters on a decoder with a KV cache, and the search for layers to draft with.

use burn::tensor::Device;
use lac_core::{
    BoxError, CausalLm, GateConfig, GenerateArgs, GenerationConfig, Observer, Off, Pass,
    PassRecord, Planned, SkippedKeys, Trace, generate,
    generation::{Flow, forward_hidden},
    plan::{Granularity, PhasePlan},
    routing::RoutingRecord,
    speculation::{
        AgreementSearch, AgreementSearcher, CalibrationText, DraftLength, DraftRound, Drafter,
        ModelDrafter, NgramDrafter, PlanDrafter, SpeculationConfig, SpeculationStats, Speculator,
        WithSecondWeights, agreement, verify_speculation,
    },
};
use lac_models::{Decoder, ModelFolder, WeightDtype, decoder::DecoderContext};

use crate::demo::Demo;
use crate::families;

fn greedy(demo: &Demo, new_tokens: usize) -> GenerationConfig {
    GenerationConfig::greedy(new_tokens).with_stop_tokens(demo.tokenizer.stop_ids().to_vec())
}

/// A pass over several tokens gives the bits of passes over one, in every data type of the CPU.
#[test]
fn verifying_passes_are_plain_passes_to_the_bit() {
    let device = Device::flex();
    let demo = Demo::load(&device);
    for dtype in [WeightDtype::F32, WeightDtype::Bf16, WeightDtype::F16] {
        let model = demo.folder.load(dtype, &device, &mut |_| {}).unwrap();
        assert!(model.computes_tokens_alone());
        let drafters: Vec<Box<dyn Drafter>> = vec![
            Box::new(PlanDrafter::new(PhasePlan::keeping(
                &[&[true; 9][..], &[false; 3]].concat(),
            ))),
            Box::new(NgramDrafter::default()),
        ];
        let config = SpeculationConfig::default().with_draft_length(DraftLength::Fixed(4));
        let mut speculator = Speculator::with_drafters(drafters, config).unwrap();
        let mut n_rejections = 0;
        for prompt in demo.prompts(6) {
            let seen = verify_speculation(&model, &[prompt], &greedy(&demo, 20), &mut speculator);
            let seen = seen.unwrap();
            assert_eq!(seen.divergence, None);
            assert_eq!(seen.largest_noise, 0.0, "{}", dtype.name());
            assert_eq!(seen.stats.n_replay_passes, 0);
            n_rejections += seen.stats.n_rejections;
        }
        assert!(n_rejections > 0);
    }
}

/// A drafter that is the model itself is always right: on the model's cache, and with a cache of its own, whatever was
/// rejected before.
#[test]
fn caches_of_drafters_hold_the_text() {
    let demo = Demo::load(&Device::flex());
    let second = Demo::load(&Device::flex()).model;
    let both = WithSecondWeights::new(&demo.model, &second);
    let own = Demo::load(&Device::flex()).model;
    let shared = || PlanDrafter::new(PhasePlan::full(12)).with_second_weights("shared", 0.5);
    let drafters: Vec<Box<dyn Drafter>> = vec![
        Box::new(ModelDrafter::new("own cache", own, 0.5).unwrap()),
        Box::new(shared()),
    ];
    for drafter in drafters {
        let name = drafter.name().to_owned();
        // Every second round another one is asked, which is mostly wrong.
        let drafters: Vec<Box<dyn Drafter>> = vec![Box::new(Sometimes(0)), drafter];
        let config = SpeculationConfig::default().with_draft_length(DraftLength::Fixed(3));
        let mut speculator = Speculator::with_drafters(drafters, config).unwrap();
        let mut stats = SpeculationStats::default();
        for prompt in demo.prompts(4) {
            let seen = verify_speculation(&both, &[prompt], &greedy(&demo, 24), &mut speculator);
            stats.merge(&seen.unwrap().stats);
        }
        assert_eq!(stats.drafters[1].n_rejections, 0, "{name}");
        assert!(stats.drafters[1].n_accepted > 0, "{name}");
        assert!(stats.n_rejections > 0, "{name}");
    }
}

/// Second weights in another data type see the keys and values of the first: a draft is what the second weights say of
/// the full model's keys and values, so f32 drafting for bf16 is nearly always right, and the text is that of bf16.
#[test]
fn second_weights_may_be_of_another_data_type() {
    let device = Device::flex();
    let demo = Demo::load(&device);
    let load = |dtype| demo.folder.load(dtype, &device, &mut |_| {}).unwrap();
    for (first, second) in [
        (WeightDtype::Bf16, WeightDtype::F32),
        (WeightDtype::F32, WeightDtype::Bf16),
    ] {
        let (first, second) = (load(first), load(second));
        let both = WithSecondWeights::new(&first, &second);
        let plan = PlanDrafter::new(PhasePlan::full(12)).with_second_weights("second", 0.5);
        let drafters: Vec<Box<dyn Drafter>> = vec![Box::new(Sometimes(0)), Box::new(plan)];
        let config = SpeculationConfig::default().with_draft_length(DraftLength::Fixed(3));
        let mut speculator = Speculator::with_drafters(drafters, config).unwrap();
        let mut stats = SpeculationStats::default();
        for prompt in demo.prompts(6) {
            let seen = verify_speculation(&both, &[prompt], &greedy(&demo, 24), &mut speculator);
            let seen = seen.unwrap();
            assert_eq!(seen.divergence, None);
            stats.merge(&seen.stats);
        }
        let rate = stats.drafters[1].acceptance_rate().unwrap();
        assert!(rate > 0.9, "{rate}");
        assert!(stats.n_rejections > 0);
    }
}

/// What routers chose in every pass.
#[derive(Default)]
struct Routing(Vec<Vec<Option<RoutingRecord>>>);

impl Observer for Routing {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        self.0.push(record.routing.clone());
        Ok(())
    }
}

#[test]
fn second_weights_leave_a_models_routing_in_its_records() {
    let folder = ModelFolder::open(families::folder("mixtral")).unwrap();
    let load = || {
        let device = Device::flex();
        folder.load(WeightDtype::F32, &device, &mut |_| {}).unwrap()
    };
    let (model, second) = (load(), load());
    let both = WithSecondWeights::new(&model, &second);
    let models: [&dyn CausalLm<Context = DecoderContext>; 2] = [&model, &both];
    let [alone, beside] = models.map(|model| {
        let mut routing = Routing::default();
        let mut policy = Trace::new(GateConfig::new(0.8));
        let args = GenerateArgs::new(&mut policy).observer(&mut routing);
        generate(model, &[vec![1, 2, 3]], &GenerationConfig::greedy(3), args).unwrap();
        routing.0
    });
    assert_eq!(alone, beside);
    assert!(!alone.is_empty() && alone.iter().flatten().any(Option::is_some));
}

/// Proposes in every second round that the last token comes again.
struct Sometimes(usize);

impl Drafter for Sometimes {
    fn name(&self) -> &str {
        "sometimes"
    }

    fn draft(&mut self, round: &mut DraftRound<'_>) -> Result<(), BoxError> {
        self.0 += 1;
        while self.0.is_multiple_of(2) && round.wants_more() {
            let last = round.text()[round.text().len() - 1];
            round.propose(last, 1.0)?;
        }
        Ok(())
    }
}

fn texts(demo: &Demo, n_texts: usize) -> Vec<CalibrationText> {
    let prompts = demo.prompts(n_texts);
    prompts
        .into_iter()
        .map(|prompt| {
            let mut policy = Off;
            let args = GenerateArgs::new(&mut policy);
            let config = GenerationConfig::greedy(10);
            let output =
                generate(&demo.model, std::slice::from_ref(&prompt), &config, args).unwrap();
            CalibrationText {
                n_prompt: prompt.len(),
                ids: [&prompt[..], &output.rows[0].ids].concat(),
            }
        })
        .collect()
}

/// The share of places at which a plan's token is the text's, place by place, as speculation would draft it.
fn one_by_one(model: &Decoder, texts: &[CalibrationText], plan: &PhasePlan) -> f64 {
    let (mut agreed, mut tried) = (0, 0);
    for text in texts {
        for place in text.n_prompt..text.ids.len() - 1 {
            let mut context = model.new_context(1, place + 1);
            let before = Pass::prompt(&[&text.ids[..place]], 0).unwrap();
            forward_hidden(model, &before, &mut context, &mut Off).unwrap();
            let mut policy = Planned::from_phases(plan.clone(), plan.clone(), SkippedKeys::Omit);
            let pass = Pass::response(place, vec![text.ids[place]]);
            let out = forward_hidden(model, &pass, &mut context, &mut policy).unwrap();
            let id = model.logits(out.hidden).argmax(2).into_data();
            let id: Vec<i64> = id.iter::<i64>().collect();
            agreed += usize::from(id[0] == i64::from(text.ids[place + 1]));
            tried += 1;
        }
    }
    agreed as f64 / tried as f64
}

#[test]
fn a_search_finds_what_it_says() {
    let demo = Demo::load(&Device::flex());
    let texts = texts(&demo, 5);
    for units in [Granularity::Layers, Granularity::Sublayers] {
        let n_units = 12 * units.per_layer();
        let search = AgreementSearch::new(units).with_least_units(n_units - 3);
        let mut searcher = AgreementSearcher::new(&demo.model, &texts, &search).unwrap();
        assert_eq!((searcher.n_units(), searcher.n_places()), (n_units, 5 * 9));
        assert!(!searcher.estimate().unwrap().is_zero());
        let steps = searcher.run(&mut |_| Flow::Continue).unwrap();
        // It stops where it was asked to.
        assert_eq!(steps.len(), 4);
        let plans: Vec<PhasePlan> = steps.iter().map(|step| step.plan.clone()).collect();
        let shares = agreement(&demo.model, &texts, &plans, 16).unwrap();
        for (step, share) in steps.iter().zip(shares) {
            assert_eq!(step.agreement, share);
            assert_eq!(share, one_by_one(&demo.model, &texts, &step.plan));
        }
        let stopped = searcher.run(&mut |_| Flow::Stop).unwrap();
        assert_eq!(stopped[..], steps[..2]);
    }
    let searched = |least_agreement| {
        let search = AgreementSearch::new(Granularity::Layers)
            .with_least_agreement(least_agreement)
            .with_positions_per_text(4);
        let mut searcher = AgreementSearcher::new(&demo.model, &texts, &search).unwrap();
        searcher.run(&mut |_| Flow::Continue).unwrap()
    };
    assert!(searched(0.6).iter().all(|step| step.agreement >= 0.6));
    assert_eq!(searched(0.0).len(), 13);
    // No text has a place at which a draft can be tried.
    let short = vec![CalibrationText {
        ids: vec![1, 2],
        n_prompt: 1,
    }];
    let search = AgreementSearch::new(Granularity::Layers);
    let error = AgreementSearcher::new(&demo.model, &short, &search).unwrap_err();
    assert!(error.to_string().contains("response"), "{error}");
}
