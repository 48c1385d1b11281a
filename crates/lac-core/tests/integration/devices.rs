//! The devices the tests run on: every backend that was compiled in.

use burn::tensor::Device;

/// A backend's name and how to open its device.
type Backend = (&'static str, fn() -> Device);

/// Every backend compiled in, by name, or the one that `LAC_TEST_DEVICE` names. A backend without
/// a device makes the tests fail: they are not to pass by not running.
pub fn devices() -> Vec<(&'static str, Device)> {
    let backends: Vec<Backend> = vec![
        #[cfg(feature = "flex")]
        ("flex", Device::flex),
        #[cfg(feature = "wgpu")]
        ("wgpu", wgpu),
        #[cfg(feature = "cuda")]
        ("cuda", cuda),
    ];
    let wanted = std::env::var("LAC_TEST_DEVICE").ok();
    let devices: Vec<_> = backends
        .into_iter()
        .filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name))
        .map(|(name, open)| (name, open()))
        .collect();
    assert!(!devices.is_empty(), "{wanted:?} was not compiled in");
    devices
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Device {
    Device::enumerate(burn::tensor::DeviceType::Wgpu)
        .into_vec()
        .into_iter()
        .next()
        .expect("the tests were compiled with wgpu, but no adapter was found")
}

#[cfg(feature = "cuda")]
fn cuda() -> Device {
    Device::enumerate(burn::tensor::DeviceType::Cuda)
        .into_vec()
        .into_iter()
        .next()
        .expect("the tests were compiled with cuda, but no device was found")
}
