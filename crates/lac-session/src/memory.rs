//! Checks that a run fits into memory before anything is allocated: later, the system would end the program without a
//! message.

use std::path::{Path, PathBuf};

use lac_models::{DecoderConfig, WeightDtype};

use crate::device::DeviceName;
use crate::error::SessionError;
use crate::notice::{Notice, Tell};

/// Rows that are in memory side by side, and the slots of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Number of rows.
    pub batch: usize,
    /// Number of slots of each.
    pub n_slots: usize,
}

/// A machine's memory, in bytes.
#[derive(Clone, Copy)]
struct Machine {
    /// Memory and swap, or what the container or the batch job was given.
    total: u64,
    /// Memory that is free at present.
    free: u64,
}

impl Machine {
    /// Reads Linux's tables; `None` on systems without them.
    fn new() -> Option<Self> {
        let table = std::fs::read_to_string("/proc/meminfo").ok()?;
        let field = |name: &str| meminfo(&table, name);
        let swap = field("SwapTotal").unwrap_or(0);
        let total = field("MemTotal")?;
        let own_groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let limits = limit_files(&own_groups).into_iter().filter_map(|file| {
            // "max", or a number that nothing reaches, where there is no limit.
            std::fs::read_to_string(file)
                .ok()?
                .trim()
                .parse::<u64>()
                .ok()
        });
        let total = limits.fold(total, u64::min).saturating_add(swap);
        let free = field("MemAvailable")? + field("SwapFree").unwrap_or(0);
        Some(Self {
            total,
            free: free.min(total),
        })
    }
}

/// Returns a field of `/proc/meminfo` in bytes.
fn meminfo(table: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// Returns where the limits of this process's control groups stand: a container's at the root of what it sees, a batch
/// job's in its own group or in one above it.
fn limit_files(own_groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own_groups.lines() {
        // `0::/path`, and in the older layout `4:memory:/path`.
        let (root, name, path) = match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            ["0", "", path] => ("/sys/fs/cgroup", "memory.max", path),
            [_, "memory", path] => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", path),
            _ => continue,
        };
        let group = Path::new(root).join(path.trim_start_matches('/'));
        let groups = group
            .ancestors()
            .take_while(|group| group.starts_with(root));
        files.extend(groups.map(|group| group.join(name)));
    }
    files
}

/// What a model's weights take, and the data type that is computed in.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// Bytes in memory.
    pub n_bytes: u64,
    /// The data type.
    pub dtype: WeightDtype,
}

/// Refuses weights, and keys and values of `rows`, that this machine cannot hold. The sum is a lower bound of what a
/// run needs; devices other than the CPU are not checked. `lower` says how to lower `rows`: "lower --batch". Where memory is
/// short at present, and large enough in all, a warning goes to `tell`.
///
/// # Errors
/// [`SessionError::Memory`], with the numbers and what may help.
pub fn check(
    device: &DeviceName,
    config: &DecoderConfig,
    weights: Weights,
    rows: Rows,
    lower: &str,
    tell: &mut Tell<'_>,
) -> Result<(), SessionError> {
    let machine = if device.is_cpu() {
        Machine::new()
    } else {
        None
    };
    match machine {
        Some(machine) => check_on(machine, config, weights, rows, lower, tell),
        None => Ok(()),
    }
}

/// Returns the memory that is free at present; `None` where that is not known, and for devices other than the CPU.
pub fn free(device: &DeviceName) -> Option<u64> {
    Some(Machine::new().filter(|_| device.is_cpu())?.free)
}

fn check_on(
    machine: Machine,
    config: &DecoderConfig,
    weights: Weights,
    rows: Rows,
    lower: &str,
    tell: &mut Tell<'_>,
) -> Result<(), SessionError> {
    let dtype = weights.dtype;
    let bytes = |n_values: u64| n_values.saturating_mul(dtype.to_burn().size() as u64);
    let n_slots = rows.n_slots.min(config.max_context());
    let is_quantised = weights.n_bytes < bytes(config.n_parameters());
    let weights = weights.n_bytes;
    let cache = bytes(config.n_cached(rows.batch, n_slots));
    let needed = weights.saturating_add(cache);
    if needed <= machine.free {
        return Ok(());
    }
    let needs = format!(
        "this needs about {} of memory: {} for the weights{} and {} for keys and values of {} x {n_slots} tokens",
        gib(needed),
        gib(weights),
        if is_quantised {
            String::new()
        } else {
            format!(" in {}", dtype.name())
        },
        gib(cache),
        rows.batch,
    );
    if needed <= machine.total {
        tell(Notice::Warning(format!(
            "{needs}; {} of {} are free at present",
            gib(machine.free),
            gib(machine.total)
        )));
        return Ok(());
    }
    let mut ways = Vec::new();
    if cache > machine.total / 16 {
        ways.push(lower.to_owned());
    }
    if dtype == WeightDtype::F32 && !is_quantised {
        ways.push("use --dtype bf16".to_owned());
    }
    if weights > machine.total / 16 {
        ways.push("take a smaller model".to_owned());
    }
    Err(SessionError::Memory(format!(
        "{needs}; this machine has {}: {}",
        gib(machine.total),
        ways.join(", or ")
    )))
}

/// Writes a number of bytes.
pub fn gib(bytes: u64) -> String {
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
    fn the_kernels_tables_are_read() {
        let table = "MemTotal:       24607732 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(meminfo(table, "MemAvailable"), Some(23_000_000 << 10));
        assert_eq!(meminfo(table, "Mem"), None);
        let files = limit_files("4:memory:/job\n0::/slurm/job_7\n1:cpu:/\n");
        let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/memory/job/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/slurm/job_7/memory.max",
                "/sys/fs/cgroup/slurm/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        if cfg!(target_os = "linux") {
            let machine = Machine::new().unwrap();
            assert!(machine.free <= machine.total && machine.total > 1 << 28);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_numbers() {
        const GIB: u64 = 1 << 30;
        let config = ModelShape::Llama3_8b.config().unwrap().decoder;
        let check = |total: u64, dtype: WeightDtype, batch, parts: &[&str]| {
            let machine = Machine {
                total: total * GIB,
                free: total * GIB / 2,
            };
            let rows = Rows {
                batch,
                n_slots: 100_000,
            };
            let weights = Weights {
                n_bytes: dtype.n_bytes(&config),
                dtype,
            };
            let result = check_on(
                machine,
                &config,
                weights,
                rows,
                "lower --batch",
                &mut |_| {},
            );
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
