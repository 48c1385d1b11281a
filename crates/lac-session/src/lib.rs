//! What programs around lac have in common, and no library of lac needs: the model that a name means, its data type and
//! its device, a prompt's tokens, and how tokens are chosen.
//!
//! [`ModelRequest`] is what a user asks for; [`ModelRequest::open`] finds it, and [`OpenModel::load`] loads it unless it
//! does not fit into memory. [`Prompt::new`] makes tokens of a text or a conversation, [`SamplingRequest::choose`] a
//! way to choose tokens of what the user and the model's files say.
//!
//! Nothing is printed here. What a user should hear of, and is no error, goes to a function that the program gives, as a
//! [`Notice`]. Errors and notices name settings as the command's flags: `--dtype`.
//!
//! ```
//! # #[cfg(all(feature = "demo", feature = "flex"))] {
//! use lac_session::{ModelRequest, Notice, Rows};
//!
//! let mut heard = Vec::new();
//! let mut tell = |notice: Notice| heard.push(notice);
//! let open = ModelRequest::new("demo").open(&mut tell)?;
//! let rows = Rows { batch: 1, n_slots: 64 };
//! let model = open.load(rows, "lower --max-new-tokens", &mut tell, &mut |_| {})?;
//! assert_eq!(model.config().n_layers, 12);
//! assert!(heard.is_empty());
//! # }
//! # Ok::<(), lac_session::SessionError>(())
//! ```
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub use device::DeviceName;
pub use dtype::DtypeName;
pub use error::SessionError;
pub use memory::Rows;
pub use model::{ModelRequest, OpenModel, UnknownFields, WeightsOrigin, open_folder};
pub use model_path::LocalModel;
pub use notice::{Notice, Tell};
pub use prompt::{Prompt, PromptSource, Template};
pub use sampling::{Choice, SamplingRequest, stop_tokens_notice};

pub mod device;
pub mod dtype;
pub mod memory;

mod error;
mod model;
mod model_path;
mod notice;
mod prompt;
mod sampling;
