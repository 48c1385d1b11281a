//! cubecl's log of a process, and what happened in a part of it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use burn::tensor::{Device, DeviceType, Tensor};

use crate::counts::{self, Counts};

/// The logger of a device, for one test at a time.
pub struct DeviceLog {
    file: PathBuf,
    fence: Tensor<1>,
    n_fences: usize,
    _turn: MutexGuard<'static, ()>,
}

/// Values of the tensor whose reading marks the log: a number of bytes that nothing else has.
const FENCE: usize = 1_234_567;
/// How the log names them.
const FENCE_BYTES: &str = "4.94 MB";

impl DeviceLog {
    /// Waits for its turn and opens the log.
    pub fn open() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        static FILE: OnceLock<PathBuf> = OnceLock::new();
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let file = FILE.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap().keep();
            let file = folder.join("device.log");
            let logger =
                |name, level| format!("[{name}.logger]\nlevel = \"{level}\"\nfile = {file:?}\n");
            let config = [
                logger("compilation", "basic"),
                logger("profiling", "minimal"),
                logger("memory", "full"),
            ];
            fs::write(folder.join("cubecl.toml"), config.concat()).unwrap();
            // cubecl looks for its settings in the working folder, once.
            env::set_current_dir(folder).unwrap();
            file
        });
        let device = Device::enumerate(DeviceType::Wgpu)
            .into_vec()
            .into_iter()
            .next()
            .expect("the tests were compiled with wgpu, but no adapter was found");
        let mut log = Self {
            file: file.clone(),
            fence: Tensor::zeros([FENCE], &device),
            n_fences: 0,
            _turn: turn,
        };
        log.read_fence();
        log.n_fences = log.count_fences(1);
        log
    }

    pub fn device(&self) -> Device {
        self.fence.device()
    }

    /// Counts what the device is asked for by a function.
    pub fn of(&mut self, work: impl FnOnce()) -> Counts {
        let before = self.fenced();
        work();
        let after = self.fenced();
        counts::of(&self.text()[before..after], FENCE_BYTES)
    }

    /// Data is read when it is looked at.
    fn read_fence(&self) {
        let values = self
            .fence
            .clone()
            .into_data()
            .try_into_vec::<f32>()
            .unwrap();
        assert_eq!(values.len(), FENCE);
    }

    /// Marks the log, waits until everything before the mark is written, and returns where the mark ends.
    fn fenced(&mut self) -> usize {
        self.read_fence();
        self.n_fences = self.count_fences(self.n_fences + 1);
        let text = self.text();
        let mark = text.rfind(FENCE_BYTES).unwrap();
        mark + text[mark..].find('\n').unwrap() + 1
    }

    /// Waits until the log has so many marks.
    fn count_fences(&self, at_least: usize) -> usize {
        let start = Instant::now();
        loop {
            let text = self.text();
            let is_mark = |line: &&str| counts::is_read(line) && line.contains(FENCE_BYTES);
            let n_fences = text.lines().filter(is_mark).count();
            if n_fences >= at_least && text.ends_with('\n') {
                return n_fences;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "the log stays silent: {text}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.file).unwrap_or_default()).into_owned()
    }
}
