//! Errors as a user reads them: what happened, and which flags to lower if memory was too small.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use anyhow::{Error, Result, anyhow};

/// The messages of panics on all threads, in their order.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs a command. A panic becomes an error: burn panics where a device fails to allocate or is lost, in the
/// middle of operations that return no error. This is the only place that catches them.
pub fn catch_panic(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info
            .payload_as_str()
            .unwrap_or("a panic without a text")
            .to_owned();
        let text = match info.location() {
            Some(place) => format!("{text} ({}:{})", place.file(), place.line()),
            None => text,
        };
        let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        panics.push(text);
        // Print a backtrace where the environment asks for one.
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            report(info);
        }
    }));
    // Everything that the command held is dropped with it, so no half-changed value stays visible.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(_) => {
            let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
            // A device's own thread fails first, and the threads that wait for it fail after it.
            let mut texts: Vec<&str> = panics.iter().map(String::as_str).collect();
            texts.dedup();
            Err(anyhow!(
                "the computation failed: {}",
                texts.join("; then: ")
            ))
        }
    }
}

/// Returns advice for an error that a user can act on. `lower` names the command's flags that memory
/// depends on.
pub fn advice(error: &Error, lower: &str) -> Option<String> {
    let text = format!("{error:#}").to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&[
        "out of memory",
        "outofmemory",
        "out_of_memory",
        "not enough memory",
        "memory allocation",
        "failed to allocate",
        "can't allocate",
        "cannot allocate",
        "buffertoobig",
        "too big for",
        "buffer size",
    ]) {
        let dtype = "use --dtype bf16, or a larger --device";
        return Some(format!("memory was too small: {lower}{dtype}"));
    }
    if says(&[
        "device lost",
        "devicelost",
        "device_lost",
        "device is lost",
        "illegal_address",
        "illegal memory access",
        "launch_failed",
        "launch failed",
    ]) {
        return Some(
            "the device was lost (a reset of its driver, or a kernel that ran too long): files written \
             before are kept, and the same command continues them or begins anew; --device cpu does not \
             need the device"
                .to_owned(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic as burn makes one where a device's memory ends; its thread's panic comes before the caller's.
    #[test]
    fn a_panic_of_a_device_says_what_to_lower() {
        let run = || -> Result<()> {
            let device = std::thread::spawn(|| panic!("OutOfMemory {{ size: 8589934592 }}"));
            device.join().expect("the device's thread answers");
            Ok(())
        };
        let error = catch_panic(run).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("size: 8589934592") && text.contains("; then: the device's thread"),
            "{text}"
        );
        let advice = advice(&error, "lower --batch, ").unwrap();
        assert!(
            advice.contains("lower --batch, use --dtype bf16"),
            "{advice}"
        );
    }

    #[test]
    fn errors_are_told_apart() {
        let check = |text: &'static str, part: Option<&str>| {
            let advice = advice(&anyhow!(text), "");
            assert_eq!(advice.is_some(), part.is_some(), "{text}: {advice:?}");
            assert!(
                part.is_none_or(|part| advice.unwrap().contains(part)),
                "{text}"
            );
        };
        check(
            "the device failed while reading logits: CUDA_ERROR_OUT_OF_MEMORY",
            Some("--dtype bf16"),
        );
        check("Parent device is lost", Some("--device cpu"));
        check("no token can be chosen", None);
    }
}
