//! As much of cubecl-llvm's surface as cubecl-cuda touches, without LLVM.
//!
//! cubecl-cuda compiles kernels either through CUDA C++ and NVRTC or through LLVM, and links both.
//! With its feature `cpp` nothing of this crate is ever called; the only function that would have
//! to do something says so.

use std::fmt;

use cubecl_core::ir::DeviceProperties;
use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_server::compiler::CompilationError;
use cubecl_server::kernel::BufferIOAttr;

/// What kernels are compiled for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// The host.
    #[default]
    Cpu,
    /// PTX.
    Nvptx,
}

/// The compiler that is not there.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// What it would compile for.
    pub target: LlvmTarget,
}

/// What the compiler would be asked for.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// AMD's architecture; never set by CUDA.
    pub arch: Option<()>,
    /// NVIDIA's architecture.
    pub sm_arch: Option<SmArch>,
    /// The PTX version.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether scalars come in the kernel's parameters.
    pub grid_constants: bool,
    /// Keeps `..Default::default()` of the caller from being superfluous.
    pub cpu_buffer_alignment: Option<u32>,
}

/// A PTX module; none is ever made.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// PTX assembly.
    pub ptx: Vec<core::ffi::c_char>,
    /// Kernel entry point.
    pub entrypoint: String,
    /// IR for logs.
    pub ir: String,
    /// Shared memory per launch, in bytes.
    pub shared_memory_size: usize,
    /// Access modes of the buffers.
    pub io: Vec<BufferIOAttr>,
}

/// What a compilation would return.
#[derive(Clone)]
#[non_exhaustive]
pub enum PlironArtifact {
    /// A PTX module.
    NvptxCode(NvptxModule),
}

impl PlironCompiler {
    /// Refuses.
    ///
    /// # Errors
    /// Always: this build has no LLVM.
    pub fn compile(
        &mut self,
        _kernel: KernelDefinition,
        _options: &PlironOptions,
    ) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this build has no LLVM: kernels are compiled with NVRTC".to_owned(),
            backtrace: Default::default(),
        })
    }

    /// The language tag of logs.
    pub fn lang_tag(&self) -> &'static str {
        "ll"
    }
}

/// PTX.
pub mod nvptx {
    /// Its versions.
    pub mod ptx_version {
        use super::super::fmt;

        /// A PTX version, which only LLVM would have to know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(());

        impl PtxVersion {
            /// Unknown.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ptx")
            }
        }
    }
}

/// What the targets share.
pub mod shared {
    /// Features that LLVM's backends lower.
    pub mod lowered_features {
        use super::super::DeviceProperties;

        /// The target to narrow features for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// PTX.
            Nvptx,
        }

        /// Leaves the properties alone: NVRTC compiles all of them.
        pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
    }
}
