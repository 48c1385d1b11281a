//! `lac report`
use anyhow::Result;
use clap::Args;
/// x
#[derive(Args)]
pub struct Report {}
impl Report {
    pub fn run(&self) -> Result<()> {
        Ok(())
    }
}
