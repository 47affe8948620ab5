//! Reading what people wrote: YAML documents into typed settings, with one
//! message that names every problem by file, line and key.
//!
//! [`read_file`] gives a tree that knows where everything stands; [`decode()`]
//! makes settings of it. No type needs to refuse unknown keys itself.

pub mod byte_size;
pub mod decode;
pub mod difference;
pub mod duration;
pub mod expand_env;
pub mod node;
pub mod problem;
mod schema;
pub mod secret;
pub mod source;
mod suggest;
pub mod yaml;

pub use byte_size::ByteSize;
pub use decode::{decode, decode_at, decode_partly, present};
pub use difference::{difference, differing};
pub use node::{Content, Entry, Node};
pub use problem::{Problem, Problems};
pub use secret::Secret;
pub use source::{Place, Source};
pub use suggest::nearest;
pub use yaml::{read_file, read_str, read_text, to_yaml};
