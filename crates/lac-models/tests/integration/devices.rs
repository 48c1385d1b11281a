//! The devices the tests run on: every backend that was compiled in.

use burn::tensor::Device;

/// Every backend compiled in, by name. A backend without a device makes the tests fail: they are
/// not to pass by not running.
pub fn devices() -> Vec<(&'static str, Device)> {
    vec![
        #[cfg(feature = "flex")]
        ("flex", Device::flex()),
        #[cfg(feature = "wgpu")]
        ("wgpu", wgpu()),
    ]
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Device {
    Device::enumerate(burn::tensor::DeviceType::Wgpu)
        .into_vec()
        .into_iter()
        .next()
        .expect("the tests were compiled with wgpu, but no adapter was found")
}
