//! Whether what is asked for fits into memory, before it is allocated: afterwards the system ends the program
//! without a word.

use anyhow::{Result, bail};
use lac_models::{DecoderConfig, WeightDtype};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use crate::device::DeviceArg;

/// Rows that are in memory side by side, and the slots of each.
#[derive(Clone, Copy)]
pub struct Rows {
    pub batch: usize,
    pub n_slots: usize,
}

/// What a machine has, in bytes.
#[derive(Clone, Copy)]
struct Machine {
    /// Memory and swap, or what the container or the batch job was given.
    total: u64,
    /// What is free at present.
    free: u64,
}

impl Machine {
    /// `None` where the system does not tell.
    fn new() -> Option<Self> {
        let mut system = System::new();
        system.refresh_memory();
        let (mut total, mut free) = (system.total_memory(), system.available_memory());
        // A container's limit stands at the root of what it sees, a batch job's in its own group.
        let own = sysinfo::get_current_pid().ok().and_then(|own| {
            let only = ProcessesToUpdate::Some(&[own]);
            system.refresh_processes_specifics(only, false, ProcessRefreshKind::nothing());
            system.process(own)?.cgroup_limits()
        });
        for limits in system.cgroup_limits().into_iter().chain(own) {
            total = total.min(limits.total_memory);
            free = free.min(limits.free_memory);
        }
        let (total, free) = (total + system.total_swap(), free + system.free_swap());
        (total > 0).then_some(Self { total, free })
    }
}

/// Refuses what this machine cannot hold: weights, and keys and values of `rows`. It is what is needed at least;
/// of other devices than the CPU nothing is known beforehand. `lower` names the flags that `rows` come from.
pub fn check(
    device: &DeviceArg,
    config: &DecoderConfig,
    dtype: WeightDtype,
    rows: Rows,
    lower: &str,
) -> Result<()> {
    let machine = match device.is_cpu() {
        true => Machine::new(),
        false => None,
    };
    match machine {
        Some(machine) => check_on(machine, config, dtype, rows, lower),
        None => Ok(()),
    }
}

fn check_on(
    machine: Machine,
    config: &DecoderConfig,
    dtype: WeightDtype,
    rows: Rows,
    lower: &str,
) -> Result<()> {
    let bytes = |n_values: u64| n_values.saturating_mul(dtype.to_burn().size() as u64);
    let n_slots = rows.n_slots.min(config.max_position_embeddings);
    let weights = bytes(config.n_parameters());
    let cache = bytes(config.n_cached(rows.batch, n_slots));
    let needed = weights.saturating_add(cache);
    if needed <= machine.free {
        return Ok(());
    }
    let needs = format!(
        "this needs about {} of memory: {} for the weights in {} and {} for keys and values of {} x {n_slots} tokens",
        gib(needed),
        gib(weights),
        dtype.name(),
        gib(cache),
        rows.batch,
    );
    if needed <= machine.total {
        eprintln!(
            "lac: {needs}; {} of {} are free at present",
            gib(machine.free),
            gib(machine.total)
        );
        return Ok(());
    }
    let mut ways = Vec::new();
    if cache > machine.total / 16 {
        ways.push(lower.to_owned());
    }
    if dtype == WeightDtype::F32 {
        ways.push("use --dtype bf16".to_owned());
    }
    if weights > machine.total / 16 {
        ways.push("take a smaller model".to_owned());
    }
    bail!(
        "{needs}; this machine has {}: {}",
        gib(machine.total),
        ways.join(", or ")
    )
}

fn gib(bytes: u64) -> String {
    let gib = bytes as f64 / (1u64 << 30) as f64;
    match gib {
        0.0..10.0 => format!("{gib:.1} GiB"),
        _ => format!("{gib:.0} GiB"),
    }
}

#[cfg(test)]
mod tests {
    use lac_models::ModelShape;

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_numbers() {
        const GIB: u64 = 1 << 30;
        let config = ModelShape::Llama3_8b.config().unwrap().decoder;
        let check = |total: u64, dtype, batch, parts: &[&str]| {
            let machine = Machine {
                total: total * GIB,
                free: total * GIB / 2,
            };
            let rows = Rows {
                batch,
                n_slots: 100_000,
            };
            let result = check_on(machine, &config, dtype, rows, "lower --batch");
            assert_eq!(result.is_ok(), parts.is_empty());
            let text = result.err().map_or(String::new(), |e| e.to_string());
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in: {text}");
            }
        };
        check(64, WeightDtype::F32, 1, &[]);
        // 8.03 billion parameters, and 32 layers of keys and values of 8 heads of 128 for 8192 tokens.
        check(
            23,
            WeightDtype::F32,
            1,
            &[
                "about 32 GiB",
                "30 GiB for the weights in f32",
                "2.0 GiB for keys and values of 1 x 8192 tokens",
                "has 23 GiB: lower --batch, or use --dtype bf16, or take a smaller model",
            ],
        );
        check(23, WeightDtype::Bf16, 1, &[]);
        check(
            23,
            WeightDtype::Bf16,
            64,
            &["about 79 GiB", "lower --batch, or take"],
        );
        // Nothing overflows.
        check(23, WeightDtype::F32, usize::MAX, &["lower --batch"]);
    }
}
