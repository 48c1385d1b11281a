//! What recording into a file costs, on the smallest real model there is: decode under the same
//! policy with and without a recorder, in pairs.
//!
//! `cargo bench -p lac-benches --bench recording` runs the embedded model, where a token's layers
//! take the least time and recording weighs the most, and prints the median over pairs of `time
//! with the recorder / time without`. Within a pair the two runs follow each other in changing
//! order, so that whatever else the machine does falls on both. `LAC_BENCH_PAIRS` takes another
//! number of pairs.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use lac_core::{
    GateConfig, GenerateArgs, GenerationConfig, LayerStack, Observer, Trace, Usage, generate,
};
use lac_models::{Decoder, ModelFolder, Tokenizer, WeightDtype};
use lac_trace::{TraceInfo, TraceWriter};

const NEW_TOKENS: usize = 400;

fn main() -> Result<(), Box<dyn Error>> {
    if lac_benches::is_test() {
        return Ok(());
    }
    let n_pairs = lac_benches::env_number("LAC_BENCH_PAIRS", 25)?;
    let folder = tempfile::tempdir()?;
    lac_demo::unpack(lac_demo::model_files(), folder.path())?;
    let files = ModelFolder::open(folder.path())?;
    let tokenizer = files.tokenizer()?;
    let model = files.load(WeightDtype::F32, &Device::flex(), &mut |_| {})?;
    let trace = folder.path().join("trace.parquet");

    let plain = || decode(&model, &mut Usage::default());
    let mut finishing = Vec::new();
    let mut recorded = || -> Result<Duration, Box<dyn Error>> {
        let mut recorder = recorder(&model, &tokenizer, &trace)?;
        let time = decode(&model, &mut recorder)?;
        let start = Instant::now();
        recorder.finish()?;
        finishing.push(start.elapsed());
        Ok(time)
    };
    plain()?;
    recorded()?;
    let mut pairs = Vec::new();
    for pair in 0..n_pairs {
        let (without, with) = if pair % 2 == 0 {
            let without = plain()?;
            (without, recorded()?)
        } else {
            let with = recorded()?;
            (plain()?, with)
        };
        pairs.push((without, with));
    }
    let milliseconds = |time: Duration| 1e3 * time.as_secs_f64();
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "decode ms/token without {:.4}, with {:.4}, ratio {:.4}; making the file of {NEW_TOKENS} tokens: {:.1} ms",
        median(pairs.iter().map(|pair| milliseconds(pair.0)).collect()),
        median(pairs.iter().map(|pair| milliseconds(pair.1)).collect()),
        median(
            pairs
                .iter()
                .map(|pair| pair.1.as_secs_f64() / pair.0.as_secs_f64())
                .collect()
        ),
        median(finishing.into_iter().map(milliseconds).collect()),
    );
    Ok(())
}

fn recorder<'a>(
    model: &Decoder,
    tokenizer: &'a Tokenizer,
    path: &Path,
) -> Result<TraceWriter<'a>, lac_trace::Error> {
    let info = TraceInfo::new("demo", model.n_layers(), &Trace::new(GateConfig::default()))?;
    Ok(TraceWriter::create(path, info)?.with_pieces(|id| tokenizer.id_to_piece(id)))
}

/// The time of a generated token. Both runs count usage or more, so that both read the gate.
fn decode(model: &Decoder, observer: &mut dyn Observer) -> Result<Duration, Box<dyn Error>> {
    let prompt: Vec<u32> = (100..116).collect();
    let mut policy = Trace::new(GateConfig::default());
    let hooks = GenerateArgs::new(&mut policy).observer(observer);
    let out = generate(
        model,
        &[prompt],
        &GenerationConfig::greedy(NEW_TOKENS),
        hooks,
    )?;
    Ok(out.decode_time / out.n_decode_passes as u32)
}
