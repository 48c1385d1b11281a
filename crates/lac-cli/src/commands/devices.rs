//! `lac devices`: what this binary can compute on.

use anyhow::Result;
use clap::Args;

use crate::device;
use crate::output::print_line;

/// List the kinds of device compiled in and the devices found
#[derive(Args)]
pub struct Devices {}

impl Devices {
    pub fn run(&self) -> Result<()> {
        for (name, devices) in device::listing() {
            match devices {
                None => print_line(&format!("{name}: not compiled in"))?,
                Some(devices) if devices.is_empty() => {
                    print_line(&format!("{name}: compiled in, no device found"))?;
                }
                Some(devices) => {
                    for (index, device) in devices.iter().enumerate() {
                        print_line(&format!("{name}:{index}: {device}"))?;
                    }
                }
            }
        }
        Ok(())
    }
}
