//! Plans.
#![no_main]

use lac_core::plan::VoidPlan;
use lac_fuzz::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(plan) = check(serde_json::from_slice::<VoidPlan>(bytes)) {
        let text = serde_json::to_string(&plan).expect("plain data");
        assert_eq!(
            serde_json::from_str::<VoidPlan>(&text).expect("written by us"),
            plan
        );
    }
});
