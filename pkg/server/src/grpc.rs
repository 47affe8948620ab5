//! gRPC: messages as bytes, within a size limit.

mod codec;
mod message_body;
mod size_limit;
mod unary;

pub use codec::BytesCodec;
pub use message_body::MessageBody;
pub use size_limit::{SizeLimit, SizeLimitLayer};
pub use unary::unary;
