//! The program as a child that is signalled, killed and given too little.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than anything here takes; what is waited for longer will not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with the embedded model and sets in it.
pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        lac_demo::unpack(lac_demo::model_files(), &folder.path().join("model")).unwrap();
        lac_demo::unpack(lac_demo::set_files(), &folder.path().join("sets")).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A file of prompts, one a line.
    pub fn prompts(&self, n_prompts: usize) -> String {
        let prompt = |idx| format!("Tell me about Kodo, {idx} times.\n");
        let text: String = (0..n_prompts).map(prompt).collect();
        std::fs::write(self.path("prompts.txt"), text).unwrap();
        self.text("prompts.txt")
    }

    /// `lac eval` on the sets, with the model of the folder.
    pub fn eval(&self, out: &str, extra: &[&str]) -> Vec<String> {
        let (model, data, out) = (self.text("model"), self.text("sets/mmlu"), self.text(out));
        let base = ["eval", "--model", &model, "--data", &data, "--out", &out];
        let base = base.into_iter().chain(["--benchmark", "mmlu"]);
        base.chain(extra.iter().copied())
            .map(String::from)
            .collect()
    }

    /// Names in a folder, temporary files left by a killed program aside.
    pub fn names(&self, below: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(below))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !lac_files::is_leftover(name))
            .collect();
        names.sort();
        names
    }
}

/// A child, and what it said when it has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

pub struct Lac(Child);

impl Lac {
    pub fn start<S: AsRef<str>>(args: &[S]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_lac")).args(args.iter().map(AsRef::as_ref)))
    }

    /// No file may grow beyond this many bytes.
    pub fn start_limited<S: AsRef<str>>(n_bytes: u64, args: &[S]) -> Self {
        // In blocks of 512 bytes, in every sh.
        let script = format!("ulimit -f {}; exec \"$0\" \"$@\"", n_bytes / 512);
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_lac")]);
        Self::spawn(command.args(args.iter().map(AsRef::as_ref)))
    }

    fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null());
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until something is so; fails when the child ends before.
    pub fn wait_until(&mut self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none(), "{what}: the child ended, {ended:?}");
            assert!(begun.elapsed() < PATIENCE, "{what}: it never came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the model is loaded and Ctrl-C is listened to.
    pub fn wait_until_running(&mut self) {
        let status = format!("/proc/{}/status", self.0.id());
        self.wait_until("listening to Ctrl-C", || {
            catches_interrupts(status.as_ref())
        });
    }

    pub fn signal(&self, name: &str) {
        // The shell's own: a bare system has no program of that name.
        let script = format!("kill {name} {}", self.0.id());
        let sent = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert!(sent.success());
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Reads a line of stderr, to its end.
    pub fn wait_for_stderr(&mut self, part: &str) {
        let stderr = self.0.stderr.as_mut().unwrap();
        let mut seen = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&seen).contains(part) {
            let n = stderr.read(&mut byte).unwrap();
            assert!(
                n > 0,
                "{part:?} is not in: {}",
                String::from_utf8_lossy(&seen)
            );
            seen.push(byte[0]);
        }
    }

    pub fn end(self) -> Ended {
        let output = self.0.wait_with_output().unwrap();
        Ended {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    #[track_caller]
    pub fn check(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "{part:?} is not in: {}",
                self.stderr
            );
        }
    }
}

/// Whether a process has a handler for SIGINT, by the kernel's own account of it.
fn catches_interrupts(status: &Path) -> bool {
    let status = std::fs::read_to_string(status).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 2 > 0))
}
