//! Writes the JavaScript through which a page calls lac-web, and the module that belongs to it: `bindings MODULE.wasm FOLDER`.
//! `cargo xtask web` calls it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let module = paths.next().context("which module?")?;
    let folder = paths.next().context("into which folder?")?;
    Bindgen::new()
        .input_path(module)
        .web(true)?
        .typescript(false)
        .out_name("lac_web")
        .generate(folder)
}
